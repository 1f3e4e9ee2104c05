"""Signs of progress while a file is read, so that a long read is not taken for a hang."""

from __future__ import annotations

import time
from collections.abc import Callable

_EVERY_S = 1.0

_tell: Callable[[], None] | None = None
_next_s = 0.0


def on_beat(tell: Callable[[], None]) -> None:
    """Call a function about once a second while this process makes progress; for a process that only decodes."""
    global _tell  # noqa: PLW0603 - as there is one parent
    _tell = tell


def beat() -> None:
    """Note that a packet was read or decoded."""
    global _next_s  # noqa: PLW0603
    if _tell is not None and (now_s := time.monotonic()) >= _next_s:
        _next_s = now_s + _EVERY_S
        _tell()
