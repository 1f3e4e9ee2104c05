"""Evidence: the deviation of a video's clips from the background towards a query.

A deviation of 1 is the variation of one clip's similarity between everyday phrases. The scale for a high
value is measured in the same video: the level that the phrases reach, most of which the video does not show.
The longer a video, the higher its best clip by chance, for the phrases and the query alike.
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
"""Seconds of best clips averaged for a level: fewer may be one lucky frame, more miss short moments."""

AROUND_S = 18.0
"""Seconds on either side of a clip over which the usual level is averaged."""

_SMOOTHING_S = 4.0
_ALIKE = 3.0  # multiple of the usual change from one clip to the next
_REACH = 2.5  # radius of the smoothing in its standard deviations


@dataclass(frozen=True)
class Judged:
    """A video measured against the background.

    Attributes:
        rows: (N, E) of length 1.
        spread: standard deviation of a clip's similarity to different phrases.
        best: mean and standard deviation, over phrases, of the level of their best clips in deviations.
        usual: mean and standard deviation, over phrases and positions, of their mean level around a clip.
        best_clips: number of clips whose mean is a level.
        alike: (N, 2R + 1) weights of the R clips before each, of itself, and of the R after it, with sum 1.
    """

    rows: NDArray[np.float32]
    spread: float
    best: tuple[float, float]
    usual: tuple[float, float]
    best_clips: int
    alike: NDArray[np.float64]

    def deviations(self, direction: Array) -> NDArray[np.float64]:
        """Return (N,) deviations towards a direction (E,) of the background."""
        deviations: NDArray[np.float64] = (self.rows @ direction / self.spread).astype(np.float64)
        return deviations

    def smooth(self, curve: Array) -> NDArray[np.float64]:
        """Average a curve (N,) over clips that are near in time and look alike, so that cuts stay sharp."""
        reach = self.alike.shape[1] // 2
        near = sliding_window_view(np.pad(curve.astype(np.float64), reach), 2 * reach + 1)  # (N, 2R + 1)
        smooth: NDArray[np.float64] = np.einsum("nr,nr->n", near, self.alike)
        return smooth

    def standing(self, level: Array) -> NDArray[np.float64]:
        """Convert a level of best clips to standard deviations above the phrases' mean in this video."""
        standing: NDArray[np.float64] = (level.astype(np.float64) - self.best[0]) / self.best[1]
        return standing

    def deviation(self, standing: Array) -> NDArray[np.float64]:
        """Invert `standing`."""
        deviation: NDArray[np.float64] = self.best[0] + self.best[1] * standing.astype(np.float64)
        return deviation

    def usual_standing(self, mean: Array) -> NDArray[np.float64]:
        """Convert a mean of deviations around a clip likewise, relative to those of the phrases."""
        standing: NDArray[np.float64] = (mean.astype(np.float64) - self.usual[0]) / self.usual[1]
        return standing


def judge(video: Array, background: Background, clip_length_s: float) -> Judged:
    """Measure a video against the background.

    Args:
        video: (N, E), one row per clip, N > 0.
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
    """Return the mean of the highest values of a curve.

    Args:
        curve: (N,), N > 0.
        clips: number of values; fewer if the curve is shorter.
    """
    return float(best_levels(curve[:, None], clips)[0])


def best_levels(curves: Array, clips: int) -> NDArray[np.float64]:
    """Return (Q,) means of the highest values of curves (N, Q), as `best_level`."""
    rest = len(curves) - min(clips, len(curves))
    return np.asarray(np.partition(curves, rest, axis=0)[rest:].mean(axis=0), dtype=np.float64)


def mean_around(curves: Array, clips: int) -> NDArray[np.float64]:
    """Return the mean of each value of curves (N, ...) and of `clips` values on either side."""
    total = np.concatenate([np.zeros_like(curves[:1]), curves]).cumsum(axis=0, dtype=np.float64)
    place = np.arange(len(curves))
    left, right = np.maximum(place - clips, 0), np.minimum(place + clips + 1, len(curves))
    count = (right - left).reshape(-1, *(1 for _ in curves.shape[1:]))
    mean: NDArray[np.float64] = (total[right] - total[left]) / count
    return mean


def _alike(rows: NDArray[np.float32], clip_length_s: float) -> NDArray[np.float64]:
    """Return (N, 2R + 1) weights, as in `Judged.alike`."""
    count = len(rows)
    reach = min(math.ceil(_REACH * _SMOOTHING_S / clip_length_s), count - 1)
    distance = np.full((count, 2 * reach + 1), np.inf)
    distance[:, reach] = 0
    for step in range(1, reach + 1):
        apart = np.maximum(1 - np.einsum("ke,ke->k", rows[:-step], rows[step:]), 0)
        distance[:-step, reach + step] = apart
        distance[step:, reach - step] = apart
    # Relative to the usual change between clips of this video, so that the encoder's scale does not matter.
    usual = float(np.median(distance[:-1, reach + 1])) if count > 1 else 0.0
    apart_s = np.arange(-reach, reach + 1) * clip_length_s
    weights = np.exp(-((distance / (_ALIKE * usual + 1e-4)) ** 2) - 0.5 * (apart_s / _SMOOTHING_S) ** 2)
    alike: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return alike
