"""The machine that runs the benchmark."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from extractors.compute.processor import cpu_name
from extractors.subprocesses.cores import usable_cores


def peak_memory_bytes() -> int:
    """The most memory this process has held at a time."""
    try:
        # Not `getrusage`, to which Linux adds what the parent held when it started this process.
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def machine() -> Mapping[str, str | int]:
    """The machine, as `cpu`, `cores` and `system`."""
    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
    }
