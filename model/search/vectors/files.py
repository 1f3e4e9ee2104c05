"""A vector index on disk: segments of rows that never change, and a manifest that names the current ones.

    <folder>/manifest.json           which segments there are; replaced in one step
    <folder>/<generation>-<n>.ids    (N,) int64, rising
    <folder>/<generation>-<n>.rows   (N, dim) float16, in the order of the ids
    <folder>/<generation>-<n>.codes  codes of the rows of a segment, in an index that is large enough to need them
    <folder>/<generation>-<n>.codec  how rows become codes

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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from extractors.errors import VtgError, reason_of
from extractors.files.atomic import atomic_write, remove_leftovers, write_failure

MANIFEST = "manifest.json"
BLOCK_ROWS = 1 << 14
"""Rows that are copied or compared in one step."""

_PICKED_ROWS = 256  # whose surroundings, of 64 KB each, are in memory at once

_FORMAT, _OTHER_CODES = 2, 1  # formats; they differ in their codes alone
_FILE = re.compile(r"\d{8}-\d+\.\w+")
_ATTEMPTS = 20  # to open what a writer may be replacing


class VectorIndexError(VtgError):
    """The index of vectors cannot be read or written."""


class VectorsDamaged(VectorIndexError):
    """A file of the index of vectors is damaged, missing or of another index; the message names it."""


@dataclass(frozen=True)
class Blob:
    """A file that is read as a whole.

    Attributes:
        name: of the file.
        crc: CRC-32 of its bytes.
    """

    name: str
    crc: int


@dataclass(frozen=True)
class SegmentFacts:
    """What the manifest holds about a segment.

    Attributes:
        name: of its files, without the ending.
        count: rows.
        ids_crc, rows_crc: CRC-32 of its files.
        codes: the codes of its rows, if they have some.
    """

    name: str
    count: int
    ids_crc: int
    rows_crc: int
    codes: Blob | None = None

    @property
    def files(self) -> set[str]:
        """Names of its files."""
        codes = set() if self.codes is None else {self.codes.name}
        return {f"{self.name}.ids", f"{self.name}.rows"} | codes


@dataclass(frozen=True)
class Manifest:
    """What an index consists of. An index that was never saved has generation 0.

    Attributes:
        dim: values of a row.
        generation: counts the saves.
        segments: in no particular order.
        codec: of the codes, if there are some.
        trained_on: how many rows there were when the codec was made.
    """

    dim: int
    generation: int = 0
    segments: tuple[SegmentFacts, ...] = ()
    codec: Blob | None = None
    trained_on: int = 0

    @property
    def files(self) -> set[str]:
        """Names of the files of the index, without the manifest's own."""
        codec = set() if self.codec is None else {self.codec.name}
        return codec.union(*(facts.files for facts in self.segments))


