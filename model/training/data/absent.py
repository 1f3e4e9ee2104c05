"""Batches from a file of negatives, beside those of the training split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from model.datasets.grounding import GroundingDataset, collate
from model.network.flashvtg import AbsentPairs

_STREAM = 1  # of random numbers, apart from those that order the training split


class AbsentBatches:
    """Pairs of a video and a query about what it does not show.

    Args:
        dataset: the negatives, without labels.
        batch_size: pairs at a time.
        seed: of their order.
    """

    def __init__(self, dataset: GroundingDataset, batch_size: int, seed: int) -> None:
        self._dataset = dataset
        self._batch_size = batch_size
        self._seed = seed

    def of_epoch(self, epoch: int, process_index: int = 0) -> Iterator[AbsentPairs]:
        """Batches without end, as they depend on the seed, the epoch and the process alone."""
        rng = np.random.default_rng([self._seed, epoch, process_index, _STREAM])
        while True:
            order = rng.permutation(len(self._dataset)).tolist()
            for start in range(0, len(order), self._batch_size):
                some = order[start : start + self._batch_size]
                batch = collate([self._dataset[epoch, index] for index in some])
                yield AbsentPairs(batch.video, batch.video_mask, batch.text, batch.text_mask)
