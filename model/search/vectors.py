"""Unit vectors with ids, kept in a folder: which of them have the largest inner products with a query?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from extractors.errors import UsageError, reason_of
from model.search.vector_files import (
    BLOCK_ROWS,
    Manifest,
    Segment,
    SegmentFacts,
    VectorIndexError,
    check_rows,
    open_segments,
    read_manifest,
    size_on_disk,
    write_manifest,
    write_segment,
)

if TYPE_CHECKING:
    import faiss

SEGMENT_ROWS = 1 << 18
"""Most rows of a segment. A removal rewrites the segments that it touches."""

Scores = NDArray[np.float32]
Ids = NDArray[np.int64]


class VectorIndex:
    """Unit vectors with integer ids, kept in a folder, compared by their inner product.

    Rows are stored in half precision. `search` sees at once what is added and removed; other processes see it if they
    open the folder after `save`. One process may write at a time; it has to open the index after it became the writer.

    Args:
        folder: where it is kept.
        manifest: what was last saved.
        segments: of the manifest.
    """

    def __init__(self, folder: Path, manifest: Manifest, segments: list[Segment]) -> None:
        self._folder, self._manifest, self._segments = folder, manifest, segments
        self._new: list[Segment] = []

    @classmethod
    def open(cls, folder: Path, dim: int) -> VectorIndex:
        """Open what was last saved in a folder; the folder is made if missing.

        Args:
            folder: of this index alone.
            dim: values of a vector.

        Raises:
            VectorsDamaged: if a file is damaged or missing, or the vectors have another length; it names the file.
            VectorIndexError: if the folder cannot be read or made.
        """
        if dim < 1:
            raise UsageError(f"vectors have at least one value, not {dim}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VectorIndexError(f"{folder}: cannot be made: {reason_of(error)}") from error
        return cls(folder, *open_segments(folder, dim))

    def __len__(self) -> int:
        return sum(len(segment) for segment in self._all())

    @property
    def dim(self) -> int:
        """Values of a vector."""
        return self._manifest.dim

    @property
    def ids(self) -> Ids:
        """(N,) all ids, rising."""
        parts = [segment.ids[segment.alive] for segment in self._all()]
        return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *parts]))

    @property
    def size_bytes(self) -> int:
        """Bytes on disk, as last saved."""
        return size_on_disk(self._folder, self._manifest)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.floating[Any]]) -> None:
        """Add vectors; all or none.

        Args:
            ids: (N,), none of which is in the index.
            vectors: (N, dim), of length 1.

        Raises:
            ValueError: if a shape is wrong, a value is not finite, or an id is given twice or is in the index.
        """
        ids = np.array(ids, dtype=np.int64)
        with np.errstate(over="ignore"):
            rows = np.array(vectors, dtype=np.float16)
        if ids.ndim != 1 or rows.shape != (len(ids), self.dim):
            raise ValueError(f"ids are (N,) and vectors (N, {self.dim}), not {ids.shape} and {rows.shape}")
        if not np.isfinite(rows).all():
            raise ValueError("vectors have values that are not finite")
        order = np.argsort(ids)
        ids, rows = ids[order], rows[order]
        if (ids[1:] == ids[:-1]).any():
            raise ValueError("ids are given twice")
        for segment in self._all():
            if len(there := segment.places(ids)):
                raise ValueError(f"id {segment.ids[there[0]]} is in the index already")
        self._new.extend(
            Segment(ids[start : start + SEGMENT_ROWS], rows[start : start + SEGMENT_ROWS])
            for start in range(0, len(ids), SEGMENT_ROWS)
        )

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove vectors; ids that are not in the index are ignored. `save` gives their space back."""
        wanted = np.unique(np.asarray(ids, dtype=np.int64))
        for segment in self._all():
            segment.alive[segment.places(wanted)] = False

    def save(self) -> None:
        """Write what was added and removed. A kill at any moment leaves either the last state or this one.

        Raises:
            VectorIndexError: if another process has saved since this was opened, or a file cannot be written.
        """
        if not self._new and all(segment.is_whole for segment in self._segments):
            return
        if read_manifest(self._folder, self.dim) != self._manifest:
            raise VectorIndexError(f"{self._folder}: another process has changed the index; open it again")
        generation = self._manifest.generation + 1
        facts: list[SegmentFacts] = []
        for parts in self._plan():
            (first,) = parts[:1]
            if len(parts) == 1 and first.facts is not None and first.is_whole:
                facts.append(first.facts)
            else:
                facts.append(write_segment(self._folder, f"{generation:08d}-{len(facts)}", parts))
        write_manifest(self._folder, Manifest(self.dim, generation, tuple(facts)))
        self._manifest, self._segments = open_segments(self._folder, self.dim)
        self._new = []

    def verify(self) -> None:
        """Read everything and compare it with its checksums.

        Raises:
            VectorsDamaged: if something is damaged; it names the file.
            VectorIndexError: if a file cannot be read.
        """
        for facts in self._manifest.segments:
            check_rows(self._folder, facts)

    def rows(self, ids: NDArray[np.int64]) -> NDArray[np.float16]:
        """The vectors of some ids, (N, dim).

        Args:
            ids: (N,), rising.

        Raises:
            KeyError: if one is not in the index.
        """
        found = np.empty((len(ids), self.dim), dtype=np.float16)
        left = np.ones(len(ids), dtype=np.bool_)
        for segment in self._all():
            places = segment.places(ids)
            at = np.searchsorted(ids, segment.ids[places])
            found[at] = segment.rows[places]
            left[at] = False
        if left.any():
            raise KeyError(int(ids[left][0]))
        return found

    def search(
        self, queries: NDArray[np.floating[Any]], top_k: int, within: NDArray[np.int64] | None = None
    ) -> tuple[Scores, Ids]:
        """The vectors with the largest inner products with each query.

        Args:
            queries: (Q, dim).
            top_k: how many for each query.
            within: only these ids; all if None.

        Returns:
            (Q, top_k) inner products, falling, and the ids. Where there are fewer, -inf and -1.

        Raises:
            ValueError: if a shape is wrong, or a value is not finite.
        """
        asked = np.ascontiguousarray(queries, dtype=np.float32)
        if asked.ndim != 2 or asked.shape[1] != self.dim:
            raise ValueError(f"queries are (Q, {self.dim}), not {asked.shape}")
        if not np.isfinite(asked).all():
            raise ValueError("queries have values that are not finite")
        if top_k < 0:
            raise ValueError(f"top_k is {top_k}, which is negative")
        wanted = None if within is None else np.unique(np.asarray(within, dtype=np.int64))
        scores = np.full((len(asked), top_k), -np.inf, dtype=np.float32)
        ids = np.full((len(asked), top_k), -1, dtype=np.int64)
        if len(asked) and top_k:
            for segment in self._all():
                at = np.flatnonzero(segment.alive) if wanted is None else segment.places(wanted)
                for found, place in _scan(segment, at, asked, top_k):
                    ids = np.hstack([ids, segment.ids[place]])
                    scores, ids = _best(np.hstack([scores, found]), ids, top_k)
        return scores, ids

    def _all(self) -> Iterator[Segment]:
        yield from self._segments
        yield from self._new

    def _plan(self) -> list[list[Segment]]:
        """The segments to be, each as those that it is made of."""
        kept, small = [], [segment for segment in self._new if len(segment)]
        for segment in self._segments:
            if segment.is_whole:
                kept.append([segment])
            elif len(segment):
                small.append(segment)
        # A row is then copied no more often than the index doubles.
        kept.sort(key=lambda parts: len(parts[0]))
        while kept and small and len(kept[0][0]) <= 2 * sum(map(len, small)):
            small.extend(kept.pop(0))
        return kept + _grouped(small)


def _grouped(segments: list[Segment]) -> list[list[Segment]]:
    groups: list[list[Segment]] = []
    room = 0
    for segment in segments:
        if len(segment) > room:
            groups.append([])
            room = SEGMENT_ROWS
        groups[-1].append(segment)
        room -= len(segment)
    return groups


def _scan(
    segment: Segment, at: NDArray[np.intp], queries: Scores, top_k: int
) -> Iterator[tuple[Scores, NDArray[np.int64]]]:
    """Scores and places of the best rows at some places, block after block."""
    for start in range(0, len(at), BLOCK_ROWS):
        block = at[start : start + BLOCK_ROWS]
        index = _flat(segment.rows[block])
        scores, places = index.search(queries, min(top_k, len(block)))
        yield scores, block[places]


def _flat(rows: NDArray[np.float16]) -> faiss.IndexScalarQuantizer:
    import faiss

    index = faiss.IndexScalarQuantizer(
        rows.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.add_sa_codes(np.ascontiguousarray(rows).view(np.uint8))
    return index


def _best(scores: Scores, ids: Ids, top_k: int) -> tuple[Scores, Ids]:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)
