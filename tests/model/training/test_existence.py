"""Existence is learnt in seconds from other videos' queries, and the threshold is stored with the model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.checkpoints.checkpoint import load_checkpoint
from model.config import Config, ConfigError, load_config
from model.metrics.existence import auroc
from model.training.evaluation import Evaluation, evaluate_model
from model.training.inputs import Inputs
from model.training.loop import _verdicts, train
from model.training.run import Run
from model.training.splits import training_splits

pytestmark = pytest.mark.usefixtures("one_thread")

DIM, CLASSES, CLIPS = 16, 8, 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Videos that show one of several things for a while and nothing else; each is asked for what it shows."""
    rng = np.random.default_rng(0)
    seen, words = (np.linalg.qr(rng.normal(size=(DIM, DIM)))[0][:CLASSES] for _ in range(2))
    for stream in ("lite", "lite_text"):
        (tmp_path / f"{stream}_features").mkdir()
    number = 0
    for name, videos in (("train", 160), ("val", 64)):
        lines = []
        for _ in range(videos):
            thing, start = int(rng.integers(CLASSES)), int(rng.integers(CLIPS - 5))
            rows = rng.normal(0, 0.1, (CLIPS, DIM))
            rows[start : start + 5] += seen[thing]
            tokens = rng.normal(0, 0.1, (3, DIM)) + words[thing]
            np.savez(tmp_path / f"lite_features/v{number}.npz", features=rows.astype(np.float32))
            np.savez(
                tmp_path / f"lite_text_features/qid{number}.npz", last_hidden_state=tokens.astype(np.float32)
            )
            lines.append(
                {
                    "qid": number,
                    "vid": f"v{number}",
                    "query": f"thing {thing}",
                    "relevant_windows": [[start, start + 5]],
                }
            )
            number += 1
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return tmp_path


def config(*overrides: str) -> Config:
    return load_config(
        "custom-lite",
        [
            f'data.video_features=[{{name="lite",dim={DIM}}}]',
            f'data.text_features={{name="lite_text",dim={DIM}}}',
            f"model.video_dim={DIM}",
            f"model.text_dim={DIM}",
            "model.hidden_dim=32",
            "model.heads=4",
            "model.feedforward_dim=64",
            "model.dummies=2",
            "model.dummy_layers=1",
            "model.cross_attention_layers=1",
            "model.encoder_layers=1",
            "model.input_dropout=0.1",
            "model.dropout=0",
            "training.batch_size=8",
            "training.learning_rate=2e-3",
            "training.epochs=12",
            "training.evaluate_every=12",
            *overrides,
        ],
    )


def test_existence_is_learnt(folder: Path) -> None:
    recipe, inputs = (
        config(),
        Inputs(data=folder, train=folder / "train.jsonl", evaluate=folder / "val.jsonl"),
    )
    learnt, scored = training_splits(recipe, inputs)
    run = Run(folder / "run")
    run.create(recipe, inputs.to_json())
    val = scored.dataset(recipe, labelled=False)
    train(recipe, learnt.dataset(recipe, labelled=True), val, run, device="cpu")
    assert run.log()[-1]["losses"]["existence"] < 0.6  # ln 2 without knowledge
    checkpoint = load_checkpoint(run.best)
    kept = json.loads((run.folder / "best_metrics.json").read_text())["existence"]
    assert kept["clear_from"] == checkpoint.clear_from
    assert kept["false_clear"] <= 0.05

    again = evaluate_model(checkpoint.build_model(), val, foreign=True)
    own, foreign = np.array(again.match_scores), np.array(again.foreign_scores)
    assert np.mean(own >= checkpoint.clear_from) == kept["found_clear"]
    assert np.mean(foreign >= checkpoint.clear_from) == kept["false_clear"]
    assert evaluate_model(checkpoint.build_model(), val) == replace(again, foreign_scores=())
    # One other video in eight shows the same thing, so that its query is no negative in truth.
    assert auroc(own, foreign) == kept["auroc"] > 0.85


def test_negatives_are_needed() -> None:
    with pytest.raises(ConfigError, match=r"model\.existence: is learnt from negative queries"):
        config("training.negatives=false")


def test_moments_are_needed() -> None:
    with pytest.raises(ConfigError, match=r"model\.existence: must be false: tvsum has no moments"):
        load_config("tvsum-slowfast-clip", ["model.existence=true"])


@pytest.mark.parametrize(("foreign", "has_threshold"), [(0.1, True), (0.45, True), (0.9, False)])
def test_a_head_that_tells_little_gets_no_threshold(foreign: float, has_threshold: bool) -> None:
    """Of four own scores, all, three and one are above the foreign ones."""
    evaluation = Evaluation([], [], {}, {}, (0.4, 0.5, 0.8, 0.95), (foreign,) * 20)
    verdicts = _verdicts(evaluation)
    assert ("clear_from" in verdicts) == has_threshold
    assert _verdicts(replace(evaluation, foreign_scores=())) == {}


def test_threshold_by_hand() -> None:
    foreign = tuple(n / 100 for n in range(20))
    verdicts = _verdicts(Evaluation([], [], {}, {}, (0.1, 0.5, 0.8, 0.9), foreign))
    assert 0.18 < verdicts["clear_from"] <= 0.19  # one of twenty may reach it
    assert verdicts["false_clear"] == 0.05
    assert verdicts["found_clear"] == 0.75
