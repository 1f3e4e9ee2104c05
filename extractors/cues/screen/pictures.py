"""The pictures of a video at the clip grid, and which of them differ from the one before."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.decoding.container.timeline import Timeline
from extractors.decoding.grid import Sampling, clip_count, frame_indices, sample_times
from extractors.decoding.pyav_reader import FrameMissing, first_frame_quarter_turns, read_frames

CLIP_LENGTH_S = 2.0
"""Seconds per picture: text that people are meant to read stays longer."""

_SAMPLING = Sampling("center_frame", CLIP_LENGTH_S)
_LONGEST_SIDE = 1280  # text of 24 pixels in 1080 lines is 16 high then, which is read without errors
_SMALL_WIDTH, _BLOCK = 320, 8
_LEAST_CHANGE = 8.0  # of 255, in the mean of a block: compression alone changes 1 or 2


def picture_count(timeline: Timeline) -> int:
    """How many pictures of a video are looked at."""
    return clip_count(_SAMPLING, timeline.end_s)


def read_pictures(timeline: Timeline) -> Iterator[NDArray[np.uint8]]:
    """The picture in the middle of each clip, upright.

    Yields:
        (height, width, 3) RGB, at most 1280 pixels long; only what a frame needs is decoded.

    Raises:
        VideoError: if no frame can be decoded.
    """
    turns = first_frame_quarter_turns(timeline.file)
    times_s = sample_times(_SAMPLING, end_s=timeline.end_s, fps=timeline.fps)
    wanted, clips = np.unique(frame_indices(times_s, timeline.timestamps_s), return_counts=True)
    for picture, count in zip(_decoded(wanted, timeline, _Whole(turns)), clips.tolist(), strict=True):
        yield from repeat(picture, count)


def _decoded(
    wanted: NDArray[np.int64], timeline: Timeline, picture_of: _Whole
) -> Iterator[NDArray[np.uint8]]:
    done = 0
    try:
        for picture in read_frames(wanted, timeline, picture_of):
            done += 1
            yield picture
    except FrameMissing:
        # Damage: decode all, so that what is shown before a frame can stand in for it.
        yield from read_frames(wanted[done:], timeline, picture_of, selective=False)


class _Whole:
    """Makes upright pictures of whole frames.

    Args:
        quarter_turns: counter-clockwise, that bring a frame upright.
    """

    def __init__(self, quarter_turns: int) -> None:
        self._turns = quarter_turns

    def __call__(self, frame: Any) -> NDArray[np.uint8]:
        scale = min(_LONGEST_SIDE / max(frame.width, frame.height), 1.0)
        width, height = (max(round(side * scale), 1) for side in (frame.width, frame.height))
        pixels = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
        return np.ascontiguousarray(np.rot90(pixels, self._turns))


class ChangeDetector:
    """Tells whether a picture differs from the last one that did."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._seen: NDArray[np.uint8] | None = None

    def differs(self, picture: NDArray[np.uint8]) -> bool:
        """Whether a (height, width, 3) picture differs visibly, if only in a word; the first one does."""
        # Most pictures of a slide are the same to the last bit, and compared fast.
        if self._seen is not None and np.array_equal(picture, self._seen):
            return False
        self._seen = picture
        small = _small(picture)
        last = self._last
        if last is not None and last.shape == small.shape:
            change = np.abs(small - last)
            if _blocks(change, _BLOCK).max(initial=0) < _LEAST_CHANGE:
                return False
        self._last = small
        return True


def _small(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A picture in grey, each pixel the mean of a square."""
    red, green, blue = (picture[..., channel] for channel in range(3))
    grey = (red.astype(np.uint16) + green + blue).astype(np.float32) / np.float32(3)
    return _blocks(grey, max(round(max(grey.shape) / _SMALL_WIDTH), 1))


def _blocks(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """The means of squares; a rest at the right and at the bottom is left out, unless there is nothing else."""
    height, width = values.shape
    side = min(side, height, width)
    cut = values[: height // side * side, : width // side * side]
    means: NDArray[np.float32] = cut.reshape(height // side, side, width // side, side).mean(axis=(1, 3))
    return means
