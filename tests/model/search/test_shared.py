"""Libraries in object storage, which several machines search and change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from extractors.errors import CacheError, UsageError
from extractors.files import identity
from extractors.places import Address
from extractors.storage import filesystems, retrying
from extractors.storage.faults import StorageError
from model.search.library import Library
from model.search.storage import generations, segments, shared, stored_rows
from model.search.storage.generations import Generations
from model.search.storage.shared import SharedIndex
from model.search.storage.stored_rows import StoredRows
from tests.buckets import SECRET, Bucket, troubled
from tests.model.search.colours import colour_library, colour_video, colour_videos
from tests.model.search.test_index import SPEC, Killed, check, video

SCENES = {
    "red.mp4": [("black", 3), ("red", 3)],
    "blue.mp4": [("blue", 3), ("black", 2)],
    "green.mp4": [("green", 3)],
}

Machine = Callable[[str], None]


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "BACKOFF_S", 0.001)
    monkeypatch.setattr(shared, "_PAUSE_S", 0.001)
    monkeypatch.setattr(identity, "_SETTLED_NS", 0)  # files that have just been written need no second look


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Goes to a machine of that name: none of the copies of the others are there."""

    def go(name: str) -> None:
        monkeypatch.setenv("VTG_HOME", str(tmp_path / name))

    go("first")
    return go


@pytest.fixture
def place(bucket: Bucket, machine: Machine) -> Address:
    return Address("s3", bucket.name, "our/library")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    colour_videos(tmp_path / "v", SCENES)
    return tmp_path / "v"


@pytest.fixture
def library(place: Address, folder: Path, tmp_path: Path) -> Iterator[Library]:
    with colour_library(place, tmp_path / "cache") as made:
        made.add([folder])
        yield made


def add(index: SharedIndex, *names: str) -> None:
    index.write(lambda writer: writer.add([video(name) for name in names]))


def names(library: Library) -> list[str]:
    return [held.path.name for held in library.videos()]


def objects(bucket: Bucket) -> set[str]:
    return {key.rpartition("/")[2] for key in bucket.all_keys() if "/objects/" in key}


def newest(place: Address) -> set[str]:
    return Generations(place).newest().objects


def test_the_same_answers_as_a_folder(
    library: Library, folder: Path, tmp_path: Path, machine: Machine, place: Address
) -> None:
    machine("second")
    with (
        colour_library(tmp_path / "index", tmp_path / "cache") as local,
        colour_library(place, tmp_path / "cache") as other,
    ):
        local.add([folder])
        expected = local.search(["red", "blue"], top_k=5)
        assert library.search(["red", "blue"], top_k=5) == expected
        assert other.search(["red", "blue"], top_k=5) == expected
        assert expected[0].hits[0].video.name == "red.mp4"
        assert other.verify() == []
        assert (other.info().folder, other.info().videos) == (place, 3)
        assert other.info().size_bytes > 0


def test_changes_of_another_machine_are_seen(
    library: Library, folder: Path, tmp_path: Path, machine: Machine, place: Address
) -> None:
    machine("second")
    with colour_library(place, tmp_path / "cache") as other:
        assert len(names(other)) == 3
        colour_video(folder / "new.mp4", [("green", 2)], variant=9)
        (folder / "red.mp4").rename(folder / "moved.mp4")
        other.update()
        other.remove([folder / "blue.mp4"])
    assert names(library) == ["green.mp4", "moved.mp4", "new.mp4"]
    assert library.search("red")[0].hits[0].video.name == "moved.mp4"
    assert library.verify() == []


