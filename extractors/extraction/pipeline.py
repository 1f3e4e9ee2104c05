"""Videos in, cached features out: decode each once, encode while the next is decoded, store complete features."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing

from extractors.cache.features import CachedFeatures
from extractors.cache.store import FeatureCache
from extractors.encoders.base import VideoEncoder
from extractors.errors import UsageError, VideoError
from extractors.extraction.batching import Batches, VideoInFlight
from extractors.extraction.decode_ahead import DecodeAhead, LookedUp, Message
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.publisher import Publisher, Stored
from extractors.places import Place, place_of
from extractors.videos.events import (
    ClipsDecoded,
    Event,
    ExtractionReport,
    Status,
    VideoFinished,
    VideoOpening,
    VideoProgress,
    VideoStarted,
    VideoWaiting,
)
from extractors.videos.facts import VideoFacts

Listener = Callable[[Event], None]
Features = Mapping[str, CachedFeatures]
"""By name."""


def extract_features(
    paths: Sequence[str | Place],
    encoders: Sequence[VideoEncoder],
    cache: FeatureCache,
    options: ExtractionOptions = ExtractionOptions(),
    *,
    on_event: Listener | None = None,
) -> ExtractionReport:
    """Make the missing features of videos.

    A video is decoded once for all encoders that lack it. On GPUs, batches are filled across the borders of videos
    while more of them are ready, so that short ones are encoded as fast as long ones; elsewhere the rows of a video
    never depend on what is extracted beside it. Features are stored when they are complete: an
    interrupt or a kill costs the videos that are in a batch or being decoded, nothing before them. Several processes
    may work on one list against one cache; they share the videos out among themselves. A video that cannot be read is
    reported, and the others are done.

    Args:
        paths: the videos, files or objects in object storage; `collect_videos` finds them in folders. Objects are
            downloaded a few ahead, and deleted after use.
        encoders: the frozen networks, of different feature names.
        cache: where features are kept.
        options: how that is done.
        on_event: called on this thread as things happen. Videos start one after the other; one may finish after the
            next has started. Where another process is at work on a video it comes later than its place.

    Returns:
        What became of each video.

    Raises:
        UsageError: if there is no encoder, or two of one name.
        CacheError: if the cache, or the folder of `options.output`, cannot be read or written.
    """
    results: dict[int, VideoFinished] = {}
    start_s = time.perf_counter()
    cache.sweep()
    emit = on_event or ignore
    with closing(extract_each(numbered(paths), encoders, cache, options, emit)) as finished:
        for event, _ in finished:
            results[event.index] = event
            emit(event)
    ordered = tuple(results[index] for index in range(len(paths)))
    return ExtractionReport(ordered, time.perf_counter() - start_s)


def encode_video(
    path: str | Place,
    encoders: Sequence[VideoEncoder],
    cache: FeatureCache,
    options: ExtractionOptions = ExtractionOptions(),
    *,
    on_event: Listener | None = None,
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
    with closing(encode_videos([path], encoders, cache, options, on_event=on_event)) as encoded:
        features = next(encoded)
    if isinstance(features, VideoError):
        raise features
    return features


def encode_videos(
    paths: Sequence[str | Place],
    encoders: Sequence[VideoEncoder],
    cache: FeatureCache,
    options: ExtractionOptions = ExtractionOptions(),
    *,
    on_event: Listener | None = None,
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
    emit = on_event or ignore
    waiting: dict[int, Features | VideoError] = {}
    index = 0
    with closing(extract_each(numbered(paths), encoders, cache, options, emit)) as finished:
        for event, features in finished:
            emit(event)
            waiting[event.index] = event.error or {
                encoder.spec.name: features[encoder.spec.name] for encoder in encoders
            }
            while (result := waiting.pop(index, None)) is not None:
                index += 1
                yield result


def ignore(event: Event) -> None:
    """A listener that does nothing."""


def numbered(paths: Iterable[str | Place]) -> Iterator[tuple[int, Place]]:
    """Videos with their indices in the list."""
    return enumerate(map(place_of, paths))


def extract_each(
    videos: Iterable[tuple[int, Place]],
    encoders: Sequence[VideoEncoder],
    cache: FeatureCache,
    options: ExtractionOptions,
    emit: Listener,
    *,
    stop: threading.Event | None = None,
) -> Generator[tuple[VideoFinished, Features], None, None]:
    """The end of each video, and its features, as it comes; closing the generator ends the decoding thread.

    Args:
        videos: index in the list and place of each; read one by one as the decoder is ready for them.
        encoders, cache, options: as for `extract_features`.
        emit: called with the events before a video's end.
        stop: once it is set, the videos that are open are dropped and no more come out.

    Raises:
        UsageError, CacheError: as `extract_features`.
    """
    names = [encoder.spec.name for encoder in encoders]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"give one encoder or more, each of another feature name, not [{', '.join(names)}]")
    publisher = Publisher(options.output, [encoder.spec for encoder in encoders], cache)
    with DecodeAhead(videos, encoders, cache, options, stop=stop) as messages, publisher:
        work = _Work(encoders, cache, publisher, emit, messages)
        for message in messages:
            yield from work.handle(message)
            yield from work.published()
            # With nothing to do but wait, batches need not wait for company.
            if messages.is_idle:
                yield from work.flush()
        yield from work.flush()
        yield from work.published(waiting=0)


_ALL = 1 << 30
_Finished = tuple[VideoFinished, Features]


class _Work:
    """The videos that are open, from their first message to their end."""

    def __init__(
        self,
        encoders: Sequence[VideoEncoder],
        cache: FeatureCache,
        publisher: Publisher,
        emit: Listener,
        messages: DecodeAhead,
    ) -> None:
        self._cache = cache
        self._publisher = publisher
        self._emit = emit
        self._messages = messages
        self._batches = Batches(encoders)
        self._sources: dict[int, LookedUp] = {}  # of videos that are being opened
        self._open: dict[int, VideoInFlight] = {}
        self._finished: set[int] = set()
        self._start_s = time.perf_counter()

    def handle(self, message: Message) -> Iterator[_Finished]:
        """Do what a message asks for; yields the videos that are thereby finished."""
        index = message.index
        if index in self._finished:
            return  # encoding it failed, and the decoding thread was ahead
        if isinstance(message, VideoFinished):
            if index in self._open:
                self._batches.drop(self._open[index])
            yield self._finish(index, message.path, "failed", error=message.error)
        elif isinstance(message, LookedUp):
            if message.missing:
                self._sources[index] = message
                self._emit(VideoOpening(index, message.path))
                self._batches.load(message.missing)
            else:
                yield from self._publish(message, "cached", message.found)
        elif isinstance(message, VideoStarted):
            self._open[index] = VideoInFlight(self._sources.pop(index), message)
            self._emit(message)
        elif isinstance(message, (VideoOpening, VideoWaiting)):
            self._emit(message)
        else:
            video = self._open[index]
            if isinstance(message, ClipsDecoded):
                batches = self._batches.add(video, message.chunk)
            else:
                video.facts = message.facts
                batches = self._batches.end(video)
            yield from self._advance(batches)
            yield from self._completed()

    def flush(self) -> Iterator[_Finished]:
        """Complete the videos that wait for nothing but a batch to fill."""
        if any(video.ended for video in self._open.values()):
            yield from self._advance(self._batches.flush())
            yield from self._completed()

    def _advance(self, batches: Iterator[None]) -> Iterator[_Finished]:
        """Encode batches, and report how far each brought the open videos."""
        before = {index: video.done_s for index, video in self._open.items()}
        for _ in batches:
            for index, video in list(self._open.items()):
                if video.error is None and video.done_s > before.get(index, 0.0):
                    before[index] = video.done_s
                    self._emit(VideoProgress(index, video.path, video.done_s, video.info.duration_s))
            yield from self._completed()

    def _completed(self) -> Iterator[_Finished]:
        for index, video in list(self._open.items()):
            if not video.is_complete:
                continue
            self._batches.drop(video)
            try:
                features = video.store(self._cache)
            except VideoError as error:
                yield self._finish(index, video.path, "failed", error=error)
            else:
                # Others may use it from now on; it is still to be published.
                self._open.pop(index)
                self._messages.finish(index)
                yield from self._publish(video.source, "extracted", features)

    def published(self, *, waiting: int = _ALL) -> Iterator[_Finished]:
        """The videos that are finished because they are published; waits until no more than a number are not."""
        yield from map(self._finish_stored, self._publisher.published(waiting=waiting))

    def _publish(self, source: LookedUp, status: Status, features: Features) -> Iterator[_Finished]:
        """Publish a video whose features are there; it is finished once that is done."""
        yield from map(self._finish_stored, self._publisher.add(Stored(source, status, features)))

    def _finish_stored(self, published: tuple[Stored, VideoError | None]) -> _Finished:
        video, error = published
        index, path = video.source.index, video.source.path
        return self._finish(index, path, "failed" if error else video.status, video.features, error)

    def _finish(
        self,
        index: int,
        path: Place,
        status: Status,
        features: Features | None = None,
        error: VideoError | None = None,
    ) -> _Finished:
        self._messages.finish(index)
        self._finished.add(index)
        self._sources.pop(index, None)
        video = self._open.pop(index, None)
        features = features or {}
        infos = [entry.info for entry in features.values()] or ([video.info] if video else [])
        seconds = time.perf_counter() - self._start_s
        self._start_s += seconds
        duration_s = infos[0].duration_s if infos else 0.0
        facts = VideoFacts.join(entry.facts for entry in features.values())
        return VideoFinished(index, path, status, error, seconds, duration_s, facts), features
