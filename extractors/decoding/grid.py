"""The clip grid: which instants of a video an encoder looks at, and how many clips there are.

Every conversion between seconds, clips and frames of the feature pipeline is in this file. Times count from the start
of the container. A frame is chosen by its timestamp, because frame rates are averages and often wrong.

Source: the extraction scripts behind the features published with HERO and Moment-DETR. This grid reproduces their
frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from extractors.decoding.frames import Framing

SamplingKind = Literal["center_frame", "slowfast"]

SLOWFAST_FRAMES = 32
"""Frames of a clip that SlowFast 8x8 reads."""

TIE_S = 0.00051
"""Times are written to the millisecond: one that is less than this before a frame means the frame."""

_SLOWFAST_FPS = 30  # the published script resampled every video to this rate first
_SLOWFAST_SPAN = 64  # frames that its 32 are spread over, in a source of 30 frames per second
_TIE = 1e-6  # 13.00 s at 0.5 fps is a tie that decimal rounding must not decide


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video an encoder wants, and how.

    Attributes:
        kind: `center_frame`, one frame at the middle of each clip (CLIP and other image encoders);
            `slowfast`, the 32 frames of each clip that SlowFast 8x8 reads.
        clip_length_s: seconds per clip.
        framing: the size of the frames, and how they become square.
    """

    kind: SamplingKind
    clip_length_s: float
    framing: Framing = Framing()


def clip_count(sampling: Sampling, end_s: float) -> int:
    """Number of clips of a video.

    A last clip that is cut short counts for `center_frame` if its middle is in the video, for `slowfast` if a frame is:
    a video of 30.7 s has 15 and 16 clips of 2 s. There is one clip at least.

    Args:
        sampling: the grid.
        end_s: end of the last frame in seconds.
    """
    clips = end_s / sampling.clip_length_s
    if sampling.kind == "center_frame":
        return max(math.floor(clips + 0.5 + _TIE), 1)
    # The published script counts the frames of the stream it resampled: 30.01 s have none of a sixteenth clip.
    resampled = math.floor(end_s * _SLOWFAST_FPS + 0.5 + _TIE)
    filled = math.ceil(resampled / (_SLOWFAST_FPS * sampling.clip_length_s) - _TIE)
    return max(min(filled, math.ceil(clips - _TIE)), 1)


def sample_times(sampling: Sampling, *, end_s: float, fps: float) -> NDArray[np.float64]:
    """The instants that an encoder wants to see.

    Args:
        sampling: the grid.
        end_s: end of the last frame in seconds.
        fps: average frame rate of the video.

    Returns:
        (N, F) seconds; of N clips, F frames each. Instants after the end stand for the last frame.
    """
    count = clip_count(sampling, end_s)
    if sampling.kind == "center_frame":
        middles: NDArray[np.float64] = (
            np.arange(count, dtype=np.float64)[:, None] + 0.5
        ) * sampling.clip_length_s
        return middles  # (N, 1)
    frames = np.rint(np.arange(count) * sampling.clip_length_s * _SLOWFAST_FPS)[:, None]  # (N, 1)
    times: NDArray[np.float64] = (
        frames + _slowfast_offsets(sampling.clip_length_s, fps) + 0.5
    ) / _SLOWFAST_FPS
    return times  # (N, 32)


def frame_indices(times_s: NDArray[np.float64], timestamps_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """The frame on screen just before each instant.

    Args:
        times_s: instants in seconds, of any shape.
        timestamps_s: (M,) when each frame appears, in seconds, rising.

    Returns:
        indices into `timestamps_s`, of the shape of `times_s`: the last frame that appears before the instant, the
        first frame where there is none.
    """
    # A frame that appears at the instant itself does not count; the margin is for timestamps that are off by a
    # rounding of the container's time base.
    before = np.searchsorted(timestamps_s, times_s - 1e-9, side="left") - 1
    return np.clip(before, 0, len(timestamps_s) - 1).astype(np.int64)


def frames_on_screen(times_s: NDArray[np.float64], timestamps_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """The frame on screen at each instant that a person or an answer names.

    Args:
        times_s: instants in seconds, of any shape; less than `TIE_S` before a frame means that frame.
        timestamps_s: (M,) when each frame appears, in seconds, rising.

    Returns:
        indices into `timestamps_s`, of the shape of `times_s`; those outside of the video mean its ends.
    """
    on_screen = np.searchsorted(timestamps_s, times_s + TIE_S, side="right") - 1
    return np.clip(on_screen, 0, len(timestamps_s) - 1).astype(np.int64)


def _slowfast_offsets(clip_length_s: float, fps: float) -> NDArray[np.float64]:
    """(32,) frames of a clip at 30 frames per second.

    The published script spreads 32 frames over 64 of a 30 fps source, scaled by the source's whole frame rate, and cuts
    at the end of the clip: sources of 23 to 30 fps look at up to the whole clip, faster ones at ever less of it. That
    is kept for 23 to 30 fps, where most videos and all published features lie; others are read as 30 fps. Clips of less
    than 2 s are cut like any other, as in the published features of 1 s: their last frame is seen many times.
    """
    whole = math.floor(fps + _TIE)
    rate = whole if 23 <= whole <= 30 else 30
    span = _SLOWFAST_SPAN * rate / 30
    last = round(clip_length_s * _SLOWFAST_FPS) - 1
    offsets: NDArray[np.float64] = np.floor(np.clip(np.linspace(0, span - 1, SLOWFAST_FRAMES), 0, last))
    return offsets
