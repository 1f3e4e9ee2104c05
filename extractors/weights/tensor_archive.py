"""Where tensors lie in a file written by torch or safetensors, found without torch and without running code.

torch reads the whole file to return one tensor, and takes longer to import than a query takes to answer.
"""

from __future__ import annotations

import json
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from extractors.weights.pickles import UNZIPPING_ERRORS, Listed, is_zip, require_modest

if TYPE_CHECKING:
    from torch import Tensor

_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1}
"""Bytes of a number, by the names safetensors has for their types; no other types are known."""

_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ByteStorage": "U8",
}
_MAX_HEADER_BYTES = 100_000_000  # the limit of safetensors itself
_LOCAL_HEADER = struct.Struct(
    "<26xHH"
)  # of an entry in a zip archive: how long its name and its extra field are
_CHUNK_BYTES = 1 << 20
_DAMAGE = (*UNZIPPING_ERRORS, OSError)  # a seek to before the start of the file, where an archive asks for it


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies.

    Attributes:
        dtype: type of its numbers, a key of `_WIDTHS`.
        shape: its shape.
        strides: from one number to the next along each axis, in numbers.
        offset_bytes: from the start of the file to its first number.
        entry: the entry of a zip archive that it lies in; empty in a safetensors file.
        entry_offset_bytes: from the start of the file to the start of that entry's content.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset_bytes: int
    entry: str = ""
    entry_offset_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of its numbers."""
        return _WIDTHS[self.dtype] * math.prod(self.shape)

    @property
    def extent_bytes(self) -> int:
        """Bytes from its first number to the end of its last one."""
        if 0 in self.shape:
            return 0
        last = sum((length - 1) * stride for length, stride in zip(self.shape, self.strides, strict=True))
        return _WIDTHS[self.dtype] * (last + 1)

    @property
    def is_contiguous(self) -> bool:
        """Whether its numbers lie one after the other, rows first."""
        return all(
            length == 1 or stride == expected
            for length, stride, expected in zip(
                self.shape, self.strides, _rows_first(self.shape), strict=True
            )
        )

    def read(self, path: Path) -> NDArray[np.unsignedinteger[Any]]:
        """Its numbers as unsigned integers of their width, which every type can be taken for."""
        with path.open("rb") as file:
            file.seek(self.offset_bytes)
            content = file.read(self.extent_bytes)
        width = _WIDTHS[self.dtype]
        strides = tuple(width * stride for stride in self.strides)
        return np.ndarray(self.shape, np.dtype(f"u{width}"), content, strides=strides)


def find_tensors(path: Path) -> dict[str, StoredTensor]:
    """Find the named tensors of a safetensors file, or of a zip archive in which torch saved them by name.

    Args:
        path: the file. Of a zip archive, entries have to be stored as they are, as torch stores them.

    Returns:
        Every tensor of a known type, by name. That they lie inside the file has been checked.

    Raises:
        ValueError: if it is neither of the two, is damaged, or holds more than tensors in a plain dictionary.
        OSError: if it cannot be read.
    """
    return _in_torch_archive(path) if is_zip(path) else _in_safetensors(path)


def read_tensors(path: Path, stored: Mapping[str, StoredTensor], names: Collection[str]) -> dict[str, Tensor]:
    """Read some tensors of a zip archive, and none of the others; what is read is held against its checksums.

    Args:
        path: the archive.
        stored: what `find_tensors` found in it.
        names: which tensors to read, keys of `stored`.

    Raises:
        ValueError: if a checksum does not hold.
        OSError: if it cannot be read.
    """
    import torch

    dtypes = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    dtypes |= {"I64": torch.int64, "I32": torch.int32, "U8": torch.uint8}
    storages: dict[str, bytearray] = {}  # tensors may share one: views of a larger tensor are saved so
    tensors = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in names:
                found = stored[name]
                if found.entry not in storages:
                    storages[found.entry] = _content(archive, found.entry)
                numbers = torch.frombuffer(storages[found.entry], dtype=dtypes[found.dtype])
                first = (found.offset_bytes - found.entry_offset_bytes) // _WIDTHS[found.dtype]
                tensors[name] = numbers.as_strided(found.shape, found.strides, first)
    except _DAMAGE as error:
        raise ValueError(f"it is a damaged archive ({error})") from error
    return tensors


def _in_safetensors(path: Path) -> dict[str, StoredTensor]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _MAX_HEADER_BYTES):
            raise ValueError("it is not a safetensors file")
        try:
            header = dict(json.loads(file.read(length)))
        except (RecursionError, TypeError) as error:
            raise ValueError("it is not a safetensors file") from error
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        try:
            dtype, shape = entry["dtype"], tuple(map(int, entry["shape"]))
            first, end = map(int, entry["data_offsets"])
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError("it is a damaged safetensors file") from error
        if dtype not in _WIDTHS:
            continue
        found = StoredTensor(dtype, shape, _rows_first(shape), 8 + length + first)
        if min(*shape, first, 0) < 0 or end - first != found.size_bytes or 8 + length + end > size:
            raise ValueError("it is a damaged safetensors file")
        tensors[name] = found
    return tensors


def _in_torch_archive(path: Path) -> dict[str, StoredTensor]:
    try:
        require_modest(path)
        with zipfile.ZipFile(path) as archive:
            (index,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            folder = index.removesuffix("data.pkl")
            if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
                raise ValueError("its numbers are big-endian")
            with archive.open(index) as file:
                content = _IndexReader(file).load()
            return {
                name: _placed(archive, folder, tensor)
                for name, tensor in dict(content).items()
                if isinstance(name, str) and isinstance(tensor, _Tensor)
            }
    except _DAMAGE as error:
        raise ValueError(f"it is a damaged archive ({error})") from error
    except ValueError:
        raise
    except Exception as error:  # what unpickling raises on nonsense has no end
        raise ValueError(f"it holds more than named tensors ({error})") from error


@dataclass(frozen=True)
class _Storage:
    dtype: str
    key: str


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _IndexReader(pickle.Unpickler):
    """Reads the index of a torch archive; of all names that a pickle can hold, it knows those that tensors need."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return Listed(_tensor)
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise ValueError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _device, _length = pid
        if kind != "storage" or dtype not in _WIDTHS or not isinstance(key, str):
            raise ValueError("it holds more than tensors")
        return _Storage(dtype, key)


