"""Several batches at once on the cores of a CPU, each in a separate thread.

A single batch on all cores waits at every layer for the slowest core, and next to the decoder there always is a slow
one. Batches that do not wait for each other keep every core busy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from extractors.compute.overlap import PendingRows

_MOST_LANES = 4  # each holds the activations of a batch


class Lanes:
    """Threads for batches, shared by all networks of a process.

    Args:
        threads: of torch, divided among the lanes.
    """

    def __init__(self, threads: int) -> None:
        self.count = min(threads, _MOST_LANES)
        self._all = threads
        self._each = max(threads // self.count, 1)
        self._pool = ThreadPoolExecutor(self.count, "vtg-encode")
        self._lock = threading.Lock()
        self._under_way = 0

    def start(self, work: Callable[[], NDArray[np.float32]]) -> Future[NDArray[np.float32]]:
        """Run some work as soon as a lane is free."""
        with self._lock:
            self._under_way += 1
        try:
            return self._pool.submit(self._run, work)
        except BaseException:
            self._end()
            raise

    def _run(self, work: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        try:
            torch.set_num_threads(self._each)
            return work()
        finally:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self._under_way -= 1

    def release(self) -> None:
        """Give all threads back to the caller, if nothing is under way; the number is partly the whole process's."""
        with self._lock:
            if self._under_way == 0:
                torch.set_num_threads(self._all)


class ParallelNetwork:
    """A network on a CPU that accepts the next batch while it computes earlier ones.

    Args:
        compute: (B, *clip_shape) bytes in, (B, dim) float32 out; may run in several threads at once after its first
            batch, over which it may set itself up.
        batch_size: maximum clips per batch.
    """

    def __init__(
        self, compute: Callable[[NDArray[np.uint8]], NDArray[np.float32]], *, batch_size: int
    ) -> None:
        self._compute = compute
        self._batch_size = batch_size
        self._is_set_up = False

    def submit(self, parts: Sequence[NDArray[np.uint8]]) -> PendingRows:
        """Start computing a batch.

        Args:
            parts: arrays of clips, (n, *clip_shape), `batch_size` in all at most; may be reused at once.

        Returns:
            The promise of its rows; asking for them raises what computing them raised.

        Raises:
            ValueError: if there are more clips than a batch has room for, or none.
        """
        count = sum(map(len, parts))
        if not 0 < count <= self._batch_size:
            raise ValueError(f"{count} clips in a batch of 1 to {self._batch_size}")
        clips = np.concatenate(parts)
        lanes = shared_lanes()
        rows = _PromisedRows(lanes.start(lambda: self._compute(clips)), lanes)
        if not self._is_set_up:
            rows.rows()
            self._is_set_up = True
        return rows


class _PromisedRows:
    """Rows that a lane is at work on."""

    def __init__(self, future: Future[NDArray[np.float32]], lanes: Lanes) -> None:
        self._future = future
        self._lanes = lanes

    @property
    def is_ready(self) -> bool:
        return self._future.done()

    def rows(self) -> NDArray[np.float32]:
        rows = self._future.result()
        self._lanes.release()
        return rows


@cache
def shared_lanes() -> Lanes:
    """The lanes of this process, as many as torch has threads when they are first asked for."""
    return Lanes(torch.get_num_threads())
