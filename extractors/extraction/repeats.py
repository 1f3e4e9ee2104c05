"""Clips with exactly the same frames as the clip before are encoded once, and their row is repeated.

A still picture, a slide or a gap between two frames may last for hours. The cost of encoding depends on the number of
distinct frames and not on how long they are shown.
"""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray


class Runs:
    """How many successive clips of a video show the same, in the order of the clips.

    Attributes:
        lengths: number of clips in each run so far; they sum up to all clips that were looked at.
    """

    def __init__(self) -> None:
        self.lengths = array("q")
        self._still: NDArray[np.uint8] | None = (
            None  # what all frames of the last clip show, if they show the same
        )

    def add(self, frames: NDArray[np.uint8], clips: NDArray[np.int64]) -> NDArray[np.int64]:
        """Look at the next clips.

        Args:
            frames: (M, S, S, 3), which may be let go afterwards.
            clips: (N, F) rows of `frames`.

        Returns:
            (R, F) rows of `frames`: the first clip of each run that begins here.
        """
        if not len(clips):
            return clips
        begins = np.zeros(len(clips), dtype=bool)
        # Clips of the same frames are the same, whatever these show.
        others = np.flatnonzero((clips[1:] != clips[:-1]).any(axis=1)) + 1
        for clip in (0, *others.tolist()):
            still = _still(frames, clips[clip])
            begins[clip] = still is None or self._still is None or not np.array_equal(still, self._still)
            self._still = still
        if self._still is not None:
            self._still = self._still.copy()
        starts = np.flatnonzero(begins)
        first = int(starts[0]) if len(starts) else len(clips)
        if first > 0:
            self.lengths[-1] += first
        self.lengths.extend(np.diff(np.append(starts, len(clips))).tolist())
        return clips[starts]


def _still(frames: NDArray[np.uint8], clip: NDArray[np.int64]) -> NDArray[np.uint8] | None:
    """What all frames of a clip show; None if it moves."""
    picture = frames[clip[0]]
    others = dict.fromkeys(clip[clip != clip[0]].tolist())
    return picture if all(np.array_equal(picture, frames[other]) for other in others) else None
