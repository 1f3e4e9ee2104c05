"""Devices, precision and multiple processes (`torchrun`, `accelerate launch`), handled by Accelerate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch

from extractors.compute.device import resolve_device
from model.config import Config

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


@contextmanager
def accelerator(config: Config, device: str) -> Iterator[Accelerator]:
    """Create an Accelerator for one run.

    Accelerate shares the device and the precision of the first Accelerator with all later ones of the
    process, and has no public way to reset them. So its state is cleared here, and the state of the caller's
    own Accelerator is restored afterwards.

    Args:
        config: the experiment.
        device: `auto`, `cpu`, `cuda`, … as for encoders.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedDataParallelKwargs

    callers = {kind: dict(kind._shared_state) for kind in (AcceleratorState, PartialState)}
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    AcceleratorState._reset_state(reset_partial_state=not several)
    precision = config.training.precision
    # Without moments to regress, the boundary head is not used.
    unused = DistributedDataParallelKwargs(find_unused_parameters=not config.data.annotates_moments)
    try:
        yield Accelerator(
            cpu=resolve_device(device).type == "cpu",
            mixed_precision="no" if precision == "fp32" else precision,
            kwargs_handlers=[unused],
        )
    finally:
        for kind, state in callers.items():
            if state:
                kind._shared_state.clear()
                kind._shared_state.update(state)


def agreed(process: Accelerator, value: T) -> T:
    """Return the main process's value in every process."""
    if process.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    shared: T = broadcast_object_list([value])[0]
    return shared
