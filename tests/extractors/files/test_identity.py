from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.errors import VideoError
from extractors.files import identity
from extractors.files.identity import (
    BLOCK_BYTES,
    BLOCKS,
    SAMPLE_BYTES,
    SAMPLES,
    VideoIdentity,
    file_identity,
    new_content_hash,
)


def write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return file_identity(path)


@pytest.mark.parametrize("size", [0, 1, BLOCKS * BLOCK_BYTES, 5 * BLOCKS * BLOCK_BYTES + 17])
def test_name_place_and_time_play_no_part(size: int, tmp_path: Path) -> None:
    content = os.urandom(size)
    name = write(tmp_path / "a.mp4", content)
    (tmp_path / "sub").mkdir()
    assert write(tmp_path / "sub" / "b.mkv", content) == name
    os.utime(tmp_path / "a.mp4", (1, 1))
    assert file_identity(str(tmp_path / "a.mp4")) == name
    assert len(name) == 32
    assert set(name) <= set("0123456789abcdef")


@settings(max_examples=30)
@given(data=st.data())
def test_a_changed_byte_of_a_small_file_changes_it(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = data.draw(st.binary(min_size=1, max_size=300))
    position = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("identity") / "file"
    assert write(path, content) != write(path, bytes(changed))


@pytest.mark.parametrize("position", [0, BLOCK_BYTES - 1, -BLOCK_BYTES, -1])
def test_changed_head_or_tail(position: int, tmp_path: Path) -> None:
    content = bytearray(os.urandom(4 * BLOCKS * BLOCK_BYTES))
    name = write(tmp_path / "file", content)
    content[position] ^= 1
    assert write(tmp_path / "file", content) != name


def test_a_longer_file_with_the_same_bytes_is_another(tmp_path: Path) -> None:
    assert write(tmp_path / "a", bytes(10)) != write(tmp_path / "b", bytes(11))
    large = 4 * BLOCKS * BLOCK_BYTES
    assert write(tmp_path / "a", bytes(large)) != write(tmp_path / "b", bytes(large + 1))


def test_changed_span_anywhere(tmp_path: Path) -> None:
    size = 4 * BLOCKS * BLOCK_BYTES
    content = bytearray(size)
    name = write(tmp_path / "file", content)
    for first in range(0, size - size // 16, size // 16):
        changed = content.copy()
        changed[first : first + size // 16] = b"\x01" * (size // 16)
        assert write(tmp_path / "file", changed) != name


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_identity(tmp_path / "nowhere")


# --- videos ---------------------------------------------------------------------------------------

LARGE = 3 * SAMPLES * SAMPLE_BYTES
UNSEEN = (LARGE - SAMPLE_BYTES) // (SAMPLES - 1) + SAMPLE_BYTES + 1  # a place that no sample sees


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(os.urandom(LARGE))
    return path


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of records that takes files for settled at once."""
    monkeypatch.setattr(identity, "_SETTLED_NS", 0)
    return tmp_path / "records"


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is hashed whole, in order."""
    hashed = []
    read = identity.read_content

    def read_and_note(file, **options):
        hashed.append(Path(file.name).name)
        return read(file, **options)

    monkeypatch.setattr(identity, "read_content", read_and_note)
    return hashed


def edit(path: Path, at: int = UNSEEN) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def test_copies_of_a_video_are_equal(video: Path, tmp_path: Path) -> None:
    first, copy = VideoIdentity(video), VideoIdentity(shutil.copy(video, tmp_path / "b.mkv"))
    assert first.address == copy.address
    assert first.content() == copy.content() == hashlib.sha256(video.read_bytes()).hexdigest()
    streamed = new_content_hash()
    streamed.update(video.read_bytes()[:77])
    streamed.update(video.read_bytes()[77:])
    assert streamed.hexdigest() == first.content()


def test_every_byte_of_a_video_counts(video: Path) -> None:
    before = VideoIdentity(video)
    before.content()
    edit(video)
    after = VideoIdentity(video)
    assert after.address == before.address  # so the samples have not seen it
    assert after.content() != before.content()


def test_long_change_alters_the_address(video: Path) -> None:
    before = VideoIdentity(video).address
    content = bytearray(video.read_bytes())
    for first in range(0, LARGE - 3 * SAMPLE_BYTES, LARGE // 9):
        changed = content.copy()
        changed[first : first + 3 * SAMPLE_BYTES] = bytes(3 * SAMPLE_BYTES)
        video.write_bytes(changed)
        assert VideoIdentity(video).address != before


def test_a_video_that_has_not_changed_is_read_once(video: Path, records: Path, readings: list[str]) -> None:
    content = VideoIdentity(video, records).content()
    for _ in range(3):
        known = VideoIdentity(video, records)
        assert known.content() == content
        known.confirm()
    linked = video.with_name("link.mp4")
    linked.symlink_to(video)
    assert VideoIdentity(linked, records).content() == content
    assert readings == ["a.mp4"]
    assert len(list(records.iterdir())) == 1
    assert "a.mp4" not in next(records.iterdir()).read_text()


@pytest.mark.parametrize("change", ["edit", "touch", "rename", "copy over it"])
def test_changed_size_or_times(video: Path, records: Path, readings: list[str], change: str) -> None:
    VideoIdentity(video, records).content()
    if change == "edit":
        edit(video)
    elif change == "touch":
        os.utime(video, (1, 1))
    elif change == "rename":
        video.rename(video.with_name("b.mp4"))
        video = video.with_name("b.mp4")
    else:
        video.write_bytes(os.urandom(LARGE))
    assert VideoIdentity(video, records).content() == hashlib.sha256(video.read_bytes()).hexdigest()
    assert len(readings) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no time of change that programs cannot set")
def test_edit_with_old_mtime(video: Path, records: Path) -> None:
    status = video.stat()
    before = VideoIdentity(video, records).content()
    edit(video)
    os.utime(video, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert video.stat().st_mtime_ns == status.st_mtime_ns
    assert VideoIdentity(video, records).content() != before


def test_recent_video_is_not_remembered(video: Path, tmp_path: Path, readings: list[str]) -> None:
    for _ in range(2):
        VideoIdentity(video, tmp_path / "records").content()
    assert len(readings) == 2
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"state": 1}',
        bytes(200),
    ],
)
def test_a_damaged_record_is_not_believed(video: Path, records: Path, record: bytes) -> None:
    content = VideoIdentity(video, records).content()
    (file,) = records.iterdir()
    file.write_bytes(record)
    assert VideoIdentity(video, records).content() == content
    assert json.loads(file.read_bytes())["content"] == content


@pytest.mark.parametrize("field", ["address", "content"])
@pytest.mark.parametrize("value", ["../../x", "", 7, None, "G" * 64])
def test_a_record_of_nonsense_is_not_believed(video: Path, records: Path, field: str, value: object) -> None:
    whole = VideoIdentity(video, records)
    whole.content()
    (file,) = records.iterdir()
    file.write_text(json.dumps({**json.loads(file.read_bytes()), field: value}))
    again = VideoIdentity(video, records)
    assert (again.address, again.content()) == (whole.address, whole.content())


def test_read_only_records(video: Path, tmp_path: Path) -> None:
    (tmp_path / "records").write_bytes(b"a file")
    assert VideoIdentity(video, tmp_path / "records").content() == VideoIdentity(video).content()


@pytest.mark.parametrize("change", ["edit", "seen edit", "growth", "replacement"])
def test_change_during_use_is_noticed(video: Path, change: str) -> None:
    made, read = VideoIdentity(video), VideoIdentity(video)
    read.content()
    read.confirm()
    if change == "edit":
        edit(video)
        os.utime(video, (1, 1))  # a clock of coarse steps may show no other time
    elif change == "seen edit":
        edit(video, at=0)
    elif change == "growth":
        with video.open("ab") as file:
            file.write(b"x")
    else:
        video.unlink()
        video.write_bytes(b"another")
    with pytest.raises(
        VideoError, match=r"a\.mp4: changed while it was read; extract it again when it is complete"
    ):
        read.confirm()
    if change != "seen edit":
        with pytest.raises(VideoError, match="changed while it was read"):
            made.content()


def test_rename_and_chmod_are_not_changes(video: Path) -> None:
    used = VideoIdentity(video)
    video.chmod(0o600)
    (video.parent / "hard.mp4").hardlink_to(video)
    used.content()
    used.confirm()


def test_reading_ahead_is_reading_once(video: Path, readings: list[str]) -> None:
    ahead = VideoIdentity(video)
    ahead.read_ahead()
    assert ahead.content() == hashlib.sha256(video.read_bytes()).hexdigest()
    ahead.read_ahead()
    assert ahead.content()
    assert len(readings) == 1
    for thread in threading.enumerate():
        if thread.name == "vtg-identity":
            thread.join(10)
            assert not thread.is_alive()


def test_reading_can_be_stopped(video: Path) -> None:
    given_up = VideoIdentity(video)
    given_up.give_up()
    given_up.read_ahead()
    stop = threading.Event()
    stopped = VideoIdentity(video, stop=stop)
    stop.set()
    for one in (given_up, stopped):
        with pytest.raises(VideoError, match="no longer needed"):
            one.content()


def test_what_is_no_file_is_a_video_error(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "nowhere", "cannot be read"),
        (tmp_path, "is not a file but a folder"),
        (Path("a\0b"), "cannot be read"),
    ):
        with pytest.raises(VideoError, match=why):
            VideoIdentity(path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes that are files")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match="a pipe or a device"):
        VideoIdentity(tmp_path / "pipe.mp4")
