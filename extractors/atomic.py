"""Files that are either whole or not there, whatever happens to the process that writes them."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO

_STEM_LENGTH = 40  # keeps the temporary name under 255 bytes beside targets that are near it


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for binary writing that appears under its name only when the block ends without an error.

    The bytes go to a temporary file of the same folder, reach the disk, and then take the name in one step:
    a reader sees the old file or the new one, never a part. On any error, an interrupt included, the
    temporary file is removed; only a killed process leaves one behind, for `remove_leftovers` to find.

    Args:
        path: the file to write; its folder is made if missing.

    Yields:
        The open temporary file.

    Raises:
        OSError: if the folder or the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:_STEM_LENGTH]}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def remove_leftovers(folder: Path, target: str | None = None, *, older_than_s: float = 0.0) -> int:
    """Remove temporary files that killed writers left in a folder.

    Nothing tells a dead writer's file from a live one's but time and knowledge of the caller, so ask for no
    age only where no other process can be writing.

    Args:
        folder: where to look; subfolders are left alone.
        target: name of the file that was being written; any if None.
        older_than_s: files written to more recently than this stay, in seconds.

    Returns:
        The number of files removed. Files that cannot be removed are passed over.
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
