"""A model of open_clip on the command line, from a file of weights to moments."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from extractors.benchmark.random_weights import write_random_weights
from tests.cli.running import vtg
from tests.extractors.rendering import render

NAME = "open_clip:ViT-S-32-alt"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_weights(NAME, tmp_path_factory.mktemp("weights"))


def test_extract_and_ground(tmp_path: Path, weights: Path) -> None:
    video = render(tmp_path / "v.mp4", frames=200, fps=10)
    chosen = ("--features", NAME, "--weights", f"{NAME}={weights}", "--device", "cpu")
    done = vtg("extract", video, "--output", tmp_path / "rows", *chosen, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "rows" / "open_clip-ViT-S-32-alt_features" / "v.npz") as rows:
        assert rows["features"].shape == (10, 256)

    done = vtg("ground", video, "a dog", "--all", "--json", *chosen, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)["results"]
    assert (answer["model"], answer["features"]) == ("zero-shot", [NAME])
    assert len(answer["saliency"]["scores"]) == 10

    listed = vtg("cache", "info", home=tmp_path / "home")
    assert "open_clip-ViT-S-32-alt-" in listed.stdout
    cleared = vtg("cache", "clear", NAME, "--yes", home=tmp_path / "home")
    assert "removed" in cleared.stdout
    assert "removed 0" not in cleared.stdout


def test_named_weights_are_found(tmp_path: Path, weights: Path) -> None:
    video = render(tmp_path / "v.mp4", frames=60, fps=10)
    missing = vtg("ground", video, "a dog", "--features", NAME, home=tmp_path / "home")
    assert missing.returncode == 1, missing.stderr
    assert f"--weights {NAME}=FILE" in missing.stderr.replace("\n", " ")
    added = vtg("weights", "add", NAME, weights, home=tmp_path / "home")
    assert added.returncode == 0, added.stderr
    found = vtg("ground", video, "a dog", "--features", NAME, "--device", "cpu", home=tmp_path / "home")
    assert found.returncode == 0, found.stderr


def test_unknown_model(tmp_path: Path) -> None:
    video = render(tmp_path / "v.mp4", frames=20, fps=10)
    for command in (
        ("ground", video, "a dog", "--features", "open_clip:ViT-L14/openai"),
        ("weights", "pull", "open_clip:ViT-L14/openai"),
    ):
        done = vtg(*command, home=tmp_path / "home")
        assert done.returncode == 2
        assert "ViT-L-14" in done.stderr
