"""The learning rate of each step: constant, unless a warm-up or a decay is configured."""

from __future__ import annotations

from model.config import TrainingConfig


def learning_rate(training: TrainingConfig, *, epoch: int, step: int, steps: int, before: int) -> float:
    """Return the learning rate of a step.

    Args:
        training: the recipe.
        epoch: from 1.
        step: from 1, within the epoch.
        steps: number of steps of the epoch.
        before: steps done in all epochs.

    Returns:
        the configured rate; it rises to that linearly over the first `warmup_steps`, and falls linearly
        towards 0 over the last `decay_epochs`.
    """
    rate = training.learning_rate
    if before < training.warmup_steps:
        rate *= (before + 1) / training.warmup_steps
    epochs_left = training.epochs - (epoch - 1) - (step - 1) / steps
    if epochs_left < training.decay_epochs:
        rate *= epochs_left / training.decay_epochs
    return rate
