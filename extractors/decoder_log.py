"""What decoders complain about while they decode: damage that they conceal, and else say nothing of.

How FFmpeg conceals damage depends on how its threads happen to run, so what is decoded with complaints is decoded anew
on one thread, which gives the same frames every time. Only a process that does nothing but decode can notice: FFmpeg
complains on standard error, which belongs to the whole process.
"""

from __future__ import annotations

import os
import tempfile
from typing import BinaryIO

_MOST_BYTES = 1 << 20

_kept: BinaryIO | None = None
_forgotten_bytes = 0


def keep() -> None:
    """Take standard error for complaints, from now on and for good."""
    global _kept  # noqa: PLW0603 - as there is one standard error
    _kept = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - for as long as the process lives
    os.dup2(_kept.fileno(), 2)


def complaints() -> int:
    """Bytes of complaints so far: only whether they have become more means anything. 0 where they are not kept."""
    global _forgotten_bytes  # noqa: PLW0603 - of the one file
    if _kept is None:
        return 0
    size = os.fstat(_kept.fileno()).st_size
    if size > _MOST_BYTES:  # a file can be a reason for any number
        os.ftruncate(_kept.fileno(), 0)
        _forgotten_bytes += size
        size = 0
    return _forgotten_bytes + size


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
