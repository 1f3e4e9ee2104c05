"""Unlabelled videos in which concepts were planted, as feature files of `clip` rows, and vectors of the concepts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.config import Config, load_config, override_config
from model.datasets.grounding import GroundingDataset
from model.training.data.inputs import Inputs
from model.training.data.splits import training_splits

CLIPS, START, END, COMMON = 24, 8, 14, 18
NAMES = ("kite_(toy)", "apple", "dog", "lamp", "sofa", "wok", "tent", "oar", "person")
"""The last one is in all videos from clip COMMON on, each other one in one video."""

_SMALL = (
    "model.hidden_dim=16",
    "model.heads=2",
    "model.feedforward_dim=16",
    "model.dummies=2",
    "model.dummy_layers=1",
    "model.cross_attention_layers=1",
    "model.encoder_layers=1",
    "training.batch_size=4",
    "training.epochs=3",
)


@dataclass(frozen=True)
class Unlabelled:
    """Paths of the data.

    Attributes:
        folder: `clip_features/v0.npz` and so on; `vN` shows the concept at index N from clip START to END.
        concepts: an `.npz` file of `NAMES` and their vectors.
        annotations: a query of each video, in the form of one's own data.
    """

    folder: Path
    concepts: Path
    annotations: Path

    @property
    def inputs(self) -> Inputs:
        """The videos to learn from without their annotations."""
        return Inputs(pretrain=self.folder, concepts=self.concepts)

    @property
    def vids(self) -> list[str]:
        """All videos."""
        return [f"v{number}" for number in range(len(NAMES) - 1)]


def write_unlabelled(folder: Path) -> Unlabelled:
    """Write the data into a folder."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(NAMES), 512)).astype(np.float32)
    (folder / "clip_features").mkdir(parents=True)
    for number in range(len(NAMES) - 1):
        rows = 0.2 * rng.standard_normal((CLIPS, 512)).astype(np.float32)
        rows[START:END] += vectors[number]
        rows[COMMON:] += 2 * vectors[-1]
        np.savez(folder / "clip_features" / f"v{number}.npz", features=rows)
    np.savez(folder / "concepts.npz", names=np.array(NAMES), text=vectors)
    rows_of = (
        {"vid": f"v{number}", "query": f"a {name}", "relevant_windows": [[START, END]]}
        for number, name in enumerate(NAMES[:-1])
    )
    annotations = folder / "mine.jsonl"
    annotations.write_text("".join(json.dumps(row) + "\n" for row in rows_of), encoding="utf-8")
    return Unlabelled(folder, folder / "concepts.npz", annotations)


def unlabelled_dataset(data: Unlabelled, *overrides: str, labelled: bool = True) -> GroundingDataset:
    """The annotated queries, as four epochs learn from them."""
    config = unlabelled_config("training.epochs=4", *overrides)
    learnt, _ = training_splits(config, Inputs(data=data.folder, train=data.annotations))
    return learnt.dataset(config, labelled=labelled)


def unlabelled_config(*overrides: str) -> Config:
    """`clip` rows, one per second, and MiniLM tokens, for a network too small to learn."""
    config = load_config(
        "custom-lite", ['data.video_features=[{name="clip",dim=512}]', "model.video_dim=512"]
    )
    return override_config(config, [*_SMALL, *overrides])
