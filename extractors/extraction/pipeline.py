"""Videos in, cached features out: decode each once, encode while the next is decoded, store complete features."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from extractors.cache.store import CachedFeatures, FeatureCache
from extractors.decoding.clip_reader import CHUNK_S, Decoder
from extractors.decoding.damage import merge
from extractors.decoding.subprocess_reader import STALL_S
from extractors.encoders.base import VideoEncoder
from extractors.errors import UsageError, VideoError
from extractors.extraction.batching import Batches, Encoding
from extractors.extraction.decode_ahead import (
    DecodeAhead,
    Ended,
    Failed,
    Found,
    Message,
    Opened,
    Opening,
    Waiting,
)
from extractors.extraction.events import (
    Event,
    ExtractionReport,
    Status,
    VideoFinished,
    VideoOpening,
    VideoProgress,
    VideoResult,
    VideoStarted,
    VideoWaiting,
)


def extract_features(
    paths: Sequence[str | Path],
    encoders: Sequence[VideoEncoder],
    cache: FeatureCache,
    *,
    overwrite: bool = False,
    on_event: Callable[[Event], None] | None = None,
    chunk_s: float = CHUNK_S,
    decoder: Decoder = "auto",
    stall_s: float | None = STALL_S,
) -> ExtractionReport:
    """Make the missing features of videos.

    A video is decoded once for all encoders that lack it. On GPUs, batches are filled across the borders of videos
    while more of them are ready, so that short ones are encoded as fast as long ones; elsewhere the rows of a video
    never depend on what is extracted beside it. Features are stored when they are complete: an
    interrupt or a kill costs the videos that are in a batch or being decoded, nothing before them. Several processes
    may work on one list against one cache; they share the videos out among themselves. A video that cannot be read is
    reported, and the others are done.

    Args:
        paths: the videos; `collect_videos` finds them in folders.
        encoders: the frozen networks, of different feature names.
        cache: where features are kept.
        overwrite: extract even what is cached.
        on_event: called on this thread as things happen. Videos start one after the other; one may finish after the
            next has started. Where another process is at work on a video it comes later than its place.
        chunk_s: seconds of video decoded at a time. Two such chunks are in memory, each of 2.4 MB a second
            with SlowFast.
        decoder: as for `ClipReader`.
        stall_s: decode in a subprocess, which a hostile file can crash or hang without harm, and give up a video over
            which it makes no progress for so many seconds; None decodes in this process.

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
        make_outcomes(
            videos,
            encoders,
            cache,
            emit,
            overwrite=overwrite,
            chunk_s=chunk_s,
            decoder=decoder,
            stall_s=stall_s,
        )
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
    chunk_s: float = CHUNK_S,
    decoder: Decoder = "auto",
    stall_s: float | None = STALL_S,
) -> Mapping[str, CachedFeatures]:
    """Features of one video, from the cache, or made and stored.

    Args:
        path: the video; the rest is as for `extract_features`.

    Returns:
        Features by name, in the order of `encoders`.

    Raises:
        VideoError: if the video cannot be read.
        UsageError: if there is no encoder, or two of one name.
        CacheError: if the cache cannot be read or written.
    """
    with closing(
        encode_videos(
            [path],
            encoders,
            cache,
            overwrite=overwrite,
            on_event=on_event,
            chunk_s=chunk_s,
            decoder=decoder,
            stall_s=stall_s,
        )
    ) as encoded:
        features = next(encoded)
    if isinstance(features, VideoError):
        raise features
    return features


def encode_videos(
    paths: Sequence[str | Path],
    encoders: Sequence[VideoEncoder],
    cache: FeatureCache,
    *,
    overwrite: bool = False,
    on_event: Callable[[Event], None] | None = None,
    chunk_s: float = CHUNK_S,
    decoder: Decoder = "auto",
    stall_s: float | None = STALL_S,
) -> Generator[Mapping[str, CachedFeatures] | VideoError, None, None]:
    """Features of many videos, one after another, while the next one is decoded.

    Args:
        paths: the videos; the rest is as for `extract_features`.

    Yields:
        For each video, in order, what `encode_video` returns, or the error it raises.

    Raises:
        UsageError: if there is no encoder, or two of one name.
        CacheError: if the cache cannot be read or written.
    """
    emit = on_event or _ignore
    done: dict[int, Outcome] = {}
    with closing(
        make_outcomes(
            [Path(path) for path in paths],
            encoders,
            cache,
            emit,
            overwrite=overwrite,
            chunk_s=chunk_s,
            decoder=decoder,
            stall_s=stall_s,
        )
    ) as outcomes:
        place = 0
        for made in outcomes:
            emit(made.result)
            done[made.index] = made
            while (outcome := done.pop(place, None)) is not None:
                place += 1
                yield outcome.error or {
                    encoder.spec.name: outcome.features[encoder.spec.name] for encoder in encoders
                }


