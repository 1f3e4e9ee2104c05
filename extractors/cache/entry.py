"""Arrays in an npz file, with a record of their origin and a checksum over both, so that damage is detected.

Plain `numpy.load` reads the arrays under their names. The record is one more entry with JSON text, so nothing needs to
be unpickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from extractors.files.npy import read_header, require_backed

_RECORD = "record"
_LARGEST = 1 << 33  # 8 GiB: days of rows
_FORMAT = 1  # raised when the layout changes in a way that older code would misread


def write_entry(file: BinaryIO, arrays: Mapping[str, NDArray[np.float16]], record: Mapping[str, Any]) -> None:
    """Write arrays and their record.

    Args:
        file: open for binary writing.
        arrays: by name; any name but `record`.
        record: where they come from, as JSON types.

    Raises:
        OSError: if the file cannot be written.
    """
    record = {**record, "format": _FORMAT}
    record["checksum"] = _checksum(arrays, record)
    entries: dict[str, Any] = {**arrays, _RECORD: np.array(json.dumps(record))}
    np.savez(file, **entries)


def read_entry(data: bytes) -> tuple[dict[str, NDArray[np.float16]], dict[str, Any]] | None:
    """Read what `write_entry` wrote.

    Args:
        data: the whole file.

    Returns:
        The arrays and the record; None if the bytes are cut, changed, of another origin, or hold a value that
        is not finite.
    """
    try:
        with _opened(io.BytesIO(data), len(data)) as stored:
            arrays = {key: stored[key] for key in stored.files if key != _RECORD}
            record: dict[str, Any] = json.loads(str(stored[_RECORD]))
        checksum = record.pop("checksum")
        sound = (
            record["format"] == _FORMAT
            and checksum == _checksum(arrays, record)
            and all(array.dtype == np.float16 and np.isfinite(array).all() for array in arrays.values())
        )
    except (
        Exception
    ):  # zip, zlib, npy and JSON each raise their own kinds on foreign bytes; all mean the same
        return None
    return (arrays, record) if sound else None


def read_file(path: Path) -> bytes | None:
    """The bytes of a file that may be an entry; None if there is none, empty if it is larger than an entry can be.

    Raises:
        OSError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            # A larger file is not an entry, and there may be no memory for it.
            return file.read() if os.fstat(file.fileno()).st_size <= _LARGEST else b""
    except FileNotFoundError:
        return None


def read_record(path: Path) -> dict[str, Any] | None:
    """The record of a file that `write_entry` wrote, unchecked; None if it is not of this layout."""
    try:
        with path.open("rb") as file, _opened(file, os.fstat(file.fileno()).st_size) as stored:
            record: dict[str, Any] = json.loads(str(stored[_RECORD]))
            return record if record["format"] == _FORMAT else None
    except Exception:  # foreign bytes fail in as many ways as there
        return None


@contextmanager
def _opened(file: BinaryIO, size: int) -> Iterator[NpzFile]:
    """An archive of arrays that take no more memory than it has bytes.

    Raises:
        Exception: of any kind if it is not one that `write_entry` wrote.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it is compressed")
        if sum(member.file_size for member in members) > size:
            raise ValueError("it claims to hold more than it is long")
        for member in members:
            with archive.open(member) as array:
                shape, _, dtype = read_header(array)  # type: ignore[arg-type]
                require_backed(shape, dtype.itemsize, member.file_size)
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        yield stored


def _checksum(arrays: Mapping[str, NDArray[np.float16]], record: Mapping[str, Any]) -> str:
    digest = hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=16)
    for key in sorted(arrays):
        digest.update(f"{key}{arrays[key].shape}".encode())
        digest.update(arrays[key].tobytes())
    return digest.hexdigest()
