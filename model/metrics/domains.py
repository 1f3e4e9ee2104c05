"""Highlight detection by domain: the top-5 mAP of TVSum and the mAP of YouTube Highlights.

Source: the protocol of UMT (Liu et al., 2022), which FlashVTG follows. A clip ranks above another of the same
score if it comes earlier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.metrics.ragged import Ragged

TVSUM_CLIPS = 5

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class DomainScore:
    """A mean over the videos of a domain.

    Attributes:
        videos: how many.
        average_precision: in [0, 1].
    """

    videos: int
    average_precision: float


def by_domain(precision: Array, domains: tuple[str, ...]) -> dict[str, DomainScore]:
    """Average videos (V,) within their domains; domains in alphabetical order."""
    names = np.array(domains)
    return {
        name: DomainScore(int((names == name).sum()), float(precision[names == name].mean()))
        for name in sorted(set(domains))
    }


def tvsum_precision(saliency: Ragged, labels: Ragged) -> Array:
    """Average precision among the top five clips, mean over annotators.

    A clip is positive to an annotator whose label for it lies above the median of that annotator's labels;
    of an even number of labels, the lower one in the middle is the median.

    Args:
        saliency: rows of (L',) scores; what goes beyond the labels is cut, clips without a score rank last.
        labels: rows of (L, A), one row per video, L at least 1.

    Returns:
        (V,).
    """
    ascending = np.sort(labels.padded(np.inf), axis=1)  # (V, L, A)
    median = ascending[np.arange(len(ascending)), (labels.lengths - 1) // 2]  # (V, A)
    positive = labels.padded(-np.inf) > median[:, None]
    precision: Array = _trapezoids(_ranked(saliency, labels, positive)[:, :TVSUM_CLIPS]).mean(axis=1)
    return precision


def youtube_precision(saliency: Ragged, labels: Ragged) -> Array:
    """Average precision over all clips of a video; 0 for a video without a highlight.

    Args:
        saliency: rows of (L',) scores; what goes beyond the labels is cut, clips without a score are left out.
        labels: rows of (L, A), one row per video; above 0 for a highlight, 0 or -1 otherwise.

    Returns:
        (V,) mean over annotators, of whom the release has one.
    """
    precision: Array = _trapezoids(_ranked(saliency, labels, labels.padded(0) > 0)).mean(axis=1)
    return precision


def _ranked(saliency: Ragged, labels: Ragged, positive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Order (V, L, A) by descending score; what has no score comes last and is not positive."""
    clips = positive.shape[1]
    scored = np.arange(clips) < np.minimum(saliency.lengths, labels.lengths)[:, None]  # (V, L)
    scores = np.where(scored, saliency.padded(0.0, length=clips), -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(positive & scored[..., None], order[..., None], axis=1)


def _trapezoids(positive: NDArray[np.bool_]) -> Array:
    """Area under the polyline from precision 1 at recall 0 through each rank: (V, L, A) → (V, A).

    Recall is relative to the positives that are ranked.
    """
    hits = positive.cumsum(axis=1)
    recall = hits / np.maximum(hits[:, -1:], 1)
    precision = hits / np.arange(1, positive.shape[1] + 1)[:, None]
    previous = np.concatenate([np.ones_like(precision[:, :1]), precision[:, :-1]], axis=1)
    steps = np.diff(recall, axis=1, prepend=0.0)
    area: Array = (steps * (previous + precision) / 2).sum(axis=1)
    return area
