"""Libraries that follow their folders: updates, removals, and comparison with what a new one would be."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from extractors.errors import UsageError
from extractors.videos.events import VideoFinished
from model import Grounder
from model.search.filters import absolute
from model.search.library import Library
from model.search.storage import segments
from tests.model.search.colours import colour_library, colour_video, colour_videos

SCENES = {f"{name}.mp4": [(name, 3), ("black", 3)] for name in ("red", "green", "blue")}


@pytest.fixture
def folder(tmp_path) -> Path:
    colour_videos(tmp_path / "v", SCENES)
    return tmp_path / "v"


@pytest.fixture
def library(tmp_path, folder) -> Iterator[Library]:
    with colour_library(tmp_path / "index", tmp_path / "cache") as made:
        made.add([folder])
        yield made


def names(library: Library) -> list[str]:
    return [video.path.name for video in library.videos()]


def statuses(changes) -> list[str]:
    return [result.status for result in changes.results]


def first(library: Library, query: str) -> str:
    return library.search(query, top_k=1)[0].hits[0].video.name


def test_nothing_to_do(library):
    changes = library.update()
    assert (statuses(changes), changes.removed, changes.unreachable) == (["cached"] * 3, (), ())
    assert library.verify() == []


def test_new_videos(library, folder):
    colour_video(folder / "deeper" / "new.mp4", [("red", 6)])
    assert [f.path.name for f in library.verify()] == ["new.mp4"]
    assert sorted(statuses(library.update())) == ["cached"] * 3 + ["extracted"]
    assert "new.mp4" in names(library)
    assert library.verify() == []


def test_folders_around_what_was_added_are_followed(tmp_path, folder):
    with colour_library(tmp_path / "index", tmp_path / "cache") as made:
        made.add([folder / "red.mp4"], folders=[folder])
        assert names(made) == ["red.mp4"]
        assert made.info().roots == (folder,)
        (folder / "red.mp4").rename(folder / "moved.mp4")
        changes = made.update()
        assert names(made) == ["blue.mp4", "green.mp4", "moved.mp4"]
        assert sorted(statuses(changes)) == ["cached", "extracted", "extracted"]


def test_changed_videos(library, folder):
    time.sleep(0.01)
    colour_video(folder / "red.mp4", [("black", 2), ("blue", 2)], variant=9)
    (finding,) = library.verify()
    assert (finding.path, "has changed" in finding.what) == (folder / "red.mp4", True)
    library.update()
    assert first(library, "blue") in ("red.mp4", "blue.mp4")
    assert "red.mp4" not in [hit.video.name for hit in library.search("red", threshold=0.5)[0].hits]
    assert library.verify() == []


def test_change_that_keeps_size_and_time(library, folder):
    path = folder / "red.mp4"
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(library.verify()) == 1
    library.update()
    assert library.verify() == []


def test_moved_videos_are_not_extracted_again(library, folder):
    (folder / "deeper").mkdir()
    (folder / "red.mp4").rename(folder / "deeper" / "rot.mp4")
    changes = library.update()
    assert (statuses(changes), [p.name for p in changes.removed]) == (["cached"] * 3, ["red.mp4"])
    assert first(library, "red") == "rot.mp4"
    assert library.info().recipes[0].videos == 3
    assert library.verify() == []


def test_deleted_videos_leave_no_space(library, folder, tmp_path):
    before = library.info()
    for name in ("red.mp4", "green.mp4"):
        (folder / name).unlink()
    assert len(library.verify()) == 2
    assert len(library.update().removed) == 2
    after = library.info()
    assert after.recipes[0].vectors < before.recipes[0].vectors
    files = [path for path in (tmp_path / "index" / "vectors").rglob("*") if path.is_file()]
    kept = after.recipes[0].vectors
    assert sum(path.stat().st_size for path in files if path.suffix == ".rows") == kept * 16 * 2
    assert library.verify() == []


def test_missing_folder_keeps_its_videos(library, folder, tmp_path):
    folder.rename(tmp_path / "elsewhere")
    for _ in range(2):  # without the folder, and with an empty one in its place
        changes = library.update()
        assert (changes.removed, changes.unreachable) == ((), (folder,))
        assert len(names(library)) == 3
        folder.mkdir(exist_ok=True)
    folder.rmdir()
    (tmp_path / "elsewhere").rename(folder)
    library.update()
    assert library.verify() == []


def test_single_file_that_is_deleted(library, tmp_path):
    alone = colour_video(tmp_path / "alone.mp4", [("red", 4)])
    library.add([alone])
    alone.unlink()
    changes = library.update()
    assert (changes.removed, changes.unreachable) == ((alone,), ())
    assert library.verify() == []


def test_file_that_breaks_leaves(library, folder):
    (folder / "red.mp4").write_bytes(b"no video")
    changes = library.update()
    assert [result.path.name for result in changes.failed] == ["red.mp4"]
    assert names(library) == ["blue.mp4", "green.mp4"]
    assert library.verify() == []  # a new library could not read it either
    colour_video(folder / "red.mp4", [("red", 4)])
    assert [finding.path.name for finding in library.verify()] == ["red.mp4"]
    library.update()
    assert library.verify() == []


def test_removed_videos_stay_out(library, folder):
    assert [p.name for p in library.remove([folder / "red.mp4"]).removed] == ["red.mp4"]
    library.update()
    assert names(library) == ["blue.mp4", "green.mp4"]
    assert library.verify() == []
    library.add([folder])
    assert len(names(library)) == 3


def test_removed_videos_stay_out_when_others_arrive(library, folder):
    red = absolute(folder / "red.mp4")
    library.remove([red])
    assert library.taken_out([red, red.with_name("blue.mp4")]) == {red}
    new = colour_video(folder / "new.mp4", [("green", 2)], variant=9)
    library.add([new], folders=[folder])
    library.update()
    assert names(library) == ["blue.mp4", "green.mp4", "new.mp4"]
    library.add([red], folders=[folder])
    assert library.taken_out([red]) == set()


def test_removed_folders_and_files_are_remembered(library, folder):
    red = absolute(folder / "red.mp4")
    library.remove([folder])
    assert library.taken_out([red, absolute(folder)]) == {red, absolute(folder)}
    library.add([folder])
    assert library.taken_out([red]) == set()


def test_removal_by_folder_and_pattern(library, folder):
    library.remove(["r*.mp4"])
    assert names(library) == ["blue.mp4", "green.mp4"]
    library.remove([folder])
    assert (names(library), library.info().roots) == ([], ())
    assert library.search("red")[0].hits == ()
    library.update()
    assert names(library) == []


def test_copies_are_removed_one_by_one(library, folder):
    shutil.copy(folder / "red.mp4", folder / "copy.mp4")
    library.update()
    library.remove([folder / "copy.mp4"])
    assert first(library, "red") == "red.mp4"
    assert library.verify() == []


def test_removal_of_what_is_not_there(library):
    with pytest.raises(UsageError, match=r"not in the library .*: nothing\.mp4, other"):
        library.remove(["nothing.mp4", "red.mp4", "other"])
    assert len(names(library)) == 3


def test_cleared_cache_is_filled_again(library):
    library.grounder.cache.clear()
    assert len(library.search("red")[0].stale) == 3
    assert len(library.verify()) == 3
    assert statuses(library.update()) == ["extracted"] * 3
    assert (library.verify(), len(library.search("red")[0].stale)) == ([], 0)


def test_lost_vectors_are_made_again(library, tmp_path):
    shutil.rmtree(tmp_path / "index" / "vectors")
    library.close()
    assert len(library.verify()) == 3
    assert statuses(library.update()) == ["cached"] * 3
    assert library.verify() == []
    assert first(library, "red") == "red.mp4"


@pytest.mark.parametrize("suffix", [".rows", ".ids"])
def test_damaged_vectors_are_found_and_made_again(library, tmp_path, suffix):
    (path,) = (tmp_path / "index" / "vectors").rglob(f"*{suffix}")
    library.close()
    data = bytearray(path.read_bytes())
    data[5] ^= 255
    path.write_bytes(data)
    assert any("update --rebuild" in finding.what for finding in library.verify())
    library.close()
    library.update(rebuild=True)
    assert library.verify() == []


def test_features_named_by_an_update_become_the_default(library, folder, tmp_path):
    (moved,) = library.remove([folder / "red.mp4"]).removed
    with colour_library(library.folder, tmp_path / "cache", fps=2) as denser:
        denser.add([moved])  # of all videos, only this one
        assert denser.search("red")[0].videos == 1
    assert colour_of(library.folder, tmp_path) == 1.0
    with colour_library(library.folder, tmp_path / "cache", fps=2) as denser:
        denser.update()
        assert denser.verify() == []
    assert colour_of(library.folder, tmp_path) == 0.5


def colour_of(folder: Path, tmp_path: Path) -> float:
    """Seconds per clip of the features that a search reads if it names none."""

    def load(model, *, features, fps):
        return Grounder.load(model, features=features, fps=fps, cache=tmp_path / "cache", offline=True)

    with Library.open(folder, load=load) as library:
        return library.grounder.model.clip_length_s


def test_interrupt_keeps_what_is_done(tmp_path, folder):
    def stop(event):
        if isinstance(event, VideoFinished) and event.index == 1:
            raise KeyboardInterrupt

    with colour_library(tmp_path / "other", tmp_path / "cache") as library:
        with pytest.raises(KeyboardInterrupt):
            library.add([folder], on_event=stop)
        assert len(library.videos()) == 2
        library.update()
        assert library.verify() == []


def test_vectors_of_no_video_are_found_and_removed(library):
    spec = library.grounder.video_encoders[0].spec
    vectors = library._index.vectors(spec)
    vectors.add(np.array([900]), np.eye(16, dtype=np.float32)[:1])
    vectors.save()
    library.close()
    (finding,) = library.verify()
    assert "1 vectors are of no video" in finding.what
    assert 900 not in [hit for result in library.search("red") for hit in result.hits]
    library.update()
    assert library.verify() == []


def test_other_vectors_replace_the_old_ones(library, monkeypatch):
    monkeypatch.setattr(segments, "VERSION", segments.VERSION + 1)
    library.close()
    with pytest.raises(UsageError, match="vtg index update"):
        library.search("red")
    assert statuses(library.update()) == ["cached"] * 3
    assert [recipe.videos for recipe in library.info().recipes] == [3]
    assert library.verify() == []
