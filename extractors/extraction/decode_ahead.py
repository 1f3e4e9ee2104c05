"""A thread that decodes ahead of the encoders, across videos, with few chunks in memory.

It also decides what to do for each video: nothing if everything is cached, and another video first if another process
is working on this one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace

from extractors.cache.claims import Claim
from extractors.cache.features import CachedFeatures
from extractors.cache.published import PublishedFeatures
from extractors.cache.store import FeatureCache
from extractors.decoding.decode import DecodeRequest, as_video_errors, decode
from extractors.decoding.subprocess_reader import DecodeProcess
from extractors.encoders.base import VideoEncoder
from extractors.errors import VideoError
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.supply import Source, Supply
from extractors.files.identity import Identity, VideoIdentity
from extractors.places import Address, Place
from extractors.videos.events import (
    ClipsDecoded,
    DecoderEvent,
    VideoDecoded,
    VideoFinished,
    VideoOpening,
    VideoStarted,
    VideoWaiting,
)

_CHUNKS = 2  # one being encoded, one being decoded: enough to keep both sides at work
_MESSAGES = 16  # bounds what is read from the cache ahead of its use
_POLL_S = 0.25


@dataclass(frozen=True)
class LookedUp:
    """What the cache has of a video. If something is missing, the video is claimed and opened next.

    Attributes:
        index: its place in the list of videos.
        path: the video.
        identity: of its content.
        found: the features that are there, by name.
        missing: the encoders whose features it lacks.
        published: names of the features that were found where they are published, and not in the cache.
    """

    index: int
    path: Place
    identity: Identity
    found: Mapping[str, CachedFeatures]
    missing: tuple[VideoEncoder, ...]
    published: frozenset[str] = frozenset()


Message = LookedUp | DecoderEvent | VideoOpening | VideoWaiting | VideoFinished
"""Of a `VideoFinished` that comes from here, the video has failed."""


class DecodeAhead:
    """Iterates over what becomes of videos, while its thread is already at work on what comes next.

    Every video gives a `LookedUp`; if features are missing, the decoder's events follow. One that cannot be read gives
    a `VideoFinished`, instead of these or after some of them. Use it in a `with` block: when it is left, the thread has
    ended and every claim is given back.

    Args:
        videos: place in the list and place of each; read one by one as the decoder is ready for them.
        encoders: whose features are wanted.
        cache: where they are looked up, and claims are made.
        options: how videos are decoded.
        stop: no more messages come once it is set.
    """

    def __init__(
        self,
        videos: Iterable[tuple[int, Place]],
        encoders: Sequence[VideoEncoder],
        cache: FeatureCache,
        options: ExtractionOptions,
        *,
        stop: threading.Event | None = None,
    ) -> None:
        self._process = None if options.stall_s is None else DecodeProcess(stall_s=options.stall_s)
        self._encoders = encoders
        self._cache = cache
        self._options = options
        self._claims: dict[int, tuple[str, Claim]] = {}
        self._finished: set[int] = set()
        self._opening: VideoOpening | None = None
        self._made: set[str] = set()
        self._queue: queue.Queue[Message | BaseException | None] = queue.Queue(_MESSAGES)
        self._slots = threading.Semaphore(_CHUNKS)
        self._stop = threading.Event()
        self._halted = stop or threading.Event()
        # A local folder of results is written to, but the cache beside it is what counts.
        self._published = PublishedFeatures(options.output) if isinstance(options.output, Address) else None
        self._supply = Supply(videos, cache, self._published, self._is_complete, options, self._stop)
        self._thread = threading.Thread(target=self._run, name="vtg-decode", daemon=True)

    def __enter__(self) -> DecodeAhead:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._slots.release()
        if self._process is not None:
            self._process.abort()
        while self._thread.is_alive():  # it may be waiting for room to put a message
            self._drain()
            self._thread.join(0.05)
        self._supply.close()
        for _, claim in self._claims.values():
            claim.release()

    def __iter__(self) -> Iterator[Message]:
        """The messages; asking for the next one frees the chunk of the one before.

        Raises:
            CacheError: if the cache cannot be read or written.
        """
        while (message := self._next_message()) is not None:
            if isinstance(message, BaseException):
                raise message
            yield message
            if isinstance(message, ClipsDecoded):
                del message
                self._slots.release()

    @property
    def is_idle(self) -> bool:
        """Whether the next message has not come yet."""
        return self._queue.empty()

    def finish(self, index: int) -> None:
        """Mark a video as done, successfully or not: release its claim and stop decoding it. Again, it does nothing."""
        self._finished.add(index)
        if claimed := self._claims.pop(index, None):
            address, claim = claimed
            self._made.add(address)
            claim.release()

    def _next_message(self) -> Message | BaseException | None:
        while not self._halted.is_set():
            with suppress(queue.Empty):
                return self._queue.get(timeout=_POLL_S)
            if (opening := self._opening) is not None:
                return opening
        return None

    def _drain(self) -> None:
        try:
            while True:
                self._queue.get_nowait()
        except queue.Empty:
            return

    def _run(self) -> None:
        try:
            with closing(self._messages()) as messages:
                for message in messages:
                    self._queue.put(message)
                    # Only the consumer may hold the frames from here on, or they would outlive its use of them.
                    del message
                    if self._stop.is_set():
                        break
        except BaseException as error:
            self._queue.put(error)
        finally:
            if self._process is not None:
                self._process.stop()
        self._queue.put(None)

    def _messages(self) -> Generator[Message, None, None]:
        busy: list[Source] = []
        for source in self._supply:
            try:
                with self._opening_shown(source):
                    source.look()
            except VideoError as error:
                yield VideoFinished(source.index, source.place, "failed", error)
                continue
            if not (yield from self._video(source)):
                busy.append(source)
        while busy and not self._stop.is_set():
            still_busy = []
            for source in busy:
                is_done = yield from self._video(source)
                if not is_done:
                    still_busy.append(source)
            if len(still_busy) == len(busy):
                own = {address for address, _ in list(self._claims.values())}
                elsewhere = [source for source in busy if source.look().address not in own]
                if elsewhere and self._queue.empty():
                    yield VideoWaiting(elsewhere[0].index, elsewhere[0].place)
                self._stop.wait(_POLL_S)
            busy = still_busy

    @contextmanager
    def _opening_shown(self, source: Source) -> Iterator[None]:
        """A download may take long; the consumer sees a `VideoOpening` meanwhile."""
        if isinstance(source.place, Address):
            self._opening = VideoOpening(source.index, source.place)
        try:
            yield
        finally:
            self._opening = None

    def _video(self, source: Source) -> Generator[Message, None, bool]:
        """Messages of one video; returns False, without a message, if it is claimed elsewhere."""
        index, place, identity = source.index, source.place, source.look()
        try:
            found, published = self._find(source, identity)
            if len(found) < len(self._encoders):
                claim = self._cache.try_claim(identity.address)
                if claim is None:
                    return False
                self._claims[index] = identity.address, claim
                found, published = self._find(source, identity)  # the last holder may have stored them
            missing = tuple(encoder for encoder in self._encoders if encoder.spec.name not in found)
            if not missing:
                yield LookedUp(index, place, identity, found, missing, published)
                return True
            with self._opening_shown(source):
                file = source.open()
            yield LookedUp(index, place, file, found, missing, published)
            request = DecodeRequest(
                index, file.path, {encoder.spec.name: encoder.sampling for encoder in missing}, self._options
            )
            yield from self._decoded(source, request, file)
        except VideoError as error:
            yield VideoFinished(index, place, "failed", source.named(error))
        finally:
            source.release()
        return True

    def _decoded(
        self, source: Source, request: DecodeRequest, identity: VideoIdentity
    ) -> Generator[Message, None, None]:
        """The decoder's events; the last one once it is known that the file did not change meanwhile."""
        run = decode if self._process is None else self._process.decode
        try:
            with as_video_errors(request.path), closing(run(request)) as events:
                self._opening = VideoOpening(source.index, source.place)
                try:
                    started = next(events)
                finally:
                    self._opening = None
                identity.read_ahead()
                if isinstance(started, VideoStarted):
                    info = replace(started.info, path=source.place)
                    started = replace(started, path=source.place, info=info)
                yield started
                while (event := self._next_event(request.index, events)) is not None:
                    if isinstance(event, VideoDecoded):
                        identity.confirm()
                    yield event
                    del event
        finally:
            identity.give_up()

    def _find(self, source: Source, identity: Identity) -> tuple[dict[str, CachedFeatures], frozenset[str]]:
        """The features that are there, by name, and the names of those that are published and not in the cache."""
        # What this run has made is not made again, even with overwrite: a list may repeat a video.
        if self._options.overwrite and identity.address not in self._made:
            return {}, frozenset()
        found: dict[str, CachedFeatures] = {}
        published = set()
        for spec in (encoder.spec for encoder in self._encoders):
            entry = self._cache.load_video(source.place, spec, identity=identity)
            if entry is None and self._published is not None:
                if spec.name not in source.published:  # each is asked for once
                    source.published[spec.name] = self._published.load(source.place, spec, identity)
                entry = source.published[spec.name]
                if entry is not None:
                    published.add(spec.name)
            if entry is not None:
                found[spec.name] = entry
        return found, frozenset(published)

    def _is_complete(self, source: Source, identity: Identity) -> bool:
        return len(self._find(source, identity)[0]) == len(self._encoders)

    def _next_event(self, index: int, events: Iterator[DecoderEvent]) -> DecoderEvent | None:
        """Decode a chunk once there is room for it; None at the end, or when no more is wanted."""
        self._slots.acquire()
        event = None
        try:
            if index not in self._finished and not self._stop.is_set():
                event = next(events, None)
        finally:
            if not isinstance(event, ClipsDecoded):
                self._slots.release()
        return event
