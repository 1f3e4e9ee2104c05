"""Results: which moments clearly match, and how that is written down."""

from __future__ import annotations

import numpy as np
import pytest

from model.grounding.results import GroundingResult, make_result


def result(scores: list[float], **options: object) -> GroundingResult:
    moments = np.array([[10.0 * k, 10.0 * k + 5, score] for k, score in enumerate(scores)]).reshape(-1, 3)
    return make_result(
        video="v.mp4",
        query="a cat",
        model="m",
        features=("lite",),
        duration_s=100.0,
        moments=moments,
        saliency=np.zeros(100),
        clip_length_s=1.0,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("scores", "clear_from", "clear_match"),
    [
        ([0.8, 0.3], 0.72, True),
        ([0.72], 0.72, True),
        ([0.71, 0.3], 0.72, False),
        ([], 0.72, False),
        ([0.8], None, None),
        ([], None, None),
    ],
)
def test_clear_match(scores, clear_from, clear_match):
    found = result(scores, clear_from=clear_from)
    assert found.clear_match is clear_match
    assert found.to_json()["clear_match"] is clear_match


def test_a_threshold_does_not_change_the_verdict():
    assert result([0.8, 0.3], clear_from=0.72, threshold=0.9).clear_match is True
    assert result([0.6, 0.3], clear_from=0.72, threshold=0.5).clear_match is False
    found = result([0.8, 0.3], clear_from=0.72, threshold=0.9)
    assert (found.moments, found.match_score) == ((), 0.8)


def test_clear_keeps_the_moments_that_clearly_match():
    found = result([0.8, 0.75, 0.3], clear_from=0.72)
    assert [moment.score for moment in found.clear().moments] == [0.8, 0.75]
    assert [moment["clear_match"] for moment in found.to_json()["moments"]] == [True, True, False]


def test_scores_that_only_rank_keep_every_moment():
    found = result([0.8, 0.3], clear_from=None)
    assert found.clear() == found
    assert [moment["clear_match"] for moment in found.to_json()["moments"]] == [None, None]
