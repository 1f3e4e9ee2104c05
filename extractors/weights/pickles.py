"""Untrusted pickles: checks before a pickle is read by a reader that calls nothing it names.

Even such readers allocate memory on the file's word. A pickle of ten bytes can claim a table of billions of entries,
and an archive of a megabyte can unpack to a thousand megabytes.
"""

from __future__ import annotations

import lzma
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

_SLACK_BYTES = 64 << 20  # programs inside of archives are packed, and small
_LEGACY_PICKLES = (
    5  # torch before 1.6: a magic number, a version, sizes of types, the content, the storages' names
)
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")


UNZIPPING_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    KeyError,  # a member that is not there
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,  # an encrypted member
    struct.error,
)
"""What `zipfile` raises on archives that are damaged, beside `ValueError` and `OSError`."""


class Listed:
    """A function that a pickle may call: unlike a plain one, it cannot be changed by the pickle that names it.

    Args:
        function: does no more than hold its arguments.
    """

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        return self._function(*arguments)

    def __setstate__(self, state: object) -> NoReturn:
        raise ValueError("it changes what reads it")


def require_modest(path: Path) -> None:
    """Refuse a file of pickles that would take far more memory than its size.

    Args:
        path: a pickle, several in a row as torch wrote them once, or a zip archive of them.

    Raises:
        ValueError: saying why, also if it is a damaged archive.
        OSError: if it cannot be read.
    """
    if not is_zip(path):
        with path.open("rb") as file:
            _scan(file, _LEGACY_PICKLES, path.stat().st_size)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            require_modest_archive(archive)
    except UNZIPPING_ERRORS as error:
        raise ValueError(f"it is a damaged archive ({error})") from error


def is_zip(path: Path) -> bool:
    """Whether a file ends like a zip archive."""
    try:
        return zipfile.is_zipfile(path)
    except UNZIPPING_ERRORS:  # it ends like a part of one
        return False


def require_modest_archive(archive: zipfile.ZipFile) -> None:
    """As `require_modest`, of an open archive."""
    assert archive.fp is not None, "it is open"
    archive.fp.seek(0, 2)
    unpacked, packed = sum(info.file_size for info in archive.infolist()), archive.fp.tell()
    if unpacked > 2 * packed + _SLACK_BYTES:
        raise ValueError(f"it unpacks to {unpacked} bytes, from {packed}")
    if any(info.compress_size > packed for info in archive.infolist()):  # zipfile makes room before it reads
        raise ValueError("it claims to hold more than it is long")
    for info in archive.infolist():
        if info.filename.endswith("data.pkl"):
            with archive.open(info) as file:
                _scan(file, 1, info.file_size)  # type: ignore[arg-type]


def _scan(file: BinaryIO, pickles: int, size: int) -> None:
    """Search pickles for claims that exceed their length.

    What is not a pickle, or ends early, is left to the reader, which comes no further either.
    """
    for _ in range(pickles):
        try:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name in _PUTS and argument is not None and int(argument) > size:
                    raise _ClaimError(f"it claims a table of {argument} entries")
                # The one thing on torch's own list that takes memory by a number.
                if "bytearray" in str(argument)[:40] and opcode.name != "BYTEARRAY8":
                    raise _ClaimError("it asks for blocks of memory")
        except _ClaimError:
            raise
        except Exception:
            return


class _ClaimError(ValueError):
    """A claim that is not backed."""
