"""Small pictures of a few instants of a video, found by seeking instead of decoding the whole file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.decoding.container.timeline import Timeline, open_container, read_timeline
from extractors.decoding.grid import frames_on_screen
from extractors.decoding.pyav_reader import numbered_frames
from extractors.errors import VideoError


def read_thumbnails(
    path: str | Path, instants_s: Sequence[float], *, height: int = 90
) -> tuple[NDArray[np.uint8], ...]:
    """The pictures on screen at some instants, upright and with square pixels, in one pass through the file.

    A frame that cannot be decoded is stood in for by a neighbour.

    Args:
        path: the video.
        instants_s: seconds from the start of the video, in any order; those outside of it mean its ends.
        height: pixels of the pictures, which are at most four times as wide.

    Returns:
        (height, width, 3) RGB, one for each instant.

    Raises:
        VideoError: if the file is missing, not a video, none of its frames can be decoded, or they cannot be scaled.
    """
    import av

    path = Path(path)
    timeline = read_timeline(path)
    wanted = frames_on_screen(np.asarray(instants_s, dtype=float), timeline.timestamps_s)
    rising = np.unique(wanted)
    pictures: dict[int, NDArray[np.uint8]] = {}
    with open_container(timeline.file) as (container, stream):
        stream.thread_type = "AUTO"
        aspect = float(stream.sample_aspect_ratio or 1)
        for index, frame in zip(rising, _frames(container, stream, timeline, rising), strict=False):
            try:
                pictures[int(index)] = _picture(frame, aspect, height)
            except av.error.FFmpegError as error:
                raise VideoError(path, f"its frames cannot be scaled ({error.strerror})") from error
    if len(pictures) < len(rising):
        raise VideoError(path, "none of its frames can be decoded")
    return tuple(pictures[int(index)] for index in wanted)


def _frames(container: Any, stream: Any, timeline: Timeline, rising: NDArray[np.int64]) -> Iterator[Any]:
    """A decoded frame for each index, as long as there are any."""
    decoding = numbered_frames(container, stream, timeline)
    at, frame, before = -1, None, None
    for index in rising:
        start = timeline.key_frame_before(int(index))
        if start > at + 1 and timeline.seek(container, stream, start):
            decoding = numbered_frames(container, stream, timeline)
        while at < index and (step := next(decoding, None)) is not None:
            before, (at, frame) = frame, step
        if frame is None:
            return
        # A frame that appears later leaves the one before it on screen.
        yield before if at > index and before is not None else frame


def _picture(frame: Any, aspect: float, height: int) -> NDArray[np.uint8]:
    turns = round(int(frame.rotation) / 90) % 4
    width, stored = frame.width * aspect, frame.height
    # Turned sideways, what is stored as the width becomes the height.
    across = round(height * (stored / width if turns % 2 else width / stored))
    across = max(min(across, 4 * height), 1)
    scaled = (height, across) if turns % 2 else (across, height)
    small = frame.reformat(width=scaled[0], height=scaled[1], format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(small, turns))
