"""Frames from decord: fast, and exact unless `unsuitable` finds a reason against it."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.decoding import ffmpeg_log
from extractors.decoding.container.timeline import Timeline
from extractors.decoding.frames import Geometry, is_elongated
from extractors.errors import VideoError

_BATCH = 64
_BATCH_BYTES = 64 << 20
_LONGEST_GROUP_S = 20.0
_MOST_FRAMES = 20_000  # a quarter of an hour; of more, its tables take more memory than the frames
# It decodes every frame. PyAV does not, and is faster unless nearly all of them are looked at: benchmarks/decode.py.
_LEAST_WANTED = 0.9
_TIMESTAMP_TOLERANCE_S = 2e-3


def unsuitable(timeline: Timeline, quarter_turns: int) -> str:
    """Why decord would read a video wrongly or badly; empty if it would not.

    Args:
        timeline: the video.
        quarter_turns: counter-clockwise, that bring its frames upright.
    """
    if timeline.stream_count > 1:
        return "it has several video streams, and decord cannot choose between them"
    if timeline.codec == "av1":
        return "decord cannot decode AV1"
    if timeline.codec in ("vp8", "mjpeg"):
        return f"decord does not show damage in {timeline.codec} alike every time"
    if timeline.codec == "hevc":
        return "decord takes some HEVC frames for their neighbours"
    if not timeline.trustworthy:
        return "its timestamps are missing, jump or mean nothing"
    if timeline.has_hidden_frames:
        return "it holds frames that are not shown, which decord miscounts"
    if timeline.seek_fault:
        return timeline.seek_fault
    if quarter_turns:
        return "its frames are stored turned"
    if is_elongated(timeline.width, timeline.height):
        return "decord cannot cut its long and narrow frames before it scales them"
    if timeline.longest_group_s > _LONGEST_GROUP_S:
        return "its key frames lie too far apart for reading it in parts"
    if len(timeline.timestamps_s) > _MOST_FRAMES:
        return "decord's memory grows with the length of a video, and this one is long"
    return ""


def is_slower(timeline: Timeline, wanted: int) -> bool:
    """Whether PyAV takes less time for a video than decord.

    Args:
        timeline: the video.
        wanted: how many of its frames are wanted.
    """
    return wanted < _LEAST_WANTED * len(timeline.timestamps_s)


def open_reader(timeline: Timeline, geometry: Geometry, *, num_threads: int = 0) -> Any:
    """Open a video, and check that decord's frame count equals the number of packets.

    Decord guesses the format of a file by itself and knows playlists, which make it open other files. So it is only
    given what begins as the format that it was read as before.

    Raises:
        VideoError: if the file begins otherwise, or decord cannot open it or counts its frames otherwise.
    """
    import decord

    path = timeline.file.path
    if timeline.file.indexed_format not in timeline.formats:
        raise VideoError(path, "it does not begin like a file of its format")
    ffmpeg_log.set_level_of_decord()
    try:
        reader = decord.VideoReader(
            os.path.abspath(path),  # noqa: PTH100
            width=geometry.width,
            height=geometry.height,
            num_threads=num_threads,
        )
        shown_s = reader.get_frame_timestamp(np.arange(len(reader)))[:, 0]
    except (decord.DECORDError, RuntimeError, OSError, UnicodeError) as error:
        raise VideoError(path, f"decord cannot read it ({_first_line(error)})") from error
    ours_s = timeline.timestamps_s
    # Decord counts from the start of the stream, the timeline from that of the container.
    if len(shown_s) != len(ours_s) or np.abs((shown_s - shown_s[0]) - (ours_s - ours_s[0])).max() > (
        _TIMESTAMP_TOLERANCE_S
    ):
        raise VideoError(path, "its frame count in decord differs from its number of packets")
    return reader


def read_segment(
    reader: Any, segment: NDArray[np.int64], timeline: Timeline, geometry: Geometry
) -> list[NDArray[np.uint8]]:
    """Decode the frames of a segment, and stop decord before they are returned.

    Args:
        reader: of `open_reader`.
        segment: (M,) rising indices into the timeline.
        timeline: the video.
        geometry: how frames are scaled and cut.

    Returns:
        M pictures, (size, size, 3) RGB.

    Raises:
        VideoError: if a frame cannot be decoded.
    """
    import decord

    pictures: list[NDArray[np.uint8]] = []
    count = min(max(_BATCH_BYTES // (geometry.width * geometry.height * 3), 1), _BATCH)
    try:
        for start in range(0, len(segment), count):
            batch = reader.get_batch(segment[start : start + count].tolist()).asnumpy()
            pictures.extend(geometry.upright_square(picture) for picture in batch)
        reader.seek(0)
    except (decord.DECORDError, RuntimeError) as error:
        raise VideoError(timeline.file.path, f"decord gave up ({_first_line(error)})") from error
    return pictures


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    # A time of day, where decord was built, and the file once more: none of it is of use, and what is said of a file
    # would be another thing every time.
    line = re.sub(r"^\[[\d:]+\] \S+:\d+: (\[.*\] )?", "", lines[0])
    return line.rpartition("Check failed: ")[2][:120]
