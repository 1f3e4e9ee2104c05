"""Networks and datasets small enough for tests: one that learns in seconds on one core, and one that only runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tomli_w

from benchmarks.synthetic_data import SyntheticSpec
from model.config import Config, load_config
from model.training.data.inputs import Inputs
from model.training.data.splits import Split, training_splits
from model.training.events import Event, TrainingResult
from model.training.loop import train
from model.training.run import Run

LEARNABLE = SyntheticSpec(
    train_queries=200,
    val_queries=64,
    clip_dim=64,
    slowfast_dim=32,
    text_dim=64,
    duration_s=100.0,
    gain=30.0,  # a signal of this strength is learnt in six epochs instead of twenty
)
TINY = SyntheticSpec(
    train_queries=18, val_queries=6, clip_dim=16, slowfast_dim=8, text_dim=16, duration_s=64.0
)

_SMALL = (
    "name=small",
    "data.train_annotations=train.jsonl",
    "data.eval_annotations=val.jsonl",
    "model.hidden_dim=64",
    "model.heads=4",
    "model.feedforward_dim=128",
    "model.dummies=2",
    "model.dummy_layers=1",
    "model.cross_attention_layers=1",
    "model.encoder_layers=1",
    "model.input_dropout=0.1",
    "model.dropout=0",
    "model.dummy_dropout=0",
    "training.batch_size=8",
    "training.learning_rate=2e-3",
    "training.patience=none",
)


def small_config(
    spec: SyntheticSpec, *overrides: str, released: str = "qvhighlights-slowfast-clip"
) -> Config:
    """A released configuration, shrunk to a network that learns a synthetic dataset in seconds."""
    return load_config(
        released,
        [
            *_SMALL,
            f'data.video_features=[{{name="slowfast",dim={spec.slowfast_dim}}},{{name="clip",dim={spec.clip_dim}}}]',
            f'data.text_features={{name="clip_text",dim={spec.text_dim}}}',
            f"model.video_dim={spec.slowfast_dim + spec.clip_dim}",
            f"model.text_dim={spec.text_dim}",
            *overrides,
        ],
    )


def tiny_config(*overrides: str) -> Config:
    """For `TINY`, and too small to learn: what matters is what becomes of an epoch of three steps."""
    return small_config(
        TINY,
        "name=tiny",
        "model.hidden_dim=16",
        "model.heads=2",
        "model.feedforward_dim=16",
        "model.dropout=0.1",  # random numbers are drawn everywhere they can be
        "model.dummy_dropout=0.1",
        "training.batch_size=7",
        "training.epochs=3",
        *overrides,
    )


def write_config(config: Config, path: Path) -> Path:
    """Write a configuration for `--config`."""
    path.write_text(tomli_w.dumps(config.to_dict()), encoding="utf-8")
    return path


def splits(config: Config, data: Path) -> tuple[Split, Split]:
    """What is learnt from and scored on."""
    return training_splits(config, Inputs(data=data))


def run_training(
    config: Config, data: Path, folder: Path, on_event: Callable[[Event], None] | None = None
) -> TrainingResult:
    """Train in a folder, new or begun."""
    run = Run(folder)
    if not folder.exists():
        run.create(config, Inputs(data=data).to_json())
    learnt, scored = splits(config, data)
    return train(
        config,
        learnt.dataset(config, labelled=True),
        scored.dataset(config, labelled=False),
        run,
        device="cpu",
        on_event=on_event,
    )