class OpenFile:
    """A file that stays readable until this is gone, also after it was removed.

    Args:
        path: the file.
        crc: CRC-32 of its bytes.
        size: its bytes, if known.

    Raises:
        VectorsDamaged: if it is empty, or has another size.
        OSError: if it cannot be opened.
    """

    def __init__(self, path: Path, crc: int, size: int | None = None) -> None:
        self._path, self._crc = path, crc
        with path.open("rb") as file:
            there = file.seek(0, 2)
            if not there or (size is not None and there != size):
                raise _damaged(path, f"has {there} bytes" + ("" if size is None else f", not {size}"))
            self._mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def values(self, dtype: str) -> NDArray[Any]:
        """All of it, not compared with the checksum."""
        return np.frombuffer(self._mapping, dtype=dtype)

    def read(self) -> NDArray[np.uint8]:
        """All of it; raises VectorsDamaged if it does not match its checksum."""
        if zlib.crc32(self._mapping) != self._crc:
            raise _damaged(self._path, "does not match its checksum")
        return self.values("u1")

    def expect_scattered_reads(self) -> None:
        """Read no more from the disk than is asked for, until `release`."""
        if hasattr(mmap, "MADV_RANDOM"):
            self._mapping.madvise(mmap.MADV_RANDOM)

    def release(self) -> None:
        """Let the system take back the memory in which it was read."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._mapping.madvise(mmap.MADV_DONTNEED)
            self._mapping.madvise(mmap.MADV_NORMAL)


class Segment:
    """Rows in the order of their ids: those of a file, or those that are not saved yet.

    Attributes:
        ids: (N,), rising.
        rows: (N, dim) float16.
        alive: (N,) bool: which rows are not removed.
        facts: of its files; None if it has none yet.
        codes: the file of its codes, if there is one.
        file: of its rows, if there is one.
    """

    def __init__(
        self,
        ids: NDArray[np.int64],
        rows: NDArray[np.float16],
        facts: SegmentFacts | None = None,
        codes: OpenFile | None = None,
        file: OpenFile | None = None,
    ) -> None:
        self.ids, self.rows, self.facts, self.codes, self._file = ids, rows, facts, codes, file
        self.alive = np.ones(len(ids), dtype=np.bool_)

    def __len__(self) -> int:
        return int(np.count_nonzero(self.alive))

    @property
    def is_whole(self) -> bool:
        """Whether no row is removed."""
        return bool(self.alive.all())

    def picked(self, at: NDArray[np.intp]) -> NDArray[np.float16]:
        """Rows at few places; they are copied."""
        if self._file is None:
            return self.rows[at]
        rows = np.empty((len(at), self.rows.shape[1]), dtype=np.float16)
        for start in range(0, len(at), _PICKED_ROWS):
            self._file.expect_scattered_reads()
            rows[start : start + _PICKED_ROWS] = self.rows[at[start : start + _PICKED_ROWS]]
            self._file.release()  # each row has brought its surroundings into memory
        return rows

    def release(self) -> None:
        """Let the system take back the memory in which rows of the file were read."""
        if self._file is not None:
            self._file.release()

    def check(self) -> None:
        """Compare the files of rows and codes with their checksums; raises VectorsDamaged if one is another."""
        if self._file is not None:
            self._file.read()
            self._file.release()
        if self.codes is not None:
            self.codes.read()

    def places(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """Where the rows of some ids are; those that are not here, or removed, are left out.

        Args:
            ids: rising.
        """
        # Most segments hold ids of a narrow range.
        ids = ids[slice(*np.searchsorted(ids, [self.ids[0], self.ids[-1] + 1]))]
        at = np.searchsorted(self.ids, ids)
        at = at[self.ids[at] == ids]
        found: NDArray[np.intp] = at[self.alive[at]]
        return found


def read_manifest(folder: Path, dim: int) -> Manifest:
    """The manifest of a folder; an empty one if there is none.

    Codes of an older format are left out: then the rows themselves are searched, until a save has coded them again.

    Raises:
        VectorsDamaged: if it is no manifest, or of rows of another length.
        VectorIndexError: if it cannot be read.
    """
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_bytes())
        version = data["format"]
        segments = tuple(
            SegmentFacts(**{**facts, "codes": _blob(facts["codes"])}) for facts in data["segments"]
        )
        manifest = Manifest(
            int(data["dim"]),
            int(data["generation"]),
            segments,
            _blob(data["codec"]),
            int(data["trained_on"]),
        )
        if version == _OTHER_CODES:
            manifest = _without_codes(manifest)
    except FileNotFoundError:
        return Manifest(dim)
    except OSError as error:
        raise VectorIndexError(f"{path}: cannot be read: {reason_of(error)}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, "is not a manifest of vectors") from error
    if version not in (_FORMAT, _OTHER_CODES):
        raise _damaged(path, f"has format {version}, and this version of vtg reads format {_FORMAT}")
    if manifest.dim != dim:
        raise _damaged(path, f"is of vectors of {manifest.dim} values, not {dim}")
    if not all(map(_FILE.fullmatch, manifest.files)) or any(facts.count < 1 for facts in segments):
        raise _damaged(path, "is not a manifest of vectors")
    return manifest


@dataclass(frozen=True)
class State:
    """A saved state, with its files open.

    Attributes:
        manifest: what it consists of.
        segments: in the order of the manifest.
        codec: the file of the codec, if there is one.
    """

    manifest: Manifest
    segments: list[Segment]
    codec: OpenFile | None


def open_state(folder: Path, dim: int) -> State:
    """The last saved state, even if a writer replaces it meanwhile.

    Raises:
        VectorsDamaged: if a file is missing, or is not as the manifest says.
        VectorIndexError: if a file cannot be read.
    """
    for attempt in range(_ATTEMPTS):
        manifest = read_manifest(folder, dim)
        try:
            segments = [open_segment(folder, facts, dim) for facts in manifest.segments]
            return State(manifest, segments, _open_blob(folder, manifest.codec))
        except FileNotFoundError as error:
            if read_manifest(folder, dim) == manifest or attempt == _ATTEMPTS - 1:
                raise _damaged(Path(error.filename), "is missing") from error
        except OSError as error:
            raise VectorIndexError(
                f"{error.filename or folder}: cannot be read: {reason_of(error)}"
            ) from error
    raise AssertionError  # the last attempt returns or raises


def merged(parts: Sequence[Segment]) -> Segment:
    """One segment in memory, of the rows of several that are not removed."""
    ids, source, place = _order(parts)
    return Segment(ids, _gather(parts, source, place))


def write_segment(folder: Path, name: str, parts: Sequence[Segment]) -> SegmentFacts:
    """Write the rows of segments that are not removed as one segment. They are not in the index before a save.

    Raises:
        VectorIndexError: if they cannot be written.
    """
    ids, source, place = _order(parts)
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
    kept = manifest.files
    # A file that somebody still reads cannot be removed on Windows; the next save tries again.
    with suppress(OSError):
        for path in folder.iterdir():
            if _FILE.fullmatch(path.name) and path.name not in kept:
                with suppress(OSError):
                    path.unlink()
    remove_leftovers(folder)


def write_blob(folder: Path, name: str, data: NDArray[np.uint8]) -> Blob:
    """Write a file that is read as a whole; raises VectorIndexError if it cannot be written."""
    with _writing(folder / name) as file:
        file.write(data.data)
    return Blob(name, zlib.crc32(data.data))


def size_on_disk(folder: Path, manifest: Manifest) -> int:
    """Bytes of the manifest and the files that it names."""
    paths = [folder / name for name in (*manifest.files, MANIFEST)]
    return sum(path.stat().st_size for path in paths if path.exists())


def open_segment(folder: Path, facts: SegmentFacts, dim: int) -> Segment:
    """Open the files of a segment.

    Raises:
        VectorsDamaged: if one is not as the manifest says.
        OSError: if one cannot be opened.
    """
    ids = OpenFile(folder / f"{facts.name}.ids", facts.ids_crc, facts.count * 8)
    ids.read()
    rows = OpenFile(folder / f"{facts.name}.rows", facts.rows_crc, facts.count * dim * 2)
    values = rows.values("<f2").reshape(-1, dim)
    return Segment(ids.values("<i8"), values, facts, _open_blob(folder, facts.codes), rows)


def _open_blob(folder: Path, blob: Blob | None) -> OpenFile | None:
    return None if blob is None else OpenFile(folder / blob.name, blob.crc)


def _without_codes(manifest: Manifest) -> Manifest:
    segments = tuple(replace(facts, codes=None) for facts in manifest.segments)
    return replace(manifest, segments=segments, codec=None, trained_on=0)


def _blob(data: dict[str, Any] | None) -> Blob | None:
    return None if data is None else Blob(str(data["name"]), int(data["crc"]))


def _order(parts: Sequence[Segment]) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.intp]]:
    """Rising ids of the rows that are not removed; for each, in which part it is, and where there."""
    alive = [np.flatnonzero(part.alive) for part in parts]
    ids = np.concatenate([part.ids[at] for part, at in zip(parts, alive, strict=True)])
    source = np.repeat(np.arange(len(parts)), [len(at) for at in alive])
    order = np.argsort(ids, kind="stable")
    return ids[order], source[order], np.concatenate(alive)[order]


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
