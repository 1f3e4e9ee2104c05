"""Several batches at once on the cores of a CPU, each in a separate thread.

A single batch on all cores waits at every layer for the slowest core, and next to the decoder there always is a slow
one. Batches that do not wait for each other keep every core busy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from extractors.compute.overlap import FutureRows

_MOST_WORKERS = 4  # each holds the activations of a batch


class BatchWorkers:
    """Threads that compute batches, shared by all networks of a process.

    Each computes on a share of the CPU threads. That is set for these threads alone; how many the caller's own threads
    use, as of `torch.set_num_threads`, stays as it is. Where the number cannot be set for a single thread there is one
    worker, which uses all.

    Args:
        threads: CPU threads, divided among the workers.

    Attributes:
        count: number of workers.
    """

    def __init__(self, threads: int) -> None:
        limit = _omp_set_num_threads()
        self.count = 1 if limit is None else min(threads, _MOST_WORKERS)
        each = max(threads // self.count, 1)

        def use_a_share() -> None:
            torch.get_num_threads()  # torch sets the number itself when a thread first asks
            if limit is not None:
                limit(each)

        self._pool = ThreadPoolExecutor(self.count, "vtg-encode", initializer=use_a_share)

    def start(self, work: Callable[[], NDArray[np.float32]]) -> Future[NDArray[np.float32]]:
        """Have some work done as soon as a worker is free."""
        return self._pool.submit(work)


def _omp_set_num_threads() -> Callable[[int], object] | None:
    """OpenMP's function that sets the number of threads for the calling thread, of the library that torch uses."""
    try:
        function: Callable[[int], object] = ctypes.CDLL(None).omp_set_num_threads
    except (AttributeError, OSError, TypeError):  # another system than Linux, or another build of torch
        return None
    return function


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

    def submit(self, parts: Sequence[NDArray[np.uint8]]) -> FutureRows:
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
        rows = _PromisedRows(shared_workers().start(lambda: self._compute(clips)))
        if not self._is_set_up:
            rows.rows()
            self._is_set_up = True
        return rows


class _PromisedRows:
    """Rows that a worker is computing."""

    def __init__(self, future: Future[NDArray[np.float32]]) -> None:
        self._future = future

    @property
    def is_ready(self) -> bool:
        return self._future.done()

    def rows(self) -> NDArray[np.float32]:
        return self._future.result()


@cache
def shared_workers() -> BatchWorkers:
    """The workers of this process, on as many CPU threads as torch has when they are first asked for."""
    return BatchWorkers(torch.get_num_threads())
