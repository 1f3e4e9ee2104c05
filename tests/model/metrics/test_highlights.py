"""Highlight detection on QVHighlights, TVSum and YouTube Highlights, against exact fractions and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.metrics.domains import by_domain, tvsum_precision, youtube_precision
from model.metrics.files import EvaluationError
from model.metrics.highlight_detection import LEVELS, highlight_detection, ranking_precision
from model.metrics.report import evaluate_domains
from tests.model.metrics import brute_force
from tests.model.metrics.brute_force import ragged

tied_scores = st.lists(st.integers(-2, 2), min_size=1, max_size=9)
label = st.integers(0, 4)
qvhighlights = st.lists(
    st.tuples(tied_scores, st.lists(st.tuples(label, label, label), min_size=1, max_size=8)),
    min_size=1,
    max_size=5,
)


def videos(labels_of_a_clip):
    scores = st.lists(st.integers(-6, 6), min_size=1, max_size=9)
    return st.lists(
        st.tuples(scores, st.lists(labels_of_a_clip, min_size=1, max_size=9)), min_size=1, max_size=5
    )


@settings(max_examples=300)
@given(qvhighlights)
def test_qvhighlights_equals_exact_fractions(rows):
    saliency, truth = zip(*rows, strict=True)
    found = highlight_detection(ragged(saliency), ragged(truth, 3))
    for name, least in LEVELS.items():
        precision, hit = brute_force.highlight_detection(saliency, truth, least)
        assert found[name].average_precision == pytest.approx(float(precision), abs=1e-12)
        assert found[name].hit_at_1 == pytest.approx(float(hit), abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=20))
def test_ranking_depends_on_order_only(clips):
    scores, positive = np.array(clips, dtype=float).T
    positive = positive[None, :, None].astype(bool)
    plain = ranking_precision(scores[None], positive)
    np.testing.assert_array_equal(plain, ranking_precision(np.exp(scores)[None] - 40, positive))
    padded = np.pad(scores, (0, 3), constant_values=-np.inf)
    with_padding = ranking_precision(padded[None], np.pad(positive, ((0, 0), (0, 3), (0, 0))))
    np.testing.assert_allclose(plain, with_padding, atol=1e-12)


def very_good(curve, labels):
    return highlight_detection(ragged([curve]), ragged([labels], 3))["VeryGood"]


def test_no_positive_and_all_positive():
    assert very_good([1, 0], [(0, 0, 0)] * 2).average_precision == 0
    assert very_good([0, 1], [(4, 4, 4)] * 2).average_precision == 1


def test_one_of_three_annotators():
    scores = very_good([1, 0], [(4, 0, 3), (0, 0, 0)])
    assert scores.hit_at_1 == 1
    assert scores.average_precision == pytest.approx(1 / 3)


def test_equal_scores_are_one_threshold():
    assert very_good([0, 0, 0, 0], [(4, 4, 4), *[(0, 0, 0)] * 3]).average_precision == 0.25


def test_of_equal_tops_the_first_clip_counts():
    assert very_good([0, 1, 1], [(0, 0, 0), (4, 4, 4), (0, 0, 0)]).hit_at_1 == 1
    assert very_good([0, 1, 1], [(0, 0, 0), (0, 0, 0), (4, 4, 4)]).hit_at_1 == 0


def test_curves_of_another_length_than_the_video():
    labels = [(0, 0, 0), (4, 4, 4)]
    beyond = very_good([0, 1, 2], labels)
    assert (beyond.hit_at_1, beyond.average_precision) == (0, 1)
    assert very_good([-1], labels).average_precision == 1  # the clip without a score has 0
    assert very_good([1], labels).average_precision == 0.5


@settings(max_examples=200)
@given(videos(st.tuples(*[st.integers(1, 5)] * 4)))
def test_tvsum_equals_exact_fractions(rows):
    curves, labels = zip(*rows, strict=True)
    expected = [float(brute_force.tvsum(*row)) for row in rows]
    np.testing.assert_allclose(tvsum_precision(ragged(curves), ragged(labels, 4)), expected, atol=1e-12)


@settings(max_examples=200)
@given(videos(st.tuples(st.integers(-1, 1))))
def test_youtube_highlights_equals_exact_fractions(rows):
    curves, labels = zip(*rows, strict=True)
    expected = [float(brute_force.youtube(*row)) for row in rows]
    np.testing.assert_allclose(youtube_precision(ragged(curves), ragged(labels, 1)), expected, atol=1e-12)


def test_tvsum_top_five_and_lower_median():
    # Labels 1 1 2 2: the lower median is 1, so both twos are positive.
    assert tvsum_precision(ragged([[4, 3, 2, 1]]), ragged([[[2], [1], [2], [1]]], 1)).tolist() == [
        pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)
    ]
    sixth = [[1]] * 5 + [[9]] + [[1]] * 5
    assert tvsum_precision(ragged([list(range(11))[::-1]]), ragged([sixth], 1)).tolist() == [0]


def test_borderline_clips_are_negative():
    assert youtube_precision(ragged([[3, 2, 1]]), ragged([[[1], [0], [-1]]], 1)).tolist() == [1]
    assert youtube_precision(ragged([[3, 2]]), ragged([[[0], [-1]]], 1)).tolist() == [0]


def test_domains_average_their_own_videos():
    scores = by_domain(np.array([0.2, 1.0, 0.4]), ("VT", "BK", "VT"))
    assert list(scores) == ["BK", "VT"]
    assert (scores["VT"].videos, scores["BK"].videos) == (2, 1)
    assert scores["VT"].average_precision == pytest.approx(0.3)


ONE = {"vid": "a", "domain": "BK", "label": [[1], [2]]}


@pytest.mark.parametrize("dataset", ["tvsum", "youtube_highlights"])
@pytest.mark.parametrize(
    ("curve", "changes", "reason"),
    [
        (None, {}, "1 videos have no curve, among them a"),
        ([float("nan"), 1], {}, "query a: 'curve' holds a number that is not finite"),
        (["high", 1], {}, "query a: 'curve' is not a list of numbers"),
        ([[1, 2]], {}, "query a: 'curve' is not a list of numbers"),
        ([1, 2], {"label": [[1], [2, 3]]}, "query a: 'label' is not a list of lists of 1 numbers"),
        ([1, 2], {"label": [1, 2]}, "query a: 'label' is not a list of lists"),
        ([1, 2], {"label": []}, "query a has no clip with a label"),
        ([1, 2], {"label": None}, "query a: 'label' is not a list of lists"),
        ([1, 2], {"domain": None}, "an annotation has no 'domain'"),
        ([1, 2], {"vid": None}, "an annotation has no 'vid'"),
    ],
)
def test_domains_refuse_what_they_cannot_score(dataset, curve, changes, reason):
    scores = {} if curve is None else {"a": curve}
    with pytest.raises(EvaluationError, match=reason):
        evaluate_domains(scores, [ONE | changes], dataset=dataset)


def test_every_video_has_as_many_annotators():
    other = ONE | {"vid": "b", "label": [[1, 2], [2, 1]]}
    with pytest.raises(EvaluationError, match="query b: 'label' is not a list of lists of 1 numbers"):
        evaluate_domains({"a": [1, 2], "b": [1, 2]}, [ONE, other], dataset="tvsum")


def test_a_curve_without_a_score_finds_nothing():
    assert evaluate_domains({"a": []}, [ONE], dataset="youtube_highlights") == {"BK": 0, "Avg": 0}
