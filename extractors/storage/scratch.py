"""Room on this machine for objects while they are read, of a bounded size, cleared even after a kill."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from extractors.files.user_folders import vtg_home
from extractors.storage import SCRATCH_BYTES

if TYPE_CHECKING:
    from filelock import BaseFileLock

_PREFIX = "vtg-"
_POLL_S = 0.25


def scratch_root() -> Path:
    """Where the scratch folders are: `$VTG_SCRATCH`, else `$VTG_HOME/scratch`, else in the user's cache folder."""
    if root := os.environ.get("VTG_SCRATCH"):
        return Path(root).expanduser()
    return vtg_home() / "scratch"


class Scratch:
    """A folder of this process for files that are deleted after use.

    The folder is made with its first file, and then those of processes that are no more are deleted. Files get room in
    the order of their turns, so that the first in line never waits for those after it. One file always has room.

    Args:
        limit_bytes: how much room there is.
        root: where the folder is made; `scratch_root()` if not given.
    """

    def __init__(self, limit_bytes: int = SCRATCH_BYTES, root: Path | None = None) -> None:
        self._limit = limit_bytes
        self._root = root or scratch_root()
        self._folder: Path | None = None
        self._lock: BaseFileLock | None = None
        self._changed = threading.Condition()
        self._held = 0
        self._turn = 0
        self._passed: set[int] = set()
        self._closed = False

    def take(self, turn: int, size: int, stop: threading.Event) -> bool:
        """Wait for room in turn; returns False, with no room taken, once `stop` is set.

        Args:
            turn: counted from 0; each is given once, here or to `skip`.
            size: bytes.
            stop: ends the wait.
        """
        with self._changed:
            while turn != self._turn or (self._held and self._held + size > self._limit):
                if stop.is_set():
                    return False
                self._changed.wait(_POLL_S)
            self._held += size
            self._advance()
        return True

    def take_now(self, size: int) -> None:
        """Take room out of turn, though there may be none: for a file that the decoder waits for."""
        with self._changed:
            self._held += size

    def skip(self, turn: int) -> None:
        """Give a turn up, whether or not it has come."""
        with self._changed:
            if turn >= self._turn:
                self._passed.add(turn)
                self._passed_by()

    def give_back(self, size: int) -> None:
        """Give room back, once the file is deleted."""
        with self._changed:
            self._held -= size
            self._changed.notify_all()

    def new_file(self, suffix: str) -> Path:
        """The path of a file that is not there yet.

        Raises:
            OSError: if the folder cannot be made.
        """
        with self._changed:
            if self._folder is None:
                self._folder = self._make()
            return self._folder / f"{secrets.token_hex(6)}{suffix}"

    def close(self) -> None:
        """Delete the folder and all in it."""
        with self._changed:
            self._closed = True
            if self._folder is not None and self._lock is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                _forget(self._lock)
                self._folder = self._lock = None

    def _advance(self) -> None:
        self._turn += 1
        self._passed_by()

    def _passed_by(self) -> None:
        while self._turn in self._passed:
            self._passed.discard(self._turn)
            self._turn += 1
        self._changed.notify_all()

    def _make(self) -> Path:
        from filelock import FileLock

        if self._closed:
            raise OSError("the scratch folder is closed")
        self._root.mkdir(parents=True, exist_ok=True)
        sweep(self._root)
        folder = self._root / f"{_PREFIX}{secrets.token_hex(6)}"
        # The lock comes before the folder: a folder without one has no owner.
        self._lock = FileLock(f"{folder}.lock", thread_local=False)
        self._lock.acquire(blocking=False)
        folder.mkdir()
        return folder


def sweep(root: Path) -> None:
    """Delete the scratch folders of processes that are no more."""
    from filelock import FileLock, Timeout

    for path in root.glob(f"{_PREFIX}*.lock"):
        with suppress(OSError, Timeout):
            lock = FileLock(path, thread_local=False)
            lock.acquire(blocking=False)
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            _forget(lock)


def _forget(lock: BaseFileLock) -> None:
    # Unlinked while held: a process that opened it meanwhile finds it gone once it has the lock.
    with suppress(OSError):
        Path(lock.lock_file).unlink()
    lock.release()
