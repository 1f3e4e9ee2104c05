"""A thread that decodes ahead of the encoders, across videos, with few chunks in memory.

It also decides what to do for each video: nothing if everything is cached, and another video first if another process
is working on this one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from extractors.cache.claims import Claim
from extractors.cache.store import CachedFeatures, FeatureCache
from extractors.decoding.decode import DecodeRequest, as_video_errors, decode
from extractors.decoding.subprocess_reader import DecodeProcess
from extractors.encoders.base import VideoEncoder
from extractors.errors import VideoError
from extractors.extraction.options import ExtractionOptions
from extractors.files.identity import VideoIdentity
from extractors.videos.events import (
    ClipsDecoded,
    DecoderEvent,
    VideoDecoded,
    VideoFinished,
    VideoOpening,
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
        found: the features that the cache has, by name.
        missing: the encoders whose features it lacks.
    """

    index: int
    path: Path
    identity: VideoIdentity
    found: Mapping[str, CachedFeatures]
    missing: tuple[VideoEncoder, ...]


Message = LookedUp | DecoderEvent | VideoOpening | VideoWaiting | VideoFinished
"""Of a `VideoFinished` that comes from here, the video has failed."""


class DecodeAhead:
    """Iterates over what becomes of videos, while its thread is already at work on what comes next.

    Every video gives a `LookedUp`; if features are missing, the decoder's events follow. One that cannot be read gives
    a `VideoFinished`, instead of these or after some of them. Use it in a `with` block: when it is left, the thread has
    ended and every claim is given back.

    Args:
        videos: place in the list and path of each; read one by one as the decoder is ready for them.
        encoders: whose features are wanted.
        cache: where they are looked up, and claims are made.
        options: how videos are decoded.
        stop: no more messages come once it is set.
    """

    def __init__(
        self,
        videos: Iterable[tuple[int, Path]],
        encoders: Sequence[VideoEncoder],
        cache: FeatureCache,
        options: ExtractionOptions,
        *,
        stop: threading.Event | None = None,
    ) -> None:
        self._process = None if options.stall_s is None else DecodeProcess(stall_s=options.stall_s)
        self._videos = videos
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
        """Mark a video as done, successfully or not: release its claim and stop decoding it."""
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
        busy: list[tuple[int, VideoIdentity]] = []
        for index, path in self._videos:
            try:
                identity = self._cache.identify(path, stop=self._stop)
            except VideoError as error:
                yield VideoFinished(index, path, "failed", error)
                continue
            if not (yield from self._video(index, identity)):
                busy.append((index, identity))
        while busy and not self._stop.is_set():
            still_busy = []
            for index, identity in busy:
                if not (yield from self._video(index, identity)):
                    still_busy.append((index, identity))
            if len(still_busy) == len(busy):
                own = {address for address, _ in list(self._claims.values())}
                elsewhere = [(index, identity) for index, identity in busy if identity.address not in own]
                if elsewhere and self._queue.empty():
                    index, identity = elsewhere[0]
                    yield VideoWaiting(index, identity.path)
                self._stop.wait(_POLL_S)
            busy = still_busy

    def _video(self, index: int, identity: VideoIdentity) -> Generator[Message, None, bool]:
        """Messages of one video; returns False, without a message, if it is claimed elsewhere."""
        path = identity.path
        try:
            found = self._find(identity)
            if len(found) < len(self._encoders):
                claim = self._cache.try_claim(identity.address)
                if claim is None:
                    return False
                self._claims[index] = identity.address, claim
                found = self._find(identity)  # the last holder of the claim may have stored them
            missing = tuple(encoder for encoder in self._encoders if encoder.spec.name not in found)
            yield LookedUp(index, path, identity, found, missing)
            if missing:
                request = DecodeRequest(
                    index, path, {encoder.spec.name: encoder.sampling for encoder in missing}, self._options
                )
                yield from self._decoded(request, identity)
        except VideoError as error:
            yield VideoFinished(index, path, "failed", error)
        return True

    def _decoded(self, request: DecodeRequest, identity: VideoIdentity) -> Generator[Message, None, None]:
        """The decoder's events; the last one once it is known that the file did not change meanwhile."""
        run = decode if self._process is None else self._process.decode
        try:
            with as_video_errors(request.path), closing(run(request)) as events:
                self._opening = VideoOpening(request.index, request.path)
                try:
                    started = next(events)
                finally:
                    self._opening = None
                identity.read_ahead()
                yield started
                while (event := self._next_event(request.index, events)) is not None:
                    if isinstance(event, VideoDecoded):
                        identity.confirm()
                    yield event
                    del event
        finally:
            identity.give_up()

    def _find(self, identity: VideoIdentity) -> dict[str, CachedFeatures]:
        # What this run has made is not made again, even with overwrite: a list may repeat a video.
        if self._options.overwrite and identity.address not in self._made:
            return {}
        specs = [encoder.spec for encoder in self._encoders]
        loaded = [self._cache.load_video(identity.path, spec, identity=identity) for spec in specs]
        return {entry.spec.name: entry for entry in loaded if entry is not None}

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
