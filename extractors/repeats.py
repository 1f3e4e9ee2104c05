"""Clips that show the very same frames as the clip before them: they are encoded once, and their row is repeated.

A still picture, a slide or a gap between two frames may last for hours. What it costs to encode follows from the
pictures that there are, not from how long they are shown.
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
        self._last: NDArray[np.uint8] | None = None

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
        begins[0] = self._last is None or not _are_equal(self._last, frames, clips[0])
        others = np.flatnonzero((clips[1:] != clips[:-1]).any(axis=1)) + 1
        for other in others:
            begins[other] = not _show_the_same(frames, clips[other - 1], clips[other])
        self._last = frames[clips[-1]]
        starts = np.flatnonzero(begins)
        lengths = np.diff(np.append(starts, len(clips)))
        if len(lengths) == 0 or starts[0] > 0:
            self.lengths[-1] += int(starts[0]) if len(starts) else len(clips)
        self.lengths.extend(lengths.tolist())
        return clips[starts]


def _show_the_same(frames: NDArray[np.uint8], one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    return all(
        a == b or np.array_equal(frames[a], frames[b])
        for a, b in zip(one.tolist(), other.tolist(), strict=True)
    )


def _are_equal(pictures: NDArray[np.uint8], frames: NDArray[np.uint8], clip: NDArray[np.int64]) -> bool:
    return all(
        np.array_equal(picture, frames[index]) for picture, index in zip(pictures, clip.tolist(), strict=True)
    )
