"""The metrics, spelled out query by query in exact fractions: slow, plain, and apart from the code under test."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from model.metrics.ragged import Ragged

Window = Sequence[int]
AP_LEVELS = [Fraction(step, 20) for step in range(10, 20)]
RECALL_LEVELS = [Fraction(step, 20) for step in range(6, 20)]
RANGES = {"short": (0, 10), "middle": (10, 30), "long": (30, 150)}


def ragged(rows: Sequence[Sequence[object]], *width: int) -> Ragged:
    """Rows end to end; `width` is the shape of an entry."""
    entries = [entry for row in rows for entry in row]
    return Ragged(
        np.array(entries, dtype=float).reshape(-1, *width),
        np.array([len(row) for row in rows], dtype=np.intp),
    )


def mean(values: Sequence[Fraction | int | bool]) -> Fraction:
    return sum(map(Fraction, values), Fraction(0)) / len(values)


def iou(a: Window, b: Window) -> Fraction | None:
    """None for 0 / 0."""
    shared = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    union = a[1] - a[0] + b[1] - b[0] - shared
    return Fraction(shared, union) if union else None


def average_precision(predictions, moments, level, *, forgiving: bool) -> Fraction:
    """Of one query; a forgiving 0 / 0 passes every level, otherwise it is 0."""
    free = set(range(len(moments)))
    found = []
    for window in sorted(predictions, key=lambda w: -w[2]):
        reached = []
        for index in free:
            overlap = iou(window, moments[index])
            if overlap is None:
                overlap = Fraction(2 if forgiving else 0)
            if overlap >= level:
                reached.append((overlap, index))
        found.append(bool(reached))
        if reached:
            free.remove(max(reached)[1])
    precision = [Fraction(sum(found[: k + 1]), k + 1) for k in range(len(found))]
    return sum((max(precision[k:]) for k in range(len(found)) if found[k]), Fraction(0)) / len(moments)


def first_window_iou(window: Window | None, moments, *, forgiving: bool) -> Fraction:
    if window is None:
        return Fraction(0)
    overlaps = [iou(window, moment) for moment in moments]
    if forgiving and None in overlaps:
        return Fraction(0)
    return max(overlap or Fraction(0) for overlap in overlaps)


def moment_retrieval(predictions, truth, *, forgiving: bool) -> dict[str, tuple]:
    """Name of a range → queries, average precision a level, recall a level, mean IoU."""
    scores = {}
    for name in ("full", *RANGES):
        queries = []
        for windows, moments in zip(predictions, truth, strict=True):
            kept = [m for m in moments if name == "full" or RANGES[name][0] < m[1] - m[0] <= RANGES[name][1]]
            if kept:
                queries.append((windows, kept))
        if not queries:
            scores[name] = (0, [0] * 10, [0] * 14, 0)
            continue
        first = [
            first_window_iou(windows[0] if windows else None, kept, forgiving=forgiving)
            for windows, kept in queries
        ]
        scores[name] = (
            len(queries),
            [
                mean([average_precision(w[:10], m, level, forgiving=forgiving) for w, m in queries])
                for level in AP_LEVELS
            ],
            [mean([value >= level for value in first]) for level in RECALL_LEVELS],
            mean(first),
        )
    return scores


def ranking_precision(scores: Sequence[float], positive: Sequence[bool]) -> Fraction:
    """Mean, over the thresholds at which another positive clip is found, of the interpolated precision."""
    thresholds = sorted(set(scores))
    chosen = {t: [p for s, p in zip(scores, positive, strict=True) if s >= t] for t in thresholds}
    precision = {t: Fraction(sum(chosen[t]), len(chosen[t])) for t in thresholds}
    adding = [t for t in thresholds if any(p for s, p in zip(scores, positive, strict=True) if s == t and p)]
    return mean([max(precision[u] for u in thresholds if u <= t) for t in adding]) if adding else Fraction(0)


def highlight_detection(saliency, truth, least: int) -> tuple[Fraction, Fraction]:
    """Average precision and Hit1 at one level."""
    precisions, hits = [], []
    for curve, labels in zip(saliency, truth, strict=True):
        fitted = [*curve[: len(labels)], *[0] * (len(labels) - len(curve))]
        precisions += [
            ranking_precision(fitted, [label >= least for label in annotator])
            for annotator in zip(*labels, strict=True)
        ]
        top = curve.index(max(curve))
        hits.append(top < len(labels) and max(labels[top]) >= least)
    return mean(precisions), mean(hits)


def trapezoids(ranked: Sequence[bool]) -> Fraction:
    area, precision, found = Fraction(0), Fraction(1), 0
    for rank, positive in enumerate(ranked, start=1):
        found += positive
        now = Fraction(found, rank)
        if positive:
            area += (precision + now) / 2 / sum(ranked)
        precision = now
    return area


def ranked_labels(curve: Sequence[float], labels: Sequence[int]) -> list[int]:
    scored = list(zip(curve, labels, strict=False))
    return [label for _, label in sorted(scored, key=lambda pair: -pair[0])]


def tvsum(curve, labels) -> Fraction:
    areas = []
    for annotator in zip(*labels, strict=True):
        median = statistics.median_low(annotator)
        areas.append(trapezoids([label > median for label in ranked_labels(curve, annotator)[:5]]))
    return mean(areas)


def youtube(curve, labels) -> Fraction:
    return trapezoids([label > 0 for label in ranked_labels(curve, [label for (label,) in labels])])
