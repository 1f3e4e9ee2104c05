"""Files of the released code: their pickles are read without running them.

A released `model_best.ckpt` is a zip file. Its pickle holds tensors and objects of classes that need not be installed
here. Ordinary unpickling would import and call whatever the file names. The reader below accepts a short list of
harmless names, replaces the known foreign classes with inert placeholders, and refuses everything else before it is
looked up. `torch.load(weights_only=True)` cannot read these files, because it does not set items of dict subclasses,
and one of the foreign classes is one.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from extractors.errors import WeightsInvalid
from extractors.weights.pickles import UNZIPPING_ERRORS, Listed, require_modest_archive

_MAX_INDEX = 2**62  # torch counts in 64 bits
_MAX_PLAIN = 10_000  # values in one option


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """What was read of a released checkpoint.

    Attributes:
        weights: released parameter names to tensors.
        options: the options of the run, as far as they are plain values.
        epoch: when it was saved, counted from 0; None if the file does not say.
    """

    weights: dict[str, Tensor]
    options: dict[str, Any]
    epoch: int | None


def read_released(path: str | Path) -> ReleasedCheckpoint:
    """Read a released checkpoint without running any code it carries.

    Args:
        path: `model_best.ckpt` or `model_latest.ckpt`, as written by `torch.save`.

    Raises:
        WeightsInvalid: if the file is truncated, not of this kind, or asks for code to be run.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            content = _read_archive(archive, path)
            if not isinstance(content, dict) or not isinstance(content.get("model"), Mapping):
                raise WeightsInvalid(f"{path}: holds no released checkpoint: there is no 'model' in it")
            stored = {
                str(name): tensor
                for name, tensor in content["model"].items()
                if isinstance(tensor, _StoredTensor)
            }
            if sum(tensor.size_bytes for tensor in stored.values()) > path.stat().st_size:
                raise WeightsInvalid(
                    f"{path}: its tensors hold more numbers than it does; the file is damaged"
                )
            weights = {name: tensor.load(archive, path) for name, tensor in stored.items()}
    except FileNotFoundError:
        raise WeightsInvalid(f"{path}: there is no such file") from None
    except (*UNZIPPING_ERRORS, ValueError, OSError) as error:
        raise WeightsInvalid(
            f"{path}: truncated, or not a file of torch.save ({error}); download it again"
        ) from error
    options, epoch = content.get("opt"), content.get("epoch")
    return ReleasedCheckpoint(
        weights,
        options.attributes() if isinstance(options, _Placeholder) else {},
        epoch if isinstance(epoch, int) else None,
    )


def read_options(path: str | Path) -> dict[str, Any]:
    """Read the `opt.json` of a release.

    Raises:
        WeightsInvalid: if it is missing or not a JSON object.
    """
    try:
        options = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsInvalid(f"{path}: cannot be read as the options of a release: {error}") from error
    if not isinstance(options, dict):
        raise WeightsInvalid(f"{path}: cannot be read as the options of a release: not a JSON object")
    return options


class _Placeholder(dict):  # type: ignore[type-arg]
    """Stands where an object of a foreign class stood: holds what was put into it, and does nothing."""

    def __init__(self, *args: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.update(state)

    def attributes(self) -> dict[str, Any]:
        """Its plain values."""
        return {key: value for key, value in self.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    """Whether it is a value of JSON, or a list of such; lists may hold each other, or themselves."""
    waiting, left = [value], _MAX_PLAIN
    while waiting:
        value = waiting.pop()
        left -= 1
        if isinstance(value, (list, tuple)) and len(value) <= left:
            waiting.extend(value)
        elif not (value is None or type(value) in (bool, int, float, str)) or left < 0:
            return False
    return True


@dataclass(frozen=True)
class _Storage:
    """A persistent id of the pickle: one block of numbers in the archive."""

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True)
class _StoredTensor:
    """A tensor not yet read."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """What it takes once it is read."""
        return abs(math.prod(self.size)) * self.storage.dtype.itemsize

    def load(self, archive: zipfile.ZipFile, path: Path) -> Tensor:
        if min(self.size, default=0) < 0 or len(self.size) != len(self.stride):
            raise WeightsInvalid(f"{path}: a tensor has no possible shape; the file is damaged")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True))
        in_range = self.offset >= 0 and all(s >= 0 for s in self.stride) and last < self.storage.numel
        if math.prod(self.size) > 0 and not in_range:
            raise WeightsInvalid(f"{path}: a tensor reaches beyond its numbers; the file is damaged")
        if max(*self.size, *self.stride, 0, 0) > _MAX_INDEX:
            raise WeightsInvalid(f"{path}: a tensor has no possible shape; the file is damaged")
        raw = archive.read(f"{_root(archive, path)}data/{self.storage.key}")
        if len(raw) != self.storage.numel * self.storage.dtype.itemsize:
            raise WeightsInvalid(
                f"{path}: a tensor has fewer values than its shape needs; the file is damaged"
            )
        numbers = torch.frombuffer(bytearray(raw), dtype=self.storage.dtype) if raw else torch.empty(0)
        return numbers.as_strided(self.size, self.stride, self.offset).clone()


_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _StoredTensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without numbers")
    return _StoredTensor(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


# All that a pickle may name. None of these does more than hold its arguments.
_HARMLESS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): Listed(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): Listed(_rebuild_parameter),
    ("torch", "Size"): tuple,
    ("torch", "device"): _Placeholder,
    ("argparse", "Namespace"): _Placeholder,
    ("nncore.utils.config", "Config"): _Placeholder,
    ("nncore.utils.config", "CfgNode"): _Placeholder,
    **{("torch", name): dtype for name, dtype in _DTYPES.items()},
}


class _Refused(Exception):
    """The pickle names something that is not on the list."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise _Refused(f"{module}.{name}")
        return _HARMLESS[module, name]

    def persistent_load(self, identity: Any) -> _Storage:
        kind, dtype, key, _, numel = identity
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("an unknown kind of reference")
        return _Storage(str(key), dtype, int(numel))


def _read_archive(archive: zipfile.ZipFile, path: Path) -> Any:
    root = _root(archive, path)
    try:
        require_modest_archive(archive)
    except ValueError as error:
        raise WeightsInvalid(f"{path}: refused: {error}, which a checkpoint never does") from error
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise WeightsInvalid(f"{path}: written on a big-endian machine, which is not supported")
    try:
        return _Reader(io.BytesIO(archive.read(f"{root}data.pkl"))).load()
    except _Refused as refused:
        raise WeightsInvalid(
            f"{path}: refused: the file asks for {refused}, which a checkpoint does not need and which could "
            "run code; none of it was run. Do not trust its source"
        ) from None
    except WeightsInvalid:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise WeightsInvalid(f"{path}: damaged: its pickle cannot be read ({error})") from error


def _root(archive: zipfile.ZipFile, path: Path) -> str:
    for name in archive.namelist():
        if name.count("/") == 1 and name.endswith("/data.pkl"):
            return name.removesuffix("data.pkl")
    raise WeightsInvalid(f"{path}: a zip file, but not one of torch.save: it has no data.pkl")
