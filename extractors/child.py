"""How subprocesses that read hostile files start and end, and which resources they may use."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import BinaryIO

# Measured on 16 threads: 8K HEVC of 10 bits takes 3.3 GB of private memory, 8K H.264 with 16 references 2.6 GB, 4K
# H.264 0.7 GB. The address space also holds what threads reserve; it is limited for systems that know no other limit.
_PRIVATE_BYTES = 6 << 30
_ADDRESS_SPACE_BYTES = 16 << 30
# A subprocess has no business writing large files; exported results are far smaller.
_FILE_BYTES = 64 << 20


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
    _limit_resources()
    _end_with_parent()
    if dies_with_thread and sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return out


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a subprocess in any state and close its pipes."""
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    process.wait()


def _limit_resources() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # too large a file is then an error of the write
    limits = {
        resource.RLIMIT_DATA: _PRIVATE_BYTES,
        resource.RLIMIT_AS: _ADDRESS_SPACE_BYTES,
        resource.RLIMIT_FSIZE: _FILE_BYTES,
        resource.RLIMIT_CORE: 0,
    }
    for limit, most in limits.items():
        with suppress(ValueError, OSError):  # a lower limit is set already
            _, hard = resource.getrlimit(limit)
            resource.setrlimit(limit, (most, hard))


def _end_with_parent() -> None:
    """End this process when standard input closes, even in the middle of a file: the parent has ended."""
    if not hasattr(select, "poll"):  # Windows
        return
    poll = select.poll()
    poll.register(0, 0)  # hang-ups and errors are always reported

    def watch() -> None:
        poll.poll()
        os._exit(1)

    threading.Thread(target=watch, name="vtg-parent", daemon=True).start()
