"""What kind of CPU this machine has."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu_name() -> str:
    """Its name, for people."""
    return _listed("model name") or platform.processor() or platform.machine()


def cpu_vendor() -> str:
    """Who made it, as the processor itself gives it: `AuthenticAMD`, `GenuineIntel`; empty where that is unknown."""
    # Windows describes a processor with its vendor at the end.
    return _listed("vendor_id") or platform.processor().rpartition(", ")[2]


def _listed(key: str) -> str:
    """An entry of Linux's list of processors; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
