"""Existence against loops that follow the definitions, and by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from model.metrics.existence import (
    Asked,
    auroc,
    existence,
    rejection,
    text_only_auroc,
    threshold_for,
)

SEEDS = range(8)


def scores(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Present and absent, with ties."""
    rng = np.random.default_rng(seed)
    present, absent = rng.normal(0.6, 0.3, 37 + seed), rng.normal(0.3, 0.3, 23)
    return present.round(1), absent.round(1)


def asked(values, texts=None, videos=None) -> Asked:
    count = len(values)
    texts = np.zeros((count, 2)) if texts is None else np.asarray(texts, dtype=float)
    return Asked(np.asarray(values, dtype=float), texts, videos or [f"v{n}" for n in range(count)])


@pytest.mark.parametrize("seed", SEEDS)
def test_auroc(seed):
    present, absent = scores(seed)
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(present, absent)]
    assert auroc(present, absent) == pytest.approx(sum(wins) / len(wins))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("refused", [0.0, 0.05, 0.3])
def test_rejection(seed, refused):
    present, absent = scores(seed)
    best = 0.0
    for threshold in (*present, *absent):
        if sum(score < threshold for score in present) <= refused * len(present):
            best = max(best, sum(score < threshold for score in absent) / len(absent))
    assert rejection(present, absent, refused=refused) == pytest.approx(best)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("accepted", [0.0, 0.05, 0.3])
def test_threshold(seed, accepted):
    _, absent = scores(seed)
    threshold = threshold_for(absent, accepted=accepted)
    assert np.mean(absent >= threshold) <= accepted
    next_lower = absent[absent < threshold].max()
    assert np.mean(absent >= next_lower) > accepted


def test_report_by_hand():
    found = existence(asked([0.9, 0.8, 0.4, 0.7]), asked([0.1, 0.75]), clear_from=0.75)
    assert (found.present, found.absent) == (4, 2)
    assert found.auroc == (2 + 2 + 1 + 1) / 8
    assert found.rejected == 0.5  # no present one may be refused of four: from 0.4 on
    assert (found.found_clear, found.false_clear) == (0.5, 0.5)
    assert set(found.to_json()) >= {"auroc", "rejected", "text_only", "clear_from"}


def test_no_threshold():
    found = existence(asked([0.9]), asked([0.1]))
    assert (found.clear_from, found.found_clear, found.false_clear) == (None, None, None)


def test_text_only():
    rng = np.random.default_rng(0)
    videos = [f"v{n}" for n in range(100)]
    told = rng.normal(size=(100, 4)) + np.array([3.0, 0, 0, 0])
    untold = rng.normal(size=(100, 4))
    given_away = text_only_auroc(asked(np.zeros(100), told, videos), asked(np.zeros(100), untold, videos))
    same = text_only_auroc(asked(np.zeros(100), untold, videos), asked(np.zeros(100), untold, videos))
    assert given_away > 0.95
    assert same == 0.5


def test_text_only_needs_two_videos():
    one = asked([0.5, 0.5], videos=["v", "v"])
    assert text_only_auroc(one, one) is None
