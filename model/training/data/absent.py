"""Batches from a file of negatives, used alongside those of the training split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from model.datasets.grounding import GroundingDataset, collate
from model.network.flashvtg import AbsentPairs

_STREAM = 1  # random stream, separate from the one that orders the training split


class AbsentBatches:
    """Batches of pairs of a video and a query about something that it does not show.

    Args:
        dataset: the negatives, without labels.
        batch_size: pairs per batch.
        seed: seed of their order.
    """

    def __init__(self, dataset: GroundingDataset, batch_size: int, seed: int) -> None:
        self._dataset = dataset
        self._batch_size = batch_size
        self._seed = seed

    def of_epoch(self, epoch: int, process_index: int = 0) -> Iterator[AbsentPairs]:
        """Yield endless batches, which depend only on the seed, the epoch and the process."""
        rng = np.random.default_rng([self._seed, epoch, process_index, _STREAM])
        while True:
            order = rng.permutation(len(self._dataset)).tolist()
            for start in range(0, len(order), self._batch_size):
                some = order[start : start + self._batch_size]
                batch = collate([self._dataset[epoch, index] for index in some])
                yield AbsentPairs(batch.video, batch.video_mask, batch.text, batch.text_mask)
