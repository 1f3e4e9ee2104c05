"""The subprocess's side: how it starts, its limits, and how it ends with its parent."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO, TypeVar

from extractors.subprocesses import wire

# Measured on 16 threads: 8K HEVC of 10 bits takes 3.3 GB of private memory, 8K H.264 with 16 references 2.6 GB, 4K
# H.264 0.7 GB. The address space also holds what threads reserve; it is limited for systems that know no other limit.
_PRIVATE_BYTES = 6 << 30
_ADDRESS_SPACE_BYTES = 16 << 30
# A subprocess has no business writing large files; exported results are far smaller.
_FILE_BYTES = 64 << 20

_Message = TypeVar("_Message")


class Channel:
    """The connection to the parent; its threads take turns."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests = requests
        self._answers = answers
        self._turn = threading.Lock()

    def send(self, message: Any) -> None:
        """Send a dataclass.

        Raises:
            BrokenPipeError: if the parent has ended.
        """
        with self._turn:
            wire.send(self._answers, message)

    def requests(self, *kinds: type[_Message]) -> Iterator[_Message]:
        """What the parent asks for, until it ends."""
        with suppress(EOFError):
            while True:
                yield self.receive(*kinds)

    def receive(self, *kinds: type[_Message]) -> _Message:
        """Wait for a dataclass of one of some classes.

        Raises:
            EOFError: if the parent has ended.
        """
        message: _Message = wire.receive(self._requests, kinds)
        return message


def begin(*, reads_hostile_files: bool = True, dies_with_thread: bool = True) -> Channel:
    """Set this process up, once, at its start.

    What libraries print goes to standard error.

    Args:
        reads_hostile_files: whether memory and written files are limited, and the process ends at once with its
            parent, whatever it is doing.
        dies_with_thread: whether the system is to end it with the thread that started it, even while it hangs in a
            decoder (Linux only).
    """
    # Signals reach the whole group of processes, and are the parent's to handle, which ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if reads_hostile_files:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _limit_resources()
        _end_with_parent()
        if dies_with_thread and sys.platform == "linux":
            import ctypes

            with suppress(OSError, AttributeError):
                ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return Channel(sys.stdin.buffer, answers)


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
