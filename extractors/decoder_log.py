"""What decoders complain about while they decode: damage that they conceal, and else say nothing of.

FFmpeg complains on standard error, which belongs to the whole process. So only a process that does nothing but decode
can listen; elsewhere nothing is heard.
"""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import suppress
from io import FileIO

_MOST_BYTES = 1 << 20

# Whoever takes files apart does so on one thread, alike every time; what is damaged in a frame the decoders tell.
_NO_DECODERS = frozenset((
    "AVFormatContext", "AVIOContext", "asf", "avi", "file", "flv", "ivf", "matroska", "mov", "mpeg", "mpegts", "mxf",
    "nut", "ogg", "rm", "swscaler", "wtv",
))  # fmt: skip

_kept: FileIO | None = None
_forgotten_bytes = 0


def keep() -> None:
    """Take standard error for complaints, from now on and for good; where no file can be made, nothing is heard."""
    global _kept  # noqa: PLW0603 - as there is one standard error
    try:
        descriptor, name = tempfile.mkstemp()
        os.close(descriptor)
        # A temporary file as Python opens it is written where it was last read.
        descriptor = os.open(name, os.O_RDWR | os.O_APPEND | getattr(os, "O_TEMPORARY", 0))
        with suppress(OSError):  # on Windows it goes when it is closed
            os.unlink(name)  # noqa: PTH108
    except OSError:
        return
    _kept = FileIO(descriptor, "r+")
    os.dup2(descriptor, 2)


class Listener:
    """Hears whether decoders complain, from when it is made.

    Args:
        containers: whether complaints of those who take the file apart count, too.
    """

    def __init__(self, *, containers: bool = False) -> None:
        self._containers = containers
        self._start = _size()
        self._heard = False

    @property
    def has_heard(self) -> bool:
        """Whether they did."""
        global _forgotten_bytes  # noqa: PLW0603 - of the one file
        size = _size()
        if self._heard or size == self._start or _kept is None:
            return self._heard
        _kept.seek(max(self._start - _forgotten_bytes, 0))
        lines = (_kept.read(_MOST_BYTES) or b"").decode(errors="replace").splitlines()
        if size - _forgotten_bytes > _MOST_BYTES:  # a file can be a reason for any number
            os.ftruncate(_kept.fileno(), 0)
            _forgotten_bytes = size
        self._start = size
        self._heard = self._containers or not all(_is_of_container(line) for line in lines)
        return self._heard


def complain(text: str) -> None:
    """Note what a decoder reported by its return value: not every one of them logs it as well."""
    if _kept is not None:
        with suppress(OSError):
            os.write(_kept.fileno(), text.encode() + b"\n")


def set_level_of_av() -> None:
    """Have PyAV's FFmpeg say of errors what is kept, and nothing otherwise."""
    import av.logging

    if _kept is None:
        # With a level, PyAV's log hook takes the interpreter's lock on FFmpeg's own threads, and freeing a decoder that
        # is about to log waits for ever.
        av.logging.set_level(None)
    else:
        av.logging.restore_default_callback()
        av.logging.set_libav_level(av.logging.ERROR)


def set_level_of_decord() -> None:
    """Have decord's FFmpeg say of errors what is kept, and nothing otherwise."""
    import decord

    decord.logging.set_level(decord.logging.FATAL if _kept is None else decord.logging.ERROR)


def _size() -> int:
    return 0 if _kept is None else _forgotten_bytes + os.fstat(_kept.fileno()).st_size


def _is_of_container(line: str) -> bool:
    speaker = re.match(r"\[([\w.-]+)[, ]", line)
    return speaker is not None and speaker[1] in _NO_DECODERS