def test_only_what_is_new_is_downloaded(
    place: Address, bucket: Bucket, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(writer := SharedIndex(place), "a")
    machine("second")
    with troubled(bucket.endpoint, lambda method, path: None) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        monkeypatch.setattr(filesystems, "_opened", {})

        def downloads() -> set[str]:
            found = {path.rpartition("/")[2] for method, path in proxy.requests if method == "GET"}
            proxy.requests.clear()
            return {name for name in found if name in objects(bucket)}

        reader = SharedIndex(place)
        first = reader.snapshot()
        assert downloads() == newest(place)
        assert reader.snapshot() is first
        assert downloads() == set()
        reader.close()
        check(SharedIndex(place), {"a"})  # the objects stay here
        assert downloads() == set()
        before = newest(place)
        machine("first")
        add(writer, *"bcdefgh")
        machine("second")
        check(SharedIndex(place), set("abcdefgh"))
        assert downloads() <= newest(place) - before


def test_nothing_is_written_without_a_change(place: Address) -> None:
    index = SharedIndex(place)
    add(index, "a")
    before = Generations(place).newest()
    add(index, "a")
    index.write(lambda writer: writer.settle())
    assert Generations(place).newest() == before
    check(index, {"a"})


@pytest.mark.slow
def test_writers_on_several_machines_lose_nothing(place: Address, tmp_path: Path) -> None:
    code = (
        "import sys; from extractors.places import place_of; from tests.model.search.test_shared import add; "
        "from model.search.storage.shared import SharedIndex; index = SharedIndex(place_of(sys.argv[1]))\n"
        "for turn in range(4): add(index, f'{sys.argv[2]}-{turn}', f'all-{turn}')\nindex.close()"
    )
    # Two on one machine, and one on another.
    homes = {"a": "first", "b": "first", "c": "second"}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, place.text, name],
            env={**os.environ, "VTG_HOME": str(tmp_path / home)},
        )
        for name, home in homes.items()
    ]
    assert [writer.wait(300) for writer in writers] == [0, 0, 0]
    index = SharedIndex(place)
    check(index, {f"{name}-{turn}" for name in (*homes, "all") for turn in range(4)})
    entries = index.snapshot().entries_of(SPEC)
    assert entries is not None
    np.testing.assert_array_equal(entries.ids(), index.vectors(SPEC).ids)


def test_a_change_is_made_again_if_another_machine_was_faster(place: Address, machine: Machine) -> None:
    index, seen = SharedIndex(place), []
    add(index, "a")

    def change(writer) -> int:
        seen.append(len(writer.catalogue.files()))
        if len(seen) == 1:
            machine("second")
            add(SharedIndex(place), "b")
            machine("first")
        writer.add([video("c")])
        return len(seen)

    assert index.write(change) == 2
    assert seen == [1, 2]
    check(index, {"a", "b", "c"})


def test_a_writer_that_is_very_late_starts_again(
    place: Address, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "KEPT", 2)
    index, seen = SharedIndex(place), []
    add(index, "a")

    def change(writer) -> None:
        seen.append(len(writer.catalogue.files()))
        if len(seen) == 1:  # until the record that would stop it is gone
            machine("second")
            for name in "bcdef":
                add(SharedIndex(place), name)
            machine("first")
        writer.add([video("last")])

    index.write(change)
    assert seen == [1, 6]
    check(index, {*"abcdef", "last"})


def test_removed_videos_leave_no_space(place: Address, bucket: Bucket) -> None:
    index = SharedIndex(place)
    rows = np.random.default_rng(0).standard_normal((2000, 8)).astype(np.float32)
    index.write(lambda writer: writer.add([video("a"), replace(video("big"), vectors={SPEC: rows})]))
    full = index.size_bytes
    index.write(lambda writer: writer.remove_files([Path("/v/big")]))
    assert full - index.size_bytes > 2000 * 8 * 2
    assert objects(bucket) == newest(place)
    check(index, {"a"})


@pytest.mark.slow
@pytest.mark.parametrize("step", ["upload", "record"])
def test_killed_while_it_writes(
    place: Address, bucket: Bucket, step: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = SharedIndex(place)
    add(index, "a", "b")
    index.close()
    part = "/objects/" if step == "upload" else "/generations/"
    code = (
        "from extractors.places import place_of; from tests.model.search.test_shared import add; "
        "from model.search.storage.shared import SharedIndex; "
        f"add(SharedIndex(place_of({place.text!r})), 'c')"
    )
    with troubled(
        bucket.endpoint, lambda method, path: "hang" if method == "PUT" and part in path else None
    ) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        writer = subprocess.Popen([sys.executable, "-c", code])
        assert proxy.hanging.wait(60)
        writer.kill()
        writer.wait()
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint)
    check(SharedIndex(place), {"a", "b"})
    assert step == "upload" or objects(bucket) > newest(place)
    again = SharedIndex(place)
    add(again, "c", "d")
    check(again, {"a", "b", "c", "d"})
    assert objects(bucket) == newest(place)
    again.close()
    folders = shared.Copies(place, Generations(place)).root / "folders"
    assert list(folders.iterdir()) == []


def test_an_error_in_a_change_changes_nothing(place: Address) -> None:
    index = SharedIndex(place)
    add(index, "a")

    def change(writer) -> None:
        writer.add([video("b")])
        raise Killed

    with pytest.raises(Killed):
        index.write(change)
    check(index, {"a"})


def test_readers_keep_what_they_saw(place: Address, machine: Machine) -> None:
    add(reader := SharedIndex(place), "a", "b")
    before, vectors = reader.snapshot(), reader.vectors(SPEC)
    machine("second")
    other = SharedIndex(place)
    other.write(lambda writer: writer.remove_files([Path("/v/b")]))
    machine("first")
    assert len(vectors.ids) == 6
    assert len(before.files) == 2
    assert reader.catalogue().files().keys() == {Path("/v/a"), Path("/v/b")}
    check(reader, {"a"})


