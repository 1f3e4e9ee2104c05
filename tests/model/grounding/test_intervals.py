"""Overlap of windows and its suppression, against exact arithmetic on integers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.grounding.intervals import shared_part, suppress, temporal_iou

window = st.tuples(st.integers(0, 40), st.integers(1, 20)).map(lambda w: (w[0], w[0] + w[1]))
windows = st.lists(window, min_size=1, max_size=12).map(lambda rows: np.array(rows, dtype=np.float64))


def covered(row: np.ndarray) -> set[int]:
    return set(range(int(row[0]), int(row[1])))


@given(windows, windows)
def test_iou_counts_shared_units(a, b):
    iou, part = temporal_iou(a, b), shared_part(a, b)
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            shared = len(covered(left) & covered(right))
            assert np.isclose(iou[i, j], shared / len(covered(left) | covered(right)))
            assert np.isclose(part[i, j], shared / min(len(covered(left)), len(covered(right))))


def test_empty_windows_overlap_nothing():
    empty = np.array([[3.0, 3.0]])
    assert temporal_iou(empty, empty).tolist() == [[0.0]]
    assert shared_part(empty, np.array([[0.0, 9.0]])).tolist() == [[0.0]]


@given(windows, st.data(), st.sampled_from([0.3, 0.5, 0.7]))
def test_suppression_keeps_the_best_and_drops_only_what_overlaps_it(rows, data, threshold):
    scores = np.array(
        data.draw(st.lists(st.integers(0, 5), min_size=len(rows), max_size=len(rows))), dtype=float
    )
    kept = suppress(rows, scores, threshold=threshold)
    assert kept[0] == int(np.argmax(scores))
    assert (np.diff(scores[kept]) <= 0).all()
    overlap = temporal_iou(rows, rows[kept])
    for index in range(len(rows)):
        better = scores[kept] >= scores[index]
        assert index in kept or overlap[index][better].max() >= threshold
    between = temporal_iou(rows[kept], rows[kept])
    np.fill_diagonal(between, 0)
    assert between.max() < threshold
