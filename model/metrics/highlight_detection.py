"""Highlight detection on QVHighlights: average precision of the clips' ranking, and whether the top clip hits.

Source: Lei et al., 2021, section 5; labels are those of three annotators, from 0 (very bad) to 4 (very good).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.metrics.ragged import Ragged

LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}
"""The least label that makes a clip a highlight. Papers print `VeryGood`."""

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class HighlightScores:
    """Means over queries.

    Attributes:
        average_precision: mean over annotators too.
        hit_at_1: share of queries whose top clip is a highlight to any annotator.
    """

    average_precision: float
    hit_at_1: float


def highlight_detection(saliency: Ragged, truth: Ragged) -> dict[str, HighlightScores]:
    """Score saliency curves against the labels of annotators.

    Args:
        saliency: rows of (L',) scores, one score per clip. For precision, a row that is longer than the truth is
            cut and a shorter one is padded with zeros; a top clip beyond the truth is a miss.
        truth: rows of (L, A) labels, one row per query, L at least 1.

    Returns:
        Scores under each name of `LEVELS`.
    """
    longest = int(truth.lengths.max(initial=0))
    valid = np.arange(longest) < truth.lengths[:, None]  # (Q, L)
    labels = truth.padded(0)  # (Q, L, A)
    top = saliency.padded(-np.inf, length=max(int(saliency.lengths.max(initial=0)), 1)).argmax(axis=1)
    hits = np.where(
        (top < truth.lengths)[:, None], labels[np.arange(len(top)), np.minimum(top, longest - 1)], 0
    )  # (Q, A)
    least = np.array(list(LEVELS.values()))
    highlights = labels[..., None] >= least  # (Q, L, A, levels)
    queries, clips, annotators, levels = highlights.shape
    precision = ranking_precision(
        np.where(valid, saliency.padded(0.0, length=longest), -np.inf),
        highlights.reshape(queries, clips, annotators * levels),
    ).reshape(queries, annotators, levels)
    return {
        name: HighlightScores(
            float(precision[..., level].mean()), float((hits >= LEVELS[name]).any(axis=1).mean())
        )
        for level, name in enumerate(LEVELS)
    }


def ranking_precision(scores: Array, positive: NDArray[np.bool_]) -> Array:
    """Average precision of rankings: the mean interpolated precision over the thresholds that add positives.

    Equal scores are one threshold, however many positives they add. Precision is interpolated: at least that
    of every lower threshold.

    Args:
        scores: (Q, L); -inf marks padding.
        positive: (Q, L, K) labels, K rankings of the same scores; false in the padding.

    Returns:
        (Q, K); 0 where nothing is positive.
    """
    order = np.argsort(-scores, axis=1, kind="stable")  # (Q, L)
    scores = np.take_along_axis(scores, order, axis=1)
    positive = np.take_along_axis(positive, order[..., None], axis=1)
    clips = scores.shape[1]
    index = np.arange(clips)
    starts = np.ones(scores.shape, dtype=bool)
    np.not_equal(scores[:, 1:], scores[:, :-1], out=starts[:, 1:])
    ends = np.roll(starts, -1, axis=1)  # the last of equal scores; the first clip always starts
    start = np.maximum.accumulate(np.where(starts, index, 0), axis=1)  # (Q, L)
    hits = positive.cumsum(axis=1, dtype=np.float64)  # (Q, L, K)
    before = np.take_along_axis(hits - positive, start[..., None], axis=1)
    adds = ends[..., None] & (hits > before)
    precision = np.where(ends[..., None], hits / (index[:, None] + 1), 0.0)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    count = adds.sum(axis=1)
    total = np.where(adds, precision, 0.0).sum(axis=1)
    mean: Array = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return mean
