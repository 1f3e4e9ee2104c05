"""Frames of videos that may be damaged, decoded deterministically.

What FFmpeg puts in place of damage depends on the timing of its threads, and in decord's older FFmpeg even on old
memory contents. So if a decoder reports damage, PyAV decodes that segment again on one thread, starting at a key frame.
Frames that were returned before are intact, because a frame is returned only after everything it depends on is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.decoding import decord_reader
from extractors.decoding.container.timeline import Timeline
from extractors.decoding.ffmpeg_log import Listener
from extractors.decoding.frames import Geometry
from extractors.decoding.parallel_reader import Crew, read_parts
from extractors.decoding.pyav_reader import FrameMissing, read_frames
from extractors.errors import VideoError
from extractors.videos.facts import SEGMENT_S

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """A video, and how its frames are wanted.

    Attributes:
        timeline: when each frame is shown.
        geometry: how frames are scaled and cut.
        on_damage: called with start and end, in seconds, of each damaged segment that was read.
        selective: whether only what the wanted frames need is decoded, as long as there is no damage.
    """

    timeline: Timeline
    geometry: Geometry
    on_damage: Callable[[float, float], None]
    selective: bool = True


def read_with_decord(
    source: Source, reader: Any, wanted: NDArray[np.int64], *, alone: bool = False
) -> Iterator[Picture]:
    """Decode a video once, front to back, with decord; damaged parts, and those where decord fails, with PyAV.

    Decord decodes ahead without bound for as long as it is left alone: so it is given a segment at a time.

    Args:
        source: the video.
        reader: of `decord_reader.open_reader`.
        wanted: (M,) rising indices into the timeline.
        alone: whether PyAV must not stand in.

    Yields:
        (size, size, 3) RGB, one for each of `wanted`.

    Raises:
        VideoError: if the file cannot be read, or no frame can be decoded.
    """
    for segment in _segments(wanted, source.timeline):
        listener = Listener()
        pictures: list[Picture] | None = None
        try:
            pictures = decord_reader.read_segment(reader, segment, source.timeline, source.geometry)
        except VideoError:
            if alone:
                raise
            reader = decord_reader.open_reader(source.timeline, source.geometry)
        if pictures is None or (listener.has_heard and not alone):
            listener = Listener()
            stand_ins = list(_read_whole(source, segment))
            # Decord decodes ahead: the damage it reported may be after this segment.
            if pictures is None or listener.has_heard:
                pictures = stand_ins
            if listener.has_heard:
                _tell(source, segment)
        yield from pictures


def read_with_pyav(source: Source, wanted: NDArray[np.int64], *, num_threads: int = 0) -> Iterator[Picture]:
    """Decode a video once, front to back, with PyAV, and damaged parts again.

    Args:
        source: the video.
        wanted: (M,) rising indices into the timeline.
        num_threads: decoding threads; 0 leaves it to FFmpeg.

    Yields:
        (size, size, 3) RGB, one for each of `wanted`.

    Raises:
        VideoError: if the file cannot be opened, or no frame can be decoded.
    """
    # What cannot be started from a key frame is one segment.
    segments = _segments(wanted, source.timeline) if source.timeline.is_seekable else [wanted]
    ends = np.cumsum([len(segment) for segment in segments])
    done = 0
    selective = source.selective
    if selective and num_threads == 0 and (crew := Crew.for_parts(segments, source.timeline)):
        for picture in _read_side_by_side(source, segments, crew):
            yield picture
            done += 1
    while done < len(wanted):
        listener = Listener()
        missing = False
        try:
            pictures = read_frames(
                wanted[done:],
                source.timeline,
                source.geometry,
                num_threads=num_threads,
                selective=selective,
            )
            for picture in pictures:
                if listener.has_heard:
                    break
                yield picture
                done += 1
            else:
                return
        except FrameMissing:
            missing = True
        except VideoError:
            if not listener.has_heard:
                raise
        number = int(np.searchsorted(ends, done, side="right"))
        seen = done - int(ends[number] - len(segments[number]))
        listener = Listener()
        yield from islice(_read_whole(source, segments[number]), seen, None)
        if listener.has_heard:
            _tell(source, segments[number])
        elif missing:
            selective = False  # the file is sound, but not what it seems, and may be so all along
        done = int(ends[number])


def _read_side_by_side(source: Source, segments: list[NDArray[np.int64]], crew: Crew) -> Iterator[Picture]:
    """Frames from several decoders, up to the first report of damage: whose it is cannot be known."""
    listener = Listener()
    with (
        suppress(FrameMissing, VideoError),
        closing(read_parts(segments, source.timeline, source.geometry, crew)) as pictures,
    ):
        for picture in pictures:
            if listener.has_heard:
                return
            yield picture


def _tell(source: Source, segment: NDArray[np.int64]) -> None:
    start_s, end_s = source.timeline.timestamps_s[segment[[0, -1]]]
    source.on_damage(float(start_s), float(end_s))


def _read_whole(source: Source, wanted: NDArray[np.int64]) -> Iterator[Picture]:
    return read_frames(wanted, source.timeline, source.geometry, num_threads=1, selective=False)


def _segments(wanted: NDArray[np.int64], timeline: Timeline) -> list[NDArray[np.int64]]:
    """Split the frames that are wanted at key frames, about every 10 s."""
    borders: list[int] = []
    start_s = timeline.timestamps_s[0]
    for key_frame in timeline.key_frames:
        if timeline.timestamps_s[key_frame] - start_s >= SEGMENT_S:
            borders.append(int(key_frame))
            start_s = timeline.timestamps_s[key_frame]
    cuts = np.searchsorted(wanted, borders)
    return [segment for segment in np.split(wanted, cuts) if len(segment)]