@dataclass(frozen=True)
class Outcome:
    """What became of a video, and its features where there are any.

    Attributes:
        index: its place in the list of videos.
        result: the event that ends it.
        features: by name; none if it failed.
        error: why it failed.
    """

    index: int
    result: VideoFinished
    features: Mapping[str, CachedFeatures]
    error: VideoError | None


def _ignore(event: Event) -> None:
    pass


def make_outcomes(
    paths: Sequence[Path],
    encoders: Sequence[VideoEncoder],
    cache: FeatureCache,
    emit: Callable[[Event], None],
    *,
    overwrite: bool,
    chunk_s: float,
    decoder: Decoder,
    stall_s: float | None,
    stop: threading.Event | None = None,
) -> Generator[Outcome, None, None]:
    """The result of each video as it finishes; closing the generator ends the decoding thread.

    The events before a video's last go to `emit`. Paths are read one by one as the decoder is ready for them. Once
    `stop` is set, the videos that are open are dropped and no more come out. Arguments and errors are otherwise those
    of `extract_features`.
    """
    names = [encoder.spec.name for encoder in encoders]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"give one encoder or more, each of another feature name, not [{', '.join(names)}]")
    with DecodeAhead(
        paths,
        encoders,
        cache,
        overwrite=overwrite,
        chunk_s=chunk_s,
        decoder=decoder,
        stall_s=stall_s,
        stop=stop,
    ) as messages:
        work = _Work(paths, encoders, cache, emit, messages)
        for message in messages:
            yield from work.handle(message)
            # With nothing to do but wait, batches need not wait for company.
            if messages.is_idle:
                yield from work.flush()
        yield from work.flush()


class _Work:
    """The videos that are open, from their first message to their outcome."""

    def __init__(
        self,
        paths: Sequence[Path],
        encoders: Sequence[VideoEncoder],
        cache: FeatureCache,
        emit: Callable[[Event], None],
        messages: DecodeAhead,
    ) -> None:
        self._paths = paths
        self._cache = cache
        self._emit = emit
        self._messages = messages
        self._batches = Batches(encoders)
        self._open: dict[int, Encoding] = {}
        self._settled: set[int] = set()
        self._start_s = time.perf_counter()

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Handle a message; yields the videos that it finishes."""
        index, path = message.index, self._paths[message.index]
        if index in self._settled:
            return  # encoding it failed, and the decoding thread was ahead
        if isinstance(message, Found):
            yield self._settle(index, "cached", message.features)
        elif isinstance(message, Failed):
            if index in self._open:
                self._batches.drop(self._open[index])
            yield self._settle(index, "failed", {}, message.error)
        elif isinstance(message, Waiting):
            self._emit(VideoWaiting(path))
        elif isinstance(message, Opening):
            self._emit(VideoOpening(path))
            self._batches.load(message.encoders)
        elif isinstance(message, Opened):
            video = Encoding(path, message)
            self._open[index] = video
            self._emit(VideoStarted(path, video.info, video.clip_counts))
        else:
            video = self._open[index]
            if isinstance(message, Ended):
                video.damaged_s = message.damaged_s
                batches = self._batches.end(video)
            else:
                batches = self._batches.add(video, message.chunk)
            yield from self._advance(batches)
            yield from self._completed()

    def flush(self) -> Iterator[Outcome]:
        """Complete the videos that wait for nothing but a batch to fill."""
        if any(video.ended for video in self._open.values()):
            yield from self._advance(self._batches.flush())
            yield from self._completed()

    def _advance(self, batches: Iterator[None]) -> Iterator[Outcome]:
        """Encode batches, and report the progress of the open videos."""
        before = {index: video.done_s for index, video in self._open.items()}
        for _ in batches:
            for index, video in list(self._open.items()):
                if video.error is None and video.done_s > before.get(index, 0.0):
                    before[index] = video.done_s
                    self._emit(VideoProgress(video.path, video.done_s, video.info.duration_s))
            yield from self._completed()

    def _completed(self) -> Iterator[Outcome]:
        for index, video in list(self._open.items()):
            if not video.is_complete:
                continue
            self._batches.drop(video)
            try:
                features = video.store(self._cache)
            except VideoError as error:
                yield self._settle(index, "failed", {}, error)
            else:
                yield self._settle(index, "extracted", features)

    def _settle(
        self,
        index: int,
        status: Status,
        features: Mapping[str, CachedFeatures],
        error: VideoError | None = None,
    ) -> Outcome:
        self._messages.settle(index)
        self._settled.add(index)
        video = self._open.pop(index, None)
        infos = [entry.info for entry in features.values()] or ([video.info] if video else [])
        now_s = time.perf_counter()
        result = VideoFinished(
            path=self._paths[index],
            status=status,
            reason="" if error is None else error.reason,
            seconds=now_s - self._start_s,
            duration_s=infos[0].duration_s if infos else 0.0,
            damaged_s=merge(segment for entry in features.values() for segment in entry.damaged_s),
        )
        self._start_s = now_s
        return Outcome(index, result, features, error)