@pytest.mark.parametrize(("end", "how"), [(".rows", "lost"), (".rows", "damaged"), ("manifest.json", "lost")])
def test_lost_and_damaged_objects(
    library: Library, bucket: Bucket, place: Address, machine: Machine, tmp_path: Path, end: str, how: str
) -> None:
    files = Generations(place).newest().files
    (rows,) = [file.object for name, file in files.items() if name.endswith(end)]
    if how == "lost":
        bucket.delete(f"our/library/objects/{rows}")
    else:
        bucket.put(f"our/library/objects/{rows}", b"\0" * len(bucket.get(f"our/library/objects/{rows}")))
    machine("second")
    with colour_library(place, tmp_path / "cache") as other:
        with pytest.raises(
            StorageError, match=rf"objects/{rows}: .*(is not there|is damaged).*vtg index update"
        ):
            other.search("red")
        colour_video(tmp_path / "v" / "new.mp4", [("green", 2)], variant=9)
        with pytest.raises(StorageError, match=rf"objects/{rows}: "):
            other.add([tmp_path / "v" / "new.mp4"])
        with pytest.raises(StorageError, match=rf"objects/{rows}: "):
            other.search("red")
        other.update()
        assert other.search("red")[0].hits[0].video.name == "red.mp4"
        assert other.verify() == []


def stored(bucket: Bucket) -> set[str]:
    return {key.rpartition("/")[2] for key in bucket.all_keys() if "/rows/" in key}


def test_a_machine_without_the_videos_and_their_features(
    library: Library, folder: Path, tmp_path: Path, machine: Machine, place: Address
) -> None:
    expected = library.search(["red", "blue"], top_k=5)
    (tmp_path / "v").rename(tmp_path / "of another machine")
    machine("second")
    with colour_library(place, tmp_path / "other cache") as other:
        assert other.search(["red", "blue"], top_k=5) == expected
        assert {hit.video.parent for result in expected for hit in result.hits} == {folder}
        assert [finding.path for finding in other.verify()] == [folder]
        # Its own folder with a video that has gone is another matter.
        colour_video(folder / "other.mp4", [("green", 2)])
        assert other.search("red", top_k=5)[0].hits == ()
        assert len(other.search("red", top_k=5)[0].stale) == 3


def test_rows_that_are_stored_are_not_extracted_again(
    library: Library, folder: Path, tmp_path: Path, machine: Machine, place: Address
) -> None:
    machine("second")
    with colour_library(place, tmp_path / "other cache") as other:
        changes = other.update()
        assert [result.status for result in changes.results] == ["cached"] * 3
        assert not list((tmp_path / "other cache").glob("*/*_features/*.npz"))


def test_rows_are_not_extracted_on_another_machine(
    library: Library, folder: Path, tmp_path: Path, machine: Machine, place: Address, bucket: Bucket
) -> None:
    machine("second")
    shutil.copytree(folder, tmp_path / "copies")
    colour_video(tmp_path / "copies" / "new.mp4", [("green", 2)], variant=9)
    (tmp_path / "copies" / "broken.mp4").write_bytes(b"no video")
    with colour_library(place, tmp_path / "other cache") as other:
        changes = other.add([tmp_path / "copies"])
        statuses = {result.path.name: result.status for result in changes.results}
    assert statuses == dict.fromkeys(SCENES, "cached") | {"new.mp4": "extracted", "broken.mp4": "failed"}
    assert len(stored(bucket)) == 4
    assert {video.path.name for video in library.videos()} == {*SCENES, "new.mp4"}


def test_rows_leave_with_their_videos_and_lost_ones_come_back(
    library: Library, folder: Path, bucket: Bucket
) -> None:
    full = stored(bucket)
    assert len(full) == 3
    library.remove([folder / "red.mp4"])
    assert len(stored(bucket)) == 2
    library.add([folder])
    assert stored(bucket) == full
    key = next(key for key in bucket.all_keys() if "/rows/" in key)
    held = bucket.get(key)
    bucket.delete(key)
    library.update()
    assert stored(bucket) == full
    assert bucket.get(key) == held


def test_a_machine_without_the_videos_cannot_rebuild(
    library: Library, folder: Path, tmp_path: Path, bucket: Bucket, place: Address
) -> None:
    folder.rename(tmp_path / "of another machine")
    full = stored(bucket)
    with colour_library(place, tmp_path / "other cache") as other:
        with pytest.raises(UsageError, match="use --rebuild on a machine that has the videos"):
            other.update(rebuild=True)
        other.update()
        assert len(other.search("red", top_k=3)[0].hits) == 3
    assert stored(bucket) == full


