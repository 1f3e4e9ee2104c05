"""What decoders report while they decode: damage that they conceal and do not report in any other way.

FFmpeg writes these reports to standard error, which belongs to the whole process. So only a process that does nothing
but decode can read them; other processes see none.
"""

from __future__ import annotations

import os
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field

_PIPE_BYTES = 1 << 20
_LEAST_PIPE_BYTES = 1 << 14  # of a system that does not say
_READ_BYTES = 1 << 16
_MOST_READ_BYTES = 4 << 20  # at a time, of what may be written as fast as it is read
_LINE_BYTES = 1 << 12  # of a line, to know who speaks

# Demuxers are single-threaded and deterministic; only decoders report damaged frames.
_NO_DECODERS = frozenset((
    "AVFormatContext", "AVIOContext", "asf", "avi", "file", "flv", "ivf", "matroska", "mov", "mpeg", "mpegts", "mxf",
    "nut", "ogg", "rm", "swscaler", "wtv",
))  # fmt: skip


@dataclass
class _Kept:
    """Reports so far.

    They go through a pipe that nobody waits for: what finds it full is lost. A log on disk would grow without end, as
    FFmpeg may report every byte of a file before it gives the first packet.

    Attributes:
        pipe: where they are read from.
        capacity: bytes that the pipe holds, at least.
        line: the beginning of one that is not complete.
        decoders, containers: how many there were of each.
    """

    pipe: int
    capacity: int
    line: bytes = b""
    decoders: int = 0
    containers: int = 0
    # Decoders that work side by side complain on their own threads.
    lock: threading.Lock = field(default_factory=threading.Lock)

    def complain(self) -> None:
        """Count a report that is in no pipe."""
        with self.lock:
            self.decoders += 1

    def read(self) -> None:
        """Count what is in the pipe."""
        data = bytearray(self.line)
        with suppress(BlockingIOError):
            while len(data) < _MOST_READ_BYTES:
                data += os.read(self.pipe, _READ_BYTES)
        *lines, last = bytes(data).split(b"\n")
        self.line = last[:_LINE_BYTES]
        of_containers = sum(map(_is_of_container, lines))
        self.containers += of_containers
        # Nobody knows whose the complaints were that were lost. Pipes fill page by page, and are full before the last
        # byte.
        is_full = len(data) > self.capacity // 2
        with self.lock:
            self.decoders += len(lines) - of_containers + is_full


_kept: _Kept | None = None


def keep() -> None:
    """Redirect standard error to collect reports, permanently; if that is impossible, none are collected."""
    global _kept  # noqa: PLW0603 - as there is one standard error
    try:
        read_end, write_end = os.pipe()
    except OSError:
        return
    try:
        for end in (read_end, write_end):
            os.set_blocking(end, False)
    except (AttributeError, OSError):  # on Windows before Python 3.12
        os.close(read_end)
        os.close(write_end)
        return
    _kept = _Kept(read_end, _enlarge(write_end))
    os.dup2(write_end, 2)
    os.close(write_end)


def _enlarge(pipe: int) -> int:
    """Make a pipe as large as it may be; returns the bytes that it holds."""
    try:
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
    except (AttributeError, ImportError, OSError):  # not Linux
        return _LEAST_PIPE_BYTES


class Listener:
    """Notices reports of decoders, from its creation on.

    Args:
        containers: whether reports of demuxers count, too.
    """

    def __init__(self, *, containers: bool = False) -> None:
        self._containers = containers
        self._start = self._count()

    @property
    def has_heard(self) -> bool:
        """Whether they did, or so much was said at once that it cannot be known."""
        return self._count() > self._start

    def _count(self) -> int:
        if _kept is None:
            return 0
        _kept.read()
        return _kept.decoders + (_kept.containers if self._containers else 0)


def complain() -> None:
    """Record damage that a decoder reported by its return value, because not all of them log it."""
    if _kept is not None:
        _kept.complain()


def set_level_of_av() -> None:
    """Have PyAV's FFmpeg log errors if they are kept; in other processes its level is not ours to set."""
    if _kept is not None:
        import av.logging

        # Not through PyAV's log hook, which takes the interpreter's lock on FFmpeg's own threads: freeing a decoder
        # that is about to log would wait for ever.
        av.logging.restore_default_callback()
        av.logging.set_libav_level(av.logging.ERROR)


def set_level_of_decord() -> None:
    """Have decord's FFmpeg log errors if they are kept; in other processes its level is not ours to set."""
    if _kept is not None:
        import decord

        decord.logging.set_level(decord.logging.ERROR)


def _is_of_container(line: bytes) -> bool:
    speaker = re.match(rb"\[([\w.-]+)[, ]", line)
    return speaker is not None and speaker[1].decode() in _NO_DECODERS
