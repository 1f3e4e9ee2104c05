"""The clip grid against the published recipe, written from its description."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.decoding.grid import Sampling, clip_count, frame_indices, sample_times

CENTER = Sampling("center_frame", 2.0)
SLOWFAST = Sampling("slowfast", 2.0)


@pytest.mark.parametrize(
    ("end_s", "clip", "slowfast"),
    [
        (150.0, 75, 75),
        (150.03, 75, 76),
        (31.0, 16, 16),
        (30.7, 15, 16),
        (13.0, 7, 7),
        (0.4, 1, 1),
        (2.0, 1, 1),
    ],
)
def test_published_clip_counts(end_s, clip, slowfast):
    assert (clip_count(CENTER, end_s), clip_count(SLOWFAST, end_s)) == (clip, slowfast)


@pytest.mark.parametrize(
    ("fps", "end_s", "first"),
    [(30, 31.0, [29, 89, 149]), (25, 10.0, [24, 74, 124]), (24, 10.0, [23, 71, 119])],
)
def test_middle_frame(fps, end_s, first):
    timestamps = np.arange(round(end_s * fps)) / fps
    indices = frame_indices(sample_times(CENTER, end_s=end_s, fps=fps), timestamps)
    assert indices[:3, 0].tolist() == first


@given(st.sampled_from([15, 24, 25, 30, 50, 60]), st.integers(1, 400), st.sampled_from([0.5, 1.0, 2.0]))
def test_constant_rates_follow_the_closed_form(fps, frames, rate):
    end = Fraction(frames, fps)
    times = sample_times(Sampling("center_frame", 1 / rate), end_s=float(end), fps=fps)
    indices = frame_indices(times, np.arange(frames) / fps)[:, 0]
    for k, index in enumerate(indices):
        closed = -(-(Fraction(2 * k + 1, 2) / Fraction(rate) * fps) // 1) - 1
        assert index == min(max(closed, 0), frames - 1)


@pytest.mark.parametrize(
    ("fps", "start", "last", "distinct"),
    [
        (23.976, [0, 1, 3, 4, 6], 48, 32),
        (24, [0, 1, 3, 4, 6], 50, 32),
        (25, [0, 1, 3, 5], 52, 32),
        (29.97, [0, 1, 3, 5, 7], 59, 32),
        (30, [0, 2, 4], 59, 31),
        (60, [0, 2, 4], 59, 31),  # read as a source of 30 fps
        (15, [0, 2, 4], 59, 31),
    ],
)
def test_slowfast_frames_of_a_clip(fps, start, last, distinct):
    times = sample_times(SLOWFAST, end_s=10.0, fps=fps)
    frames = np.rint(times * 30 - 0.5).astype(int)
    assert frames.shape == (5, 32)
    assert frames[0, : len(start)].tolist() == start
    assert frames[0, -1] == last
    assert len(np.unique(frames[0])) == distinct
    np.testing.assert_array_equal(frames[3], frames[0] + 180)


def test_slowfast_clips_of_one_second():
    times = sample_times(Sampling("slowfast", 1.0), end_s=3.0, fps=25)
    frames = np.rint(times * 30 - 0.5).astype(int)
    expected = np.clip(np.linspace(0, 64 * 25 / 30 - 1, 32), 0, 29).astype(int)
    np.testing.assert_array_equal(frames, expected + 30 * np.arange(3)[:, None])


@pytest.mark.parametrize("clip_length_s", [0.5, 1.0])
def test_shorter_slowfast_clips_stay_inside_their_clip(clip_length_s):
    times = sample_times(Sampling("slowfast", clip_length_s), end_s=10, fps=30)
    starts = np.arange(len(times)) * clip_length_s
    assert times.shape == (10 / clip_length_s, 32)
    assert (times >= starts[:, None]).all()
    assert (times <= starts[:, None] + clip_length_s).all()


@given(
    st.lists(st.floats(0, 100, allow_subnormal=False), min_size=1, max_size=50, unique=True),
    st.lists(st.floats(0, 120), min_size=1, max_size=20),
)
def test_chosen_frame(shown, instants):
    timestamps = np.sort(np.array(shown))
    for instant, index in zip(instants, frame_indices(np.array(instants), timestamps), strict=True):
        earlier = [i for i, time in enumerate(timestamps) if time < instant - 1e-9]
        assert index == (earlier[-1] if earlier else 0)
