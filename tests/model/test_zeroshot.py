"""Zero-shot grounding: what the curve and the moments must do, whatever the features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extractors.base import TextFeatures
from model.encoded import EncodedVideo
from model.intervals import shared_part
from model.zeroshot import ZeroShot, background_phrases, find_moments, is_clear_match, saliency_curve

DIM = 32


def unit(rng: np.random.Generator, count: int) -> np.ndarray:
    rows = rng.normal(size=(count, DIM))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def space() -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(3)
    return unit(rng, 1)[0], unit(rng, 100), rng


def video_showing(
    query: np.ndarray, start: int, end: int, clips: int, rng: np.random.Generator
) -> np.ndarray:
    video = unit(rng, clips)
    video[start:end] = 0.3 * video[start:end] + query
    return video


def test_curve_is_high_where_the_query_is_shown_and_low_elsewhere(space):
    query, background, rng = space
    saliency = saliency_curve(video_showing(query, 20, 30, 60, rng), query, background)
    assert saliency.shape == (60,)
    assert saliency[21:29].min() > 0.8
    assert np.delete(saliency, slice(18, 32)).max() < 0.3


def test_best_moment_is_where_the_query_is_shown(space):
    query, background, rng = space
    saliency = saliency_curve(video_showing(query, 20, 30, 60, rng), query, background)
    start_s, end_s, score = find_moments(saliency, clip_length_s=2, duration_s=120)[0]
    assert (start_s, end_s) == pytest.approx((40, 60), abs=2)
    assert is_clear_match(score)


def test_a_query_that_nothing_shows_is_no_clear_match(space):
    query, background, rng = space
    saliency = saliency_curve(unit(rng, 60), query, background)
    moments = find_moments(saliency, clip_length_s=1, duration_s=60)
    assert not is_clear_match(moments[0, 2])


def test_pictures_close_to_every_sentence_do_not_win(space):
    query, _, rng = space
    hub = unit(rng, 1)[0]
    background = unit(rng, 100) + 2 * hub
    sentence = query + 2 * hub
    video = np.concatenate([unit(rng, 10) + 3 * hub, unit(rng, 10) + 2 * query, unit(rng, 10)])
    saliency = saliency_curve(video, sentence, background)
    assert saliency[12:18].min() > saliency[:9].max()


def test_curve_does_not_depend_on_the_length_of_rows(space):
    query, background, rng = space
    video = video_showing(query, 5, 9, 20, rng)
    np.testing.assert_allclose(
        saliency_curve(video * 7, query * 3, background * 5),
        saliency_curve(video, query, background),
        rtol=1e-5,
    )


def test_rows_of_different_spaces_are_refused_with_all_lengths():
    with pytest.raises(ValueError, match=r"video 4, query 5, background 6"):
        saliency_curve(np.ones((3, 4)), np.ones(5), np.ones((2, 6)))


def test_moments_come_at_every_scale():
    saliency = np.full(100, 0.02)
    saliency[10:12] = 0.9
    saliency[40:80] = 0.8
    moments = find_moments(saliency, clip_length_s=1, duration_s=100)
    assert {tuple(moment[:2]) for moment in moments[:2]} == {(10, 12), (40, 80)}


def test_a_video_that_matches_throughout_is_one_moment():
    moments = find_moments(np.full(50, 0.9), clip_length_s=1, duration_s=49.5)
    np.testing.assert_allclose(moments, [[0, 49.5, 0.9]])


@given(
    arrays(np.float64, st.integers(1, 80), elements=st.floats(0, 1)),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.integers(1, 12),
)
def test_moments_are_ranked_disjoint_and_inside_the_video(saliency, clip_length_s, top_k):
    duration_s = len(saliency) * clip_length_s - clip_length_s / 3
    moments = find_moments(saliency, clip_length_s=clip_length_s, duration_s=duration_s, top_k=top_k)
    assert 1 <= len(moments) <= top_k
    start, end, score = moments.T
    assert (start >= 0).all()
    assert (start < end).all()
    assert (end <= duration_s).all()
    assert (np.diff(score) <= 0).all()
    assert ((score >= 0) & (score <= 1)).all()
    clips = np.stack([np.floor(start / clip_length_s), np.ceil(end / clip_length_s)], axis=1)
    overlap = shared_part(clips, clips)
    np.fill_diagonal(overlap, 0)
    assert overlap.max() < 0.5


def test_background_phrases_are_many_and_distinct():
    phrases = background_phrases()
    assert len(phrases) > 100
    assert len(set(phrases)) == len(phrases)
    assert all(phrase == phrase.strip() for phrase in phrases)


def test_a_video_kept_for_the_next_query_is_not_taken_for_another(space):
    query, background, rng = space
    asked = []

    def embed(phrases):
        asked.append(len(phrases))
        return background

    model = ZeroShot("lite", 1.0, embed)
    shown = EncodedVideo(Path("a.mp4"), 60.0, {"lite": video_showing(query, 20, 30, 60, rng)})
    other = EncodedVideo(Path("a.mp4"), 60.0, {"lite": unit(rng, 60)})
    text = TextFeatures(query[None], query)
    for video in (shown, other, shown, shown):
        ((moments, saliency),) = model.answer([video], [text], top_k=3)
        expected = saliency_curve(video.features["lite"], query, background)
        np.testing.assert_array_equal(saliency, expected)
        np.testing.assert_array_equal(
            moments, find_moments(expected, clip_length_s=1.0, duration_s=60.0, top_k=3)
        )
    assert asked == [len(background_phrases())]
