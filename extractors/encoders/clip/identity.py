"""What CLIP weights are called: the same name for the same tensors, in either layout and either kind of file.

Features and trained models are bound to the weights that made them, and outlive the file. A file in OpenAI's layout is
known by its content. One in the layout of the transformers library gets the name of the safetensors file that the same
tensors make in OpenAI's layout, which open_clip's repository on the hub publishes.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from extractors.encoders.clip.layouts import NAMES, Source, transformers_source
from extractors.files.identity import content_identity, file_identity
from extractors.weights.tensor_archive import StoredTensor, find_tensors


def clip_identity(path: Path) -> str:
    """Name CLIP weights by their content, in milliseconds.

    Args:
        path: the file. One that is damaged, of torch's format before zip archives, or lacks tensors is named as a file,
            whatever its layout: what is wrong with it, its reader reports.

    Returns:
        32 hexadecimal digits.

    Raises:
        OSError: if the file cannot be read.
    """
    state = path.stat()
    return _identity(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)  # both towers of a process ask
def _identity(path: Path, _size_bytes: int, _changed_ns: int) -> str:
    try:
        stored = find_tensors(path)
    except ValueError:
        return file_identity(path)
    if not {"visual_projection.weight", "text_projection.weight"} <= stored.keys():
        return file_identity(path)
    sources = {name: transformers_source(name) for name in NAMES}
    used = [name for source in sources.values() for name in source.names]
    if any(name not in stored for name in used) or len({stored[name].dtype for name in used}) != 1:
        return file_identity(path)

    header = _header(stored, sources)
    with path.open("rb") as file:
        pieces = [_Piece(len(header), lambda first, count: header[first : first + count])]
        for name in sorted(sources):
            pieces += _pieces(path, file, [stored[theirs] for theirs in sources[name].names], sources[name])
        ends = list(accumulate(piece.size_bytes for piece in pieces))

        def read(offset: int, count: int) -> bytes:
            content = bytearray()
            index = bisect_right(ends, offset)
            while count > 0 and index < len(pieces):
                first = offset - (ends[index] - pieces[index].size_bytes)
                content += pieces[index].read(first, min(count, pieces[index].size_bytes - first))
                count -= ends[index] - offset
                offset = ends[index]
                index += 1
            return bytes(content)

        return content_identity(ends[-1], read)


@dataclass(frozen=True)
class _Piece:
    """A run of bytes of the file that is named; `read` takes an offset in it and a number of bytes."""

    size_bytes: int
    read: Callable[[int, int], bytes]


def _pieces(path: Path, file: BinaryIO, parts: list[StoredTensor], source: Source) -> list[_Piece]:
    return [
        _piece_of_file(file, part.offset_bytes, part.size_bytes)
        if part.is_contiguous and not source.transposed
        else _piece_of_tensor(path, part, transposed=source.transposed)
        for part in parts
    ]


def _piece_of_file(file: BinaryIO, start: int, size_bytes: int) -> _Piece:
    def read(first: int, count: int) -> bytes:
        file.seek(start + first)
        return file.read(count)

    return _Piece(size_bytes, read)


def _piece_of_tensor(path: Path, tensor: StoredTensor, *, transposed: bool) -> _Piece:
    def read(first: int, count: int) -> bytes:
        numbers = tensor.read(path)
        return (numbers.T if transposed else numbers).tobytes()[first : first + count]

    return _Piece(tensor.size_bytes, read)


def _header(stored: Mapping[str, StoredTensor], sources: Mapping[str, Source]) -> bytes:
    """The start of a safetensors file in OpenAI's layout: tensors of one type lie in the order of their names."""
    entries, first = {}, 0
    for name in sorted(sources):
        parts = [stored[theirs] for theirs in sources[name].names]
        shape = list(parts[0].shape)
        if len(parts) > 1:
            shape[0] = sum(part.shape[0] for part in parts)
        if sources[name].transposed:
            shape.reverse()
        end = first + sum(part.size_bytes for part in parts)
        entries[name] = {"dtype": parts[0].dtype, "shape": shape, "data_offsets": [first, end]}
        first = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
