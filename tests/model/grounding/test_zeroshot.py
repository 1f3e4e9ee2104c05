"""Zero-shot grounding: what the curve and the moments must do, whatever the features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extractors.features import TextFeatures
from model.grounding.encoded import EncodedVideo
from model.grounding.zeroshot.background import background_phrases, make_background, unit_rows
from model.grounding.zeroshot.blind_spots import blind_spot
from model.grounding.zeroshot.calibration import CLEAR, calibration
from model.grounding.zeroshot.class_shares import Classes, recognised_classes
from model.grounding.zeroshot.class_words import named_classes
from model.grounding.zeroshot.evidence import judge, mean_around
from model.grounding.zeroshot.method import ZeroShot, find_moments
from model.grounding.zeroshot.spans import peak_around
from model.metrics.moment_retrieval import temporal_iou

DIM = 32


def unit(rng: np.random.Generator, count: int) -> np.ndarray:
    rows = rng.normal(size=(count, DIM))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def space() -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(3)
    return unit(rng, 1)[0], unit(rng, 100), rng


def scenes(rng: np.random.Generator, clips: int) -> np.ndarray:
    """Scenes of ten clips that look alike."""
    rows = np.repeat(unit(rng, -(-clips // 10)), 10, axis=0)[:clips]
    return rows + 0.1 * unit(rng, clips)


def video_showing(
    query: np.ndarray, start: int, end: int, clips: int, rng: np.random.Generator
) -> np.ndarray:
    video = scenes(rng, clips)
    video[start:end] = 0.3 * video[start:end] + query
    return video


def grounded(
    video: np.ndarray,
    query: np.ndarray,
    background: np.ndarray,
    *,
    clip_length_s: float = 1.0,
    top_k: int = 5,
) -> tuple[np.ndarray, np.ndarray]:
    """Moments and saliency of a query in a video."""
    model = ZeroShot("clip", clip_length_s, lambda _: background)
    encoded = EncodedVideo(Path("v.mp4"), len(video) * clip_length_s, {"clip": video})
    ((moments, saliency),) = model.answer([encoded], [TextFeatures(query[None], query)], top_k=top_k)
    return moments, saliency


def test_curve_follows_the_query(space):
    query, background, rng = space
    _, saliency = grounded(video_showing(query, 20, 30, 60, rng), query, background)
    assert saliency.shape == (60,)
    assert saliency[21:29].min() > 0.8
    assert np.delete(saliency, slice(18, 32)).max() < 0.5


def test_best_moment_is_where_the_query_is_shown(space):
    query, background, rng = space
    moments, _ = grounded(video_showing(query, 20, 30, 60, rng), query, background, clip_length_s=2)
    start_s, end_s, score = moments[0]
    assert (start_s, end_s) == pytest.approx((40, 60), abs=2)
    assert score >= CLEAR


def test_constants_are_seconds(space):
    query, background, rng = space
    coarse = video_showing(query, 10, 20, 40, rng)
    fine = np.repeat(coarse, 4, axis=0)
    (slow, *_), _ = grounded(coarse, query, background, clip_length_s=2)
    (fast, *_), _ = grounded(fine, query, background, clip_length_s=0.5)
    np.testing.assert_allclose(slow[:2], fast[:2], atol=1)


def test_absent_query_is_not_clear(space):
    query, background, rng = space
    moments, _ = grounded(scenes(rng, 60), query, background)
    assert moments[0, 2] < CLEAR


def test_hours_of_other_content(space):
    query, background, rng = space
    scores = [grounded(scenes(rng, 7200), query, background)[0][0, 2] for _ in range(3)]
    assert max(scores) < CLEAR


def test_several_moments_are_all_found(space):
    query, background, rng = space
    video = scenes(rng, 300)
    shown = [(20, 28), (90, 120), (200, 206)]
    for start, end in shown:
        video[start:end] = 0.3 * video[start:end] + query
    moments, _ = grounded(video, query, background, top_k=3)
    overlap = temporal_iou(moments[:, None, :2], np.array(shown, dtype=float))
    assert (overlap.max(axis=0) > 0.8).all()


def test_similar_scenes_are_not_joined(space):
    query, background, rng = space
    video = scenes(rng, 60)
    scene = unit(rng, 6)
    for index, (weight, other) in enumerate(zip((0.3, 0.5, 2.5, 0.5, 0.3, 0.0), scene, strict=True)):
        rows = slice(10 * index, 10 * index + 10)
        video[rows] = 0.1 * video[rows] + other + weight * query
    moments, _ = grounded(video, query, background)
    np.testing.assert_allclose(moments[0, :2], [20, 30], atol=1)


def test_whole_video_is_one_moment(space):
    query, background, rng = space
    moments, _ = grounded(video_showing(query, 0, 90, 90, rng), query, background)
    np.testing.assert_allclose(moments[0, :2], [0, 90], atol=2)


def test_generic_frames_do_not_win(space):
    query, _, rng = space
    hub = unit(rng, 1)[0]
    background = unit(rng, 100) + 2 * hub
    sentence = query + 2 * hub
    video = np.concatenate([unit(rng, 10) + 3 * hub, unit(rng, 10) + 2 * query, unit(rng, 10)])
    _, saliency = grounded(video, sentence, background)
    assert saliency[12:18].min() > saliency[:9].max()


def test_answers_do_not_depend_on_the_length_of_rows(space):
    query, background, rng = space
    video = video_showing(query, 5, 9, 20, rng)
    for ours, theirs in zip(
        grounded(video * 7, query * 3, background * 5), grounded(video, query, background), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_answers_do_not_depend_on_the_axes_of_the_space(space):
    query, background, rng = space
    video = video_showing(query, 5, 9, 20, rng)
    turn, _ = np.linalg.qr(rng.normal(size=(DIM, DIM)))
    for ours, theirs in zip(
        grounded(video @ turn, query @ turn, background @ turn),
        grounded(video, query, background),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_features_without_a_calibration_have_that_of_clip():
    assert calibration("open_clip:ViT-L-14/openai") == calibration("clip") != calibration("lite")


def test_rows_of_different_spaces():
    background = make_background(np.eye(6))
    with pytest.raises(ValueError, match=r"video 4, background 6"):
        judge(np.ones((3, 4)), background, 1.0)
    with pytest.raises(ValueError, match=r"query 5, background 6"):
        background.direction(np.ones(5))


def test_a_curve_alone_gives_moments_too():
    saliency = np.full(100, 0.02)
    saliency[10:14] = 0.9
    saliency[40:80] = 0.8
    moments = find_moments(saliency, clip_length_s=1, duration_s=100)
    assert {tuple(moment[:2]) for moment in moments[:2]} == {(10, 14), (40, 80)}


def test_high_curve_is_one_moment():
    moments = find_moments(np.full(50, 0.9), clip_length_s=1, duration_s=49.5)
    np.testing.assert_allclose(moments, [[0, 49.5, 0.9]])


@given(
    arrays(np.float64, st.integers(1, 80), elements=st.floats(0, 1)),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.integers(1, 12),
)
def test_moments_are_ranked_and_disjoint(saliency, clip_length_s, top_k):
    duration_s = len(saliency) * clip_length_s - clip_length_s / 3
    moments = find_moments(saliency, clip_length_s=clip_length_s, duration_s=duration_s, top_k=top_k)
    assert 1 <= len(moments) <= top_k
    start, end, score = moments.T
    assert (start >= 0).all()
    assert (start < end).all()
    assert (end <= duration_s).all()
    assert (np.diff(score) <= 0).all()
    assert ((score >= 0) & (score <= 1)).all()
    in_order = moments[np.argsort(start)]
    assert (in_order[1:, 0] >= in_order[:-1, 1] - 1e-9).all()


def test_background_phrases_are_many_and_distinct():
    phrases = background_phrases()
    assert len(phrases) > 100
    assert len(set(phrases)) == len(phrases)
    assert all(phrase == phrase.strip() for phrase in phrases)


def test_kept_video_is_not_confused(space):
    query, background, rng = space
    asked = []

    def embed(phrases):
        asked.append(len(phrases))
        return background

    model = ZeroShot("clip", 1.0, embed)
    shown = EncodedVideo(Path("a.mp4"), 60.0, {"clip": video_showing(query, 20, 30, 60, rng)})
    other = EncodedVideo(Path("a.mp4"), 60.0, {"clip": unit(rng, 60)})
    text = TextFeatures(query[None], query)
    for video in (shown, other, shown, shown):
        ((moments, saliency),) = model.answer([video], [text], top_k=3)
        expected = grounded(video.features["clip"], query, background, top_k=3)
        np.testing.assert_array_equal(moments, expected[0])
        np.testing.assert_array_equal(saliency, expected[1])
    assert asked == [len(background_phrases())]


@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(-5, 5)), st.integers(0, 70))
def test_references_are_of_what_is_around(curve, reach):
    around = [curve[max(at - reach, 0) : at + reach + 1] for at in range(len(curve))]
    np.testing.assert_allclose(mean_around(curve, reach), [part.mean() for part in around], atol=1e-9)
    np.testing.assert_array_equal(peak_around(curve, reach), [part.max() for part in around])


def test_smoothing_stops_at_cuts():
    rows = np.repeat(np.eye(2), 20, axis=0) + np.random.default_rng(0).normal(scale=0.01, size=(40, 2))
    judged = judge(rows, make_background(np.eye(2)), 1.0)
    step = np.repeat([0.0, 1.0], 20)
    np.testing.assert_allclose(judged.smooth(step), step, atol=1e-3)
    assert judged.smooth(np.tile([0.0, 1.0], 20))[5:15] == pytest.approx(np.full(10, 0.5), abs=0.1)


def test_one_clip_is_a_video(space):
    query, background, rng = space
    moments, saliency = grounded(unit(rng, 1), query, background)
    assert moments[:, :2].tolist() == [[0, 1]]
    assert saliency.shape == (1,)


def test_another_class_explains_a_picture_better():
    dog, horse, cat = np.eye(3)
    animal = np.full(3, 1.0)
    classes = Classes(unit_rows(np.stack([dog, horse, cat]) + 0.3 * animal))
    seen = recognised_classes(unit_rows(dog[None] + 0.3 * animal), classes)
    shares = {
        name: seen.log_share(classes.meant(query))[0] for name, query in (("dog", dog), ("horse", horse))
    }
    assert shares["dog"] > -0.5
    assert shares["horse"] < -3


def test_shares_of_a_mixture():
    rng = np.random.default_rng(5)
    classes = Classes(unit(rng, 60))
    shares = rng.dirichlet(np.full(60, 0.05), size=80)  # of a few classes each, as a classifier gives them
    seen = recognised_classes(unit_rows(shares @ classes.rows), classes)
    found = np.zeros_like(shares)
    np.put_along_axis(found, seen.places, seen.shares, axis=1)
    assert np.abs(found - shares).sum(axis=1).mean() < 0.2
    assert (found.argmax(axis=1) == shares.argmax(axis=1)).mean() > 0.95
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-3)


def test_named_classes_come_before_similar_ones():
    classes = Classes(np.eye(3), {"street": (0, 2)})
    similar = np.eye(3)[1]
    assert classes.meant(similar, "a street at night").tolist() == [1, 0, 1]
    assert classes.meant(similar, "a road").argmax() == 1
    assert classes.meant(similar).argmax() == 1


def test_query_unlike_every_class():
    classes = Classes(np.eye(5)[:3])
    assert classes.meant(np.eye(5)[4]).max() < 1e-6


WORDS = {"dog": (1,), "hot dog": (2,), "city": (3,), "bush": (4,), "potter wheel": (5,), "grass": (6,)}


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("dog", "dog"),
        ("Two dogs!", "dog"),
        ("a small dog on a lawn", "dog"),
        ("a hot dog", "hot dog"),
        ("cities", "city"),
        ("bushes by a path", "bush"),
        ("the potter's wheel", "potter wheel"),
        ("grass", "grass"),
        ("a dog collar", None),
        ("a flag on grass", None),
        ("a dog and a cat", None),
        ("a dog running", None),
        ("", None),
    ],
)
def test_what_a_query_names(query, named):
    assert named_classes(query, WORDS) == (WORDS[named] if named else ())


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a dog", None),
        ("a frying pan", None),
        ("a swimming pool", None),
        ("a tall building", "attributes"),
        ("a watch on a table", None),
        ("a man", "people"),
        ("a dog swimming", "actions"),
        ("a woman throwing a ball", "actions"),
        ("person opens the door", "actions"),
        ("a red car", "attributes"),
        ("the word TAXI", "text"),
    ],
)
def test_blind_spots_of_lite(query, expected):
    assert blind_spot(query) == expected
