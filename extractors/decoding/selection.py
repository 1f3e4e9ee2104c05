"""Which packets have to be decoded for the frames that are wanted.

Most frames of a video are looked at by nobody when one frame a second is wanted. A frame that is not wanted has to be
decoded only if other frames refer to it. What follows the last wanted frame of a closed group of pictures, in the order
of decoding, is not needed at all. The frames that are wanted come out bit for bit as if all had been decoded.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from extractors.decoding.container.timeline import Timeline

# Codecs of which FFmpeg leaves out frames that no other refers to without an effect on the others. Of VP8, it would
# lose the map of segments that later frames inherit.
_SKIPS_UNREFERENCED = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"})
# Codecs whose key frames reset the decoder as a whole.
_RESET_BY_KEY_FRAMES = _SKIPS_UNREFERENCED | {"msmpeg4v3", "vp8", "vp9", "av1", "mjpeg", "prores", "dnxhd"}


class Need(IntEnum):
    """What has to be done with the packet of a frame."""

    NONE = 0
    """Nothing."""
    REFERENCE = 1
    """Decode it if other frames refer to it."""
    FRAME = 2
    """Decode it."""


def can_start_at_key_frames(timeline: Timeline) -> bool:
    """Whether what lies between two key frames can be decoded alone."""
    return timeline.is_seekable and timeline.closed_groups and timeline.codec in _RESET_BY_KEY_FRAMES


def needs(wanted: NDArray[np.int64], timeline: Timeline) -> NDArray[np.uint8]:
    """What has to be done with the packet of each frame, so that the frames that are wanted can be decoded.

    Args:
        wanted: (M,) rising indices into the timeline.
        timeline: the video.

    Returns:
        (frames of the video,) `Need`s.
    """
    found = np.full(len(timeline.timestamps_s), Need.FRAME, np.uint8)
    if not timeline.trustworthy or timeline.has_hidden_frames:
        return found
    if timeline.codec in _SKIPS_UNREFERENCED:
        # Frames of a higher layer may refer to frames that call themselves unreferenced in theirs.
        found[timeline.layers == timeline.layers.max()] = Need.REFERENCE
        found[wanted] = Need.FRAME
    if timeline.closed_groups and timeline.codec in _RESET_BY_KEY_FRAMES and len(timeline.key_frames):
        order = timeline.decode_order
        # The first group also holds what stands before the first key frame.
        group = np.searchsorted(np.sort(order[timeline.key_frames])[1:], order, side="right")
        last = np.full(len(timeline.key_frames), -1)
        np.maximum.at(last, group[wanted], order[wanted])
        found[order > last[group]] = Need.NONE
    return found
