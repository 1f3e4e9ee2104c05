"""A thread that decodes ahead of the encoders, across videos, with few chunks in memory.

It also decides what to do for each video: nothing if everything is cached, and another video first if another process
is working on this one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from extractors.cache.claims import Claim
from extractors.cache.store import CachedFeatures, FeatureCache
from extractors.decoding.clip_reader import ClipChunk, ClipReader, Decoder, VideoInfo
from extractors.decoding.damage import Segment
from extractors.decoding.grid import Sampling
from extractors.decoding.subprocess_reader import DecodeProcess, IsolatedReader
from extractors.encoders.base import VideoEncoder
from extractors.errors import VideoError
from extractors.files.identity import VideoIdentity

_CHUNKS = 2  # one being encoded, one being decoded: enough to keep both sides at work
_MESSAGES = 16  # bounds what is read from the cache ahead of its use
_POLL_S = 0.25
_FIRST_CHUNK_S = 4.0  # the encoders wait for it


@dataclass(frozen=True)
class Found:
    """All that was asked for was in the cache."""

    index: int
    features: Mapping[str, CachedFeatures]


@dataclass(frozen=True)
class Opening:
    """Features of a video are missing, and it is claimed; `Opened` follows, or `Failed`.

    Repeated several times per second until then, without encoders.

    Attributes:
        index: its place in the list of videos.
        encoders: those whose features are missing.
    """

    index: int
    encoders: tuple[VideoEncoder, ...]


@dataclass(frozen=True)
class Opened:
    """A video is open; its chunks follow, then `Ended` or `Failed`.

    Attributes:
        index: its place in the list of videos.
        identity: of its content.
        encoders: those whose features are missing.
        found: the features that are not.
        info: what the file holds.
        clip_counts: for each of `encoders`, the number of clips.
    """

    index: int
    identity: VideoIdentity
    encoders: tuple[VideoEncoder, ...]
    found: Mapping[str, CachedFeatures]
    info: VideoInfo
    clip_counts: tuple[int, ...]


@dataclass(frozen=True)
class Decoded:
    """The next clips of the open video."""

    index: int
    chunk: ClipChunk


@dataclass(frozen=True)
class Ended:
    """The open video was read to its end.

    Attributes:
        index: its place in the list of videos.
        damaged_s: as of `ClipReader`.
    """

    index: int
    damaged_s: tuple[Segment, ...]


@dataclass(frozen=True)
class Failed:
    """A video, open or not, cannot be read."""

    index: int
    error: VideoError


@dataclass(frozen=True)
class Waiting:
    """Only videos that other processes are extracting are left; this is one of them. Repeated while that lasts."""

    index: int


Message = Found | Opening | Opened | Decoded | Ended | Failed | Waiting


class DecodeAhead:
    """Iterates over what becomes of videos, while its thread is already at work on what comes next.

    Every video gives one `Found` or `Failed`, or an `Opening` with what follows it. Use it in a `with` block:
    the thread has ended, and every claim is given back, when the block is left.

    Args:
        paths: the videos.
        encoders: whose features are wanted.
        cache: where they are looked up, and claims are made.
        overwrite: decode even what the cache has.
        chunk_s: seconds of video per chunk.
        decoder: as for `ClipReader`.
        stall_s: decode in a subprocess, and give up a video over which it makes no progress for so many seconds; None
            decodes in this process.
        stop: no more messages come once it is set.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        encoders: Sequence[VideoEncoder],
        cache: FeatureCache,
        *,
        overwrite: bool,
        chunk_s: float,
        decoder: Decoder,
        stall_s: float | None,
        stop: threading.Event | None = None,
    ) -> None:
        self._process = None if stall_s is None else DecodeProcess(stall_s=stall_s)
        self._paths = paths
        self._encoders = encoders
        self._cache = cache
        self._overwrite = overwrite
        self._chunk_s = chunk_s
        self._decoder = decoder
        self._claims: dict[int, tuple[str, Claim]] = {}
        self._settled: set[int] = set()
        self._opening: int | None = None
        self._made: set[str] = set()
        self._queue: queue.Queue[Message | BaseException | None] = queue.Queue(_MESSAGES)
        self._slots = threading.Semaphore(_CHUNKS)
        self._stop = threading.Event()
        self._halted = stop or threading.Event()
        self._thread = threading.Thread(target=self._run, name="vtg-decode", daemon=True)

    def __enter__(self) -> DecodeAhead:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
            if isinstance(message, Decoded):
                del message
                self._slots.release()

    @property
    def is_idle(self) -> bool:
        """Whether the next message has not come yet."""
        return self._queue.empty()

    def settle(self, index: int) -> None:
        """Mark a video as done, successfully or not: release its claim and stop decoding it."""
        self._settled.add(index)
        if claimed := self._claims.pop(index, None):
            address, claim = claimed
            self._made.add(address)
            claim.release()

    def _next_message(self) -> Message | BaseException | None:
        while not self._halted.is_set():
            with suppress(queue.Empty):
                return self._queue.get(timeout=_POLL_S)
            if (index := self._opening) is not None:
                return Opening(index, ())
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
        for index, path in enumerate(self._paths):
            try:
                identity = self._cache.identify(path, stop=self._stop)
            except VideoError as error:
                yield Failed(index, error)
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
                elsewhere = [index for index, identity in busy if identity.address not in own]
                if elsewhere and self._queue.empty():
                    yield Waiting(elsewhere[0])
                self._stop.wait(_POLL_S)
            busy = still_busy

    def _video(self, index: int, identity: VideoIdentity) -> Generator[Message, None, bool]:
        """Messages of one video; returns False, without a message, if it is claimed elsewhere."""
        path = self._paths[index]
        try:
            found = self._find(path, identity)
            if len(found) < len(self._encoders):
                claim = self._cache.try_claim(identity.address)
                if claim is None:
                    return False
                self._claims[index] = identity.address, claim
                found = self._find(path, identity)  # the last holder of the claim may have stored them
        except VideoError as error:
            yield Failed(index, error)
            return True
        if len(found) == len(self._encoders):
            yield Found(index, found)
            return True
        encoders = tuple(encoder for encoder in self._encoders if encoder.spec.name not in found)
        yield Opening(index, encoders)
        try:
            samplings = [encoder.sampling for encoder in encoders]
            with self._open(index, samplings) as reader:
                identity.read_ahead()
                yield Opened(index, identity, encoders, found, reader.info, reader.clip_counts)
                chunks = iter(reader)
                while (chunk := self._next_chunk(index, chunks)) is not None:
                    message = Decoded(index, chunk)
                    del chunk
                    yield message
                    del message
                damaged_s = reader.damaged_s
            if index not in self._settled:
                identity.confirm()
            yield Ended(index, damaged_s)
        except VideoError as error:
            yield Failed(index, error)
        except MemoryError:
            yield Failed(index, VideoError(path, "out of memory while decoding"))
        except OSError as error:
            yield Failed(index, VideoError(path, f"cannot be read: {error.strerror or error}"))
        finally:
            identity.give_up()
        return True

    def _open(self, index: int, samplings: Sequence[Sampling]) -> ClipReader | IsolatedReader:
        self._opening = index
        try:
            return (ClipReader if self._process is None else self._process.open)(
                self._paths[index],
                samplings,
                chunk_s=self._chunk_s,
                first_chunk_s=_FIRST_CHUNK_S,
                decoder=self._decoder,
            )
        finally:
            self._opening = None

    def _find(self, path: Path, identity: VideoIdentity) -> dict[str, CachedFeatures]:
        # What this run has made is not made again, even with overwrite: a list may repeat a video.
        if self._overwrite and identity.address not in self._made:
            return {}
        specs = [encoder.spec for encoder in self._encoders]
        loaded = [self._cache.load_video(path, spec, identity=identity) for spec in specs]
        return {entry.spec.name: entry for entry in loaded if entry is not None}

    def _next_chunk(self, index: int, chunks: Iterator[ClipChunk]) -> ClipChunk | None:
        """Decode a chunk once there is room for it; None at the end, or where no more is wanted."""
        self._slots.acquire()
        chunk = None
        try:
            if index not in self._settled and not self._stop.is_set():
                chunk = next(chunks, None)
        finally:
            if chunk is None:
                self._slots.release()
        return chunk
