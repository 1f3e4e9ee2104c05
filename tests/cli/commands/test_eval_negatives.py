"""`vtg eval --negatives`, as people run it: trained models and zero-shot on a small set of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from extractors.encoders.registry import find_feature
from extractors.plugins import imported
from model.config import load_config, override_config
from tests.cli.running import vtg
from tests.model.training.training_setup import write_config

THINGS = ("dog", "cat", "boat", "horse", "airplane", "piano", "pizza", "bicycle")
CLIPS = 20
SMALL = (
    "model.hidden_dim=16",
    "model.heads=2",
    "model.feedforward_dim=16",
    "model.dummies=2",
    "model.dummy_layers=1",
    "model.cross_attention_layers=1",
    "model.encoder_layers=1",
    "training.epochs=2",
    "training.batch_size=4",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def folder(home: Path) -> Path:
    """Videos of one thing each, shown from 5 to 12 s; questions about it, and about the next video's."""
    folder = home / "set"
    (folder / "lite_features").mkdir(parents=True)
    feature = find_feature("lite")
    assert feature is not None
    classes, words = unit(imported(feature.class_embeddings)()), imported(feature.class_words)()
    present, absent = [], []
    for number, thing in enumerate(THINGS):
        rng = np.random.default_rng(number)
        rows = classes[rng.integers(len(classes), size=(CLIPS, 3))].mean(axis=1)  # a bit of everything
        rows[5:12] = classes[list(words[thing])].mean(axis=0)
        np.savez(folder / "lite_features" / f"v{number}.npz", features=rows.astype(np.float32))
        line = {"vid": f"v{number}", "duration": CLIPS}
        present.append({**line, "query": thing, "relevant_windows": [[5, 12]]})
        absent.append({**line, "query": THINGS[(number + 1) % len(THINGS)], "relevant_windows": []})
    write(folder / "mine.jsonl", present)
    write(folder / "absent.jsonl", absent)
    return folder


@pytest.fixture(scope="module")
def run(home: Path, folder: Path) -> Path:
    """A trained model, too small to know much."""
    config = write_config(override_config(load_config("custom-lite"), SMALL), home / "small.toml")
    done = vtg(
        "train", "--config", config, "--dataset", folder / "mine.jsonl", "--eval", folder / "mine.jsonl",
        "--device", "cpu", "--output", home / "run", home=home,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return home / "run"


def unit(rows: NDArray[Any]) -> NDArray[Any]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def zero_shot(home: Path, folder: Path, *options: str | Path, annotations: str = "mine.jsonl"):
    return vtg(
        "eval", "--checkpoint", "zero-shot", "--annotations", folder / annotations, *options, home=home
    )


def test_zero_shot(home: Path, folder: Path) -> None:
    done = zero_shot(home, folder, "--negatives", folder / "absent.jsonl", "--fps", "1", "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    found = scores["existence"]
    assert scores["MR-full-R1@0.5"] == 100
    assert (found["present"], found["absent"]) == (8, 8)
    assert found["auroc"] == found["rejected"] == 1
    assert found["clear_from"] == 0.72
    assert found["found_clear"] > found["false_clear"] == 0
    assert 0 <= found["text_only"] <= 1


def test_zero_shot_without_negatives(home: Path, folder: Path, tmp_path: Path) -> None:
    done = zero_shot(home, folder, "--fps", "1", "--output", tmp_path / "found.jsonl")
    assert done.returncode == 0, done.stderr
    assert "AUROC" not in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert [row["query"] for row in rows] == list(THINGS)
    again = vtg(
        "eval", "--predictions", tmp_path / "found.jsonl", "--annotations", folder / "mine.jsonl", home=home
    )
    assert again.stdout == done.stdout


def test_table(home: Path, folder: Path) -> None:
    done = zero_shot(home, folder, "--negatives", folder / "absent.jsonl", "--fps", "1")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["AUROC", "100.00"] in lines
    assert ["absent", "called", "clear", "0.00"] in lines


def test_trained_model(run: Path, home: Path, folder: Path) -> None:
    plain = vtg("eval", "--checkpoint", run, "--json", home=home)
    done = vtg("eval", "--checkpoint", run, "--negatives", folder / "absent.jsonl", "--json", home=home)
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    found = scores.pop("existence")
    assert scores == json.loads(plain.stdout)
    assert (found["present"], found["absent"]) == (8, 8)
    assert 0 <= found["auroc"] <= 1
    kept = json.loads((run / "best_metrics.json").read_text())["existence"]
    assert 0 <= kept["auroc"] <= 1
    assert found["clear_from"] == kept.get("clear_from")


def test_other_rate(home: Path, folder: Path) -> None:
    done = zero_shot(home, folder, "--fps", "2")
    assert done.returncode == 2
    assert "--fps" in done.stderr


def test_negatives_without_moments_only(run: Path, home: Path, folder: Path) -> None:
    for model in ("zero-shot", run):
        done = vtg(
            "eval", "--checkpoint", model, "--annotations", folder / "mine.jsonl",
            "--negatives", folder / "mine.jsonl", home=home,
        )  # fmt: skip
        assert done.returncode == 1
        assert "line 1: relevant_windows is not empty" in done.stderr


def test_predictions_answer_no_negatives(home: Path, folder: Path) -> None:
    done = vtg(
        "eval", "--predictions", folder / "mine.jsonl", "--negatives", folder / "absent.jsonl", home=home
    )
    assert done.returncode == 2
    assert "--negatives goes with --checkpoint" in done.stderr


def test_zero_shot_needs_annotations_and_features(home: Path, folder: Path, tmp_path: Path) -> None:
    done = vtg("eval", "--checkpoint", "zero-shot", home=home)
    assert done.returncode == 2
    assert "--annotations" in done.stderr
    done = zero_shot(home, folder, "--data", tmp_path)
    assert done.returncode == 1
    assert "lite_features" in done.stderr


def test_training_on_a_file_of_negatives(home: Path, folder: Path) -> None:
    """Those about videos that are scored on are left out; a resumed run finds the file again."""
    config = write_config(override_config(load_config("custom-lite"), SMALL), home / "file.toml")
    lines = (folder / "mine.jsonl").read_text().splitlines(keepends=True)
    (folder / "three.jsonl").write_text("".join(lines[:3]))
    done = vtg(
        "train", "--config", config, "--dataset", folder / "mine.jsonl", "--eval", folder / "three.jsonl",
        "--set", "training.negatives=absent.jsonl", "--set", "training.epochs=1",
        "--device", "cpu", "--output", home / "file", home=home,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "8 queries and 5 negatives to train on and 3 queries to score on" in " ".join(done.stderr.split())
    assert json.loads((home / "file/inputs.json").read_text())["negatives"] == str(folder / "absent.jsonl")
    done = vtg("train", "--resume", home / "file", "--set", "training.epochs=2", "--device", "cpu", home=home)
    assert done.returncode == 0, done.stderr
    assert len((home / "file/log.jsonl").read_text().splitlines()) == 2