def test_rows_of_an_older_recipe_leave(
    library: Library, folder: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recipes() -> set[str]:
        return {key.split("/rows/")[1].split("/")[0] for key in bucket.all_keys() if "/rows/" in key}

    old, full = recipes(), stored(bucket)
    with monkeypatch.context() as patched:
        patched.setattr(segments, "VERSION", segments.VERSION + 1)
        library.update()
        assert (recipes(), stored(bucket)) == (old, full)
    from tests.plugins.toy_encoder import (
        ColourEncoder,
    )  # which registers its features, for these modules alone

    make = ColourEncoder.__init__

    def newer(self, *arguments, **options) -> None:
        make(self, *arguments, **options)
        self.spec = replace(self.spec, recipe=self.spec.recipe + 1)

    monkeypatch.setattr(ColourEncoder, "__init__", newer)
    with colour_library(library.folder, library.grounder.cache.root) as newest:
        newest.update()
        assert newest.verify() == []
    assert len(old) == len(recipes()) == 1
    assert recipes() != old


def test_rows_that_cannot_be_stored(
    place: Address, folder: Path, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with troubled(
        bucket.endpoint, lambda method, path: "deny" if method == "PUT" and "/rows/" in path else None
    ) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        monkeypatch.setattr(filesystems, "_opened", {})
        with colour_library(place, tmp_path / "cache") as library:
            with pytest.raises(StorageError, match="access is denied"):
                library.add([folder])
            assert names(library) == []


def test_abandoned_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Address("memory", "bucket", "abandoned")
    rows, uploads = StoredRows(place), StoredRows(place).uploads()
    for address in ("left", "held", "new"):
        uploads.add(SPEC, address, b"rows")
        uploads.wait()
    uploads.close()
    rows.remove_abandoned({"held"})
    assert rows.addresses(SPEC) == {"left", "held", "new"}
    monkeypatch.setattr(stored_rows, "_ABANDONED_S", 0.0)
    rows.remove_abandoned({"held"})
    assert rows.addresses(SPEC) == {"held", "new"}
    assert rows.load(SPEC, "held") == b"rows"
    assert rows.load(SPEC, "left") is None
    rows.remove_recipe(SPEC)
    assert rows.addresses(SPEC) == set()


def test_storage_that_replaces_what_is_there(
    place: Address, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "create", lambda address, data: True)
    with pytest.raises(StorageError, match="keep the library in a folder"):
        add(SharedIndex(place), "a")


def test_a_library_that_is_not_there(
    library: Library, place: Address, tmp_path: Path, bucket: Bucket
) -> None:
    with colour_library(Address("s3", bucket.name, "other"), tmp_path / "cache") as other:
        assert not other.exists
        assert other.videos() == []
        with pytest.raises(UsageError, match="there is no library here"):
            other.search("red")
    nowhere = Address("s3", "no-such-bucket", "other")
    with (
        colour_library(nowhere, tmp_path / "cache") as other,
        pytest.raises(StorageError, match="there is no such bucket"),
    ):
        other.search("red")
    for key in bucket.all_keys():
        bucket.delete(key)
    assert names(library) == []


@pytest.mark.parametrize(
    "record",
    [b"no", b'{"format": 1, "token": "", "files": {"../x": {"object": "a", "size": 1, "content": ""}}}'],
)
def test_foreign_records(place: Address, bucket: Bucket, record: bytes) -> None:
    bucket.put("our/library/generations/00000001.json", record)
    with pytest.raises(CacheError, match="is not a record of a library"):
        SharedIndex(place).snapshot()
    bucket.put("our/library/generations/00000001.json", b'{"format": 2}')
    with pytest.raises(CacheError, match="was made by another version of vtg"):
        SharedIndex(place).snapshot()


def test_memory(machine: Machine) -> None:
    index = SharedIndex(Address("memory", "bucket", "library"))
    add(index, "a")
    add(SharedIndex(Address("memory", "bucket", "library")), "b")
    check(index, {"a", "b"})


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "_opened", {})
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UsageError, match=r"s3:// needs a package.*pip install 'vtg\[cloud\]'"):
        Library.open("s3://bucket/library")


def test_credentials_are_never_shown(
    library: Library, bucket: Bucket, place: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(SECRET.encode() not in bucket.get(key) for key in bucket.all_keys())
    with pytest.raises(UsageError, match="has a login") as raised:
        Library.open(f"s3://key:{SECRET}@bucket/library")
    assert SECRET not in str(raised.value)
    monkeypatch.setattr(filesystems, "_opened", {})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(StorageError, match="no credentials were found"):
        SharedIndex(place).snapshot()
