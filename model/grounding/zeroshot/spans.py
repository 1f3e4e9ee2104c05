"""Find moments in a curve of evidence: the spans, of any length, whose clips stand out.

Every span has log-odds of being a moment: the sum of its clips' evidence above a reference, plus a preference
for lengths of some seconds that matters only where the evidence is weak. The reference of a clip is the mean
of the curve around it (the span with the highest sum above the mean is the maximum-likelihood step in noise).
It is never far below the peak around the clip, because in a video of many scenes some are slightly similar to
the query.

The borders of the most likely span follow noise. So the span that is returned is the one with the highest
expected overlap with a moment, over the likely spans around the peak.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.grounding.zeroshot.evidence import AROUND_S, mean_around

Array = NDArray[np.floating[Any]]

# Tuned on the train split of charades_clip and on joined scenes with `lite`; docs/grounding.md lists the
# results with 0.5 and 1.5 times each value.
_WEIGHT = 2.0  # log-odds of a second whose evidence is 1 above the reference
_LENGTH_S = 8.0
_LENGTH_SPREAD = 0.5  # of the logarithm of the length
_DEPTH = 1.25  # how far below the peak the reference may be

_DENSE_CLIPS = 12  # every length up to this is tried, longer ones in steps
_LENGTH_STEP = 1.15
_SHIFTS = 8  # positions tried within one length
_NEARBY = 128  # likely spans around a peak over which the expected overlap is computed


@dataclass(frozen=True)
class Span:
    """A run of clips.

    Attributes:
        start: first clip.
        end: the clip after the last.
    """

    start: int
    end: int


@dataclass(frozen=True)
class _Candidates:
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    log_odds: NDArray[np.float64]

    def at(self, place: NDArray[Any]) -> _Candidates:
        return _Candidates(self.start[place], self.end[place], self.log_odds[place])


def find_spans(
    evidence: Array, odds: Array, *, clip_length_s: float, top_k: int, clear: Array | float = math.inf
) -> list[Span]:
    """Find the spans that stand out; the cost grows linearly with the length of the curve.

    Args:
        evidence: (N,) a curve whose noise is of the order of 1.
        odds: (N,) log-odds that each clip matches; spans are found from the highest peak down.
        clip_length_s: seconds per clip.
        top_k: maximum number of spans.
        clear: (N,) or a number, evidence that suffices for a clip on its own; a curve that lies above it
            throughout is one span.

    Returns:
        spans without overlap, in order of their peaks, highest first.
    """
    if len(evidence) == 0:
        return []
    standing = _candidates(np.asarray(evidence, dtype=np.float64), clip_length_s, np.asarray(clear))
    covered = np.zeros(len(evidence), dtype=bool)
    found: list[Span] = []
    for peak in _peaks(np.asarray(odds, dtype=np.float64)):
        if covered[peak]:
            continue
        if len(found) == top_k:
            break
        kept = _expected(standing.at(np.flatnonzero((standing.start <= peak) & (peak < standing.end))))
        found.append(kept)
        covered[kept.start : kept.end] = True
        covered[peak] = True
        if len(found) < top_k:
            apart = (standing.end <= kept.start) | (standing.start >= kept.end)
            standing = standing.at(np.flatnonzero(apart))
    return found


def _peaks(curve: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the indices of local maxima, highest first."""
    padded = np.pad(curve, 1, constant_values=-np.inf)
    peaks = np.flatnonzero((curve >= padded[:-2]) & (curve >= padded[2:]))
    return peaks[np.argsort(-curve[peaks], kind="stable")]


def _candidates(evidence: NDArray[np.float64], clip_length_s: float, clear: Array) -> _Candidates:
    count = len(evidence)
    around = math.ceil(AROUND_S / clip_length_s)
    reference = np.maximum(mean_around(evidence, around), peak_around(evidence, around) - _DEPTH)
    reference = np.minimum(reference, clear)
    total = np.concatenate([[0.0], np.cumsum(evidence - reference)]) * clip_length_s
    starts, ends = [], []
    for length in _lengths(count):
        hop = max(length // _SHIFTS, 1)
        start = np.append(np.arange(0, count - length, hop), count - length)
        starts.append(start)
        ends.append(start + length)
    # Long spans are tried in steps only; these spans have their borders exactly at a clip.
    steps = np.diff(np.pad(evidence > reference, 1).astype(np.int8))
    start = np.concatenate([*starts, np.flatnonzero(steps == 1)])
    end = np.concatenate([*ends, np.flatnonzero(steps == -1)])
    unusual = np.log((end - start) * clip_length_s / _LENGTH_S) / _LENGTH_SPREAD
    return _Candidates(start, end, _WEIGHT * (total[end] - total[start]) - unusual**2 / 2)


def peak_around(curve: NDArray[np.float64], clips: int) -> NDArray[np.float64]:
    """Return (N,) the maximum of each value and of `clips` values on either side."""
    peak = curve.copy()
    reached = 0
    while reached < clips:
        step = min(max(reached, 1), clips - reached)  # doubles the reach each time
        before = peak.copy()
        np.maximum(peak[step:], before[:-step], out=peak[step:])
        np.maximum(peak[:-step], before[step:], out=peak[:-step])
        reached += step
    return peak


def _lengths(count: int) -> list[int]:
    lengths = list(range(1, min(_DENSE_CLIPS, count) + 1))
    length = float(_DENSE_CLIPS)
    while length * _LENGTH_STEP < count:
        length *= _LENGTH_STEP
        lengths.append(round(length))
    return lengths if count <= _DENSE_CLIPS else [*lengths, count]


def _expected(near: _Candidates) -> Span:
    """Return the span with the highest expected overlap with the likely ones."""
    if len(near.start) > _NEARBY:
        near = near.at(np.argpartition(-near.log_odds, _NEARBY)[:_NEARBY])
    weights = np.exp(near.log_odds - near.log_odds.max())
    best = int((_overlap(near, near) @ weights).argmax())
    return Span(int(near.start[best]), int(near.end[best]))


def _overlap(a: _Candidates, b: _Candidates) -> NDArray[np.float64]:
    """Return (A, B) intersection over union."""
    left = np.maximum(a.start[:, None], b.start)
    right = np.minimum(a.end[:, None], b.end)
    both = np.maximum(right - left, 0)
    overlap: NDArray[np.float64] = both / ((a.end - a.start)[:, None] + (b.end - b.start) - both)
    return overlap
