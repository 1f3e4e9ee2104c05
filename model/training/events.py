"""What training reports while it runs, and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class StepDone:
    """An optimizer step is done.

    Attributes:
        epoch: from 1.
        epochs: in all.
        step: from 1, within the epoch.
        steps: of an epoch.
        losses: means of the epoch so far, by name.
        memory_bytes: the most this process has held, of the GPU's memory where it trains on one.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    losses: Mapping[str, float]
    memory_bytes: int


@dataclass(frozen=True)
class EvaluationProgress:
    """Queries of the evaluation split done, and in all."""

    epoch: int
    done: int
    total: int


@dataclass(frozen=True)
class EpochDone:
    """An epoch is done, and on disk.

    Attributes:
        epoch: from 1.
        epochs: in all.
        losses: means over the epoch, by name.
        metrics: of moments as decoded; empty if the epoch was not evaluated.
        suppressed_metrics: the same after non-maximum suppression.
        score: mean of the selection metrics; None if the epoch was not evaluated.
        best_epoch: the best so far, this one included.
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
    """How a run ended.

    Attributes:
        best_epoch: from 1.
        metrics: of the best epoch, as decoded.
        suppressed_metrics: of the best epoch, after non-maximum suppression.
        epochs: done in all.
        stopped_early: whether patience ran out.
    """

    best_epoch: int
    metrics: Mapping[str, float]
    suppressed_metrics: Mapping[str, float]
    epochs: int
    stopped_early: bool
