"""Recall, IoU and average precision of moments, against exact fractions and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.metrics.moment_retrieval import (
    AP_THRESHOLDS,
    LENGTH_RANGES_S,
    average_precision,
    first_window_iou,
    moment_retrieval,
)
from tests.model.metrics import brute_force
from tests.model.metrics.brute_force import ragged

# Few different ends and scores, so that windows coincide, touch, nest, and tie.
second = st.one_of(st.integers(0, 12), st.sampled_from([20, 30, 40, 60, 160, 200]))
score = st.integers(0, 3)
window = st.tuples(second, second, score)  # a third of them end before they start
moment = st.tuples(second, second).map(lambda pair: (min(pair), max(pair)))
queries = st.lists(
    st.tuples(st.lists(window, max_size=14), st.lists(moment, min_size=1, max_size=12)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=300)
@given(queries, st.booleans())
def test_equals_exact_fractions(rows, forgiving):
    predictions, truth = zip(*rows, strict=True)
    found = moment_retrieval(
        ragged(predictions, 3), ragged(truth, 2), undefined_iou=np.inf if forgiving else 0.0
    )
    expected = brute_force.moment_retrieval(predictions, truth, forgiving=forgiving)
    assert set(found) == set(expected)
    for name, (count, precision, recall, mean_iou) in expected.items():
        assert found[name].queries == count
        np.testing.assert_allclose(found[name].average_precision, np.array(precision, float), atol=1e-12)
        np.testing.assert_allclose(found[name].recall_at_1, np.array(recall, float), atol=1e-12)
        assert found[name].mean_iou == pytest.approx(float(mean_iou), abs=1e-12)


@given(queries, st.randoms(use_true_random=False))
def test_the_order_of_queries_does_not_matter(rows, random):
    shuffled = random.sample(rows, len(rows))
    one, other = (
        moment_retrieval(ragged([p for p, _ in r], 3), ragged([t for _, t in r], 2)) for r in (rows, shuffled)
    )
    for name in LENGTH_RANGES_S:
        np.testing.assert_allclose(one[name].average_precision, other[name].average_precision, atol=1e-12)
        np.testing.assert_array_equal(one[name].recall_at_1, other[name].recall_at_1)


@given(queries)
def test_rows_may_name_their_queries(rows):
    truth = ragged([moments for _, moments in rows], 2)
    backwards = np.arange(len(rows))[::-1]
    named = moment_retrieval(ragged([windows for windows, _ in rows[::-1]], 3), truth, queries=backwards)
    plain = moment_retrieval(ragged([windows for windows, _ in rows], 3), truth)
    for name in LENGTH_RANGES_S:
        np.testing.assert_array_equal(named[name].average_precision, plain[name].average_precision)
        assert named[name].mean_iou == plain[name].mean_iou


def score_one(windows, moments, **options):
    return moment_retrieval(ragged([windows], 3), ragged([moments], 2), **options)["full"]


def test_first_listed_and_best_scored():
    scores = score_one([(50, 60, 0.1), (0, 10, 0.9)], [(0, 10)])
    assert scores.recall_at_1.max() == 0
    assert scores.average_precision.min() == 1


def test_eleventh_prediction_does_not_count():
    misses = [(50, 60, 0.1)] * 10
    assert score_one([*misses, (0, 10, 0.9)], [(0, 10)]).average_precision.max() == 0
    assert score_one([*misses[1:], (0, 10, 0.9)], [(0, 10)]).average_precision.min() == 1


def test_ten_windows_cannot_find_twelve_moments():
    moments = [(20 * k, 20 * k + 10) for k in range(12)]
    scores = score_one([(*m, 1) for m in moments], moments)
    np.testing.assert_allclose(scores.average_precision, 10 / 12)


def test_a_moment_is_found_once():
    assert score_one([(0, 10, 1), (0, 10, 0.5)], [(0, 10), (30, 40)]).average_precision.tolist() == [0.5] * 10


def test_equal_overlap_takes_the_later_moment():
    # (0, 10) fits both halves by .5; the second window then finds only the first half free.
    halves = [(0, 5), (5, 10)]
    assert score_one([(0, 10, 1), (0, 5, 0.5)], halves).average_precision[0] == 1
    assert score_one([(0, 10, 1), (5, 10, 0.5)], halves).average_precision[0] == 0.5


@pytest.mark.parametrize("step", range(10, 20))
def test_an_iou_on_the_threshold_reaches_it(step):
    scores = score_one([(0, step, 1)], [(0, 20)])
    assert (scores.average_precision == (np.array(AP_THRESHOLDS) <= step / 20)).all()


@pytest.mark.parametrize("windows", [[(10, 10, 1)], [(90, 70, 1)]], ids=["no length", "backwards"])
def test_windows_whose_iou_is_undefined(windows):
    moments = [(10, 10)] if windows[0][0] == 10 else [(0, 20)]
    guarded = score_one(windows, moments)
    assert guarded.average_precision.max() == 0
    as_published = score_one(windows, moments, undefined_iou=np.inf)
    assert as_published.average_precision.min() == 1
    for scores in (guarded, as_published):
        assert scores.recall_at_1.max() == scores.mean_iou == 0


def test_lengths_belong_to_the_range_that_they_end():
    moments = [[(0, length)] for length in (10, 12, 30, 32, 150, 151)]
    scores = moment_retrieval(ragged([[]] * 6, 3), ragged(moments, 2))
    counts = {name: score.queries for name, score in scores.items()}
    assert counts == {"short": 1, "middle": 2, "long": 2, "full": 6}


def test_a_length_that_no_moment_has_scores_zero():
    scores = moment_retrieval(ragged([[(0, 5, 1)]], 3), ragged([[(0, 5)]], 2))["long"]
    assert (scores.queries, scores.mean_iou) == (0, 0.0)
    assert not scores.average_precision.any()
    assert not scores.recall_at_1.any()


def test_several_rows_of_one_query():
    truth = ragged([[(0, 10), (20, 30)]], 2)
    rows = ragged([[(0, 10, 0.5)], [(20, 26, 0.9)]], 3)
    scores = moment_retrieval(rows, truth, queries=np.array([0, 0]))["full"]
    assert scores.average_precision[0] == 1  # both are found at .5
    assert scores.average_precision[-1] == 0.25  # (0, 10) alone, on rank 2, is found at .95
    assert scores.mean_iou == 0.6


def test_no_windows_at_all():
    truth = ragged([[(0, 10)], [(0, 40)]], 2)
    assert average_precision(ragged([[], []], 2), truth, (0.5, 0.7)).tolist() == [[0, 0], [0, 0]]
    assert first_window_iou(np.full((2, 2), np.nan), truth).tolist() == [0, 0]
