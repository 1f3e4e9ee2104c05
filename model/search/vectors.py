"""Unit vectors with ids, kept in a folder: which of them have the largest inner products with a query?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from extractors.errors import UsageError, reason_of
from model.search.vector_files import (
    BLOCK_ROWS,
    Blob,
    Manifest,
    Segment,
    SegmentFacts,
    State,
    VectorIndexError,
    check_crc,
    merged,
    open_segment,
    open_state,
    read_manifest,
    size_on_disk,
    write_blob,
    write_manifest,
    write_segment,
)

if TYPE_CHECKING:
    import faiss

    from model.search.vector_codes import Codec, Codes

SEGMENT_ROWS = 1 << 18
"""Most rows of a segment. A removal rewrites the segments that it touches."""

EXACT_ROWS = 1 << 17
"""Most rows that are compared one by one; more have codes."""

_NEW_SEGMENTS = 64
_CODED_ROWS = 1 << 14  # a smaller segment is not worth a file of codes
_GROWTH = 4  # of the index, after which the codec is trained again
_CANDIDATES = 4096
_CANDIDATES_PER_HIT = 4

Scores = NDArray[np.float32]
Ids = NDArray[np.int64]


class VectorIndex:
    """Unit vectors with integer ids, kept in a folder, compared by their inner product.

    Rows are stored in half precision. `search` sees at once what is added and removed; other processes see it if they
    open the folder after `save`. One process may write at a time; it has to open the index after it became the writer.

    Up to `EXACT_ROWS` rows, all are compared with a query. Where there are more, short codes of the rows find some
    thousands of candidates, and those are compared. Codes are made by `save`, from a sample of the rows, and
    made again when there are four times as many.

    Args:
        folder: where it is kept.
        state: what was last saved.
    """

    def __init__(self, folder: Path, state: State) -> None:
        self._folder = folder
        self._lock = Lock()
        self._start_from(state)

    def _start_from(self, state: State) -> None:
        self._state = state
        self._new: list[Segment] = []
        self._names = count()
        self._loaded: Codes | None = None
        self._flat: dict[str, faiss.IndexScalarQuantizer] = {}

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
        return cls(folder, open_state(folder, dim))

    def __len__(self) -> int:
        return sum(len(segment) for segment in self._all())

    @property
    def dim(self) -> int:
        """Values of a vector."""
        return self._state.manifest.dim

    @property
    def ids(self) -> Ids:
        """(N,) all ids, rising."""
        parts = [segment.ids[segment.alive] for segment in self._all()]
        return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *parts]))

    @property
    def size_bytes(self) -> int:
        """Bytes on disk, as last saved."""
        return size_on_disk(self._folder, self._state.manifest)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.floating[Any]]) -> None:
        """Add vectors; all or none.

        Args:
            ids: (N,), not negative, none of which is in the index.
            vectors: (N, dim), of length 1.

        Raises:
            ValueError: if a shape is wrong, a value is not finite, or an id is negative, given twice or in the index.
            VectorIndexError: as for `save`; of many rows, some are written to files before that.
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
        if len(ids) and ids[0] < 0:
            raise ValueError(f"id {ids[0]} is negative")
        if (ids[1:] == ids[:-1]).any():
            raise ValueError("ids are given twice")
        for segment in self._all():
            if len(there := segment.places(ids)):
                raise ValueError(f"id {segment.ids[there[0]]} is in the index already")
        self._make_room(len(ids))
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
        if not self._new and all(segment.is_whole for segment in self._state.segments):
            return
        self._require_current()
        plan = self._plan()
        codec, blob, trained_on = self._codec_for(sum(len(part) for parts in plan for part in parts))
        facts = [self._written(parts, codec, is_new=blob != self._state.manifest.codec) for parts in plan]
        generation = self._state.manifest.generation + 1
        write_manifest(self._folder, Manifest(self.dim, generation, tuple(facts), blob, trained_on))
        self._start_from(open_state(self._folder, self.dim))

    def verify(self) -> None:
        """Read everything and compare it with its checksums.

        Raises:
            VectorsDamaged: if something is damaged; it names the file.
        """
        for segment in self._state.segments:
            assert segment.facts is not None
            check_crc(self._folder / f"{segment.facts.name}.rows", segment.rows, segment.facts.rows_crc)
            segment.release()
            if segment.codes is not None:
                self._checked(segment.facts.codes, segment.codes)
        if self._state.codec is not None:
            self._checked(self._state.manifest.codec, self._state.codec)

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
            VectorsDamaged: if codes are needed and damaged.
        """
        asked = np.ascontiguousarray(queries, dtype=np.float32)
        if asked.ndim != 2 or asked.shape[1] != self.dim:
            raise ValueError(f"queries are (Q, {self.dim}), not {asked.shape}")
        if not np.isfinite(asked).all():
            raise ValueError("queries have values that are not finite")
        if top_k < 0:
            raise ValueError(f"top_k is {top_k}, which is negative")
        wanted = None if within is None else np.unique(np.asarray(within, dtype=np.int64))
        best = (
            np.full((len(asked), top_k), -np.inf, dtype=np.float32),
            np.full((len(asked), top_k), -1, dtype=np.int64),
        )
        if not len(asked) or not top_k:
            return best
        remaining = list(self._all())
        coded = [segment for segment in self._state.segments if segment.codes is not None]
        most = sum(map(len, coded)) if wanted is None else len(wanted)
        if most > max(EXACT_ROWS // 2, _CANDIDATES_PER_HIT * top_k) and coded:
            remaining = [segment for segment in remaining if segment.codes is None]
            best = self._rescored(coded, asked, top_k, wanted)
        for segment in remaining:
            for found in self._scan(segment, asked, top_k, wanted):
                best = _best([best, found], top_k)
        return best

    def _rescored(
        self, coded: Sequence[Segment], queries: Scores, top_k: int, wanted: Ids | None
    ) -> tuple[Scores, Ids]:
        """The best rows of segments that have codes: candidates by their codes, in order of their rows."""
        count = max(_CANDIDATES, _CANDIDATES_PER_HIT * top_k)
        scores = np.full((len(queries), top_k), -np.inf, dtype=np.float32)
        ids = np.full((len(queries), top_k), -1, dtype=np.int64)
        for place, candidates in enumerate(self._codes().search(queries, count, wanted)):
            likely = np.sort(candidates[candidates >= 0])
            at = [segment.places(likely) for segment in coded]
            there = np.concatenate([segment.ids[rows] for segment, rows in zip(coded, at, strict=True)])
            rows = np.concatenate([segment.rows[rows] for segment, rows in zip(coded, at, strict=True)])
            if len(there):
                kept = min(top_k, len(there))
                found, nearest = _flat(rows).search(queries[place : place + 1], kept)
                scores[place, :kept], ids[place, :kept] = found[0], there[nearest[0]]
            for segment in coded:
                segment.release()
        return scores, ids

    def _scan(
        self, segment: Segment, queries: Scores, top_k: int, wanted: Ids | None
    ) -> Iterator[tuple[Scores, Ids]]:
        """Scores and ids of the best rows of a segment, compared one by one, block after block."""
        if wanted is None and segment.is_whole and segment.facts is not None and len(segment) <= EXACT_ROWS:
            index = self._flat.get(segment.facts.name)
            if index is None:
                index = self._flat[segment.facts.name] = _flat(segment.rows)
            scores, places = index.search(queries, min(top_k, len(segment)))
            yield scores, segment.ids[places]
            return
        at = np.flatnonzero(segment.alive) if wanted is None else segment.places(wanted)
        for start in range(0, len(at), BLOCK_ROWS):
            block = at[start : start + BLOCK_ROWS]
            scores, places = _flat(segment.rows[block]).search(queries, min(top_k, len(block)))
            yield scores, segment.ids[block[places]]
        segment.release()

    def _all(self) -> Iterator[Segment]:
        yield from self._state.segments
        yield from self._new

    def _codes(self) -> Codes:
        """The codes of all segments, read when they are first needed."""
        with self._lock:
            if self._loaded is None:
                codec = self._codec()
                assert codec is not None
                codes = codec.codes()
                for segment in self._state.segments:
                    if segment.codes is not None:
                        assert segment.facts is not None
                        self._checked(segment.facts.codes, segment.codes)
                        codes.add_bytes(segment.codes, np.empty(0, dtype=np.int64))
                codes.end_adding()
                self._loaded = codes
            return self._loaded

    def _codec(self) -> Codec | None:
        from model.search.vector_codes import Codec

        if self._state.codec is None:
            return None
        self._checked(self._state.manifest.codec, self._state.codec)
        return Codec.from_bytes(self._state.codec)

    def _codec_for(self, rows: int) -> tuple[Codec | None, Blob | None, int]:
        """The codec for an index of some rows, its file, and how many rows there were when it was made."""
        from model.search.vector_codes import Codec, can_be_coded, samples_for

        old = self._state.manifest
        if rows <= max(EXACT_ROWS, _GROWTH * old.trained_on) or not can_be_coded(self.dim):
            return self._codec(), old.codec, old.trained_on
        chosen = np.sort(np.random.default_rng(0).choice(rows, samples_for(rows), replace=False))
        sample, start = [], 0
        for segment in self._all():
            mine = chosen[(chosen >= start) & (chosen < start + len(segment))] - start
            sample.append(segment.rows[np.flatnonzero(segment.alive)[mine]])
            segment.release()
            start += len(segment)
        codec = Codec.train(np.concatenate(sample), rows)
        return codec, write_blob(self._folder, f"{self._name()}.codec", codec.to_bytes()), rows

    def _written(self, parts: Sequence[Segment], codec: Codec | None, *, is_new: bool) -> SegmentFacts:
        """Write a segment of parts, where it is not one of them, and its codes, where it has none of the codec."""
        (first,) = parts[:1]
        if len(parts) == 1 and first.facts is not None and first.is_whole:
            facts = first.facts
            if facts.codes is not None and not is_new:
                return facts
        else:
            facts = write_segment(self._folder, self._name(), parts)
        if codec is None or facts.count < _CODED_ROWS:
            return replace(facts, codes=None)
        codes = codec.codes()
        for part in parts:
            if part.codes is not None and part.facts is not None and not is_new:
                self._checked(part.facts.codes, part.codes)
                codes.add_bytes(part.codes, part.ids[~part.alive])
                continue
            at = np.flatnonzero(part.alive)
            for start in range(0, len(at), BLOCK_ROWS):
                block = at[start : start + BLOCK_ROWS]
                codes.add(part.ids[block], part.rows[block])
            part.release()
        return replace(facts, codes=write_blob(self._folder, f"{self._name()}.codes", codes.to_bytes()))

    def _make_room(self, rows: int) -> None:
        """Make new rows in memory few segments, or files that are not in the index before they are saved."""
        written = [segment for segment in self._new if segment.facts is not None]
        new = [segment for segment in self._new if segment.facts is None and len(segment)]
        if new and sum(map(len, new)) + rows > SEGMENT_ROWS:
            self._require_current()
            for parts in _grouped(new):
                facts = write_segment(self._folder, self._name(), parts)
                written.append(open_segment(self._folder, facts, self.dim))
            self._new = written
        elif len(new) > _NEW_SEGMENTS:
            self._new = [*written, merged(new)]

    def _name(self) -> str:
        return f"{self._state.manifest.generation + 1:08d}-{next(self._names)}"

    def _require_current(self) -> None:
        if read_manifest(self._folder, self.dim) != self._state.manifest:
            raise VectorIndexError(f"{self._folder}: another process has changed the index; open it again")

    def _checked(self, blob: Blob | None, data: NDArray[np.uint8]) -> None:
        assert blob is not None
        check_crc(self._folder / blob.name, data, blob.crc)

    def _plan(self) -> list[list[Segment]]:
        """The segments to be, each as those that it is made of."""
        kept, small = [], []
        for segment in self._all():
            if segment.is_whole and segment.facts is not None:
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


def _flat(rows: NDArray[np.float16]) -> faiss.IndexScalarQuantizer:
    import faiss

    index = faiss.IndexScalarQuantizer(
        rows.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.add_sa_codes(np.ascontiguousarray(rows).view(np.uint8))
    return index


def _best(parts: Sequence[tuple[Scores, Ids]], top_k: int) -> tuple[Scores, Ids]:
    scores, ids = (np.hstack(both) for both in zip(*parts, strict=True))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)
