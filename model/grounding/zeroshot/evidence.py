"""How far the clips of a video deviate from the background towards a query.

A deviation of 1 is as much as the similarity of one clip varies between everyday phrases. The scale for a high value is
measured in the same video: how far the phrases get, most of which it does not show. The longer a video, the higher its
best clip by chance, for the phrases and for the query alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from model.grounding.zeroshot.background import Background, unit_rows

Array = NDArray[np.floating[Any]]

BEST_S = 3.0
"""Seconds of the best clips that a level is the mean of: less is one lucky frame, more misses short moments."""

AROUND_S = 18.0
"""Seconds to either side of a clip whose mean is what is usual there."""

_SMOOTHING_S = 4.0
_ALIKE = 3.0  # times the usual change from one clip to the next
_REACH = 2.5  # standard deviations of the smoothing that are looked at


@dataclass(frozen=True)
class Judged:
    """A video against the background.

    Attributes:
        rows: (N, E) of length 1.
        spread: how much the similarity of a clip to different phrases varies.
        best: mean and standard deviation, over phrases, of the level of their best clips in deviations.
        usual: mean and standard deviation, over phrases and places, of their mean level around a clip.
        best_clips: how many clips a level is the mean of.
        alike: (N, 2R + 1) weights of the R clips before each, of itself, and of the R after it; 1 in all.
    """

    rows: NDArray[np.float32]
    spread: float
    best: tuple[float, float]
    usual: tuple[float, float]
    best_clips: int
    alike: NDArray[np.float64]

    def deviations(self, direction: Array) -> NDArray[np.float64]:
        """(N,) deviations towards a direction (E,) of the background."""
        deviations: NDArray[np.float64] = (self.rows @ direction / self.spread).astype(np.float64)
        return deviations

    def smooth(self, curve: Array) -> NDArray[np.float64]:
        """Average a curve (N,) over clips that are near in time and look alike, so that cuts stay sharp."""
        reach = self.alike.shape[1] // 2
        near = sliding_window_view(np.pad(curve.astype(np.float64), reach), 2 * reach + 1)  # (N, 2R + 1)
        smooth: NDArray[np.float64] = np.einsum("nr,nr->n", near, self.alike)
        return smooth

    def standing(self, level: Array) -> NDArray[np.float64]:
        """A level of best clips, from deviations to standard deviations above what the phrases reach in this video."""
        standing: NDArray[np.float64] = (level.astype(np.float64) - self.best[0]) / self.best[1]
        return standing

    def deviation(self, standing: Array) -> NDArray[np.float64]:
        """The inverse of `standing`."""
        deviation: NDArray[np.float64] = self.best[0] + self.best[1] * standing.astype(np.float64)
        return deviation

    def usual_standing(self, mean: Array) -> NDArray[np.float64]:
        """A mean of deviations around a clip, likewise against those of the phrases."""
        standing: NDArray[np.float64] = (mean.astype(np.float64) - self.usual[0]) / self.usual[1]
        return standing


def judge(video: Array, background: Background, clip_length_s: float) -> Judged:
    """Measure a video against the background.

    Args:
        video: (N, E), a row for each clip, N > 0.
        background: in the same space.
        clip_length_s: seconds per clip.

    Raises:
        ValueError: if the lengths of the rows disagree.
    """
    if video.shape[1] != len(background.mean):
        raise ValueError(
            f"rows of different spaces: video {video.shape[1]}, background {len(background.mean)}"
        )
    rows = unit_rows(video).astype(np.float32)
    levels = rows @ background.phrases.T.astype(np.float32)  # (N, M)
    spread = float(levels.std(axis=1).mean()) + 1e-6
    best_clips = min(max(round(BEST_S / clip_length_s), 1), len(rows))
    best = best_levels(levels, best_clips) / spread
    around = math.ceil(AROUND_S / clip_length_s)
    usual = mean_around(levels, around)[min(around, len(rows) // 2) :: around] / spread  # (P, M) at P places
    return Judged(
        rows=rows,
        spread=spread,
        best=(float(best.mean()), float(best.std()) + 1e-6),
        usual=(float(usual.mean()), float(usual.std()) + 1e-6),
        best_clips=best_clips,
        alike=_alike(rows, clip_length_s),
    )


def best_level(curve: Array, clips: int) -> float:
    """Mean of the highest values of a curve.

    Args:
        curve: (N,), N > 0.
        clips: how many of them; fewer where the curve is shorter.
    """
    return float(best_levels(curve[:, None], clips)[0])


def best_levels(curves: Array, clips: int) -> NDArray[np.float64]:
    """(Q,) means of the highest values of curves (N, Q), as `best_level`."""
    rest = len(curves) - min(clips, len(curves))
    return np.asarray(np.partition(curves, rest, axis=0)[rest:].mean(axis=0), dtype=np.float64)


def mean_around(curves: Array, clips: int) -> NDArray[np.float64]:
    """Mean of each value of curves (N, ...) and of `clips` on either side."""
    total = np.concatenate([np.zeros_like(curves[:1]), curves]).cumsum(axis=0, dtype=np.float64)
    place = np.arange(len(curves))
    left, right = np.maximum(place - clips, 0), np.minimum(place + clips + 1, len(curves))
    count = (right - left).reshape(-1, *(1 for _ in curves.shape[1:]))
    mean: NDArray[np.float64] = (total[right] - total[left]) / count
    return mean


def _alike(rows: NDArray[np.float32], clip_length_s: float) -> NDArray[np.float64]:
    """(N, 2R + 1) as `Judged.alike`."""
    count = len(rows)
    reach = min(math.ceil(_REACH * _SMOOTHING_S / clip_length_s), count - 1)
    distance = np.full((count, 2 * reach + 1), np.inf)
    distance[:, reach] = 0
    for step in range(1, reach + 1):
        apart = np.maximum(1 - np.einsum("ke,ke->k", rows[:-step], rows[step:]), 0)
        distance[:-step, reach + step] = apart
        distance[step:, reach - step] = apart
    # Relative to how much this video changes from clip to clip, so the encoder's scale does not matter.
    usual = float(np.median(distance[:-1, reach + 1])) if count > 1 else 0.0
    apart_s = np.arange(-reach, reach + 1) * clip_length_s
    weights = np.exp(-((distance / (_ALIKE * usual + 1e-4)) ** 2) - 0.5 * (apart_s / _SMOOTHING_S) ** 2)
    alike: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return alike
