"""Unit vectors with ids, kept in a folder: which of them have the largest inner products with a query?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from extractors.errors import UsageError, reason_of
from model.search.vectors.codes import Codec, Coded, Codes
from model.search.vectors.files import (
    Segment,
    State,
    VectorIndexError,
    merged,
    open_state,
    size_on_disk,
)
from model.search.vectors.scan import Found, Ids, Scores, best, flat, nothing, rescored, scan
from model.search.vectors.writing import EXACT_ROWS, SEGMENT_ROWS, Writer

if TYPE_CHECKING:
    import faiss

_NEW_SEGMENTS = 64
_SCANNED_ROWS = EXACT_ROWS // 2  # as fast as a search by codes
_CANDIDATES, _ROWS_PER_CANDIDATE, _CANDIDATES_PER_HIT = 1024, 2048, 4  # whose rows are read
_ROUGH_CANDIDATES, _ROWS_PER_ROUGH_CANDIDATE = 16_384, 100  # whose fine codes are read


class VectorIndex:
    """Unit vectors with integer ids, kept in a folder, compared by their inner product.

    Rows are stored in half precision. `search` sees at once what is added and removed; other processes see it if they
    open the folder after `save`. One process may write at a time; it has to open the index after it became the writer.

    Up to `EXACT_ROWS` rows, all are compared with a query. Where there are more, codes of the rows find some thousands
    of candidates, and those are compared. How rows are coded is learnt by `save` from a sample of them, and learnt
    again when there are four times as many.

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
        self._writer = Writer(self._folder, state)
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
        """Write what was added and removed, and codes that are missing or of an older version of vtg.

        A kill at any moment leaves either the last state or this one.

        Raises:
            VectorIndexError: if another process has saved since this was opened, or a file cannot be written.
        """
        is_saved = not self._new and all(segment.is_whole for segment in self._state.segments)
        if is_saved and not self._writer.needs_codec(len(self)):
            return
        self._writer.save(list(self._all()))
        self._start_from(open_state(self._folder, self.dim))

    def verify(self) -> None:
        """Read everything and compare it with its checksums.

        Raises:
            VectorsDamaged: if something is damaged; it names the file.
        """
        for segment in self._state.segments:
            segment.check()
        if self._state.codec is not None:
            self._state.codec.read()

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
    ) -> Found:
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
        if not len(asked) or not top_k:
            return nothing(asked, top_k)
        coded = [segment for segment in self._state.segments if segment.codes is not None]
        most = sum(map(len, coded)) if wanted is None else len(wanted)
        by_codes = bool(coded) and most > max(_SCANNED_ROWS, _CANDIDATES_PER_HIT * top_k)
        found = self._by_codes(coded, asked, top_k, wanted) if by_codes else nothing(asked, top_k)
        for segment in self._all():
            if not by_codes or segment.codes is None:
                for more in self._scanned(segment, asked, top_k, wanted):
                    found = best([found, more], top_k)
        return found

    def _by_codes(self, coded: list[Segment], queries: Scores, top_k: int, wanted: Ids | None) -> Found:
        """The best rows of segments that have codes."""
        codes, starts = self._codes(coded)
        places = None
        if wanted is not None or not all(segment.is_whole for segment in coded):
            at = [np.flatnonzero(one.alive) if wanted is None else one.places(wanted) for one in coded]
            places = np.concatenate([start + mine for start, mine in zip(starts, at, strict=False)])
        searched = int(starts[-1]) if places is None else len(places)
        count = max(_CANDIDATES, searched // _ROWS_PER_CANDIDATE, _CANDIDATES_PER_HIT * top_k)
        rough_count = max(
            _ROUGH_CANDIDATES, searched // _ROWS_PER_ROUGH_CANDIDATE, _CANDIDATES_PER_HIT * count
        )
        parts = []
        for query, found in zip(queries, codes.search(queries, rough_count, count, places), strict=True):
            likely = np.split(found, np.searchsorted(found, starts[1:-1]))
            at = [mine - start for mine, start in zip(likely, starts, strict=False)]
            parts.append(best([nothing(query[None], top_k), rescored(coded, at, query[None], top_k)], top_k))
        scores, ids = zip(*parts, strict=True)
        return np.concatenate(scores), np.concatenate(ids)

    def _scanned(self, segment: Segment, queries: Scores, top_k: int, wanted: Ids | None) -> Iterator[Found]:
        """The best rows of a segment, compared one by one."""
        if wanted is not None:
            yield from scan(segment, segment.places(wanted), queries, top_k)
        elif (
            segment.facts is None
            or segment.codes is not None
            or not segment.is_whole
            or self._writer.needs_codec(len(self))  # too many to keep
        ):
            yield from scan(segment, np.flatnonzero(segment.alive), queries, top_k)
        else:
            # Asked again and again, so its rows stay in memory.
            name = segment.facts.name
            if name not in self._flat:
                self._flat[name] = flat(segment.rows)
            scores, places = self._flat[name].search(queries, min(top_k, len(segment)))
            yield scores, segment.ids[places]

    def _all(self) -> Iterator[Segment]:
        yield from self._state.segments
        yield from self._new

    def _codes(self, coded: list[Segment]) -> tuple[Codes, NDArray[np.int64]]:
        """The codes of all rows that have some, read when they are first needed, and where those of each segment start.

        The last start is how many codes there are.
        """
        starts = np.cumsum([0, *(len(segment.ids) for segment in coded)])
        with self._lock:
            if self._loaded is None:
                assert self._state.codec is not None
                codec = Codec.from_bytes(self._state.codec.read())
                self._loaded = Codes(codec, _read_codes(codec, coded), int(starts[-1]))
            return self._loaded, starts

    def _make_room(self, rows: int) -> None:
        """Make what is new in memory few segments, or files that are not in the index before they are saved."""
        written = [segment for segment in self._new if segment.facts is not None]
        new = [segment for segment in self._new if segment.facts is None and len(segment)]
        if new and sum(map(len, new)) + rows > SEGMENT_ROWS:
            self._new = [*written, *self._writer.write(new)]
        elif len(new) > _NEW_SEGMENTS:
            self._new = [*written, merged(new)]


def _read_codes(codec: Codec, coded: list[Segment]) -> Iterator[Coded]:
    for segment in coded:
        assert segment.codes is not None
        yield codec.coded(segment.codes.read(), len(segment.ids))
        segment.codes.release()
