"""Small pictures of a few instants of a video, found by seeking instead of decoding the whole file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.decoding.container.timeline import Timeline, open_container, read_timeline
from extractors.errors import VideoError

_TIE_S = 0.00051  # as when cutting: what is less than that off a frame means the frame


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
    on_show = np.searchsorted(
        timeline.timestamps_s, np.asarray(instants_s, dtype=float) + _TIE_S, side="right"
    )
    wanted = np.clip(on_show - 1, 0, len(timeline.timestamps_s) - 1)
    rising = np.unique(wanted)
    pictures: dict[int, NDArray[np.uint8]] = {}
    with open_container(path) as (container, stream):
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
    decoding = _numbered(container, stream, timeline)
    at, frame, before = -1, None, None
    for index in rising:
        start = _start_for(index, timeline)
        if start > at + 1 and _seek(container, stream, timeline, start):
            decoding = _numbered(container, stream, timeline)
        while at < index and (step := next(decoding, None)) is not None:
            before, (at, frame) = frame, step
        if frame is None:
            return
        # A frame that appears later leaves the one before it on screen.
        yield before if at > index and before is not None else frame


def _start_for(index: int, timeline: Timeline) -> int:
    """The frame from which to decode for a frame."""
    if not timeline.trustworthy:
        return 0
    # Where a key frame may be no point to start decoding from, the one before it is.
    key = int(np.searchsorted(timeline.key_frames, index, side="right")) - (2 if timeline.seek_fault else 1)
    return int(timeline.key_frames[key]) if key >= 0 else 0


def _seek(container: Any, stream: Any, timeline: Timeline, index: int) -> bool:
    import av

    time_s = timeline.start_s + float(timeline.timestamps_s[index])
    try:
        container.seek(round(time_s / float(stream.time_base)), stream=stream)
    except av.error.FFmpegError:
        return False
    return True


def _numbered(container: Any, stream: Any, timeline: Timeline) -> Iterator[tuple[int, Any]]:
    """Decoded frames and their indices, from where the container stands; damaged ones are skipped."""
    import av

    count = 0
    packets = container.demux(stream)
    while True:
        try:
            frames = next(packets).decode()
        except av.error.InvalidDataError:
            continue
        except (StopIteration, av.error.FFmpegError):
            return
        for frame in frames:
            if not timeline.trustworthy:
                yield count, frame
                count += 1
            elif frame.pts is not None:
                time_s = frame.pts * float(frame.time_base) - timeline.start_s
                nearest = int(np.searchsorted(timeline.timestamps_s, time_s - 1e-6))
                yield min(nearest, len(timeline.timestamps_s) - 1), frame


def _picture(frame: Any, aspect: float, height: int) -> NDArray[np.uint8]:
    turns = round(int(frame.rotation) / 90) % 4
    width, stored = frame.width * aspect, frame.height
    # Turned sideways, what is stored as the width becomes the height.
    across = round(height * (stored / width if turns % 2 else width / stored))
    across = max(min(across, 4 * height), 1)
    scaled = (height, across) if turns % 2 else (across, height)
    small = frame.reformat(width=scaled[0], height=scaled[1], format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(small, turns))
