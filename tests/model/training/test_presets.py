"""`--preset best`: what it changes, and what it leaves to the user."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from extractors.errors import UsageError
from model.config import Config, available_configs, load_config
from model.training.data.inputs import Inputs
from model.training.plan import plan_experiment
from model.training.presets import with_preset


def write_annotations(path: Path, queries: int) -> Path:
    row = {"vid": "v", "query": "a cat", "relevant_windows": [[0, 1]]}
    path.write_text((json.dumps(row) + "\n") * queries, encoding="utf-8")
    return path


def planned(file: Path, *overrides: str) -> Config:
    inputs = Inputs(videos=file.parent)
    return plan_experiment(
        str(file), config="custom-lite", overrides=overrides, inputs=inputs, preset="best"
    ).config


def test_little_and_much_data(tmp_path: Path) -> None:
    plain = load_config("custom-lite")
    few, many = (planned(write_annotations(tmp_path / f"{n}.jsonl", n)) for n in (200, 5001))
    for config in (few, many):
        assert config.model.alignment_dim == 384
        assert config.loss.classification == "quality"
        assert config.training.average_decay == 0.99
        assert config.training.content_mixing == 0.5
        assert config.training.time_stretching == 0.5
        assert config.model.alignment_kernel == 5
    # 800 steps of 32 take more than the configured epochs of 200 queries.
    assert (few.training.epochs, many.training.epochs) == (134, plain.training.epochs)
    assert replace(many, model=plain.model, loss=plain.loss, training=plain.training) == plain


def test_the_users_own_changes_win(tmp_path: Path) -> None:
    file = write_annotations(tmp_path / "mine.jsonl", 200)
    config = planned(file, "model.alignment_dim=0", "training.content_mixing=0", "training.epochs=3")
    assert (config.model.alignment_dim, config.training.content_mixing, config.training.epochs) == (0, 0, 3)
    assert config.loss.classification == "quality"


@pytest.mark.parametrize("name", available_configs())
def test_every_configuration_of_moments(name: str) -> None:
    config = load_config(name)
    if config.data.annotates_moments:
        dims = [spec.dim for spec in config.data.video_features if spec.name in ("clip", "lite")]
        assert with_preset(config, "best", 100).model.alignment_dim == (dims[0] if dims else 0)
    else:
        with pytest.raises(UsageError, match="is for datasets with moments"):
            with_preset(config, "best", 100)


def test_unknown_presets_are_named() -> None:
    with pytest.raises(UsageError, match="--preset worst: there is no such preset; known is best"):
        with_preset(load_config("custom-lite"), "worst", 100)
