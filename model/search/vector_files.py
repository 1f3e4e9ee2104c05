"""A vector index on disk: segments of rows that never change, and a manifest that names the current ones.

    <folder>/manifest.json           which segments there are; replaced in one step
    <folder>/<generation>-<n>.ids    (N,) int64, rising
    <folder>/<generation>-<n>.rows   (N, dim) float16, in the order of the ids

A saved file is never written to again. A save writes new files, replaces the manifest and then removes the files that
it no longer names. A reader keeps the files of its manifest open, so they stay readable after that.
"""

from __future__ import annotations

import json
import mmap
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from extractors.errors import VtgError, reason_of
from extractors.files.atomic import atomic_write, remove_leftovers, write_failure

MANIFEST = "manifest.json"
BLOCK_ROWS = 1 << 14
"""Rows that are copied or compared in one step."""

_FORMAT = 1
_FILE = re.compile(r"\d{8}-\d+\.\w+")
_ATTEMPTS = 20  # to open what a writer may be replacing


class VectorIndexError(VtgError):
    """The index of vectors cannot be read or written."""


class VectorsDamaged(VectorIndexError):
    """A file of the index of vectors is damaged, missing or of another index; the message names it."""


@dataclass(frozen=True)
class SegmentFacts:
    """What the manifest holds about a segment.

    Attributes:
        name: of its files, without the ending.
        count: rows.
        ids_crc, rows_crc: CRC-32 of its files.
    """

    name: str
    count: int
    ids_crc: int
    rows_crc: int


@dataclass(frozen=True)
class Manifest:
    """What an index consists of. An index that was never saved has generation 0.

    Attributes:
        dim: values of a row.
        generation: counts the saves.
        segments: in no particular order.
    """

    dim: int
    generation: int = 0
    segments: tuple[SegmentFacts, ...] = ()


