"""How much of the machine this process may use."""

from __future__ import annotations

import os

CORES = "VTG_CORES"
"""Environment variable: the most cores that a process and its subprocesses use, where they share them with others."""


def usable_cores() -> int:
    """CPU cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get(CORES, "")
    return max(min(cores, int(wanted)), 1) if wanted.isdecimal() else cores
