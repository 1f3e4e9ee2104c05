"""Video files are opened here: what is no regular file is refused before it is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from extractors.errors import VideoError, reason_of


@contextmanager
def open_regular(path: Path, *, buffering: int = -1) -> Iterator[BinaryIO]:
    """Open a file for reading; errors of reading it within the `with` block name the file, too.

    Args:
        path: the file.
        buffering: as for `open`.

    Raises:
        VideoError: if it is missing, a folder, a pipe or a device, or cannot be read.
    """
    try:
        # Opening a pipe would wait for its writer for ever, and a device need not have an end.
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode) and not os.access(path, os.R_OK | os.X_OK):
            raise VideoError(path, "is a folder that cannot be read; change its permissions")
        if not stat.S_ISREG(mode):
            raise VideoError(path, "is not a file but a folder, a pipe or a device")
        with path.open("rb", buffering=buffering) as file:
            yield file
    except (OSError, ValueError) as error:
        raise VideoError(path, f"cannot be read: {reason_of(error)}") from error
