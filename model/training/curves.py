"""Losses and metrics for TensorBoard."""

from __future__ import annotations

from typing import Any

from model.training.events import EpochDone
from model.training.run import Run


class Curves:
    """A writer of losses and metrics per epoch; a context manager.

    Args:
        run: the run that they belong to.
        enabled: whether anything is written; true in the main process only.
        epoch: the last finished epoch.
    """

    def __init__(self, run: Run, enabled: bool, epoch: int) -> None:
        self._writer: Any = None
        if enabled:
            from tensorboardX import SummaryWriter

            # Hides values that an interrupted epoch left behind.
            self._writer = SummaryWriter(str(run.tensorboard), purge_step=epoch + 1)

    def __enter__(self) -> Curves:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, event: EpochDone) -> None:
        """Add an epoch."""
        groups = {
            "loss": event.losses,
            "metrics": event.metrics,
            "metrics after suppression": event.suppressed_metrics,
            "seconds": {"steps": event.seconds, "evaluation": event.evaluation_seconds},
        }
        for group, values in groups.items():
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, event.epoch)
        self._writer.flush()
