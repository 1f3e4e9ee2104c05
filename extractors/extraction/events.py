"""The events of an extraction, and the result of each video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from extractors.decoding.clip_reader import VideoInfo
from extractors.decoding.damage import Segment

Status = Literal["extracted", "cached", "failed"]


@dataclass(frozen=True)
class VideoOpening:
    """Features of a video are missing, and it is being opened, which takes long for a large file.

    Repeated several times per second for as long as that lasts, so that the listener can end it.
    """

    path: Path


@dataclass(frozen=True)
class VideoStarted:
    """A video is open, and its first clips are about to be encoded.

    Attributes:
        path: the video.
        info: what the file holds.
        clip_counts: number of clips by feature name, of the features that are being extracted.
    """

    path: Path
    info: VideoInfo
    clip_counts: Mapping[str, int]


@dataclass(frozen=True)
class VideoProgress:
    """The progress of a video: seconds encoded, of its duration."""

    path: Path
    done_s: float
    duration_s: float


@dataclass(frozen=True)
class VideoWaiting:
    """All that is left is being extracted by other processes; this is one such video.

    Repeated several times per second for as long as that lasts, so that the listener can end it.
    """

    path: Path


@dataclass(frozen=True)
class VideoResult:
    """The result of one video.

    Attributes:
        path: the video.
        status: `extracted`, `cached` (nothing was missing) or `failed`.
        reason: why it failed; empty otherwise.
        seconds: wall time since the previous video finished.
        duration_s: length of the video; 0 if it could not be opened.
        damaged_s: start and end in seconds of damaged segments, in order; features of what is seen there may be wrong.
            Known only of videos that were decoded in a subprocess, now or when they were extracted.
    """

    path: Path
    status: Status
    reason: str
    seconds: float
    duration_s: float
    damaged_s: tuple[Segment, ...] = ()


@dataclass(frozen=True)
class VideoFinished(VideoResult):
    """A video is finished, successfully or not. A cached video gives only this event."""


Event = VideoOpening | VideoStarted | VideoProgress | VideoWaiting | VideoFinished


@dataclass(frozen=True)
class ExtractionReport:
    """The results of many videos.

    Attributes:
        results: one per video, in the order they were given.
        seconds: wall time of it all.
    """

    results: tuple[VideoResult, ...]
    seconds: float

    @property
    def extracted(self) -> int:
        """Number of videos whose features were made."""
        return self._count("extracted")

    @property
    def cached(self) -> int:
        """Number of videos that were already cached."""
        return self._count("cached")

    @property
    def failed(self) -> int:
        """Number of videos that have no features."""
        return self._count("failed")

    def _count(self, status: Status) -> int:
        return sum(result.status == status for result in self.results)
