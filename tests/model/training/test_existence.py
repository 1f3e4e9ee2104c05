"""Existence is learnt in seconds from other videos' queries, and the threshold is stored with the model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.existence import learn_head
from extractors.errors import UsageError
from model.checkpoints.checkpoint import load_checkpoint
from model.config import Config, ConfigError, load_config, override_config
from model.datasets.grounding import GroundingDataset
from model.metrics.existence import auroc
from model.training.data.inputs import DataMissing, Inputs, negatives_file
from model.training.data.splits import negative_split, training_negatives, training_splits
from model.training.evaluation import Evaluation, evaluate_model
from model.training.loop import _verdicts, train
from model.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")

DIM, CLASSES, CLIPS = 16, 8, 12
UNSEEN = np.linalg.qr(np.random.default_rng(99).normal(size=(DIM, DIM)))[0][:4]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_videos(tmp_path)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Run:
    """A run in such a folder, with the queries of other videos as negatives."""
    return trained(write_videos(tmp_path_factory.mktemp("videos")), config(), "run")


def write_videos(folder: Path) -> Path:
    """Videos that show one of several things for a while and nothing else; each is asked for what it shows."""
    rng = np.random.default_rng(0)
    seen, words = (np.linalg.qr(rng.normal(size=(DIM, DIM)))[0][:CLASSES] for _ in range(2))
    for stream in ("lite", "words"):
        (folder / f"{stream}_features").mkdir()
    number = 0
    for name, videos in (("train", 160), ("val", 64)):
        lines = []
        for _ in range(videos):
            thing, start = int(rng.integers(CLASSES)), int(rng.integers(CLIPS - 5))
            rows = rng.normal(0, 0.1, (CLIPS, DIM))
            rows[start : start + 5] += seen[thing]
            tokens = rng.normal(0, 0.1, (3, DIM)) + words[thing]
            np.savez(folder / f"lite_features/v{number}.npz", features=rows.astype(np.float32))
            np.savez(folder / f"words_features/qid{number}.npz", last_hidden_state=tokens.astype(np.float32))
            lines.append(
                {
                    "qid": number,
                    "vid": f"v{number}",
                    "query": f"thing {thing}",
                    "relevant_windows": [[start, start + 5]],
                }
            )
            number += 1
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def config(*overrides: str) -> Config:
    return load_config(
        "custom-lite",
        [
            f'data.video_features=[{{name="lite",dim={DIM}}}]',
            f'data.text_features={{name="words",dim={DIM}}}',
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


def trained(folder: Path, recipe: Config, name: str, *, negatives: Path | None = None) -> Run:
    """Train in a new folder of this name, or go on with the run in it."""
    inputs = Inputs(
        data=folder, train=folder / "train.jsonl", evaluate=folder / "val.jsonl", negatives=negatives
    )
    learnt, scored = training_splits(recipe, inputs)
    absent = training_negatives(recipe, inputs, scored)
    run = Run(folder / name)
    if not run.folder.exists():
        run.create(recipe, inputs.to_json())
    train(
        recipe,
        learnt.dataset(recipe, labelled=True),
        scored.dataset(recipe, labelled=False),
        run,
        negatives=None if absent is None else absent.dataset(recipe, labelled=False),
        device="cpu",
    )
    return run


def val_of(folder: Path, recipe: Config) -> GroundingDataset:
    inputs = Inputs(data=folder, train=folder / "train.jsonl", evaluate=folder / "val.jsonl")
    return training_splits(recipe, inputs)[1].dataset(recipe, labelled=False)


def test_existence_is_learnt(folder: Path, learnt: Run) -> None:
    run, val = learnt, val_of(folder, config())
    assert run.log()[-1]["losses"]["existence"] < 0.6  # ln 2 without knowledge
    checkpoint = load_checkpoint(run.best)
    kept = json.loads((run.folder / "best_metrics.json").read_text())["existence"]
    assert kept["clear_from"] == checkpoint.clear_from
    assert kept["false_clear"] <= 0.05

    again = evaluate_model(checkpoint.build_model(), val, foreign=True)
    own, foreign = np.array(again.match_scores), np.array(again.foreign_scores)
    assert len(foreign) == 64 * 63
    assert np.mean(own >= checkpoint.clear_from) == kept["found_clear"]
    assert np.mean(foreign >= checkpoint.clear_from) == kept["false_clear"]
    assert evaluate_model(checkpoint.build_model(), val) == replace(again, foreign_scores=())
    # One other video in eight shows the same thing, so that its query is no negative in truth.
    assert auroc(own, foreign) == kept["auroc"] > 0.9


def write_absent(folder: Path, split: str) -> Path:
    """Queries about things that none of the videos of a split shows, two videos for each."""
    rng = np.random.default_rng(7)
    rows = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
    lines = []
    for number, (first, second) in enumerate(zip(rows[::2], rows[1::2], strict=True)):
        qid, thing = f"{split}-absent-{number}", int(rng.integers(len(UNSEEN)))
        tokens = rng.normal(0, 0.1, (3, DIM)) + UNSEEN[thing]
        np.savez(folder / f"words_features/qid{qid}.npz", last_hidden_state=tokens.astype(np.float32))
        lines += [
            {"qid": qid, "vid": row["vid"], "query": f"other {thing}", "relevant_windows": []}
            for row in (first, second)
        ]
    path = folder / f"{split}_absent.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def absent_scores(folder: Path, run: Run, path: Path) -> NDArray[Any]:
    recipe = config()
    split = negative_split(recipe, Inputs(data=folder), path)
    model = load_checkpoint(run.last).build_model()
    return np.array(evaluate_model(model, split.dataset(recipe, labelled=False)).match_scores)


def test_a_file_of_negatives_is_learnt_from(folder: Path, learnt: Run) -> None:
    negatives, scored = (write_absent(folder, split) for split in ("train", "val"))
    run = trained(folder, config(f"training.negatives={negatives.name}"), "with")
    own = np.array(
        evaluate_model(load_checkpoint(run.last).build_model(), val_of(folder, config())).match_scores
    )
    told = auroc(own, absent_scores(folder, run, scored))
    own = np.array(
        evaluate_model(load_checkpoint(learnt.last).build_model(), val_of(folder, config())).match_scores
    )
    assert told > 0.98
    assert told > auroc(own, absent_scores(folder, learnt, scored))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_rest_learns_what_it_would_without_the_head(folder: Path, precision: str) -> None:
    """Byte for byte, dropout and clipping included, whatever the head learns from."""
    brief = (f"training.precision={precision}", "training.epochs=2", "model.dropout=0.1")
    path = write_absent(folder, "train")
    plain = trained(folder, config("model.existence=false", *brief), "plain")
    expected = load_checkpoint(plain.last).weights
    for name, negatives in (("batch", "true"), ("file", path.name)):
        run = trained(folder, config(f"training.negatives={negatives}", *brief), name)
        weights = load_checkpoint(run.last).weights
        assert weights.keys() > expected.keys()
        for key, value in expected.items():
            assert torch.equal(weights[key], value), key
        scores = [log.log()[-1]["metrics"] for log in (run, plain)]
        assert scores[0] == scores[1]


def test_the_head_can_be_learnt_alone(folder: Path) -> None:
    """Without the rest of the network it ends with the same weights."""
    path = write_absent(folder, "train")
    recipe = config(f"training.negatives={path.name}", "training.epochs=2", "model.dropout=0.1")
    expected = load_checkpoint(trained(folder, recipe, "run").last).weights
    inputs = Inputs(data=folder, train=folder / "train.jsonl", evaluate=folder / "val.jsonl")
    learnt, scored = training_splits(recipe, inputs)
    head = learn_head(recipe, learnt, training_negatives(recipe, inputs, scored), epochs=2).existence
    for name, value in head.state_dict().items():
        torch.testing.assert_close(value, expected[f"existence.{name}"])


def test_a_resumed_run_meets_the_same_negatives(folder: Path) -> None:
    path = write_absent(folder, "train")
    recipe = config(f"training.negatives={path.name}", "training.epochs=2")
    whole = trained(folder, recipe, "whole")
    trained(folder, override_config(recipe, ["training.epochs=1"]), "parts")
    parts = trained(folder, recipe, "parts")
    expected = load_checkpoint(whole.last).weights
    for key, value in load_checkpoint(parts.last).weights.items():
        assert torch.equal(expected[key], value), key


def test_negatives_of_held_out_videos_are_left_out(folder: Path) -> None:
    files = [write_absent(folder, split) for split in ("train", "val")]
    both = folder / "both.jsonl"
    both.write_text("".join(file.read_text() for file in files))
    recipe = config("training.negatives=both.jsonl")
    inputs = Inputs(data=folder, train=folder / "train.jsonl", evaluate=folder / "val.jsonl")
    scored = training_splits(recipe, inputs)[1]
    split = training_negatives(recipe, inputs, scored)
    assert split is not None
    assert [annotation.row for annotation in split.annotations] == [
        json.loads(line) for line in files[0].read_text().splitlines()
    ]
    both.write_text(files[1].read_text())
    with pytest.raises(
        DataMissing, match=r"both\.jsonl: all its queries are about videos that are scored on"
    ):
        training_negatives(recipe, inputs, scored)


def test_the_file_is_looked_for_here_and_beside_the_data(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = Inputs(data=folder)
    recipe = config("training.negatives=val.jsonl")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert negatives_file(recipe, inputs) == folder / "val.jsonl"
    Path("val.jsonl").write_text("")
    assert negatives_file(recipe, inputs) == Path("val.jsonl")
    assert negatives_file(recipe, replace(inputs, negatives=folder / "kept.jsonl")) == folder / "kept.jsonl"
    assert negatives_file(config(), inputs) is None
    with pytest.raises(UsageError, match=r"training\.negatives: there is no file gone\.jsonl"):
        negatives_file(config("training.negatives=gone.jsonl"), inputs)


def test_a_file_needs_the_head() -> None:
    with pytest.raises(ConfigError, match=r"training\.negatives: names a file"):
        config("training.negatives=absent.jsonl", "model.existence=false")
    for value, reason in (("3", "must be true or false or text, is 3"), ('""', "the path of a file")):
        with pytest.raises(ConfigError, match=rf"training\.negatives: .*{reason}"):
            config(f"training.negatives={value}")


def test_negatives_are_needed() -> None:
    with pytest.raises(ConfigError, match=r"model\.existence: is learned from negative queries"):
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
