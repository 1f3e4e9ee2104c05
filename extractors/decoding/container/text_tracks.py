"""Whether a video file can hold text tracks: a look at its head that costs less than a millisecond."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from extractors.files.regular import open_regular

_MATROSKA = b"\x1aE\xdf\xa3"
_MATROSKA_HEAD = 1 << 20  # bytes; tracks are described before the first picture
_MATROSKA_TEXTS = (b"S_TEXT", b"S_ASS", b"S_SSA", b"D_WEBVTT")
_MP4_TEXTS = frozenset({b"text", b"sbtl", b"subt", b"clcp"})
_MOST_BOXES = 1000  # of one level; a fragmented file has more, after the one that describes its tracks
_TO_HANDLER = (b"moov", b"trak", b"mdia", b"hdlr")


def may_hold_text(path: Path) -> bool:
    """Whether a video file names a text track: true of all that have one in MP4, QuickTime, Matroska and WebM.

    Some that have none are named, too, as chapters look like subtitles. Files in other containers are not.

    Raises:
        VideoError: if the file cannot be read.
    """
    with open_regular(path) as file:
        head = file.read(12)
        if head.startswith(_MATROSKA):
            head += file.read(_MATROSKA_HEAD)
            return any(text in head for text in _MATROSKA_TEXTS)
        if head[4:8] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return False
        file.seek(0, 2)
        return any(kind in _MP4_TEXTS for kind in _handlers(file, 0, file.tell(), _TO_HANDLER))


def _handlers(file: BinaryIO, start: int, end: int, path: tuple[bytes, ...]) -> Iterator[bytes]:
    """What the tracks of an MP4 file are; `path` leads to the box that says so."""
    name, *others = path
    for kind, first, last in _boxes(file, start, end):
        if kind != name:
            continue
        if others:
            yield from _handlers(file, first, last, tuple(others))
        else:
            file.seek(first + 8)  # behind the version and a reserved field
            yield file.read(4)
        if name == b"moov":
            return


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes between two offsets: kind, and start and end of what is in each."""
    for _ in range(_MOST_BOXES):
        file.seek(start)
        head = file.read(16)
        if len(head) < 8 or start >= end:
            return
        size, kind, length = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, length = int.from_bytes(head[8:16], "big"), 16
        elif size == 0:
            size = end - start
        if size < length:
            return
        yield kind, start + length, min(start + size, end)
        start += size
