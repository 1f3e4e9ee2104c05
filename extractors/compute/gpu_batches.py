"""Batches copied to a device and back, the next one while the previous one is computed.

A GPU waits for the host, which gathers frames, copies them and fetches results. So every batch has a slot: pinned
memory on the host, from which the device copies without the host's help, memory on the device, and memory for the
results. With two slots the host fills one while the device works on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from extractors.compute.overlap import FutureRows


class OverlappedNetwork:
    """A network on a device, fed through slots.

    On CUDA, nothing waits for the device until rows are read, or a slot is needed that is still in use. Elsewhere the
    same steps are taken one after another, and rows are ready when `submit` returns.

    Args:
        network: (B, *clip_shape) bytes on `device` in, (B, dim) float32 on `device` out.
        device: where it runs.
        clip_shape: of one clip.
        dim: length of a row.
        batch_size: maximum clips per batch.
        slots: batches on their way at a time.
        round_up: run batches that are not full in the next power of two clips, so that kernels, which cuDNN chooses by
            trial, are chosen for few shapes; by default on CUDA. The rows of clips that are not there are thrown away.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        device: torch.device,
        *,
        clip_shape: Sequence[int],
        dim: int,
        batch_size: int,
        slots: int = 2,
        round_up: bool | None = None,
    ) -> None:
        self._network = network
        self._queues: _Queues = _CudaQueues(device) if device.type == "cuda" else _NoQueues()
        self._batch_size = batch_size
        self._round_up = device.type == "cuda" if round_up is None else round_up
        self._slots = [
            _Slot(device, (batch_size, *clip_shape), (batch_size, dim), self._queues) for _ in range(slots)
        ]
        self._next = 0
        self._queues.finish()  # the network and the slots were made in a queue that is none of these

    def submit(self, parts: Sequence[NDArray[np.uint8]]) -> FutureRows:
        """Start computing a batch.

        Args:
            parts: arrays of clips, (n, *clip_shape), `batch_size` in all at most; may be reused at once.

        Returns:
            Its rows, or the promise of them.

        Raises:
            ValueError: if there are more clips than a batch has room for, or none.
            RuntimeError: if the device has no memory left; another, smaller batch may follow.
        """
        count = sum(map(len, parts))
        if not 0 < count <= self._batch_size:
            raise ValueError(f"{count} clips in a batch of 1 to {self._batch_size}")
        slot = self._slots[self._next]
        slot.empty()
        start = 0
        for part in parts:
            slot.host_array[start : start + len(part)] = part
            start += len(part)
        try:
            self._start(slot, count)
        except BaseException:
            # What was begun still reads the slot, which is used again by whatever comes next.
            self._queues.finish()
            raise
        self._next = (self._next + 1) % len(self._slots)
        return slot.give(count)

    def _start(self, slot: _Slot, count: int) -> None:
        """Queue the copy of a slot's clips, the computation, and the copy of the rows back."""
        queues = self._queues
        run = min(_power_of_two(count), self._batch_size) if self._round_up else count
        with queues.copying():
            if slot.clips is not slot.host_clips:
                slot.clips[:count].copy_(slot.host_clips[:count], non_blocking=queues.overlap)
            queues.mark(slot.copied)
        with queues.computing(), torch.inference_mode():
            queues.wait(slot.copied)
            rows = self._network(slot.clips[:run])
            slot.host_rows[:count].copy_(rows[:count], non_blocking=queues.overlap)
            queues.mark(slot.computed)


class _Slot:
    """Memory for one batch at a time on its way to the device and back."""

    def __init__(
        self, device: torch.device, clips: tuple[int, ...], rows: tuple[int, ...], queues: _Queues
    ) -> None:
        self.host_clips = torch.zeros(clips, dtype=torch.uint8, pin_memory=queues.overlap)
        self.host_array: NDArray[np.uint8] = self.host_clips.numpy()
        on_host = device.type == "cpu"
        self.clips = self.host_clips if on_host else torch.zeros(clips, dtype=torch.uint8, device=device)
        self.host_rows = torch.zeros(rows, dtype=torch.float32, pin_memory=queues.overlap)
        self.copied = queues.event()
        self.computed = queues.event()
        self._given: _SlotRows | None = None

    def give(self, count: int) -> _SlotRows:
        """The rows of the batch that has just been begun."""
        self._given = _SlotRows(self, count)
        return self._given

    def empty(self) -> None:
        """Make room for another batch and keep the rows of the last one until they are asked for."""
        if self._given is not None:
            self._given.rows()
            self._given = None


class _SlotRows:
    """Rows that lie in a slot until they are asked for, or until the slot is needed."""

    def __init__(self, slot: _Slot, count: int) -> None:
        self._slot = slot
        self._count = count
        self._rows: NDArray[np.float32] | None = None

    @property
    def is_ready(self) -> bool:
        return self._rows is not None or bool(self._slot.computed.query())

    def rows(self) -> NDArray[np.float32]:
        if self._rows is None:
            self._slot.computed.synchronize()
            self._rows = self._slot.host_rows[: self._count].numpy().copy()
        return self._rows


class _Queues(Protocol):
    """The queues of a device: one to copy, one to compute, and events for one to wait for the other."""

    overlap: bool

    def event(self) -> Any: ...

    def copying(self) -> AbstractContextManager[Any]: ...

    def computing(self) -> AbstractContextManager[Any]: ...

    def mark(self, event: Any) -> None: ...

    def wait(self, event: Any) -> None: ...

    def finish(self) -> None: ...


class _CudaQueues:
    overlap = True

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._compute = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def event(self) -> Any:
        # Who waits for it sleeps: the core is of more use to the decoder.
        return torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]

    def copying(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._copies)

    def computing(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._compute)

    def mark(self, event: Any) -> None:
        event.record(torch.cuda.current_stream(self._device))

    def wait(self, event: Any) -> None:
        torch.cuda.current_stream(self._device).wait_event(event)

    def finish(self) -> None:
        torch.cuda.synchronize(self._device)


class _NoQueues:
    """A device that does one thing at a time, done when the call returns."""

    overlap = False

    def event(self) -> Any:
        return _Past()

    def copying(self) -> AbstractContextManager[Any]:
        return nullcontext()

    computing = copying

    def mark(self, event: Any) -> None:
        del event

    wait = mark

    def finish(self) -> None:
        pass


class _Past:
    """An event that has already happened."""

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
