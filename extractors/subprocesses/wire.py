"""Dataclasses through pipes, without pickle, because a hostile file may have taken the sender over.

A message is the length of its header in 4 bytes, the header, and the bytes of its arrays. The header is JSON: the name
of the class, its fields, and the type and shape of each array. What is received is checked against the annotations of
the class.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from extractors.errors import VtgError
from extractors.places import Address, place_of

_MOST_HEADER_BYTES = 1 << 20  # from a process that reads hostile files
_MOST_ARRAY_BYTES = 1 << 32
_DTYPES = ("|u1", "<i8")


class Nonsense(ValueError):
    """A message has an unexpected class, or its fields do not fit the class."""


@dataclass(frozen=True)
class Alive:
    """Nothing is wrong, the answer is only not ready yet."""


@dataclass(frozen=True)
class Failed:
    """The request cannot be done."""

    error: VtgError


def send(pipe: IO[bytes], message: Any) -> None:
    """Write a dataclass.

    Raises:
        OSError: if the reader is gone.
    """
    arrays: list[NDArray[Any]] = []
    header = {"type": type(message).__name__, "fields": _packed(message, arrays)}
    header["arrays"] = [[array.dtype.str, *array.shape] for array in arrays]
    text = json.dumps(header).encode()
    pipe.write(len(text).to_bytes(4, "little") + text)
    for array in arrays:
        if array.size:
            pipe.write(np.ascontiguousarray(array).data.cast("B"))
    pipe.flush()


def receive(pipe: IO[bytes], kinds: Sequence[type], *, is_trusted: bool = True) -> Any:
    """Read a dataclass.

    Args:
        pipe: open for reading.
        kinds: the classes that may come.
        is_trusted: whether the sender may send long headers, and numbers that are not finite.

    Raises:
        EOFError: if the pipe ends.
        Nonsense: if the message is none of `kinds`.
        ValueError: if the input is not a message.
    """
    length = int.from_bytes(_read(pipe, bytearray(4)), "little")
    if length == 0 or (length > _MOST_HEADER_BYTES and not is_trusted):
        raise ValueError("not a message")
    try:
        text = bytes(_read(pipe, bytearray(length)))
        header = json.loads(text, parse_constant=None if is_trusted else _refuse)
        arrays = [_read_array(pipe, dtype, shape) for dtype, *shape in header["arrays"]]
    except (LookupError, TypeError, RecursionError) as error:
        raise ValueError("not a message") from error
    try:
        kind = next(kind for kind in kinds if kind.__name__ == header["type"])
        return _unpacked(kind, header["fields"], arrays)
    except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError, StopIteration) as error:
        raise Nonsense(f"not one of {[kind.__name__ for kind in kinds]}") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no finite number")


def _read_array(pipe: IO[bytes], dtype: Any, shape: Any) -> NDArray[Any]:
    if dtype not in _DTYPES or np.prod(shape, dtype=np.float64) * 8 > _MOST_ARRAY_BYTES:
        raise ValueError("not an array of bytes or indices")
    array: NDArray[Any] = np.empty(shape, dtype)
    if array.size:
        _read(pipe, array.data.cast("B"))
    return array


def _read(pipe: Any, buffer: Any) -> Any:
    view = memoryview(buffer)
    done = 0
    while done < len(view):
        count = pipe.readinto(view[done:])
        if not count:
            raise EOFError
        done += count
    return buffer


def _packed(value: Any, arrays: list[NDArray[Any]]) -> Any:
    if isinstance(value, bytes):
        value = np.frombuffer(value, np.uint8)
    if isinstance(value, Address):
        return value.text
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return len(arrays) - 1
    if dataclasses.is_dataclass(value):
        return {
            field.name: _packed(getattr(value, field.name), arrays) for field in dataclasses.fields(value)
        }
    if isinstance(value, VtgError):
        kind, arguments, *_ = tuple(value.__reduce__())
        return [kind.__name__, *map(str, arguments)]
    if isinstance(value, Mapping):
        return {key: _packed(item, arrays) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_packed(item, arrays) for item in value]
    return str(value) if isinstance(value, Path) else value


@cache
def _fields(kind: type) -> Mapping[str, Any]:
    return typing.get_type_hints(kind)


def _unpacked(kind: Any, value: Any, arrays: Sequence[NDArray[Any]]) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if hasattr(origin, "__value__"):  # an alias, as NDArray is since NumPy 2.5
        return _unpacked(origin.__value__[arguments], value, arrays)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        if Address in arguments:
            return place_of(_unpacked(str, value, arrays))
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return _unpacked(kind, value, arrays)
    if origin in _GENERIC:
        return _GENERIC[origin](arguments, value, arrays)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints, names = _fields(kind), {field.name for field in dataclasses.fields(kind)}
        return kind(**{name: _unpacked(hints[name], value[name], arrays) for name in names & value.keys()})
    if kind is bytes:
        return _array(np.uint8, value, arrays).tobytes()
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path:
        return Path(_unpacked(str, value, arrays))
    if issubclass(kind, VtgError):
        return _error(kind, *value)
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not {kind}")
    return value


def _tuple(arguments: tuple[Any, ...], value: Any, arrays: Sequence[NDArray[Any]]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
    return tuple(_unpacked(kind, item, arrays) for kind, item in zip(kinds, value, strict=True))


def _mapping(arguments: tuple[Any, ...], value: Any, arrays: Sequence[NDArray[Any]]) -> dict[str, Any]:
    return {key: _unpacked(arguments[1], item, arrays) for key, item in value.items()}


def _literal(arguments: tuple[Any, ...], value: Any, arrays: Sequence[NDArray[Any]]) -> Any:
    if value not in arguments:
        raise ValueError(f"{value!r} is none of {arguments}")
    return value


def _array_like(arguments: tuple[Any, ...], value: Any, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    (dtype,) = typing.get_args(arguments[1])
    return _array(dtype, value, arrays)


def _array(dtype: Any, value: Any, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    array: NDArray[Any] = arrays[value]
    if array.dtype != dtype:
        raise TypeError(f"an array of {array.dtype}, not of {dtype}")
    return array


def _error(kind: type[VtgError], name: str, *arguments: str) -> VtgError:
    """The error of that name; one of the same text if this process does not know the class."""
    known = [kind]
    for subclass in known:
        if subclass.__name__ == name:
            return subclass(*arguments)
        known.extend(subclass.__subclasses__())
    return kind(*arguments)


_GENERIC: Mapping[Any, Callable[[tuple[Any, ...], Any, Sequence[NDArray[Any]]], Any]] = {
    tuple: _tuple,
    Mapping: _mapping,
    typing.Literal: _literal,
    np.ndarray: _array_like,
}