def _tensor(
    storage: _Storage, first: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _Tensor:
    numbers = (first, *shape, *strides)
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        raise ValueError("it holds a tensor of no storage")
    if any(not isinstance(number, int) or not 0 <= number < 1 << 40 for number in numbers):
        raise ValueError("it holds a tensor of no shape")
    return _Tensor(storage, first, tuple(shape), tuple(strides))


def _placed(archive: zipfile.ZipFile, folder: str, tensor: _Tensor) -> StoredTensor:
    info = archive.getinfo(f"{folder}data/{tensor.storage.key}")
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError("its tensors are compressed")
    file = archive.fp
    assert file is not None, "it is open"
    file.seek(info.header_offset)
    start = info.header_offset + _LOCAL_HEADER.size + sum(_LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size)))
    dtype = tensor.storage.dtype
    skipped = tensor.first * _WIDTHS[dtype]
    found = StoredTensor(dtype, tensor.shape, tensor.strides, start + skipped, info.filename, start)
    # Its size as well: a tensor whose rows overlap could be of any size.
    if skipped + max(found.extent_bytes, found.size_bytes) > info.file_size:
        raise ValueError("a tensor reaches beyond its storage")
    return found


def _content(archive: zipfile.ZipFile, entry: str) -> bytearray:
    content = bytearray(archive.getinfo(entry).file_size)
    done = 0
    with archive.open(entry) as file:
        while block := file.read(_CHUNK_BYTES):
            content[done : done + len(block)] = block
            done += len(block)
    if done != len(content):
        raise EOFError("cut off")
    return content


def _rows_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for length in reversed(shape):
        strides.append(step)
        step *= length
    return tuple(reversed(strides))
