"""Moment retrieval: recall at 1, mean IoU, and average precision over a range of IoU, by length of moment.

The measures are those of QVHighlights (Lei et al., 2021, section 5), as FlashVTG reports them too for
Charades-STA and TACoS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.metrics.ragged import Ragged

AP_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(10, 20))
RECALL_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(6, 20))
MAX_WINDOWS = 10
LENGTH_RANGES_S = {
    "full": (-np.inf, np.inf),
    "long": (30.0, 150.0),
    "middle": (10.0, 30.0),
    "short": (0.0, 10.0),
}
"""Lengths of moments in seconds: more than the first, at most the second. A longer one is in `full` alone."""

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class RetrievalScores:
    """Means over queries; all 0 where there are no queries.

    Attributes:
        queries: how many have a moment of this length.
        average_precision: (10,) at `AP_THRESHOLDS`.
        recall_at_1: (14,) share of queries whose first window reaches each of `RECALL_THRESHOLDS`.
        mean_iou: of the first window with the moment it fits best.
    """

    queries: int
    average_precision: Array
    recall_at_1: Array
    mean_iou: float


def moment_retrieval(
    predictions: Ragged,
    truth: Ragged,
    *,
    queries: NDArray[np.intp] | None = None,
    undefined_iou: float = 0.0,
) -> dict[str, RetrievalScores]:
    """Score windows against moments, for moments of each length.

    A query counts for a length if it has such a moment. Its other moments are then left out, its predictions
    are not, so that even perfect predictions score below 1 on queries that have moments of several lengths.

    Args:
        predictions: rows of (K, 3) start and end in seconds, score, as listed: the first is the one that
            recall and IoU are about; the first ten, by descending score, that precision is about. An empty
            row finds nothing.
        truth: rows of (M, 2) start and end in seconds, M at least 1, one row per query.
        queries: (R,) which row of `truth` each row of `predictions` answers; None: one each, in order. The
            rows of a query are pooled for precision, ten windows from each; the last is the one whose first
            window counts.
        undefined_iou: what an IoU of 0 / 0 is. The published evaluators let it pass every threshold (`inf`).

    Returns:
        Scores under each name of `LENGTH_RANGES_S`.
    """
    if queries is None:
        queries = np.arange(len(truth.lengths))
    ranked = _ranked_windows(predictions, queries, len(truth.lengths))
    first = _first_windows(predictions, queries, len(truth.lengths))
    length_s = truth.values[:, 1] - truth.values[:, 0]
    scores = {}
    for name, (low, high) in LENGTH_RANGES_S.items():
        in_range = truth.where((length_s > low) & (length_s <= high))
        rows = np.flatnonzero(in_range.lengths)
        if not len(rows):
            nothing = np.zeros(len(AP_THRESHOLDS)), np.zeros(len(RECALL_THRESHOLDS))
            scores[name] = RetrievalScores(0, *nothing, 0.0)
            continue
        moments = in_range.take(rows)
        precision = average_precision(ranked.take(rows), moments, AP_THRESHOLDS, undefined_iou=undefined_iou)
        iou = first_window_iou(first[rows], moments, undefined_iou=undefined_iou)
        reached = iou[:, None] >= np.array(RECALL_THRESHOLDS)
        scores[name] = RetrievalScores(
            len(rows), precision.mean(axis=0), reached.mean(axis=0), float(iou.mean())
        )
    return scores


def average_precision(
    ranked: Ragged, truth: Ragged, thresholds: tuple[float, ...], *, undefined_iou: float = 0.0
) -> Array:
    """Average precision of each query: the area under its interpolated precision–recall curve.

    From the best prediction down, each takes of the moments still free the one it overlaps most, the later
    one of equals, if their IoU reaches the threshold; else it is a false positive.

    Args:
        ranked: rows of (K, 2) start and end, best first.
        truth: rows of (M, 2) start and end, M at least 1.
        thresholds: T of them, ascending and above 0.
        undefined_iou: what an IoU of 0 / 0 is.

    Returns:
        (Q, T).
    """
    # Moments backwards, so that argmax finds the later one of equals.
    moments = truth.padded(np.nan)[:, ::-1]  # (Q, M, 2)
    iou = temporal_iou(ranked.padded(np.nan)[:, :, None], moments[:, None], undefined_iou)  # (Q, K, M)
    found = _match(np.nan_to_num(iou, nan=-1.0, posinf=np.inf), thresholds)  # (Q, T, K)
    hits = found.cumsum(axis=-1)
    precision = hits / np.arange(1, found.shape[-1] + 1)
    precision = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    recall = hits / truth.lengths[:, None, None]
    area: Array = (np.diff(recall, axis=-1, prepend=0.0) * precision).sum(axis=-1)
    return area


def first_window_iou(first: Array, truth: Ragged, *, undefined_iou: float = 0.0) -> Array:
    """IoU of each query's first window with the moment that it fits best, the earlier one of equals.

    The value is the intersection over the span from the earlier start to the later end, as published: the
    IoU, but for rounding.

    Args:
        first: (Q, 2) start and end; nan where there is none, which gives 0.
        truth: rows of (M, 2), M at least 1.
        undefined_iou: what an IoU of 0 / 0 is while the moment is chosen; the value returned is then 0.

    Returns:
        (Q,) in [0, 1].
    """
    moments = truth.padded(np.nan)  # (Q, M, 2)
    iou = temporal_iou(first[:, None], moments, undefined_iou)  # (Q, M)
    best = np.nan_to_num(iou, nan=-1.0, posinf=np.inf).argmax(axis=1)
    chosen = moments[np.arange(len(moments)), best]  # (Q, 2)
    shared = np.maximum(0, np.minimum(first[:, 1], chosen[:, 1]) - np.maximum(first[:, 0], chosen[:, 0]))
    span = np.maximum(first[:, 1], chosen[:, 1]) - np.minimum(first[:, 0], chosen[:, 0])
    iou_of_best: Array = np.divide(shared, span, out=np.zeros_like(shared), where=span > 0)
    return iou_of_best


def _match(iou: Array, thresholds: tuple[float, ...]) -> NDArray[np.bool_]:
    """Which predictions find a moment: (Q, K, M) → (Q, T, K), predictions best first."""
    queries, windows, moments = iou.shape
    levels = np.array(thresholds)[:, None]  # (T, 1)
    free = np.ones((queries, len(thresholds), moments), dtype=bool)
    found = np.zeros((queries, len(thresholds), windows), dtype=bool)
    for rank in range(windows):
        # Most predictions reach no moment at any threshold.
        rows = np.flatnonzero(iou[:, rank].max(axis=-1) >= thresholds[0])
        overlap = iou[rows, rank, None]  # (q, 1, M)
        overlap = np.where(free[rows] & (overlap >= levels), overlap, -1.0)  # (q, T, M)
        best = overlap.argmax(axis=-1)[..., None]
        hit = np.take_along_axis(overlap, best, axis=-1)[..., 0] >= 0  # (q, T)
        found[rows, :, rank] = hit
        query, level = np.nonzero(hit)
        free[rows[query], level, best[query, level, 0]] = False
    return found


def temporal_iou(a: Array, b: Array, undefined: float = 0.0) -> Array:
    """IoU of windows (..., 2); nan where one is padding, `undefined` where nothing is divided by nothing.

    A window that ends before it starts overlaps nothing, yet its length can cancel the other's.
    """
    shared = np.maximum(0, np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]))
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - shared
    overlap: Array = np.divide(shared, union, out=np.full_like(union, undefined), where=union != 0)
    return overlap


def _ranked_windows(predictions: Ragged, queries: NDArray[np.intp], count: int) -> Ragged:
    """The first ten windows of every row, best first; equals as listed: rows of (K, 2), one row per query."""
    cut = predictions.where(predictions.position < MAX_WINDOWS)
    query = queries[cut.row]
    order = np.lexsort((-cut.values[:, 2], query))
    return Ragged(cut.values[order, :2], np.bincount(query, minlength=count))


def _first_windows(predictions: Ragged, queries: NDArray[np.intp], count: int) -> Array:
    """(Q, 2) the first window of each query's last row; nan where it lists none."""
    last = np.zeros(count, dtype=np.intp)
    last[queries] = np.arange(len(queries))
    return predictions.take(last).padded(np.nan, length=1)[:, 0, :2]
