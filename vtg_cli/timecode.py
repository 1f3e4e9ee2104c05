"""Seconds as people write them."""

from __future__ import annotations


def timecode(seconds: float) -> str:
    """`1:02.5` or `1:00:02.5`: hours if there are any, minutes, seconds to a tenth."""
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    clock = f"{minutes:02d}:{tenths / 10:04.1f}"
    return f"{hours}:{clock}" if hours else clock.removeprefix("0")


def span(seconds: float) -> str:
    """A stretch of time in two units at most: `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
