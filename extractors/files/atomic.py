"""Files that are either complete or absent, whatever happens to the process that writes them."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO

_FRESH_S, _FORGOTTEN_S = 2.0, 3600.0  # since a temporary file was written to
_STEM_LENGTH = 40  # keeps the temporary name under 255 bytes beside targets that are near it

_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "the file system, or `ulimit -f`, allows no larger file",
    errno.EROFS: "name another folder",
    errno.EACCES: "name another folder, or change its permissions",
    errno.EIO: "is its drive still there?",
    errno.ENODEV: "is its drive still there?",
}


def write_failure(error: OSError) -> str:
    """Why a file could not be written, and what to do about it, without its name."""
    if error.errno in _ADVICE:
        return f"{os.strerror(error.errno)}: {_ADVICE[error.errno]}"
    return error.strerror or str(error)


@contextmanager
def atomic_write(path: str | Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file for binary writing that appears under its name only when the block ends without an error.

    The bytes go to a temporary file of the same folder, reach the disk, and then take the name in one step:
    a reader sees the old file or the new one, never a part. On any error, an interrupt included, the
    temporary file is removed; only a killed process leaves one behind, for `remove_abandoned` to find.
    A link is followed. A target that is not a file (`/dev/stdout`, a pipe) is written to directly, not replaced.

    Args:
        path: the file to write; its folder is made if missing.
        durable: whether to wait until the bytes have reached the disk; without, a power cut may leave a file that is
            empty or cut off, so only for what carries a checksum and is quickly made again.

    Yields:
        The open temporary file.

    Raises:
        OSError: if the folder or the file cannot be written; its `strerror` says what to do.
    """
    path = Path(path)
    try:
        if _is_special(path):
            with path.open("wb") as file:
                yield file
            return
        if path.is_symlink():
            path = Path(os.path.realpath(path))
        with _replacing(path, durable) as file:
            yield file
    except OSError as error:
        if error.errno in _ADVICE:
            error.strerror = write_failure(error)
        raise


@contextmanager
def _replacing(path: Path, durable: bool) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:_STEM_LENGTH]}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            _lock(file)
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _is_special(path: Path) -> bool:
    """Whether there is something other than a file or a folder: a device or a pipe."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def remove_leftovers(folder: Path, target: str | None = None, *, older_than_s: float = 0.0) -> int:
    """Remove temporary files that killed writers left in a folder.

    Nothing tells a dead writer's file from a live one's but time and knowledge of the caller, so ask for no
    age only where no other process can be writing.

    Args:
        folder: where to look; subfolders are left alone.
        target: name of the file that was being written; any if None.
        older_than_s: files written to more recently than this stay, in seconds.

    Returns:
        The number of files removed. Files that cannot be removed are skipped.
    """
    pattern = ".*.tmp" if target is None else f".{escape(target[:_STEM_LENGTH])}.*.tmp"
    newest_s = time.time() - older_than_s
    removed = 0
    for temporary in folder.glob(pattern):
        with suppress(OSError):
            if temporary.stat().st_mtime <= newest_s:
                temporary.unlink()
                removed += 1
    return removed


def remove_abandoned(folder: Path, begins: str) -> int:
    """Remove the temporary files of `atomic_write` in a folder whose writers were killed.

    A writer that lives holds a lock on its file. Where the system has no such locks, files that were not written to
    for an hour are taken for abandoned. Files that cannot be removed are left.

    Args:
        folder: where to look; subfolders are left alone.
        begins: what the names of the files that were being written begin with.

    Returns:
        The number of files removed.
    """
    names = re.compile(rf"\.{re.escape(begins[:_STEM_LENGTH])}.*\.[0-9a-f]{{12}}\.tmp", re.DOTALL)
    removed = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if names.fullmatch(entry.name):
                with suppress(OSError):
                    removed += _remove_if_abandoned(Path(entry.path))
    return removed


def _remove_if_abandoned(temporary: Path) -> bool:
    with temporary.open("r+b") as file:
        locked = _lock(file)
        # A writer makes its file a moment before it locks it.
        youngest_s = _FORGOTTEN_S if locked is None else _FRESH_S
        if locked is False or time.time() - os.fstat(file.fileno()).st_mtime < youngest_s:
            return False
    temporary.unlink()
    return True


def _lock(file: BinaryIO) -> bool | None:
    """Lock a file while it is open; False if another process holds it, None if there are no locks."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True
