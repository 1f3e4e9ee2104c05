"""Videos in, cached features out: decode each once, encode while the next decodes, store what is whole."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from extractors.base import VideoEncoder
from extractors.cache import CachedFeatures, FeatureCache
from extractors.encoding import Encoding
from extractors.errors import UsageError, VideoError
from extractors.prefetch import DecodeAhead, Decoded, Ended, Failed, Found, Message, Opened, Waiting
from extractors.video import Decoder, VideoInfo

VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)  # fmt: skip
"""What a file in a folder is taken for a video by; a file named outright may have any suffix."""

Status = Literal["extracted", "cached", "failed"]


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
    """How far a video is: seconds of it that are encoded, of its duration."""

    path: Path
    done_s: float
    duration_s: float


@dataclass(frozen=True)
class VideoWaiting:
    """All that is left is being extracted by other processes; this is one such video."""

    path: Path


@dataclass(frozen=True)
class VideoResult:
    """What became of one video.

    Attributes:
        path: the video.
        status: `extracted`, `cached` (nothing was missing) or `failed`.
        reason: why it failed; empty otherwise.
        seconds: wall time since the video before it was done with.
        duration_s: length of the video; 0 if it could not be opened.
    """

    path: Path
    status: Status
    reason: str
    seconds: float
    duration_s: float


@dataclass(frozen=True)
class VideoFinished(VideoResult):
    """A video is done with, well or badly. A cached video gives this event alone."""


Event = VideoStarted | VideoProgress | VideoWaiting | VideoFinished


@dataclass(frozen=True)
class ExtractionReport:
    """What became of many videos.

    Attributes:
        results: one a video, in the order they were given.
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
        """Number of videos that had nothing missing."""
        return self._count("cached")

    @property
    def failed(self) -> int:
        """Number of videos that have no features."""
        return self._count("failed")

    def _count(self, status: Status) -> int:
        return sum(result.status == status for result in self.results)


def extract_features(
    paths: Sequence[str | Path],
    encoders: Sequence[VideoEncoder],
    cache: FeatureCache,
    *,
    overwrite: bool = False,
    on_event: Callable[[Event], None] | None = None,
    chunk_s: float = 30.0,
    decoder: Decoder = "auto",
) -> ExtractionReport:
    """Make the missing features of videos.

    A video is decoded once for all encoders that lack it. Its features are stored when they are complete: an
    interrupt or a kill costs the video it falls into, nothing before it. Several processes may work on one
    list against one cache; they share the videos out among themselves. A video that cannot be read is
    reported, and the others are done.

    Args:
        paths: the videos; `collect_videos` finds them in folders.
        encoders: the frozen networks, of different feature names.
        cache: where features are kept.
        overwrite: extract even what is cached.
        on_event: called on this thread as things happen. Videos start and finish one after the other; where
            another process is at work on a video it comes later than its place.
        chunk_s: seconds of video decoded at a time. Two such chunks are in memory, each of 2.4 MB a second
            with SlowFast.
        decoder: as for `ClipReader`.

    Returns:
        What became of each video.

    Raises:
        UsageError: if there is no encoder, or two of one name.
        CacheError: if the cache cannot be read or written.
    """
    videos = [Path(path) for path in paths]
    results: dict[int, VideoResult] = {}
    start_s = time.perf_counter()
    cache.sweep()
    emit = on_event or _ignore
    with closing(
        _outcomes(videos, encoders, cache, emit, overwrite=overwrite, chunk_s=chunk_s, decoder=decoder)
    ) as outcomes:
        for outcome in outcomes:
            results[outcome.index] = outcome.result
            emit(outcome.result)
    ordered = tuple(results[index] for index in range(len(videos)))
    return ExtractionReport(ordered, time.perf_counter() - start_s)


def encode_video(
    path: str | Path,
    encoders: Sequence[VideoEncoder],
    cache: FeatureCache,
    *,
    overwrite: bool = False,
    on_event: Callable[[Event], None] | None = None,
    chunk_s: float = 30.0,
    decoder: Decoder = "auto",
) -> dict[str, CachedFeatures]:
    """Features of one video, from the cache where they are there, made and stored where not.

    Args:
        path: the video; the rest is as for `extract_features`.

    Returns:
        Features by name, in the order of `encoders`.

    Raises:
        VideoError: if the video cannot be read.
        UsageError: if there is no encoder, or two of one name.
        CacheError: if the cache cannot be read or written.
    """
    emit = on_event or _ignore
    with closing(
        _outcomes([Path(path)], encoders, cache, emit, overwrite=overwrite, chunk_s=chunk_s, decoder=decoder)
    ) as outcomes:
        outcome = next(outcomes)
    emit(outcome.result)
    if outcome.error is not None:
        raise outcome.error
    return {encoder.spec.name: outcome.features[encoder.spec.name] for encoder in encoders}


