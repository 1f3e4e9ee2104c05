"""The folder of a training run: everything needed to see what was done, use the result, and resume.

    config.toml            the full configuration
    inputs.json            where the data is, and what is loaded from another model, if one was named
    environment.json       versions, machine, command
    log.jsonl              one line per epoch: losses, metrics, seconds
    pseudo_labels.jsonl    pseudo-labels of unlabelled videos, if any were named
    best.safetensors       the best checkpoint, with best_predictions.jsonl and best_metrics.json
    last.safetensors       the newest checkpoint
    resume.safetensors     weights, optimizer and progress; written last, so it determines which epochs count
    tensorboard/           the same curves for TensorBoard

Every file is written atomically, and no file is ever removed.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from extractors.errors import UsageError, VtgError, reason_of
from extractors.files.atomic import atomic_write, remove_leftovers
from model.checkpoints.checkpoint import Checkpoint, save_checkpoint
from model.checkpoints.store import BEST
from model.config import Config, load_config

_PACKAGES = ("vtg", "torch", "accelerate", "numpy", "safetensors")
_HEADER = "vtg-run"
_CONFIG, _INPUTS, _STATE = "config.toml", "inputs.json", "resume.safetensors"


class RunError(VtgError):
    """A run cannot be resumed; the message names its folder."""


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        epoch: epochs done.
        step: optimizer steps done.
        best_score: the highest selection score so far; None before the first evaluation.
        best_epoch: the epoch of that score, from 1; 0 before the first evaluation.
        stale: evaluations since then.
        scaler: state of the gradient scaler, for fp16.
    """

    epoch: int = 0
    step: int = 0
    best_score: float | None = None
    best_epoch: int = 0
    stale: int = 0
    scaler: Mapping[str, Any] = field(default_factory=dict)

    def after(self, epoch: int, score: float | None) -> Progress:
        """Return the progress after an epoch; the score is None if the epoch was not evaluated."""
        if score is None:
            return replace(self, epoch=epoch)
        if self.best_score is None or score > self.best_score:
            return replace(self, epoch=epoch, best_score=score, best_epoch=epoch, stale=0)
        return replace(self, epoch=epoch, stale=self.stale + 1)


@dataclass(frozen=True)
class ResumeState:
    """The state from which training resumes.

    Attributes:
        progress: the progress of the run.
        weights: weights of the network, by name.
        moments: moments of the optimizer, by kind and by parameter name.
        averages: averages of the weights, by name; empty if they are not averaged.
    """

    progress: Progress
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Mapping[str, Tensor]]
    averages: Mapping[str, Tensor] = field(default_factory=dict)


