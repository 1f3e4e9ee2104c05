"""What all drawings of a saliency curve share: scale, peaks, time axis and colours."""

from __future__ import annotations

from collections.abc import Sequence

from model.grounding.results import Moment, Saliency
from vtg_cli.terminal.timecode import timecode

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Blue, vermilion, green, purple, orange, sky: distinguishable with every kind of colour vision.

Source: Okabe and Ito, Color Universal Design, 2008; without yellow and black, which vanish on white and on black.
"""

MOST_ROWS = 4
"""Rows of moments beside a curve."""

_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)


def score_range(scores: Sequence[float]) -> tuple[float, float]:
    """Bottom and top of a curve: 0 and 1 if the scores lie between them, else their minimum and maximum."""
    if not scores or (min(scores) >= 0 and max(scores) <= 1):
        return 0.0, 1.0
    return min(scores), max(scores)


def peak(saliency: Saliency, moment: Moment) -> tuple[float, float]:
    """The middle of the clip of a moment that matches best, in seconds, and its score; of equals, the most central.

    Args:
        saliency: the curve, of at least one clip.
        moment: a moment; that lies on the curve, or its last clip counts.
    """
    length_s, scores = saliency.clip_length_s, saliency.scores
    first = min(max(int(moment.start_s / length_s + 1e-6), 0), len(scores) - 1)
    last = min(max(int(-(-moment.end_s // length_s)), first + 1), len(scores))
    best = max(range(first, last), key=lambda k: (scores[k], -abs(2 * k - first - last + 1)))
    middle_s = (best + 0.5) * length_s
    return min(max(middle_s, moment.start_s), moment.end_s), scores[best]


def rows(spans: Sequence[tuple[float, float]]) -> list[int]:
    """The row of each moment's mark, so that none hides another: the first where it overlaps no better one.

    Args:
        spans: start and end of each mark, best first, in any unit.

    Returns:
        numbers from 0; MOST_ROWS for a mark that finds no room.
    """
    taken: list[list[tuple[float, float]]] = [[] for _ in range(MOST_ROWS)]
    found = []
    for start, end in spans:
        free = (row for row, others in enumerate(taken) if all(end <= a or b <= start for a, b in others))
        found.append(next(free, MOST_ROWS))
        if found[-1] < MOST_ROWS:
            taken[found[-1]].append((start, end))
    return found


def time_ticks(duration_s: float, most: int) -> list[tuple[float, str]]:
    """Round instants of a video to write on its time axis, from 0 on.

    Args:
        duration_s: its length in seconds.
        most: how many steps there may be.

    Returns:
        seconds and text of each.
    """
    step_s = next((step for step in _STEPS_S if duration_s / step <= most), duration_s / most)
    count = int(duration_s / step_s + 1e-6) + 1
    return [(k * step_s, timecode(k * step_s).removesuffix(".0")) for k in range(count)]


def evenly_spaced(duration_s: float, count: int) -> list[float]:
    """The middles of equal parts of a video, in seconds."""
    return [(k + 0.5) * duration_s / count for k in range(count)]
