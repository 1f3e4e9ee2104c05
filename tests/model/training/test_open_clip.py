"""Training data of your own videos with the features of a model of open_clip."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from extractors.benchmark.random_weights import write_random_weights
from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions
from model.config import ConfigError, FeatureConfig, load_config
from model.training.data.inputs import Inputs
from model.training.data.splits import training_splits
from tests.extractors.rendering import render

NAME = "open_clip:ViT-S-32-alt"


def test_rows_and_tokens_are_made(tmp_path: Path) -> None:
    weights = write_random_weights(NAME, tmp_path)
    (tmp_path / "videos").mkdir()
    rows = []
    for index in range(4):
        render(tmp_path / "videos" / f"v{index}.mp4", frames=60 + 10 * index, fps=10)
        rows.append({"vid": f"v{index}", "query": "a dog runs", "relevant_windows": [[0, 2]]})
    (tmp_path / "mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    config = load_config(
        "custom-lite",
        [
            f'data.video_features=[{{name="{NAME}", dim=256}}]',
            f'data.text_features={{name="{NAME}_text", dim=256}}',
            "model.video_dim=256",
            "model.text_dim=256",
        ],
    )
    learnt, scored = training_splits(
        config,
        Inputs(train=tmp_path / "mine.jsonl", videos=tmp_path / "videos"),
        cache=FeatureCache(tmp_path / "cache"),
        options=EncoderOptions(device="cpu", weights={NAME: weights}, offline=True),
    )
    assert len(learnt.annotations) + len(scored.annotations) == 4
    assert [(spec.name, spec.dim, spec.clip_length_s) for spec in learnt.video_specs] == [(NAME, 256, 1.0)]
    assert learnt.text_spec.dim == 256
    dataset = learnt.dataset(config, labelled=True)
    assert len(dataset) == len(learnt.annotations)
    sample = dataset[0, 0]
    assert (sample.video.shape[1], sample.text.shape[1]) == (256, 256)


@pytest.mark.parametrize("name", ["../clip", "open_clip:..//x y", ":", "/etc"])
def test_names_that_cannot_be_folders(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        FeatureConfig(name, 4)