class Run:
    """The folder of a run.

    Args:
        folder: its path; it does not need to exist.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @property
    def best(self) -> Path:
        """The best checkpoint."""
        return self.folder / BEST

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.folder / "last.safetensors"

    @property
    def pseudo_labels(self) -> Path:
        """The pseudo-labels of unlabelled videos."""
        return self.folder / "pseudo_labels.jsonl"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard event files."""
        return self.folder / "tensorboard"

    def create(self, config: Config, inputs: Mapping[str, Any]) -> None:
        """Create the run, in the main process only.

        Args:
            config: the experiment.
            inputs: plain values that describe where the data is; the method `inputs` returns them.

        Raises:
            UsageError: if the folder is not empty: a run is never overwritten.
            RunError: if it cannot be written.
        """
        if not is_main_process():
            return
        self.require_new()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # If two processes find the folder empty, only one succeeds here.
            with (self.folder / _CONFIG).open("xb"):
                pass
            self.write_config(config)
            self._write(_INPUTS, _json(dict(inputs)))
            self._write("environment.json", _json(environment()))
        except FileExistsError:
            raise self._in_use() from None
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be written ({reason_of(error)})") from error

    def require_new(self) -> None:
        """Raise UsageError if the folder is not empty; only the main process, which fills it, checks."""
        if not is_main_process():
            return
        try:
            if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
                raise self._in_use()
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be read ({reason_of(error)})") from error

    def write_config(self, config: Config) -> None:
        """Store the configuration to train, in the main process only."""
        import tomli_w

        if is_main_process():
            self._write(_CONFIG, tomli_w.dumps(config.to_dict()).encode())

    def config(self, overrides: Sequence[str] = ()) -> Config:
        """Read the stored configuration, with the given overrides.

        Raises:
            RunError: if this is not a run's folder.
            ConfigError: if a change is not valid.
        """
        path = self.folder / _CONFIG
        if not path.is_file():
            raise RunError(f"{self.folder}: not the folder of a run: it has no {_CONFIG}")
        return load_config(path, overrides)

    def inputs(self) -> dict[str, Any]:
        """Read the inputs that `create` stored; raise RunError if they cannot be read."""
        path = self.folder / _INPUTS
        try:
            inputs = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{path}: cannot be read ({error})") from error
        if not isinstance(inputs, dict):
            raise RunError(f"{path}: has no paths of the data")
        return inputs

    def fine_tuned(self) -> Mapping[str, Any] | None:
        """Return what was loaded from the trained model that the run began with; None without one."""
        begun = self.inputs().get("from")
        return begun if isinstance(begun, dict) else None

    def write_pseudo_labels(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store the pseudo-labels of unlabelled videos, in the main process only."""
        if is_main_process():
            self._write(self.pseudo_labels.name, _json_lines(rows))

    def log(self) -> list[dict[str, Any]]:
        """Read the rows of `log.jsonl`, one per epoch; raise RunError if it cannot be read.

        There may be rows of epochs that are not in `resume.safetensors`.
        """
        path = self.folder / "log.jsonl"
        if not path.is_file():
            return []
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{path}: cannot be read ({error}); remove it to continue without it") from error
        if not all(isinstance(row, dict) for row in rows):
            raise RunError(f"{path}: not one JSON object per line; remove it to continue without it")
        return rows

    def write_log(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the log."""
        self._write("log.jsonl", _json_lines(rows))

    def write_best(
        self, checkpoint: Checkpoint, predictions: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]
    ) -> None:
        """Store the best checkpoint, its predictions in the benchmarks' form, and their scores."""
        save_checkpoint(checkpoint, self.best)
        self._write("best_predictions.jsonl", _json_lines(predictions))
        self._write("best_metrics.json", _json(dict(metrics)))

    def write_last(self, checkpoint: Checkpoint, state: ResumeState) -> None:
        """Store the newest checkpoint and, after it, the state to resume from."""
        save_checkpoint(checkpoint, self.last)
        self._write_state(state)

    def write_first(self, state: ResumeState) -> None:
        """Store the initial state unless a state exists, in the main process only."""
        if is_main_process() and not self.has_state:
            self._write_state(state)

    @property
    def has_state(self) -> bool:
        """Whether there is a state to resume from."""
        return (self.folder / _STATE).is_file()

    def _write_state(self, state: ResumeState) -> None:
        tensors: dict[str, Tensor] = {}
        groups = {"weights": state.weights, "averages": state.averages, **state.moments}
        for kind, moments in groups.items():
            tensors |= {f"{kind}/{name}": value for name, value in moments.items()}
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        header = json.dumps(state.progress.__dict__)
        self._write(_STATE, serialize(plain, metadata={_HEADER: header}))

    def read_state(self) -> ResumeState | None:
        """Read the state to resume from; None if no epoch was finished and the first weights are random.

        Raises:
            RunError: if the file is damaged.
        """
        path = self.folder / _STATE
        if is_main_process():  # the only process that writes here; it may be writing while another one reads
            remove_leftovers(self.folder)
        if not path.is_file():
            return None
        groups: dict[str, dict[str, Tensor]] = {}
        try:
            with safe_open(path, framework="pt") as file:
                progress = Progress(**json.loads(file.metadata()[_HEADER]))
                for key in file.keys():  # noqa: SIM118 - not a mapping
                    kind, _, name = key.partition("/")
                    groups.setdefault(kind, {})[name] = file.get_tensor(key).clone()
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise RunError(f"{path}: damaged, so this run cannot be resumed ({error})") from error
        weights, averages = groups.pop("weights", {}), groups.pop("averages", {})
        return ResumeState(progress, weights, groups, averages)

    def _in_use(self) -> UsageError:
        return UsageError(
            f"{self.folder} is not empty: give another --output, or continue the run with "
            f"`vtg train --resume {self.folder}`"
        )

    def _write(self, name: str, content: bytes) -> None:
        with atomic_write(self.folder / name) as file:
            file.write(content)


def run_of(path: Path) -> Run | None:
    """Return the run that has this folder, or this file in its folder; None if there is no such run."""
    folder = path if path.is_dir() else path.parent
    return Run(folder) if path.exists() and (folder / _INPUTS).is_file() else None


def new_folder(folder: Path) -> Path:
    """Create a folder of this name; if it exists, the first of `NAME-2`, `NAME-3`, … that does not.

    Raises:
        RunError: if it cannot be created.
    """
    for number in count(1):
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            candidate.mkdir(parents=True)
            return candidate
        except FileExistsError:
            continue
        except OSError as error:
            raise RunError(f"{candidate}: cannot be made ({reason_of(error)})") from error
    raise AssertionError("numbers do not end")


def is_main_process() -> bool:
    """Check whether this process is the only one, or the first that a launcher (`torchrun`) started."""
    return os.environ.get("RANK", "0") == "0"


def environment() -> dict[str, Any]:
    """Return the versions, the machine and the command of this process."""
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _json_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"
