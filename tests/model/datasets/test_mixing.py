"""Content mixing: what stays, what comes from another video, and in which epochs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.config import ConfigError, override_config
from model.datasets.mixing import mix_content
from tests.model.training.unlabelled import (
    END,
    START,
    Unlabelled,
    unlabelled_config,
    unlabelled_dataset,
    write_unlabelled,
)


@given(
    clips=st.integers(1, 40),
    others=st.integers(1, 40),
    ends=st.lists(st.tuples(st.floats(0, 80), st.floats(0, 80)), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_moments_stay_and_the_rest_is_of_one_other_video(
    clips: int, others: int, ends: list[tuple[float, float]], seed: int
) -> None:
    windows = [(min(pair), max(pair)) for pair in ends]
    video, other = torch.arange(clips)[:, None].float(), 1000 + torch.arange(others)[:, None].float()
    mixed = mix_content(video, windows, other, clip_length_s=2.0, rng=np.random.default_rng(seed))
    assert mixed.shape == video.shape
    assert video[:, 0].tolist() == list(range(clips))  # the video itself is not changed
    found = mixed[:, 0].tolist()
    for place, value in enumerate(found):
        near = any(math.floor(start / 2) - 1 <= place < math.ceil(end / 2) + 1 for start, end in windows)
        assert (value == place) if near else (value >= 1000)
    for before, after in itertools.pairwise(found):
        if before >= 1000 and after >= 1000:
            assert after == min(before + 1, 1000 + others - 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Unlabelled:
    return write_unlabelled(tmp_path_factory.mktemp("data"))


def test_share_and_epochs(data: Unlabelled) -> None:
    plain = unlabelled_dataset(data)
    mixed = unlabelled_dataset(data, "training.content_mixing=0.5", "training.unmixed_epochs=1")
    changed = dict.fromkeys(range(1, 5), 0)
    for epoch in changed:
        for index in range(len(plain)):
            before, after = plain[epoch, index], mixed[epoch, index]
            kept = slice(START - 1, END + 1)
            assert torch.equal(before.video[kept], after.video[kept])
            assert torch.equal(after.video, mixed[epoch, index].video)
            assert before.labels is not None
            assert after.labels is not None
            np.testing.assert_array_equal(before.labels.saliency, after.labels.saliency)
            changed[epoch] += not torch.equal(before.video, after.video)
    assert changed[4] == 0
    assert 0.2 < sum(changed.values()) / (3 * len(plain)) < 0.7


def test_what_is_scored_is_not_mixed(data: Unlabelled) -> None:
    scored = unlabelled_dataset(data, "training.content_mixing=1", labelled=False)
    plain = unlabelled_dataset(data)
    assert all(torch.equal(scored[1, index].video, plain[1, index].video) for index in range(len(plain)))


def test_shares_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"content_mixing"):
        override_config(unlabelled_config(), ["training.content_mixing=1.5"])
