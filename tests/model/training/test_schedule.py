"""Warm-up, decay and averaged weights: off by default, exact, and the same after a run is resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.checkpoints.checkpoint import load_checkpoint
from model.config import ConfigError, TrainingConfig
from model.network.flashvtg import FlashVTG
from model.training.averaging import AveragedWeights
from model.training.events import EpochDone, Event
from model.training.run import Run, RunError
from model.training.schedule import learning_rate
from tests.model.training.training_setup import run_training, tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = TrainingConfig(epochs=4, batch_size=1, learning_rate=0.8, selection_metrics=("mAP",))
STEPS = 5


def rates(training: TrainingConfig) -> list[float]:
    """Of all steps of all epochs."""
    return [
        learning_rate(training, epoch=epoch + 1, step=step + 1, steps=STEPS, before=epoch * STEPS + step)
        for epoch in range(training.epochs)
        for step in range(STEPS)
    ]


def test_a_constant_rate_by_default() -> None:
    assert set(rates(RECIPE)) == {0.8}


def test_warm_up() -> None:
    assert rates(replace(RECIPE, warmup_steps=4)) == pytest.approx([0.2, 0.4, 0.6] + [0.8] * 17)


def test_decay() -> None:
    found = rates(replace(RECIPE, decay_epochs=2))
    assert found[:10] == [0.8] * 10
    assert found[10:] == pytest.approx([0.08 * left for left in range(10, 0, -1)])


def test_the_rate_of_the_optimizer(tiny: Path, tmp_path: Path) -> None:
    # At a rate of almost nothing, weights stay as they are.
    config = tiny_config("training.epochs=1", "training.weight_decay=0", "training.warmup_steps=1000000000")
    run_training(config, tiny, tmp_path / "run")
    torch.manual_seed(config.training.seed)
    first = FlashVTG(config.model).state_dict()
    last = load_file(Run(tmp_path / "run").last)
    assert all(torch.allclose(last[name], value, atol=1e-5) for name, value in first.items())


def test_averaged_weights() -> None:
    network = FlashVTG(tiny_config().model)
    averaged = AveragedWeights(network, 0.9)
    name, weight = next(iter(network.named_parameters()))
    expected = weight.detach().clone()
    for step in range(1, 200):
        with torch.no_grad():
            weight.copy_(torch.full_like(weight, float(step)))
        averaged.update(network)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert torch.allclose(averaged.weights[name], expected, rtol=1e-4)
    assert torch.equal(averaged.network().state_dict()[name], averaged.weights[name])
    assert torch.equal(weight, torch.full_like(weight, 199.0))  # the trained network is left alone


class Stopped(Exception):
    pass


def stop(event: Event) -> None:
    """As if a run was killed after an epoch."""
    if isinstance(event, EpochDone):
        raise Stopped


def test_a_run_with_all_of_it_resumes(tiny: Path, tmp_path: Path) -> None:
    config = tiny_config("training.average_decay=0.8", "training.warmup_steps=4", "training.decay_epochs=1")
    run_training(config, tiny, tmp_path / "a" / "run")
    whole = Run(tmp_path / "a" / "run")

    with pytest.raises(Stopped):
        run_training(config, tiny, tmp_path / "b" / "run", stop)
    run_training(config, tiny, tmp_path / "b" / "run")
    assert (tmp_path / "b" / "run" / "last.safetensors").read_bytes() == whole.last.read_bytes()

    state = whole.read_state()
    assert state is not None
    kept = load_checkpoint(whole.last).weights
    assert all(torch.equal(kept[name], value) for name, value in state.averages.items())
    assert not all(torch.equal(kept[name], value) for name, value in state.weights.items())

    with pytest.raises(RunError, match="its configuration differs"):
        run_training(
            replace(config, training=replace(config.training, epochs=4)), tiny, tmp_path / "a" / "run"
        )


@pytest.mark.parametrize(
    "override",
    ["warmup_steps=-1", "decay_epochs=-1", "decay_epochs=4", "average_decay=1.0", "average_decay=-0.1"],
)
def test_invalid_values(override: str) -> None:
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        tiny_config(f"training.{override}")
