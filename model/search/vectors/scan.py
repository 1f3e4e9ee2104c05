"""Exact search: rows compared with queries one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from model.search.vectors.files import BLOCK_ROWS, Segment

if TYPE_CHECKING:
    import faiss

_READERS = 2  # threads; each brings the surroundings of its rows into memory

Scores = NDArray[np.float32]
Ids = NDArray[np.int64]
Found = tuple[Scores, Ids]


def flat(rows: NDArray[np.float16]) -> faiss.IndexScalarQuantizer:
    """Rows (N, dim) ready to be compared; they are copied."""
    import faiss

    index = faiss.IndexScalarQuantizer(
        rows.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.add_sa_codes(np.ascontiguousarray(rows).view(np.uint8))
    return index


def nothing(queries: Scores, top_k: int) -> Found:
    """(Q, top_k) scores and ids of no rows at all."""
    shape = len(queries), top_k
    return np.full(shape, -np.inf, dtype=np.float32), np.full(shape, -1, dtype=np.int64)


def scan(segment: Segment, at: NDArray[np.intp], queries: Scores, top_k: int) -> Iterator[Found]:
    """Scores and ids of the best rows among those at some places of a segment, block after block."""
    for start in range(0, len(at), BLOCK_ROWS):
        block = at[start : start + BLOCK_ROWS]
        scores, places = flat(segment.rows[block]).search(queries, min(top_k, len(block)))
        yield scores, segment.ids[block[places]]
    segment.release()


def rescored(
    segments: Sequence[Segment], places: Sequence[NDArray[np.int64]], query: Scores, top_k: int
) -> Found:
    """The best of some candidates for one query (1, dim), by their rows.

    Args:
        segments: where they are.
        places: where in each segment, rising.
    """
    there = np.concatenate([segment.ids[at] for segment, at in zip(segments, places, strict=True)])
    if not len(there):
        return nothing(query, top_k)
    chosen = [(segment, at) for segment, at in zip(segments, places, strict=True) if len(at)]
    with ThreadPoolExecutor(_READERS) as pool:
        rows = list(pool.map(lambda one: one[0].picked(one[1]), chosen))
    scores, nearest = flat(np.concatenate(rows)).search(query, min(top_k, len(there)))
    return scores, there[nearest]


def best(parts: Sequence[Found], top_k: int) -> Found:
    """The best of several finds for the same queries, falling."""
    scores, ids = (np.hstack(both) for both in zip(*parts, strict=True))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)
