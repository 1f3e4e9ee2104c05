"""The facts about a video: what its file holds, the frames of its clips, and what decoding revealed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.places import Place

Segment = tuple[float, float]
"""Start and end in seconds from the start of the video."""

SEGMENT_S = 10.0
"""Precision with which damage is placed, in seconds: segments closer to each other than this are joined."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds, measured from its packets instead of read from its header.

    Attributes:
        path: the file, or the object in object storage.
        duration_s: end of the last frame, in seconds after the start of the container.
        fps: average frame rate.
        width, height: pixels of a frame as displayed, after rotation.
        frame_count: frames that are displayed.
        codec: codec of the video stream, as FFmpeg names it.
        rotation: degrees counter-clockwise a decoded frame is turned for display: 0, 90, 180 or 270.
        decoder: `decord` or `pyav`, whichever reads this file.
        note: why it is not decord, or what is wrong with a file that can still be read; empty if nothing is.
    """

    path: Place
    duration_s: float
    fps: float
    width: int
    height: int
    frame_count: int
    codec: str
    rotation: int
    decoder: str
    note: str


@dataclass(frozen=True)
class ClipChunk:
    """Consecutive whole clips of every sampling, with the frames they need.

    Attributes:
        start_clip: for each sampling, the number of the first clip of this chunk; without meaning if it holds none.
        frames: (M, size, size, 3) uint8 RGB, each needed frame once, in order of time.
        rows: for each sampling, (N, F) int64 rows of `frames`: clip `start_clip + n` of that sampling is
            `frames[rows[n]]`. N is 0 if the chunk holds no clip of a sampling.
    """

    start_clip: tuple[int, ...]
    frames: NDArray[np.uint8]
    rows: tuple[NDArray[np.int64], ...]


def join_segments(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Segments in order of time; those less than `SEGMENT_S` apart become one."""
    joined: list[Segment] = []
    for start_s, end_s in sorted(segments):
        if joined and start_s - joined[-1][1] < SEGMENT_S:
            joined[-1] = joined[-1][0], max(joined[-1][1], end_s)
        else:
            joined.append((start_s, end_s))
    return tuple(joined)


def _describe_damage(segments: tuple[Segment, ...]) -> str:
    places = ", ".join(f"{start_s:.0f} to {end_s:.0f} s" for start_s, end_s in segments[:3])
    more = f" and {len(segments) - 3} more" if len(segments) > 3 else ""
    return f"damaged somewhere in {places}{more}; what is found there is uncertain"


def segments_fact(describe: Any) -> Any:
    """A field of `VideoFacts` that holds segments of the video, none by default.

    Args:
        describe: describes one or more segments, completing the sentence "This video is …".
    """
    return field(default=(), metadata={"describe": describe})


@dataclass(frozen=True)
class VideoFacts:
    """What decoding revealed about a video.

    This record is passed on whole: from the decoder's subprocess through the cache, the events and the processes of
    several devices to the report, the answers, the terminal and the page. A new fact is a new field, made with
    `segments_fact`.

    Attributes:
        damaged_s: start and end in seconds of damaged segments, in order; features there may be wrong. Known only of
            videos that were decoded in a subprocess.
    """

    damaged_s: tuple[Segment, ...] = segments_fact(_describe_damage)

    @classmethod
    def join(cls, parts: Iterable[VideoFacts]) -> VideoFacts:
        """The facts of several decodings of one video."""
        parts = list(parts)
        return cls(
            **{
                fact.name: join_segments(segment for part in parts for segment in getattr(part, fact.name))
                for fact in fields(cls)
            }
        )

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> VideoFacts:
        """Read what `to_json` wrote; facts that the record lacks are left at their defaults.

        Raises:
            ValueError, TypeError: if a fact is not a list of pairs of finite numbers.
        """
        return cls(
            **{fact.name: _read_segments(record[fact.name]) for fact in fields(cls) if fact.name in record}
        )

    def to_json(self, *, digits: int | None = None) -> dict[str, list[list[float]]]:
        """The facts as plain JSON types, by name.

        Args:
            digits: decimal places of seconds; all of them by default.
        """
        return {
            fact.name: [
                [time_s if digits is None else round(time_s, digits) for time_s in segment]
                for segment in getattr(self, fact.name)
            ]
            for fact in fields(self)
        }

    def warnings(self) -> tuple[str, ...]:
        """Warnings for the user; each completes the sentence "This video is …"."""
        return tuple(
            fact.metadata["describe"](segments)
            for fact in fields(self)
            if (segments := getattr(self, fact.name))
        )


def _read_segments(value: Any) -> tuple[Segment, ...]:
    segments = tuple((float(start_s), float(end_s)) for start_s, end_s in value)
    if not all(math.isfinite(time_s) for segment in segments for time_s in segment):
        raise ValueError("a time is not finite")
    return segments