class Segment:
    """Rows in the order of their ids: those of a file, or those that are not saved yet.

    Attributes:
        ids: (N,), rising.
        rows: (N, dim) float16.
        alive: (N,) bool: which rows are not removed.
        facts: what the manifest holds about it; None if it is not saved.
    """

    def __init__(
        self, ids: NDArray[np.int64], rows: NDArray[np.float16], facts: SegmentFacts | None = None
    ) -> None:
        self.ids, self.rows, self.facts = ids, rows, facts
        self.alive = np.ones(len(ids), dtype=np.bool_)

    def __len__(self) -> int:
        return int(np.count_nonzero(self.alive))

    @property
    def is_whole(self) -> bool:
        """Whether no row is removed."""
        return bool(self.alive.all())

    def places(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """Where the rows of some ids are; those that are not here, or removed, are left out.

        Args:
            ids: rising.
        """
        at = np.searchsorted(self.ids, ids)
        inside = at < len(self.ids)
        at = at[inside]
        at = at[self.ids[at] == ids[inside]]
        found: NDArray[np.intp] = at[self.alive[at]]
        return found


def read_manifest(folder: Path, dim: int) -> Manifest:
    """The manifest of a folder; an empty one if there is none.

    Raises:
        VectorsDamaged: if it is no manifest, or of rows of another length.
        VectorIndexError: if it cannot be read.
    """
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_bytes())
        version = data["format"]
        segments = tuple(SegmentFacts(**facts) for facts in data["segments"])
        manifest = Manifest(int(data["dim"]), int(data["generation"]), segments)
    except FileNotFoundError:
        return Manifest(dim)
    except OSError as error:
        raise VectorIndexError(f"{path}: cannot be read: {reason_of(error)}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, "is not a manifest of vectors") from error
    if version != _FORMAT:
        raise _damaged(path, f"has format {version}, and this version of vtg reads format {_FORMAT}")
    if manifest.dim != dim:
        raise _damaged(path, f"is of vectors of {manifest.dim} values, not {dim}")
    if any(not _FILE.fullmatch(f"{facts.name}.rows") or facts.count < 1 for facts in segments):
        raise _damaged(path, "is not a manifest of vectors")
    return manifest


def open_segments(folder: Path, dim: int) -> tuple[Manifest, list[Segment]]:
    """The last saved state, even if a writer replaces it meanwhile.

    Raises:
        VectorsDamaged: if a file is missing, or is not as the manifest says.
        VectorIndexError: if a file cannot be read.
    """
    for attempt in range(_ATTEMPTS):
        manifest = read_manifest(folder, dim)
        try:
            return manifest, [_open_segment(folder, facts, dim) for facts in manifest.segments]
        except FileNotFoundError as error:
            if read_manifest(folder, dim) == manifest or attempt == _ATTEMPTS - 1:
                raise _damaged(Path(error.filename), "is missing") from error
        except OSError as error:
            raise VectorIndexError(
                f"{error.filename or folder}: cannot be read: {reason_of(error)}"
            ) from error
    raise AssertionError  # the last attempt returns or raises


def write_segment(folder: Path, name: str, parts: Sequence[Segment]) -> SegmentFacts:
    """Write the rows of segments that are not removed as one segment. They are not in the index before a save.

    Raises:
        VectorIndexError: if they cannot be written.
    """
    alive = [np.flatnonzero(part.alive) for part in parts]
    ids = np.concatenate([part.ids[at] for part, at in zip(parts, alive, strict=True)])
    source = np.repeat(np.arange(len(parts)), [len(at) for at in alive])
    place = np.concatenate(alive)
    order = np.argsort(ids, kind="stable")
    ids, source, place = ids[order], source[order], place[order]
    with _writing(folder / f"{name}.ids") as file:
        file.write(ids.data)
    crc = 0
    with _writing(folder / f"{name}.rows") as file:
        for start in range(0, len(ids), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            rows = _gather(parts, source[block], place[block])
            crc = zlib.crc32(rows.data, crc)
            file.write(rows.data)
    return SegmentFacts(name, len(ids), zlib.crc32(ids.data), crc)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make a manifest the current one, and remove the files that it does not name.

    Raises:
        VectorIndexError: if it cannot be written.
    """
    with _writing(folder / MANIFEST) as file:
        file.write(json.dumps({"format": _FORMAT, **asdict(manifest)}, indent=1).encode())
    kept = {facts.name for facts in manifest.segments}
    # A file that somebody still reads cannot be removed on Windows; the next save tries again.
    with suppress(OSError):
        for path in folder.iterdir():
            if _FILE.fullmatch(path.name) and path.stem not in kept:
                with suppress(OSError):
                    path.unlink()
    remove_leftovers(folder)


def check_rows(folder: Path, facts: SegmentFacts) -> None:
    """Read the rows of a segment and compare their checksum.

    Raises:
        VectorsDamaged: if they are damaged or missing.
        VectorIndexError: if they cannot be read.
    """
    path = folder / f"{facts.name}.rows"
    crc = 0
    try:
        with path.open("rb") as file:
            while data := file.read(1 << 20):
                crc = zlib.crc32(data, crc)
    except FileNotFoundError as error:
        raise _damaged(path, "is missing") from error
    except OSError as error:
        raise VectorIndexError(f"{path}: cannot be read: {reason_of(error)}") from error
    if crc != facts.rows_crc:
        raise _damaged(path, "does not match its checksum")


def size_on_disk(folder: Path, manifest: Manifest) -> int:
    """Bytes of the manifest and the files that it names."""
    names = {facts.name for facts in manifest.segments}
    paths = [path for path in folder.iterdir() if path.stem in names and _FILE.fullmatch(path.name)]
    return sum(path.stat().st_size for path in (*paths, folder / MANIFEST) if path.exists())


def _open_segment(folder: Path, facts: SegmentFacts, dim: int) -> Segment:
    ids = _mapped(folder / f"{facts.name}.ids", np.dtype("<i8"), facts.count)
    rows = _mapped(folder / f"{facts.name}.rows", np.dtype("<f2"), facts.count * dim)
    if zlib.crc32(ids.data) != facts.ids_crc:
        raise _damaged(folder / f"{facts.name}.ids", "does not match its checksum")
    return Segment(ids, rows.reshape(-1, dim), facts)


def _mapped(path: Path, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size != count * dtype.itemsize:
            raise _damaged(path, f"has {size} bytes, not {count * dtype.itemsize}")
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=dtype)


def _gather(parts: Sequence[Segment], source: NDArray[np.intp], place: NDArray[np.intp]) -> NDArray[Any]:
    rows = np.empty((len(source), parts[0].rows.shape[1]), dtype=np.dtype("<f2"))
    for index in np.unique(source):
        mine = source == index
        rows[mine] = parts[index].rows[place[mine]]
    return rows


@contextmanager
def _writing(path: Path) -> Iterator[BinaryIO]:
    try:
        with atomic_write(path) as file:
            yield file
    except OSError as error:
        raise VectorIndexError(f"{path}: cannot be written: {write_failure(error)}") from error


def _damaged(path: Path, what: str) -> VectorsDamaged:
    return VectorsDamaged(f"{path}: {what}; remove {path.parent} and build the index again")