def collect_videos(paths: Sequence[str | Path]) -> list[Path]:
    """Find the videos that a list of files, folders and glob patterns stands for.

    Args:
        paths: files are taken as they are; folders are searched with their subfolders for files of
            `VIDEO_SUFFIXES`, hidden ones left out; a pattern (`*`, `?`, `[...]`, `**`) stands for what it
            matches.

    Returns:
        Each video once, in the order of `paths`, and in order of name within a folder or pattern.

    Raises:
        UsageError: if a path does not exist, or a folder or pattern holds no video; the message lists all
            such paths.
    """
    videos: dict[str, Path] = {}
    wrong = []
    for path in map(Path, paths):
        if path.is_dir():
            found = list(_videos_in(path))
            complaint = "holds no video"
        elif path.exists():
            found = [path]
            complaint = ""
        elif glob.has_magic(str(path)):
            found = list(_videos_matching(str(path)))
            complaint = "matches no video"
        else:
            found = []
            complaint = "does not exist"
        if not found:
            wrong.append(f"{path} {complaint}")
        for video in found:
            videos.setdefault(os.path.abspath(video), video)  # noqa: PTH100 - resolve() would merge links
    if wrong:
        raise UsageError("; ".join(wrong))
    return list(videos.values())


def _videos_in(folder: Path) -> Iterator[Path]:
    visited = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:  # a link back up the tree
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files) if _is_video_name(name))


def _videos_matching(pattern: str) -> Iterator[Path]:
    for match in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - patterns may be absolute
        path = Path(match)
        if path.is_dir():
            # `**` matches folders beside the files in them; the caller lists each file once.
            yield from _videos_in(path)
        elif _is_video_name(path.name):
            yield path


def _is_video_name(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True)
class _Outcome:
    index: int
    result: VideoFinished
    features: Mapping[str, CachedFeatures]
    error: VideoError | None


def _ignore(event: Event) -> None:
    pass


def _outcomes(
    paths: Sequence[Path],
    encoders: Sequence[VideoEncoder],
    cache: FeatureCache,
    emit: Callable[[Event], None],
    *,
    overwrite: bool,
    chunk_s: float,
    decoder: Decoder,
) -> Generator[_Outcome, None, None]:
    """What becomes of each video, as it comes out; closing the generator ends the decoding thread."""
    names = [encoder.spec.name for encoder in encoders]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"give one encoder or more, each of another feature name, not [{', '.join(names)}]")
    video: Encoding | None = None  # the open one
    settled = -1
    start_s = time.perf_counter()
    with DecodeAhead(
        paths, encoders, cache, overwrite=overwrite, chunk_s=chunk_s, decoder=decoder
    ) as messages:
        for message in messages:
            index, path = message.index, paths[message.index]
            if index == settled:
                continue  # encoding it failed, and the decoding thread was ahead
            features: Mapping[str, CachedFeatures] = {}
            error: VideoError | None = None
            try:
                if isinstance(message, Opened):
                    video = Encoding(path, message)
                status, features = _handle(message, path, video, cache, emit)
            except VideoError as raised:
                status, error = "failed", raised
            if status is None:
                continue
            messages.settle(index)
            settled = index
            infos = [entry.info for entry in features.values()] or ([video.info] if video else [])
            now_s = time.perf_counter()
            result = VideoFinished(
                path=path,
                status=status,
                reason="" if error is None else error.reason,
                seconds=now_s - start_s,
                duration_s=infos[0].duration_s if infos else 0.0,
            )
            video, start_s = None, now_s
            yield _Outcome(index, result, features, error)


def _handle(
    message: Message,
    path: Path,
    video: Encoding | None,
    cache: FeatureCache,
    emit: Callable[[Event], None],
) -> tuple[Status | None, Mapping[str, CachedFeatures]]:
    """Do what a message asks for; returns how its video ended, None if it did not, and its features.

    Raises:
        VideoError: if that is how it ended.
    """
    if isinstance(message, Failed):
        raise message.error
    if isinstance(message, Found):
        return "cached", message.features
    if isinstance(message, Waiting):
        emit(VideoWaiting(path))
        return None, {}
    assert video is not None, "chunks come from an open video"
    if isinstance(message, Opened):
        emit(VideoStarted(path, video.info, video.clip_counts))
        return None, {}
    done = video.encode(message.chunk) if isinstance(message, Decoded) else video.encode_rest()
    for done_s in done:
        emit(VideoProgress(path, done_s, video.info.duration_s))
    return ("extracted", video.store(cache)) if isinstance(message, Ended) else (None, {})
