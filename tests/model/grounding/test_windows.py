"""Overlapping windows over long videos, and what becomes of moments at their borders."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.grounding.windows import Window, blend_curves, merge_moments, split_windows


@given(count=st.integers(1, 5000), length=st.integers(2, 400))
def test_windows_cover_every_clip_and_overlap_by_half(count: int, length: int) -> None:
    windows = split_windows(count, length)
    assert windows[0].start == 0
    assert windows[-1].end == count
    assert all(w.end - w.start == min(length, count) for w in windows)
    steps = [b.start - a.start for a, b in itertools.pairwise(windows)]
    assert all(0 < step <= length // 2 for step in steps)
    assert len(windows) <= count // (length // 2) + 2  # linear in the length of the video


@given(count=st.integers(1, 600), length=st.integers(2, 80), data=st.data())
def test_short_spans_fit_one_window(count: int, length: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, max(1, min(count, length // 2))))
    start = data.draw(st.integers(0, count - size))
    assert any(w.start <= start and start + size <= w.end for w in split_windows(count, length))


@given(count=st.integers(2, 400), length=st.integers(2, 60))
def test_a_curve_that_windows_agree_on_is_kept(count: int, length: int) -> None:
    curve = np.sin(np.arange(count, dtype=np.float32))
    windows = split_windows(count, length)
    blended = blend_curves([curve[w.start : w.end] for w in windows], windows)
    np.testing.assert_allclose(blended, curve, atol=1e-5)


def test_curve_is_blended() -> None:
    windows = split_windows(300, 100)
    levels = [np.full(100, index, dtype=np.float32) for index in range(len(windows))]
    blended = blend_curves(levels, windows)
    assert np.abs(np.diff(blended)).max() < 0.1  # a step would be 1


def seen(start_s: float, end_s: float, windows: list[Window]) -> list[np.ndarray]:
    """What a model that sees all it is shown says of one moment, clips of 1 s."""
    rows = []
    for window in windows:
        start, end = max(start_s, window.start), min(end_s, window.end)
        row = [[start - window.start, end - window.start, 0.9]] if end > start else []
        rows.append(np.array(row, dtype=np.float32).reshape(-1, 3))
    return rows


@given(start=st.integers(0, 380), length=st.integers(1, 200))
def test_moments_across_borders(start: int, length: int) -> None:
    windows = split_windows(400, 100)
    end = min(start + length, 400)
    merged = merge_moments(seen(start, end, windows), windows, clip_length_s=1.0)
    assert len(merged) > 0
    overlaps = [min(end, b) - max(start, a) for a, b, _ in merged.tolist()]
    unions = [max(end, b) - min(start, a) for a, b, _ in merged.tolist()]
    # Nothing but the whole moment is left, give or take the clip by which a border is told.
    assert all(overlap >= union - 2 for overlap, union in zip(overlaps, unions, strict=True))


def test_single_window_moments() -> None:
    rows = np.array([[0, 5, 0.9], [20, 30, 0.5]], dtype=np.float32)
    np.testing.assert_array_equal(merge_moments([rows], [Window(0, 30)], clip_length_s=2.0), rows)


def test_the_best_come_first() -> None:
    windows = split_windows(30, 20)
    rows = [np.array([[3, 6, 0.2]], np.float32), np.array([[13, 15, 0.7]], np.float32)]
    assert merge_moments(rows, windows, clip_length_s=1.0)[:, 2].tolist() == pytest.approx([0.7, 0.2])
