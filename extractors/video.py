"""Video files in, the frames that encoders ask for out: one pass, bounded memory, errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from extractors.clips import Sampling

Decoder = Literal["auto", "decord", "pyav"]


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds, as measured from its packets rather than from what its header claims.

    Attributes:
        path: the file.
        duration_s: end of the last frame, in seconds after the start of the container.
        fps: average frame rate.
        width, height: pixels of a frame as displayed, after rotation.
        frame_count: frames that are displayed.
        codec: codec of the video stream, as FFmpeg names it.
        rotation: degrees counter-clockwise a decoded frame is turned for display: 0, 90, 180 or 270.
        decoder: `decord` or `pyav`, whichever reads this file.
        note: why it is not decord, or what is wrong with the file though it can be read; empty if nothing is.
    """

    path: Path
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
    """A stretch of whole clips, of every sampling, with the frames they need.

    Attributes:
        start_clip: for each sampling, the number of the first clip of this chunk.
        frames: (M, size, size, 3) uint8 RGB, each needed frame once, in order of time.
        rows: for each sampling, (N, F) int64 rows of `frames`: clip `start_clip + n` of that sampling is
            `frames[rows[n]]`. N is 0 if the chunk holds no clip of a sampling.
    """

    start_clip: tuple[int, ...]
    frames: NDArray[np.uint8]
    rows: tuple[NDArray[np.int64], ...]


def probe(path: str | Path) -> VideoInfo:
    """Say what a video file holds; raises VideoError as `ClipReader` does."""
    raise VideoError(path, "...")


class ClipReader:
    """The clips of a video, decoded once for any number of samplings.

    Iterating yields `ClipChunk`s in order of time; one iterator at a time. Memory is bounded by
    `chunk_s`, whatever the length of the video.

    Args:
        path: the video file.
        samplings: which frames are wanted; a chunk serves them all.
        decoder: `auto` takes decord where it is exact and PyAV elsewhere; a name forces that decoder.
        chunk_s: seconds of video a chunk spans; a chunk holds at least one clip of some sampling.
        size: side of the square frames: short side resized to it, then centre crop.
        num_threads: decoding threads; 0 leaves it to the decoder.

    Attributes:
        info: what the file holds.
        clip_counts: for each sampling, the number of clips of the whole video.

    Raises:
        VideoError: if the file is missing, not a video, has no frames, or cannot be decoded.
    """

    info: VideoInfo
    clip_counts: tuple[int, ...]

    def __init__(
        self,
        path: str | Path,
        samplings: Sequence[Sampling],
        *,
        decoder: Decoder = "auto",
        chunk_s: float = 30.0,
        size: int = 224,
        num_threads: int = 0,
    ) -> None: ...

    def __iter__(self) -> Iterator[ClipChunk]: ...

    def close(self) -> None:
        """Let go of the file; iterating afterwards starts anew."""

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
