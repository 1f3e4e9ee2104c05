"""Events that training reports while it runs, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class StepDone:
    """An optimizer step is done.

    Attributes:
        epoch: from 1.
        epochs: total number of epochs.
        step: from 1, within the epoch.
        steps: number of steps per epoch.
        losses: means over the epoch so far, by name.
        memory_bytes: memory of this process; on a GPU, the peak of its allocated GPU memory.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    losses: Mapping[str, float]
    memory_bytes: int


@dataclass(frozen=True)
class EvaluationProgress:
    """Number of queries of the evaluation split that are done, and the total."""

    epoch: int
    done: int
    total: int


@dataclass(frozen=True)
class EpochDone:
    """An epoch is done and stored.

    Attributes:
        epoch: from 1.
        epochs: total number of epochs.
        losses: means over the epoch, by name.
        metrics: metrics of the moments as decoded; empty if the epoch was not evaluated.
        suppressed_metrics: the same after non-maximum suppression.
        score: mean of the selection metrics; None if the epoch was not evaluated.
        best_epoch: the best epoch so far, including this one.
        seconds: wall time of the steps.
        evaluation_seconds: wall time of the evaluation.
    """

    epoch: int
    epochs: int
    losses: Mapping[str, float]
    metrics: Mapping[str, float]
    suppressed_metrics: Mapping[str, float]
    score: float | None
    best_epoch: int
    seconds: float
    evaluation_seconds: float


Event = StepDone | EvaluationProgress | EpochDone


@dataclass(frozen=True)
class TrainingResult:
    """The result of a run.

    Attributes:
        best_epoch: from 1.
        metrics: metrics of the best epoch, as decoded.
        suppressed_metrics: metrics of the best epoch, after non-maximum suppression.
        epochs: number of epochs done.
        stopped_early: whether patience ran out.
    """

    best_epoch: int
    metrics: Mapping[str, float]
    suppressed_metrics: Mapping[str, float]
    epochs: int
    stopped_early: bool
