"""Claims: which process extracts a video."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock


class Claim:
    """The right to extract one video, held by at most one process until `release` or its end.

    If the cache cannot be written, there is no lock and no competing writer.
    """

    def __init__(self, lock: BaseFileLock | None, path: Path) -> None:
        self._lock = lock
        self._path = path

    def release(self) -> None:
        """Release the right; the second call does nothing."""
        if self._lock is not None and self._lock.is_locked:
            # Unlinked while held: a process that opened it meanwhile finds it gone once it has the lock.
            with suppress(OSError):
                self._path.unlink()
            self._lock.release()

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()
