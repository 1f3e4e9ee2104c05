"""How child processes that read hostile files begin and end, whatever happens to them meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import BinaryIO

_MEMORY_BYTES = 8 << 30  # a decoder that a file talks into more than this is stopped by the system


def begin(*, dies_with_thread: bool) -> BinaryIO:
    """Set this process up, once, at its start.

    Args:
        dies_with_thread: whether the system is to end it with the thread that started it, even while it hangs in a
            decoder (Linux only).

    Returns:
        its standard output, for messages; what libraries print goes to standard error.
    """
    # They reach the whole group of processes, and are the parent's to handle, which ends this one.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _limit_memory()
    if dies_with_thread and sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return out


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a child process, whatever it is at, and close its pipes."""
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    process.wait()


def _limit_memory() -> None:
    with suppress(ImportError, ValueError, OSError):  # not on Windows; or a lower limit is set already
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, hard))
