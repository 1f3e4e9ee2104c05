"""Damaged segments of a video, where decoders had to guess the content."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

Segment = tuple[float, float]
"""Start and end in seconds from the start of the video."""

SEGMENT_S = 10.0
"""About how exactly damage is placed: segments closer to each other than this are one."""


def merge(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Segments in order of time, with neighbours joined."""
    merged: list[Segment] = []
    for start_s, end_s in sorted(segments):
        if merged and start_s - merged[-1][1] < SEGMENT_S:
            merged[-1] = merged[-1][0], max(merged[-1][1], end_s)
        else:
            merged.append((start_s, end_s))
    return tuple(merged)


def from_json(value: Any) -> tuple[Segment, ...]:
    """Read segments from plain JSON.

    Raises:
        ValueError, TypeError: if it is not a list of pairs of finite numbers.
    """
    segments = tuple((float(start_s), float(end_s)) for start_s, end_s in value)
    if not all(math.isfinite(time_s) for segment in segments for time_s in segment):
        raise ValueError("a time is not finite")
    return segments
