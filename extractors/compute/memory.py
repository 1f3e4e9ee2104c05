"""Keep the memory that a batch frees for the next batch, instead of returning it to the system."""

from __future__ import annotations

import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of glibc's mallopt
_KEEP_BYTES = 512 << 20
_LARGEST_BYTES = 16 << 20  # more than any activation of one clip in 16 bits, less than a chunk of frames


def keep_freed_memory() -> None:
    """Have the C library keep up to 512 MB that are freed, for the whole process; call it before there are threads.

    Otherwise the pages of every activation are given back, and cleared by the system when they are asked for again: a
    tenth of SlowFast's time. As it changes the whole process, nothing in `extractors` or `model` calls it but the
    subprocesses that are theirs; `vtg` does. Does nothing where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(_MMAP_THRESHOLD, _LARGEST_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEEP_BYTES)
        mallopt(_ARENA_MAX, 1)  # those of further threads give memory back whatever the thresholds
