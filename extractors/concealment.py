"""Frames of videos that may be damaged, the same ones every time.

What FFmpeg puts in the place of damage depends on how its threads happen to run, and in decord's older one even on what
lay in memory. So where a decoder complains, PyAV decodes the video anew on one thread. What was handed out before that
is whole, and stays: a frame is decoded, with all it depends on, before it is handed out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors import decoder_log, decord_reader, pyav_reader
from extractors.errors import VideoError
from extractors.frames import Geometry
from extractors.timeline import Timeline

Picture = NDArray[np.uint8]


def read_frames(
    path: Path,
    reader: Any,
    wanted: NDArray[np.int64],
    timeline: Timeline,
    geometry: Geometry,
    *,
    only_decord: bool = False,
    num_threads: int = 0,
) -> Iterator[Picture]:
    """Decode a video, front to back, and yield the frames that are wanted; once, unless it is damaged.

    Args:
        path: the video.
        reader: of `decord_reader.open_reader`, or None for PyAV.
        wanted: (M,) rising indices into the timeline.
        timeline: when each frame is shown.
        geometry: how frames are scaled and cut.
        only_decord: whether PyAV must not take over from decord.
        num_threads: decoding threads of PyAV; 0 leaves it to FFmpeg.

    Yields:
        (size, size, 3) RGB, one for each of `wanted`.

    Raises:
        VideoError: if the file cannot be read, or no frame can be decoded.
    """
    careful = _Careful(path, wanted, timeline, geometry)
    if reader is None:
        yield from _with_pyav(path, wanted, timeline, geometry, num_threads, careful)
        return
    done = 0
    for segment in decord_reader.segments(wanted, timeline):
        pictures = _if_whole(path, reader, segment, geometry)
        if pictures is None:
            # Decord decodes ahead: what it complains of may lie behind this segment.
            stand_ins = [] if only_decord else list(careful.read(done, done + len(segment)))
            if careful.is_damaged:
                yield from stand_ins
                yield from careful.read(done + len(segment), len(wanted))
                return
            try:
                one_thread = decord_reader.open_reader(path, timeline, geometry, num_threads=1)
                pictures = decord_reader.read_segment(path, one_thread, segment, geometry)
            except VideoError:
                if only_decord:
                    raise
                # What decord gives up on, FFmpeg can often still read: the rest comes from there.
                yield from stand_ins
                yield from careful.read(done + len(segment), len(wanted))
                return
        yield from pictures
        done += len(segment)


def _if_whole(
    path: Path, reader: Any, segment: NDArray[np.int64], geometry: Geometry
) -> list[Picture] | None:
    before = decoder_log.complaints()
    try:
        pictures = decord_reader.read_segment(path, reader, segment, geometry)
    except VideoError:
        return None
    return pictures if decoder_log.complaints() == before else None


def _with_pyav(
    path: Path,
    wanted: NDArray[np.int64],
    timeline: Timeline,
    geometry: Geometry,
    num_threads: int,
    careful: _Careful,
) -> Iterator[Picture]:
    before = decoder_log.complaints()
    done = 0
    try:
        for picture in pyav_reader.read_frames(path, wanted, timeline, geometry, num_threads=num_threads):
            if decoder_log.complaints() > before:
                break
            yield picture
            done += 1
        else:
            return
    except VideoError:
        if decoder_log.complaints() == before:
            raise
    yield from careful.read(done, len(wanted))


class _Careful:
    """The frames as PyAV decodes them on one thread; they are decoded when they are first asked for.

    Attributes:
        is_damaged: whether there were complaints up to the frame that was read last.
    """

    def __init__(self, path: Path, wanted: NDArray[np.int64], timeline: Timeline, geometry: Geometry) -> None:
        self.is_damaged = False
        self._pictures = pyav_reader.read_frames(path, wanted, timeline, geometry, num_threads=1)
        self._position = 0

    def read(self, start: int, end: int) -> Iterator[Picture]:
        """Yield the frames from one place in `wanted` to another, of which none has been passed yet."""
        while self._position < end:
            before = decoder_log.complaints()
            picture = next(self._pictures)
            self.is_damaged |= decoder_log.complaints() > before
            self._position += 1
            if self._position > start:
                yield picture
