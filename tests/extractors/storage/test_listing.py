"""What is in a bucket, in the order of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from extractors.errors import UsageError
from extractors.extraction.collect import collect_places, collect_videos
from extractors.places import Address, place_of
from extractors.storage.faults import ObjectMissing, StorageError
from extractors.storage.listing import ObjectState, state_of
from tests.buckets import Bucket

KEYS = (
    "videos/b.mp4",
    "videos/a b.MKV",
    "videos/notes.txt",
    "videos/.hidden.mp4",
    "videos/sub/",
    "videos/sub/ünicode.mp4",
    "videos/sub/why?.mp4",
    "videos/sub/.git/x.mp4",
    "videos/aa/z.mp4",
    "videos-of-others/c.mp4",
)


@pytest.fixture
def filled(bucket: Bucket) -> Bucket:
    from urllib.parse import quote

    for key in KEYS:
        bucket.put(quote(key), b"" if key.endswith("/") else key.encode())
    return bucket


def _names(places: list[object]) -> list[str]:
    return [str(place) for place in places]


@pytest.mark.parametrize("end", ["videos", "videos/"])
def test_order_of_a_folder(filled: Bucket, tmp_path: Path, end: str) -> None:
    for key in KEYS:
        if not key.endswith("/"):
            (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / key).write_text(key)
    local = [path.relative_to(tmp_path).as_posix() for path in collect_videos([tmp_path / "videos"])]
    assert len(local) == 5
    assert _names([*collect_places([f"{filled.url}/{end}"])]) == [f"{filled.url}/{key}" for key in local]


def test_objects_folders_and_files_together(filled: Bucket, tmp_path: Path) -> None:
    file = tmp_path / "x.mp4"
    file.write_text("x")
    first = f"{filled.url}/videos/b.mp4"
    found = collect_places([first, str(file), f"{filled.url}/videos/sub/", first, f"{file}"])
    assert _names([*found]) == [
        first,
        str(file),
        f"{filled.url}/videos/sub/why?.mp4",
        f"{filled.url}/videos/sub/ünicode.mp4",
    ]


def test_objects_without_a_video_suffix(filled: Bucket) -> None:
    assert _names([*collect_places([f"{filled.url}/videos/notes.txt"])]) == [f"{filled.url}/videos/notes.txt"]


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("videos/*.mp4", ["videos/b.mp4"]),
        (
            "videos/**/*.mp4",
            ["videos/b.mp4", "videos/aa/z.mp4", "videos/sub/why?.mp4", "videos/sub/ünicode.mp4"],
        ),
        ("videos/*/w*?.mp4", ["videos/sub/why?.mp4"]),
        ("v*/c.mp4", ["videos-of-others/c.mp4"]),
        ("videos/a*", ["videos/a b.MKV"]),
    ],
)
def test_patterns(filled: Bucket, pattern: str, keys: list[str]) -> None:
    assert _names([*collect_places([f"{filled.url}/{pattern}"])]) == [f"{filled.url}/{key}" for key in keys]


def test_patterns_without_a_match(filled: Bucket) -> None:
    with pytest.raises(UsageError, match=r"/videos/\*\.avi matches no video"):
        collect_places([f"{filled.url}/videos/*.avi"])


def test_nothing_there(filled: Bucket) -> None:
    with pytest.raises(UsageError, match=f"{filled.url}/empty/ holds no video; gone.mp4 does not exist"):
        collect_places([f"{filled.url}/empty/", "gone.mp4"])
    with pytest.raises(StorageError, match=r"^s3://no-such-bucket/videos/: there is no such bucket"):
        collect_places(["s3://no-such-bucket/videos/"])


def test_states(filled: Bucket) -> None:
    address = place_of(f"{filled.url}/videos/b.mp4")
    assert isinstance(address, Address)
    state = state_of(address)
    assert (state.size, state.names_content) == (len("videos/b.mp4"), True)
    filled.put("videos/b.mp4", b"other, longer content")
    assert state_of(address) != state
    with pytest.raises(ObjectMissing, match=r"gone\.mp4: there is no such object"):
        state_of(Address("s3", filled.name, "gone.mp4"))
    with pytest.raises(StorageError, match="is a folder; to have all it holds"):
        state_of(Address("s3", filled.name, "videos"))


@pytest.mark.parametrize("text", ["2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05Z", "1767323045.0"])
def test_times_as_the_providers_write_them(text: str) -> None:
    assert ObjectState(1, "", text).modified_s == 1767323045
    assert ObjectState(1, "", "").modified_s is None


def test_memory() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe_file("/listing/sub/b.mp4", b"b")
    memory.pipe_file("/listing/a.mp4", b"a")
    found = collect_places(["memory://listing/"])
    assert _names([*found]) == ["memory://listing/a.mp4", "memory://listing/sub/b.mp4"]
    # Without an etag, the same size and time may be another content.
    assert not state_of(Address("memory", "listing", "a.mp4")).names_content


@pytest.mark.parametrize("text", ["s3://KEY:hunter2@bucket/x/", "az://box/x/?sig=hunter2", "s3:///x/"])
def test_addresses_that_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"has a login or a query string|names no bucket") as refused:
        collect_places([text])
    assert "hunter2" not in str(refused.value)
