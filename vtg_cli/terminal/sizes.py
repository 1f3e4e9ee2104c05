"""Sizes of files in a readable form."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB")


def size(size_bytes: float) -> str:
    """`431 B`, `2.5 MB`: a number of bytes to three digits."""
    for unit in _UNITS:
        if size_bytes < 1000 or unit == _UNITS[-1]:
            break
        size_bytes /= 1000
    return f"{size_bytes:.3g} {unit}"
