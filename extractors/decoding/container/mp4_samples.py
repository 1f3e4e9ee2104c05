"""How many samples an MP4 or QuickTime file claims to hold, counted from its boxes.

FFmpeg allocates memory for every sample when it opens a file, but a claim takes only four bytes. A file of a few
kilobytes can therefore cost gigabytes before the first packet is read.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

_CONTAINERS = frozenset((
    b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex", b"udta", b"edts", b"dinf", b"tref", b"clip",
    b"sinf", b"ipro",
))  # fmt: skip
_DEEPEST = 12
_MOST_BOXES = 2_000_000  # of a day of video in fragments of a second there are fewer
_MOST_UNPACKED_BYTES = 64 << 20


@dataclass(frozen=True)
class _Box:
    kind: bytes
    start: int  # of its content
    end: int


@dataclass
class _Track:
    """What the tables of a track claim."""

    samples: int = 0
    is_sound: bool = False
    has_even_samples: bool = False

    @property
    def entries(self) -> int:
        """Samples that FFmpeg allocates one by one; it reads plain PCM a thousand or more at a time."""
        return 0 if self.is_sound and self.has_even_samples else self.samples


def claimed_samples(file: BinaryIO, limit: int) -> int:
    """Count the samples that a file claims to hold; 0 for a file that is not made of boxes.

    Args:
        file: open for reading; buffered, it is faster.
        limit: counting may stop beyond this.

    Raises:
        OSError: if the file cannot be read.
    """
    end = file.seek(0, io.SEEK_END)
    counter = _Counter(limit)
    counter.walk(file, _Box(b"", 0, end), _Track(), 0)
    return counter.total


class _Counter:
    def __init__(self, limit: int) -> None:
        self.total = 0
        self._limit = limit
        self._boxes = 0

    def walk(self, file: BinaryIO, parent: _Box, track: _Track, depth: int) -> None:
        """Count what the boxes inside of one claim."""
        for box in _boxes(file, parent):
            self._boxes += 1
            if self.total > self._limit or self._boxes > _MOST_BOXES:
                return
            if box.kind == b"trak":
                own = _Track()
                self._descend(file, box, own, depth)
                self.total += own.entries
            elif box.kind in _CONTAINERS:
                self._descend(file, box, track, depth)
            elif box.kind == b"cmov":
                self._unpack(file, box, track, depth)
            elif box.kind == b"trun":
                self.total += _number(file, box, 4)
            elif box.kind in (b"stsz", b"stz2"):
                track.samples += _number(file, box, 8)
            elif box.kind == b"hdlr":
                # QuickTime has a second one for how its data are stored, which says neither.
                kind = _bytes(file, box, 8)
                track.is_sound = kind == b"soun" or (track.is_sound and kind != b"vide")
            elif box.kind == b"stts":
                track.has_even_samples = _number(file, box, 4) == 1 and _number(file, box, 12) == 1

    def _descend(self, file: BinaryIO, box: _Box, track: _Track, depth: int) -> None:
        if depth < _DEEPEST:
            self.walk(file, box, track, depth + 1)

    def _unpack(self, file: BinaryIO, box: _Box, track: _Track, depth: int) -> None:
        """Count in a movie header that is packed, as old QuickTime files have it."""
        for part in _boxes(file, box):
            if part.kind == b"cmvd":
                file.seek(part.start + 4)
                packed = file.read(min(part.end - part.start, _MOST_UNPACKED_BYTES))
                with suppress(zlib.error):
                    data = zlib.decompressobj().decompress(packed, _MOST_UNPACKED_BYTES)
                    self._descend(io.BytesIO(data), _Box(b"", 0, len(data)), track, depth)


def _boxes(file: BinaryIO, parent: _Box) -> Iterator[_Box]:
    at = parent.start
    while at + 8 <= parent.end:
        file.seek(at)
        header = file.read(16)
        size, content = int.from_bytes(header[:4], "big"), at + 8
        if size == 1 and len(header) == 16:
            size, content = int.from_bytes(header[8:], "big"), at + 16
        elif size == 0:
            size = parent.end - at
        if content > at + size:
            return
        yield _Box(header[4:8], content, min(at + size, parent.end))
        at += size


def _bytes(file: BinaryIO, box: _Box, offset: int) -> bytes:
    """Four bytes of the content of a box; fewer where it is cut off."""
    file.seek(box.start + offset)
    return file.read(min(4, max(box.end - box.start - offset, 0)))


def _number(file: BinaryIO, box: _Box, offset: int) -> int:
    return int.from_bytes(_bytes(file, box, offset), "big")
