"""Time stretching: rows, moments and labels of a video that is played faster or slower."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.config import ConfigError, DataConfig, FeatureConfig, override_config
from model.datasets.annotations import Annotation
from model.datasets.stretching import stretch_time
from tests.model.training.unlabelled import (
    Unlabelled,
    unlabelled_config,
    unlabelled_dataset,
    write_unlabelled,
)

DATA = DataConfig(
    dataset="custom",
    clip_length_s=2.0,
    video_features=(FeatureConfig("clip", 2), FeatureConfig("slowfast", 1, "none")),
    text_features=FeatureConfig("clip_text", 2),
)


def annotated(*windows_s: tuple[float, float], duration_s: float = 20.0) -> Annotation:
    return Annotation("1", "a cat", "v", duration_s, windows_s)


@given(clips=st.integers(1, 80), start=st.floats(0, 1), end=st.floats(0, 1), seed=st.integers(0, 99))
def test_moments_keep_their_place_in_the_video(clips: int, start: float, end: float, seed: int) -> None:
    duration_s = 2.0 * clips
    window = (min(start, end) * duration_s, max(start, end) * duration_s)
    rows, found = stretch_time(
        torch.ones(clips, 3), annotated(window, duration_s=duration_s), DATA, np.random.default_rng(seed)
    )
    assert found.duration_s == pytest.approx(2.0 * len(rows))
    assert len(rows) >= 4
    if clips > 10:
        assert 0.65 < len(rows) / clips < 1.5
    for old, new in zip(window, found.windows_s[0], strict=True):
        assert new / found.duration_s == pytest.approx(old / duration_s)


def test_rows_are_between_those_they_were() -> None:
    # The first stream turns from one axis to the other; the second, which is not normalised, counts.
    angles, count = torch.linspace(0, torch.pi / 2, 30), torch.arange(30.0)
    video = torch.stack([angles.cos(), angles.sin(), count], dim=1)
    rows, _ = stretch_time(video, annotated((2.0, 9.0)), DATA, np.random.default_rng(3))
    assert len(rows) != 30
    torch.testing.assert_close(rows[:, :2].norm(dim=1), torch.ones(len(rows)), atol=1e-4, rtol=0)
    assert torch.equal(rows[:, 2], rows[:, 2].sort().values)
    # Every clip shows what the video shows at the same share of its length.
    shares = (torch.arange(len(rows)) + 0.5) / len(rows)
    expected = (shares * 30 - 0.5).clamp(0, 29)
    torch.testing.assert_close(rows[:, 2], expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(
        torch.atan2(rows[:, 1], rows[:, 0]), expected * (torch.pi / 58), atol=2e-3, rtol=0
    )


def test_no_more_clips_than_are_kept() -> None:
    for seed in range(20):
        rows, _ = stretch_time(
            torch.ones(30, 3), annotated((2.0, 9.0)), replace(DATA, max_clips=30), np.random.default_rng(seed)
        )
        assert len(rows) <= 30


def test_labels_of_clips_stay() -> None:
    annotation = replace(annotated((2.0, 9.0)), saliency=np.ones(10, np.float32))
    video = torch.rand(10, 3)
    rows, same = stretch_time(video, annotation, DATA, np.random.default_rng(0))
    assert rows is video
    assert same is annotation


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Unlabelled:
    return write_unlabelled(tmp_path_factory.mktemp("data"))


def test_share_and_labels(data: Unlabelled) -> None:
    plain, stretched = unlabelled_dataset(data), unlabelled_dataset(data, "training.time_stretching=0.5")
    changed = 0
    for epoch in range(1, 5):
        for index in range(len(plain)):
            sample, again = stretched[epoch, index], stretched[epoch, index]
            assert torch.equal(sample.video, again.video)
            assert sample.annotation == again.annotation
            assert sample.labels is not None
            assert len(sample.labels.saliency) == len(sample.video)
            (start_s, end_s), clip_s = sample.annotation.windows_s[0], stretched.config.data.clip_length_s
            inside = np.flatnonzero(sample.labels.saliency)
            assert abs(inside[0] * clip_s - start_s) <= clip_s
            assert abs((inside[-1] + 1) * clip_s - end_s) <= clip_s
            changed += sample.annotation.duration_s != plain[epoch, index].annotation.duration_s
    assert 0.2 < changed / (4 * len(plain)) < 0.7


def test_what_is_scored_keeps_its_time(data: Unlabelled) -> None:
    scored, plain = (
        unlabelled_dataset(data, "training.time_stretching=1", labelled=False),
        unlabelled_dataset(data),
    )
    for index in range(len(plain)):
        assert torch.equal(scored[1, index].video, plain[1, index].video)
        assert scored[1, index].annotation == plain[1, index].annotation


def test_shares_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"time_stretching"):
        override_config(unlabelled_config(), ["training.time_stretching=-0.5"])
