"""A look at the head of a video file tells whether it can hold text tracks."""

from __future__ import annotations

from pathlib import Path

import pytest

from extractors.decoding.container.text_tracks import may_hold_text
from extractors.errors import VideoError
from tests.extractors.cues.rendering import LINES, render_video


@pytest.mark.parametrize(
    ("name", "track"),
    [("a.mp4", "mov_text"), ("a.mov", "mov_text"), ("a.mkv", "srt"), ("a.mkv", "ass"), ("a.mkv", "vtt")],
)
def test_tracks_are_seen(tmp_path: Path, name: str, track: str) -> None:
    assert may_hold_text(render_video(tmp_path / name, duration_s=1, tracks=[(track, LINES, "eng")]))


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi"])
def test_files_without_tracks(tmp_path: Path, name: str) -> None:
    assert not may_hold_text(render_video(tmp_path / name, duration_s=1))


def test_boxes_with_long_sizes(tmp_path: Path) -> None:
    """Of a file larger than 4 GB the pictures come in a box whose size has eight bytes."""

    def box(kind: bytes, *parts: bytes) -> bytes:
        content = b"".join(parts)
        return (8 + len(content)).to_bytes(4, "big") + kind + content

    data = b"\0\0\0\1mdat" + (16 + 5).to_bytes(8, "big") + b"12345"
    tracks = [
        box(b"trak", box(b"tkhd"), box(b"mdia", box(b"hdlr", bytes(8), kind, bytes(12))))
        for kind in (b"vide", b"sbtl")
    ]
    video = tmp_path / "a.mp4"
    video.write_bytes(box(b"ftyp", b"isom") + data + box(b"moov", box(b"mvhd"), *tracks))
    assert may_hold_text(video)
    video.write_bytes(box(b"ftyp", b"isom") + data + box(b"moov", box(b"mvhd"), tracks[0]))
    assert not may_hold_text(video)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0\x08ftyp",
        b"\0\0\0\x08ftyp" + b"\0\0\0\0moov" * 9,
        b"\0\0\0\x08ftyp" + b"\0\0\0\x01moov" + b"\xff" * 40,
        b"\0\0\0\x08ftyp" + b"\0\0\0\x08free" * 5000,
        b"\x1aE\xdf\xa3",
    ],
)
def test_damaged_files_hold_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(data)
    assert not may_hold_text(tmp_path / "a.mp4")


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(VideoError):
        may_hold_text(tmp_path)
