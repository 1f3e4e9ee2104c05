"""Saliency curves of a bounded length."""

from __future__ import annotations

import math

from model.grounding.results import Saliency


def thinned(saliency: Saliency, duration_s: float, most: int) -> tuple[list[float], list[float]]:
    """A curve with no more points than asked for, and all high peaks at their time.

    Args:
        saliency: the curve.
        duration_s: length of the video in seconds.
        most: number of points.

    Returns:
        times in seconds (middles of clips) and values. Each point is the highest of as many successive clips as needed.
    """
    scores, length_s = saliency.scores, saliency.clip_length_s
    step = max(math.ceil(len(scores) / most), 1)
    best = [
        max(range(start, min(start + step, len(scores))), key=scores.__getitem__)
        for start in range(0, len(scores), step)
    ]
    starts_s = [index * length_s for index in best]
    times_s = [round((start_s + min(start_s + length_s, duration_s)) / 2, 3) for start_s in starts_s]
    return times_s, [round(scores[index], 4) for index in best]
