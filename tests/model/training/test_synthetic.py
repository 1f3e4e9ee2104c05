"""The full synthetic dataset is learnt with the configuration of the ablations."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.synthetic_data import SyntheticSpec, write_synthetic
from model.config import load_config
from tests.model.training.training_setup import run_training

CONFIG = Path(__file__).resolve().parents[3] / "benchmarks" / "synthetic.toml"


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_moments_and_highlights_are_learnt(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "data", SyntheticSpec())
    config = load_config(CONFIG, ["training.epochs=3", "training.evaluate_every=3"])
    result = run_training(config, tmp_path / "data", tmp_path / "run")
    assert result.suppressed_metrics["MR-full-R1@0.5"] > 60  # chance: 12
    assert result.suppressed_metrics["HL-min-VeryGood-mAP"] > 35  # chance: 15
