"""The folder of uploads: how vtg recognises it, and which files in it belong to vtg.

A user may name the folder, and vtg deletes files in it. So the folder must be empty at first, it gets a marker, and
only names that vtg generates count as its files.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

from extractors.errors import UsageError

ID_BYTES = 16
RECORD = ".json"
"""Ending of the file beside an upload that holds what is known of it."""

MARKER = ".vtg-library"
LOCK = ".lock"

_MARK = b"Uploads of `vtg serve` are kept here. Files named by 32 digits and letters are its own.\n"
_OWN_NAME = re.compile(rf"([0-9a-f]{{{2 * ID_BYTES}}})(\.[0-9a-z]+)?")
# Of uploads that are under way, and of records that are being written.
_TEMPORARY = re.compile(rf"\.(upload\.[0-9a-f]{{16}}|[0-9a-f]{{{2 * ID_BYTES}}}\.json\.[0-9a-f]{{12}})\.tmp")


def upload_id(name: str) -> str | None:
    """The id of the upload that a file of this name is a part of; None if it is of none."""
    own = _OWN_NAME.fullmatch(name)
    return own[1] if own else None


def take(folder: Path) -> None:
    """Mark a folder as one of uploads.

    Args:
        folder: exists.

    Raises:
        UsageError: if it has no marker and holds anything but uploads.
        OSError: if it cannot be read, or the marker not be written.
    """
    if (folder / MARKER).exists():
        return
    foreign = next((path for path in sorted(folder.iterdir()) if not _is_own(path)), None)
    if foreign is not None:
        raise UsageError(
            f"--library {folder}: holds other files ({foreign.name}), but uploads need a separate folder; "
            f"name a new one, such as {folder / 'uploads'}"
        )
    (folder / MARKER).write_bytes(_MARK)


def remove_temporaries(folder: Path) -> None:
    """Delete what uploads that were cut off by a kill have left; only while no other server uses the folder."""
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()


def _is_own(path: Path) -> bool:
    if path.name == LOCK or _TEMPORARY.fullmatch(path.name):
        return True
    video_id = upload_id(path.name)
    if video_id is None:
        return False
    try:
        record = json.loads(path.with_name(f"{video_id}{RECORD}").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("id") == video_id
