from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from extractors.compute.cpu_batches import BatchWorkers, ParallelNetwork, shared_workers


def means(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
    return clips.astype(np.float32).mean(axis=(1, 2), keepdims=False)[:, None]


def test_rows_come_in_the_order_of_the_batches() -> None:
    network = ParallelNetwork(means, batch_size=3)
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 256, (count, 4, 5), np.uint8) for count in (3, 1, 2, 3, 3)]
    sent = [network.submit([batch[:1], batch[1:]]) for batch in batches]
    for pending, batch in zip(sent, batches, strict=True):
        np.testing.assert_array_equal(pending.rows(), means(batch))
        assert pending.is_ready
        np.testing.assert_array_equal(pending.rows(), means(batch))


def test_what_is_given_may_be_reused_at_once() -> None:
    def slow(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(0.05)
        return means(clips)

    network = ParallelNetwork(slow, batch_size=1)
    clip = np.full((1, 2, 2), 7, np.uint8)
    network.submit([clip]).rows()
    pending = network.submit([clip])
    clip[:] = 0
    assert pending.rows().item() == 7


def test_batches_do_not_wait_for_each_other() -> None:
    if shared_workers().count < 2:
        pytest.skip("a single thread")
    together = threading.Barrier(2)

    def meet(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        if clips[0, 0, 0]:
            together.wait(timeout=30)  # for the other one
        return means(clips)

    network = ParallelNetwork(meet, batch_size=1)
    network.submit([np.zeros((1, 2, 2), np.uint8)]).rows()
    sent = [network.submit([np.ones((1, 2, 2), np.uint8)]) for _ in range(2)]
    assert [pending.rows().item() for pending in sent] == [1, 1]


def test_setup_runs_once() -> None:
    calls: list[int] = []

    def set_up(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        if not calls:
            time.sleep(0.1)
            calls.append(1)
        return means(clips)

    network = ParallelNetwork(set_up, batch_size=1)
    sent = [network.submit([np.ones((1, 2, 2), np.uint8)]) for _ in range(4)]
    assert len([pending.rows() for pending in sent]) == 4
    assert calls == [1]


def test_error_comes_with_the_rows() -> None:
    def fail(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        if clips.max() == 2:
            raise MemoryError
        return means(clips)

    network = ParallelNetwork(fail, batch_size=1)
    network.submit([np.ones((1, 2, 2), np.uint8)]).rows()
    pending = network.submit([np.full((1, 2, 2), 2, np.uint8)])
    after = network.submit([np.full((1, 2, 2), 3, np.uint8)])
    with pytest.raises(MemoryError):
        pending.rows()
    assert after.rows().item() == 3


@pytest.mark.parametrize("count", [0, 3])
def test_a_batch_of_another_size_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 2"):
        ParallelNetwork(means, batch_size=2).submit([np.ones((count, 2, 2), np.uint8)])


@pytest.mark.skipif(sys.platform != "linux", reason="needs OpenMP among the process's own symbols")
@pytest.mark.parametrize(("threads", "each"), [(1, 1), (2, 1), (3, 1), (8, 2), (16, 4)])
def test_threads_are_divided(threads: int, each: int) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def work() -> NDArray[np.float32]:
        seen.append(torch.get_num_threads())
        torch.ones(64, 64) @ torch.ones(64, 64)
        seen.append(torch.get_num_threads())
        return np.zeros((1, 1), np.float32)

    workers = BatchWorkers(threads)
    workers.start(work).result()
    assert seen == [each, each]
    assert workers.count * each <= threads
    assert torch.get_num_threads() == before
