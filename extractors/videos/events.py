"""The events of an extraction: one vocabulary from the decoder's subprocess to the screen.

Every event holds the position of its video in the list, `index`, from 0. The decoder's subprocess sends `VideoStarted`,
`ClipsDecoded` and `VideoDecoded`; the caller of an extraction gets every `Event`, whether the work is
done in this process or in the workers of several devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from extractors.errors import VideoError
from extractors.places import Place
from extractors.videos.facts import ClipChunk, VideoFacts, VideoInfo

Status = Literal["extracted", "cached", "failed"]


@dataclass(frozen=True)
class VideoOpening:
    """Features of a video are missing, and it is being opened, which takes long for a large file.

    Repeated several times per second until the video is open, so that the listener can end the extraction.
    """

    index: int
    path: Place


@dataclass(frozen=True)
class VideoStarted:
    """A video is open, and its first clips are about to be decoded and encoded.

    Attributes:
        index: its place in the list of videos.
        path: the video.
        info: what the file holds.
        clip_counts: number of clips by feature name, of the features that are being extracted.
    """

    index: int
    path: Place
    info: VideoInfo
    clip_counts: Mapping[str, int]


@dataclass(frozen=True)
class ClipsDecoded:
    """The next clips of the open video."""

    index: int
    chunk: ClipChunk


@dataclass(frozen=True)
class VideoDecoded:
    """The open video was decoded to its end."""

    index: int
    facts: VideoFacts


@dataclass(frozen=True)
class VideoProgress:
    """The progress of a video: seconds encoded, of its duration."""

    index: int
    path: Place
    done_s: float
    duration_s: float


@dataclass(frozen=True)
class VideoWaiting:
    """All that is left is being extracted by other processes; this is one such video.

    Repeated several times per second until one of them is free, so that the listener can end the extraction.
    """

    index: int
    path: Place


@dataclass(frozen=True)
class VideoFinished:
    """The result of a video. A cached video gives only this event.

    Attributes:
        index: its place in the list of videos.
        path: the video.
        status: `extracted`, `cached` (nothing was missing) or `failed`.
        error: why it failed; None otherwise.
        seconds: wall time since the previous video finished.
        duration_s: length of the video; 0 if it could not be opened.
        facts: what decoding revealed about it, now or when it was extracted.
    """

    index: int
    path: Place
    status: Status
    error: VideoError | None = None
    seconds: float = 0.0
    duration_s: float = 0.0
    facts: VideoFacts = VideoFacts()

    @property
    def reason(self) -> str:
        """Why it failed, without the file's name; empty if it did not."""
        return "" if self.error is None else self.error.reason


@dataclass(frozen=True)
class WorkerLost:
    """A worker of an extraction on several devices or on a cluster died; the others continue.

    Attributes:
        device: where it worked: a device, or a node of the cluster.
        reason: how it ended.
        paths: the videos that failed with it.
    """

    device: str
    reason: str
    paths: tuple[Place, ...]


@dataclass(frozen=True)
class RoomWanted:
    """No node of the cluster has room for a worker at present; the extraction waits until one has.

    Attributes:
        cpus, gpus, memory_bytes: what a worker takes.
    """

    cpus: float
    gpus: float
    memory_bytes: int


DecoderEvent = VideoStarted | ClipsDecoded | VideoDecoded
Event = VideoOpening | VideoStarted | VideoProgress | VideoWaiting | VideoFinished | WorkerLost | RoomWanted


@dataclass(frozen=True)
class ExtractionReport:
    """The results of many videos.

    Attributes:
        results: one for each video, in the order they were given.
        seconds: wall time of the whole extraction.
    """

    results: tuple[VideoFinished, ...]
    seconds: float

    @property
    def extracted(self) -> int:
        """Number of videos whose features were made."""
        return self._count("extracted")

    @property
    def cached(self) -> int:
        """Number of videos that had nothing missing."""
        return self._count("cached")

    @property
    def failed(self) -> int:
        """Number of videos that have no features."""
        return self._count("failed")

    def _count(self, status: Status) -> int:
        return sum(result.status == status for result in self.results)
