"""A run from its first epoch to its last: its files on disk, its repeatability, and resuming."""

from __future__ import annotations

import json
import math
import re
import shutil
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from tensorboardX.proto.event_pb2 import Event as CurveEvent

import model.training.loop
from extractors.errors import UsageError, VtgError
from model.checkpoints.checkpoint import load_checkpoint
from model.config import ConfigError
from model.losses import Criterion, LossTerms
from model.training.data.inputs import Inputs
from model.training.data.splits import evaluation_split
from model.training.events import EpochDone, EvaluationProgress, Event, StepDone
from model.training.experiments import evaluate_checkpoint
from model.training.run import Run, RunError, new_folder, run_of
from tests.model.training.training_setup import run_training, splits, tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")

FILES = {
    "config.toml",
    "inputs.json",
    "environment.json",
    "log.jsonl",
    "best.safetensors",
    "best_predictions.jsonl",
    "best_metrics.json",
    "last.safetensors",
    "resume.safetensors",
    "tensorboard",
}
CHANGEABLE = ("seconds", "evaluation_seconds", "epochs")


@pytest.fixture(scope="module")
def unbroken(one_thread: None, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of three epochs that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    run_training(tiny_config(), tiny, folder)
    return Run(folder)


def log(run: Run) -> list[dict[str, Any]]:
    """The log without what a clock says, and without how many epochs were planned."""
    return [{key: value for key, value in row.items() if key not in CHANGEABLE} for row in run.log()]


def weights(run: Run) -> bytes:
    """All bytes of the newest weights."""
    return b"".join(tensor.numpy().tobytes() for _, tensor in sorted(load_file(run.last).items()))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What a run leaves


def test_the_folder_holds_everything_and_no_leftovers(unbroken: Run) -> None:
    assert {path.name for path in unbroken.folder.iterdir()} == FILES
    assert unbroken.config() == tiny_config()
    environment = json.loads((unbroken.folder / "environment.json").read_text())
    assert environment["packages"]["torch"] == version("torch")


def test_the_log_has_a_line_an_epoch(unbroken: Run) -> None:
    rows = unbroken.log()
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        losses = row["losses"]
        assert set(losses) == {"total", "classification", "nce", "saliency", "clip_aware", "regression"}
        loss = tiny_config().loss
        weighed = sum(getattr(loss, f"{name}_weight") * losses[name] for name in losses if name != "total")
        assert losses["total"] == pytest.approx(weighed, rel=1e-5)
        assert row["score"] == row["metrics"]["MR-full-mAP"]
        assert row["seconds"] > 0
    scores = [row["score"] for row in rows]
    assert rows[-1]["best_epoch"] == 1 + scores.index(max(scores))


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_checkpoints_score_what_the_log_says(unbroken: Run, tiny: Path, checkpoint: str) -> None:
    model = load_checkpoint(getattr(unbroken, checkpoint))
    epoch = int(model.provenance["epoch"])
    row = unbroken.log()[epoch - 1]
    split = evaluation_split(model.config, Inputs(data=tiny))
    scored = evaluate_checkpoint(model, split, device="cpu", batch_size=5)
    assert scored.metrics == row["metrics"] == model.metrics
    assert scored.suppressed_metrics == row["suppressed_metrics"]
    if checkpoint == "last":
        assert epoch == 3
        return
    kept = json.loads((unbroken.folder / "best_metrics.json").read_text())
    assert kept == {"epoch": epoch, "decoded": scored.metrics, "suppressed": scored.suppressed_metrics}
    lines = (unbroken.folder / "best_predictions.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == scored.suppressed


def test_the_curves_are_those_of_the_log(unbroken: Run) -> None:
    curves = dict(read_curves(unbroken.tensorboard))
    groups = {
        "losses": "loss",
        "metrics": "metrics",
        "suppressed_metrics": "metrics after suppression",
    }
    for row in unbroken.log():
        for group, title in groups.items():
            assert row[group]
            for name, value in row[group].items():
                tag = re.sub(r"[^-/\w.]", "_", f"{title}/{name}")  # as TensorBoard wants it
                assert curves[tag, row["epoch"]] == pytest.approx(value, rel=1e-6), tag


def read_curves(folder: Path) -> Iterator[tuple[tuple[str, int], float]]:
    for path in sorted(folder.iterdir()):
        content, place = path.read_bytes(), 0
        while place < len(content):  # length, its checksum, the event, its checksum
            (length,) = struct.unpack_from("<Q", content, place)
            event = CurveEvent.FromString(content[place + 12 : place + 12 + length])
            place += 16 + length
            for value in event.summary.value:
                yield (value.tag, event.step), value.simple_value


def test_events_follow_the_run(tiny: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    result = run_training(tiny_config("training.epochs=2"), tiny, tmp_path / "run", events.append)
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [(event.epoch, event.step, event.steps) for event in steps] == [
        (epoch, step, 3) for epoch in (1, 2) for step in (1, 2, 3)
    ]
    assert all(event.memory_bytes > 1e7 for event in steps)
    evaluations = [event for event in events if isinstance(event, EvaluationProgress)]
    assert [(event.epoch, event.done, event.total) for event in evaluations] == [(1, 6, 6), (2, 6, 6)]
    epochs = [event for event in events if isinstance(event, EpochDone)]
    assert [event.epoch for event in epochs] == [1, 2]
    assert epochs[0].losses == steps[2].losses
    assert result.epochs == 2
    assert not result.stopped_early
    assert result.metrics == epochs[result.best_epoch - 1].metrics


# The same again


def test_a_seed_gives_the_same_run(unbroken: Run, tiny: Path, tmp_path: Path) -> None:
    run_training(tiny_config(), tiny, tmp_path / "same")
    assert weights(Run(tmp_path / "same")) == weights(unbroken)
    assert log(Run(tmp_path / "same")) == log(unbroken)
    run_training(tiny_config("training.seed=7"), tiny, tmp_path / "other")
    assert weights(Run(tmp_path / "other")) != weights(unbroken)


def test_earlier_random_numbers_do_not_matter(unbroken: Run, tiny: Path, tmp_path: Path) -> None:
    torch.rand(5)
    run_training(tiny_config(), tiny, tmp_path / "run", _draw_after_an_epoch)
    assert weights(Run(tmp_path / "run")) == weights(unbroken)


def _draw_after_an_epoch(event: Event) -> None:
    if isinstance(event, EpochDone):
        torch.rand(3)


@pytest.mark.parametrize("done", [1, 2, 3])
def test_resumed_run_equals_unbroken(done: int, unbroken: Run, tiny: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(event: Event) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) == (done + 1, 2):
            raise Killed

    folder = tmp_path / "unbroken"
    if done < 3:
        with pytest.raises(Killed):
            run_training(tiny_config(), tiny, folder, kill)
    else:
        run_training(tiny_config(), tiny, folder)
    assert len(log(Run(folder))) == done
    before = load_file(Run(folder).last)

    epochs: list[int] = []
    result = run_training(
        tiny_config(), tiny, folder, lambda e: epochs.append(e.epoch) if isinstance(e, EpochDone) else None
    )
    assert epochs == list(range(done + 1, 4))
    assert log(Run(folder)) == log(unbroken)
    assert weights(Run(folder)) == weights(unbroken)
    for name in ("best.safetensors", "best_metrics.json", "best_predictions.jsonl", "last.safetensors"):
        assert (folder / name).read_bytes() == (unbroken.folder / name).read_bytes(), name
    assert result.best_epoch == log(unbroken)[-1]["best_epoch"]
    assert before.keys() == load_file(Run(folder).last).keys()


def test_a_finished_run_can_be_made_longer(unbroken: Run, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_training(tiny_config("training.epochs=1"), tiny, folder)
    run_training(tiny_config(), tiny, folder)
    assert weights(Run(folder)) == weights(unbroken)
    assert Run(folder).config() == tiny_config()


def test_early_interrupt_keeps_the_inputs(tiny: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.create(tiny_config(), Inputs(data=tiny).to_json())
    changed = tiny_config("training.epochs=1", "training.learning_rate=1e-3")
    run_training(changed, tiny, run.folder)
    assert run.config() == changed == load_checkpoint(run.last).config


def test_epoch_without_resume_file(unbroken: Run, tiny: Path, tmp_path: Path) -> None:
    """As if the power went after the log and the checkpoints were written, and before the resume file was."""
    folder = tmp_path / "unbroken"
    run_training(tiny_config("training.epochs=2"), tiny, folder)
    state = (folder / "resume.safetensors").read_bytes()
    run_training(tiny_config(), tiny, folder)
    (folder / "resume.safetensors").write_bytes(state)
    (folder / ".last.safetensors.0123456789ab.tmp").write_bytes(b"half of it")
    run_training(tiny_config(), tiny, folder)
    assert log(Run(folder)) == log(unbroken)
    assert weights(Run(folder)) == weights(unbroken)
    assert {path.name for path in folder.iterdir()} == FILES


# What cannot be resumed


def test_another_configuration_is_refused(unbroken: Run, tiny: Path) -> None:
    before = snapshot(unbroken.folder)
    for change in (
        "training.learning_rate=1e-5",
        "loss.nce_weight=0.5",
        "training.seed=1",
        "model.hidden_dim=32",
    ):
        with pytest.raises(RunError, match=r"only training\.epochs, .* can be changed"):
            run_training(tiny_config(change), tiny, unbroken.folder)
    assert snapshot(unbroken.folder) == before


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_damaged_resume_file_is_named(damage: str, tiny: Path, unbroken: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(unbroken.folder, folder)
    path = folder / "resume.safetensors"
    content = {"cut": path.read_bytes()[:-9], "empty": b"", "other": Run(folder).last.read_bytes()}[damage]
    path.write_bytes(content)
    before = snapshot(folder)
    with pytest.raises(RunError, match=r"resume\.safetensors: damaged"):
        run_training(tiny_config(), tiny, folder)
    assert snapshot(folder) == before


def test_nonempty_folder_is_refused(tmp_path: Path, unbroken: Run) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        Run(tmp_path).create(tiny_config(), {})
    before = snapshot(unbroken.folder)
    with pytest.raises(UsageError, match="--resume"):
        unbroken.create(tiny_config(), {})
    with pytest.raises(UsageError):
        Run(tmp_path / "notes.txt").create(tiny_config(), {})
    assert snapshot(tmp_path) == {"notes.txt": b"mine"}
    assert snapshot(unbroken.folder) == before


def test_concurrent_runs_get_one_folder(tmp_path: Path) -> None:
    def begin(number: int) -> int | None:
        try:
            Run(tmp_path / "run").create(tiny_config(f"training.seed={number}"), {"number": number})
        except UsageError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        begun = [number for number in pool.map(begin, range(8)) if number is not None]
    (winner,) = begun
    run = Run(tmp_path / "run")
    assert (run.config().training.seed, run.inputs()["number"]) == (winner, winner)


def test_concurrent_folders_get_new_names(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(new_folder, [tmp_path / "runs" / "a"] * 8))
    assert sorted(path.name for path in made) == ["a", *(f"a-{number}" for number in range(2, 9))]
    assert all(path.is_dir() for path in made)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file"):
        new_folder(tmp_path / "file" / "a")


def test_a_run_is_known_by_its_folder_and_its_files(unbroken: Run) -> None:
    for path in (unbroken.folder, unbroken.best, unbroken.folder / "best_predictions.jsonl"):
        run = run_of(path)
        assert run is not None
        assert run.folder == unbroken.folder
    assert run_of(unbroken.folder / "nothing") is None
    assert run_of(unbroken.folder.parent) is None


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"config\.toml"):
        Run(tmp_path).config()
    (tmp_path / "inputs.json").write_text("[1]")
    with pytest.raises(RunError, match=r"inputs\.json"):
        Run(tmp_path).inputs()


def test_infinite_features_stop_the_run(unbroken: Run, tiny: Path, tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "unbroken"
    shutil.copytree(tiny, data)
    victim = sorted((data / "clip_features").glob("train*"))[0]
    sound = victim.read_bytes()
    run_training(tiny_config("training.epochs=1"), data, folder)
    with np.load(victim) as arrays:
        rows = arrays["features"]
    np.savez(victim, features=np.full_like(rows, np.nan))
    before = snapshot(folder)
    with pytest.raises(VtgError, match="numbers that are not finite"):
        run_training(tiny_config(), data, folder)
    after = snapshot(folder)
    assert {name: after[name] for name in before if "tensorboard" not in name} == {
        name: content for name, content in before.items() if "tensorboard" not in name
    }
    victim.write_bytes(sound)
    run_training(tiny_config(), data, folder)
    assert weights(Run(folder)) == weights(unbroken)


def test_diverging_loss_stops_the_run(
    unbroken: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "unbroken"
    run_training(tiny_config("training.epochs=1"), tiny, folder)
    before = Run(folder).last.read_bytes()
    kept = Criterion.__call__
    monkeypatch.setattr(Criterion, "__call__", lambda *args: _exploded(kept(*args)))
    with pytest.raises(
        VtgError, match=r"epoch 2, step 1: the loss is not a finite number any more \(total\)"
    ):
        run_training(tiny_config(), tiny, folder)
    assert Run(folder).last.read_bytes() == before
    monkeypatch.undo()
    run_training(tiny_config(), tiny, folder)
    assert weights(Run(folder)) == weights(unbroken)


def _exploded(terms: LossTerms) -> LossTerms:
    return replace(terms, total=terms.total * math.inf)


@pytest.mark.parametrize("negatives", ["true", "false"])
def test_a_rate_that_is_too_high_is_said(negatives: str, tiny: Path, tmp_path: Path) -> None:
    config = tiny_config("training.learning_rate=1e30", f"training.negatives={negatives}")
    with pytest.raises(VtgError, match=r"lower training\.learning_rate"):
        run_training(config, tiny, tmp_path / "run")
    assert Run(tmp_path / "run").read_state() is None


def test_missing_selection_metric(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(VtgError, match=r"selection_metrics: this split gives no MR-full-mBP; it gives MR-"):
        run_training(tiny_config('training.selection_metrics=["MR-full-mBP"]'), tiny, tmp_path / "run")
    assert not Run(tmp_path / "run").last.exists()  # it is seen before the first epoch


# The recipe's switches


def test_only_some_epochs_are_evaluated(tiny: Path, tmp_path: Path) -> None:
    run_training(tiny_config("training.epochs=5", "training.evaluate_every=2"), tiny, tmp_path / "run")
    rows = Run(tmp_path / "run").log()
    assert [row["score"] is not None for row in rows] == [False, True, False, True, True]
    assert [bool(row["metrics"]) for row in rows] == [False, True, False, True, True]
    assert rows[0]["best_epoch"] == 0
    assert rows[-1]["best_epoch"] in (2, 4, 5)


def test_patience_ends_a_run(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([1.0, 3.0, 2.0, 3.0, 9.0])
    monkeypatch.setattr(model.training.loop, "selection_score", lambda metrics, config: next(scores))
    config = tiny_config("training.epochs=5", "training.patience=2")
    result = run_training(config, tiny, tmp_path / "run")
    assert (result.epochs, result.best_epoch, result.stopped_early) == (4, 2, True)
    # It stays ended, unless more patience is asked for.
    assert run_training(config, tiny, tmp_path / "run").epochs == 4
    more = run_training(tiny_config("training.epochs=5", "training.patience=3"), tiny, tmp_path / "run")
    assert (more.epochs, more.best_epoch, more.stopped_early) == (5, 5, False)


def test_a_last_small_batch_can_be_dropped(tiny: Path, tmp_path: Path) -> None:
    steps: list[int] = []
    config = tiny_config("training.epochs=1", "training.drop_last=true")
    run_training(
        config, tiny, tmp_path / "run", lambda e: steps.append(e.steps) if isinstance(e, StepDone) else None
    )
    assert steps == [2, 2]
    with pytest.raises(
        UsageError,
        match=r"training\.batch_size: a batch of 19 is more than all samples, of which there are 18",
    ):
        run_training(
            tiny_config("training.batch_size=19", "training.drop_last=true"), tiny, tmp_path / "other"
        )


@pytest.mark.parametrize(
    "change",
    [
        "training.gradient_clip=0",
        "training.negatives=false",
        "training.negative_identity=video",
        "training.resample_labels=false",
        "training.weight_decay=0",
        "training.length_groups=2",
        "training.precision=bf16",
        "model.score_refinement=false",
        "model.feature_layering=false",
    ],
)
def test_a_switch_changes_what_is_learnt(change: str, unbroken: Run, tiny: Path, tmp_path: Path) -> None:
    run_training(tiny_config("training.epochs=2", change), tiny, tmp_path / "run")
    rows = Run(tmp_path / "run").log()
    assert all(math.isfinite(value) for row in rows for value in row["losses"].values())
    assert weights(Run(tmp_path / "run")) != weights(unbroken)
    # Labels are resampled from the second epoch on, and steps differ after the first one.
    assert rows[1]["losses"] != unbroken.log()[1]["losses"]


def test_half_precision_training(tiny: Path, tmp_path: Path) -> None:
    config = tiny_config("training.epochs=2", "training.precision=bf16")
    run_training(config, tiny, tmp_path / "run")
    model = load_checkpoint(Run(tmp_path / "run").last)
    assert {tensor.dtype for tensor in model.weights.values()} == {torch.float32}
    scored = evaluate_checkpoint(model, evaluation_split(config, Inputs(data=tiny)), device="cpu")
    assert scored.metrics == Run(tmp_path / "run").log()[-1]["metrics"]


def test_half_precision_can_be_gone_on_with(tiny: Path, tmp_path: Path) -> None:
    config = tiny_config("training.epochs=2", "training.precision=bf16")
    run_training(config, tiny, tmp_path / "whole")
    run_training(replace(config, training=replace(config.training, epochs=1)), tiny, tmp_path / "part")
    run_training(config, tiny, tmp_path / "part")
    assert weights(Run(tmp_path / "part")) == weights(Run(tmp_path / "whole"))


def test_batches_of_one_train_and_resume(tiny: Path, tmp_path: Path) -> None:
    rates = ("model.dropout=0.5", "model.dummy_dropout=0.5")  # so that often all of a batch is dropped
    config = tiny_config("training.batch_size=1", "training.epochs=2", *rates)
    run_training(config, tiny, tmp_path / "whole")
    run_training(replace(config, training=replace(config.training, epochs=1)), tiny, tmp_path / "part")
    run_training(config, tiny, tmp_path / "part")
    assert weights(Run(tmp_path / "part")) == weights(Run(tmp_path / "whole"))


@pytest.mark.slow
def test_reading_processes_change_nothing(unbroken: Run, tiny: Path, tmp_path: Path) -> None:
    run_training(tiny_config("training.workers=2"), tiny, tmp_path / "run")
    assert weights(Run(tmp_path / "run")) == weights(unbroken)
    assert log(Run(tmp_path / "run")) == log(unbroken)


def test_a_precision_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.precision"):
        tiny_config("training.precision=int8")


def test_splits_come_from_the_dataset(tiny: Path) -> None:
    learnt, scored = splits(tiny_config(), tiny)
    assert (len(learnt.annotations), len(scored.annotations)) == (18, 6)


def test_accelerator_of_the_caller_stays(tiny: Path, tmp_path: Path) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        callers = Accelerator(cpu=True, mixed_precision="bf16")
        run_training(tiny_config("training.epochs=1"), tiny, tmp_path / "run")
        assert callers.mixed_precision == "bf16"
        assert callers.device.type == "cpu"
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
