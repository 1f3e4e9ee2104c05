"""Existence: how well match scores tell queries that a video answers from those that it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

REFUSED = 0.05
"""Share of the present queries that are refused where rejection is measured."""

ACCEPTED = 0.05
"""Share of the absent queries that a threshold may accept."""

_SEED = 0


@dataclass(frozen=True)
class Asked:
    """Queries and how well a model says that their videos match.

    Attributes:
        scores: (Q,) match scores.
        texts: (Q, E) pooled text vectors.
        videos: (Q,) names of the videos.
    """

    scores: Array
    texts: Array
    videos: Sequence[str]


@dataclass(frozen=True)
class Existence:
    """How well a model knows what is not there.

    Attributes:
        present, absent: numbers of queries.
        auroc: the chance that a present query scores higher than an absent one.
        rejected: share of the absent that score less than all but `REFUSED` of the present.
        clear_from: the threshold that comes with the model; None if it has none.
        found_clear: share of the present that reach it.
        false_clear: share of the absent that reach it.
        text_only: AUROC of a linear classifier that reads the sentences alone; None if all are about one video.
    """

    present: int
    absent: int
    auroc: float
    rejected: float
    clear_from: float | None
    found_clear: float | None
    false_clear: float | None
    text_only: float | None

    def to_json(self) -> dict[str, float | int | None]:
        """Plain values by name; shares as fractions."""
        return asdict(self)


def existence(present: Asked, absent: Asked, clear_from: float | None = None) -> Existence:
    """Score a model on queries that are in their videos and on some that are not; neither may be empty."""
    return Existence(
        present=len(present.scores),
        absent=len(absent.scores),
        auroc=auroc(present.scores, absent.scores),
        rejected=rejection(present.scores, absent.scores),
        clear_from=clear_from,
        found_clear=None if clear_from is None else float(np.mean(present.scores >= clear_from)),
        false_clear=None if clear_from is None else float(np.mean(absent.scores >= clear_from)),
        text_only=text_only_auroc(present, absent),
    )


def auroc(present: Array, absent: Array) -> float:
    """The chance that a present one scores higher than an absent one; ties count half.

    Args:
        present: (P,) scores.
        absent: (A,) scores.
    """
    ranked = np.sort(absent)
    below = np.searchsorted(ranked, present, side="left")
    up_to = np.searchsorted(ranked, present, side="right")
    return float((below + up_to).mean() / 2 / len(absent))


def rejection(present: Array, absent: Array, *, refused: float = REFUSED) -> float:
    """Share of the absent that is rejected by the highest threshold that refuses no more of the present than allowed.

    Args:
        present: (P,) scores.
        absent: (A,) scores.
        refused: share of the present that may score less than the threshold.
    """
    threshold = np.sort(present)[math.floor(refused * len(present))]
    return float(np.mean(absent < threshold))


def threshold_for(absent: Array, *, accepted: float = ACCEPTED) -> float:
    """The lowest threshold that at most a share of the absent reaches.

    Args:
        absent: (A,) scores.
        accepted: that share, less than 1.
    """
    highest_refused = np.sort(absent)[::-1][math.floor(accepted * len(absent))]
    return float(np.nextafter(highest_refused, np.inf))


def text_only_auroc(present: Asked, absent: Asked) -> float | None:
    """What the sentences alone give away: AUROC of ridge regression on text vectors, with no look at a video.

    Each half of the videos is judged by a fit to the other half.

    Returns:
        AUROC; None if all queries are about one video, or a half has queries of one kind only.
    """
    texts = np.concatenate([present.texts, absent.texts])
    shown = np.repeat([1.0, 0.0], [len(present.texts), len(absent.texts)])
    videos = np.array([*present.videos, *absent.videos])
    half = np.random.default_rng(_SEED).permutation(np.unique(videos))[::2]
    first = np.isin(videos, half)
    scores = np.zeros(len(shown))
    for held in (first, ~first):
        if len(np.unique(shown[~held])) < 2:
            return None
        mean = texts[~held].mean(axis=0)
        centred = texts[~held] - mean
        ridge = centred.T @ centred + np.eye(centred.shape[1])
        weights = np.linalg.solve(ridge, centred.T @ (shown[~held] - shown[~held].mean()))
        scores[held] = (texts[held] - mean) @ weights
    return auroc(scores[shown == 1], scores[shown == 0])
