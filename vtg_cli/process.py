"""What vtg's own processes set for themselves; the packages below never change the process they are used in."""

from __future__ import annotations

import os


def prepare_process() -> None:
    """Set up a process that runs nothing but vtg, before it loads torch or starts threads."""
    from extractors.compute.memory import keep_freed_memory

    # Read once, when torch is loaded: spinning OpenMP threads make a busy machine several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    keep_freed_memory()
