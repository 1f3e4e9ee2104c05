"""Videos through their encoders: clips collected into batches across videos, rows collected into features."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from extractors.cache.features import CachedFeatures
from extractors.cache.store import FeatureCache
from extractors.compute.overlap import FutureRows, LoadableEncoder, OverlappingEncoder, ReadyRows
from extractors.encoders.base import VideoEncoder
from extractors.errors import VideoError
from extractors.extraction.decode_ahead import LookedUp
from extractors.extraction.repeats import Runs
from extractors.videos.events import VideoStarted
from extractors.videos.facts import ClipChunk, VideoFacts

_MOST_ROW_BYTES = 1 << 30  # of a feature, in memory: 64 hours of SlowFast, eight days of `lite`
_ON_THEIR_WAY = 5  # batches an encoder may be at: one more than it computes at a time


class VideoInFlight:
    """A video on its way through the encoders that lack it.

    Attributes:
        source: what was looked up.
        index: its place in the list of videos.
        path: the video.
        info: what the file holds.
        encoders: those whose features are being made.
        ended: whether all of it has been decoded.
        facts: what decoding found out about it, once it has ended.
        waiting: number of clips that are not encoded yet.
        error: why it cannot be encoded, once that is so.
    """

    def __init__(self, source: LookedUp, started: VideoStarted) -> None:
        self.index = started.index
        self.path = started.path
        self.info = started.info
        self.encoders = source.missing
        self.ended = False
        self.facts = VideoFacts()
        self.waiting = 0
        self.error = _too_long(started, source.missing)
        self._clip_counts = started.clip_counts
        self.source = source
        self._rows = {encoder.spec.name: _Rows(encoder.spec.dim) for encoder in source.missing}

    @property
    def is_complete(self) -> bool:
        """Whether nothing more will come: the video failed, or everything decoded is encoded."""
        return self.error is not None or (self.ended and self.waiting == 0)

    @property
    def done_s(self) -> float:
        """Seconds of the video that are encoded."""
        done = sum(rows.done_clips for rows in self._rows.values())
        return self.info.duration_s * done / sum(self._clip_counts.values())

    def add(
        self, encoder: VideoEncoder, frames: NDArray[np.uint8], clips: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Record the next clips for an encoder; returns those that it has to encode, like `Runs.add`."""
        return self._rows[encoder.spec.name].add_clips(frames, clips)

    def take(self, encoder: VideoEncoder, rows: NDArray[np.float32]) -> None:
        """Take in the next rows of an encoder, in the order of the clips that it had to encode."""
        self._rows[encoder.spec.name].extend(rows)

    def store(self, cache: FeatureCache) -> dict[str, CachedFeatures]:
        """Keep what has been encoded; returns it with what had been in the cache.

        Raises:
            VideoError: if it could not be encoded, clips are missing, or features are not finite.
            CacheError: if the cache cannot be written.
        """
        if self.error is not None:
            raise self.error
        for name, expected in self._clip_counts.items():
            count = self._rows[name].done_clips
            if count == 0:
                raise VideoError(self.path, f"too short for one clip: {self.info.duration_s:.2f} s")
            if count != expected:
                raise VideoError(self.path, f"only {count} of {expected} clips could be decoded")
        try:
            stored = [
                cache.store_video(
                    self.path,
                    encoder.spec,
                    self._rows[encoder.spec.name].of_all_clips(),
                    self.info,
                    facts=self.facts,
                    identity=self.source.identity,
                )
                for encoder in self.encoders
            ]
        except ValueError as error:
            raise VideoError(self.path, f"{error}; try precision fp32") from error
        return {**self.source.found, **{entry.spec.name: entry for entry in stored}}


def _too_long(started: VideoStarted, encoders: Sequence[VideoEncoder]) -> VideoError | None:
    for spec in (encoder.spec for encoder in encoders):
        size = 4 * spec.dim * started.clip_counts[spec.name]
        if size > _MOST_ROW_BYTES:
            hours = started.info.duration_s / 3600
            return VideoError(
                started.path,
                f"lasts {hours:.1f} hours, of which '{spec.name}' features would take {size / 1e9:.1f} GB; cut it "
                "into parts, or use fewer clips per second",
            )
    return None


class _Rows:
    """Rows of a video so far, in one piece.

    Kept one by one they would lie scattered between the activations of the batches they came from, and memory once used
    for those could not be used for larger ones.

    Attributes:
        count: number of rows.
        done_clips: number of clips that they stand for.
    """

    def __init__(self, dim: int) -> None:
        self.count = self.done_clips = 0
        self._runs = Runs()
        self._room = np.empty((64, dim), np.float32)

    def of_all_clips(self) -> NDArray[np.float32]:
        """(done_clips, dim), a row for each clip."""
        rows = self._room[: self.count]
        if self.done_clips == self.count:
            return rows
        return np.repeat(rows, self._runs.lengths[: self.count], axis=0)

    def add_clips(self, frames: NDArray[np.uint8], clips: NDArray[np.int64]) -> NDArray[np.int64]:
        """As `Runs.add`."""
        runs = len(self._runs.lengths)
        last = self._runs.lengths[-1] if runs else 0
        to_encode = self._runs.add(frames, clips)
        if runs and self.count == runs:  # the row of clips that continue the last run is here already
            self.done_clips += self._runs.lengths[runs - 1] - last
        return to_encode

    def extend(self, rows: NDArray[np.float32]) -> None:
        """Add the rows of the next runs."""
        end = self.count + len(rows)
        if end > len(self._room):
            room = np.empty((2 * end, self._room.shape[1]), np.float32)
            room[: self.count] = self._room[: self.count]
            self._room = room
        self._room[self.count : end] = rows
        self.done_clips += sum(self._runs.lengths[self.count : end])
        self.count = end


class Batches:
    """The clips that wait for each encoder: of one video, or of several if the encoder allows it."""

    def __init__(self, encoders: Sequence[VideoEncoder]) -> None:
        self._queues = {encoder.spec.name: _Queue(encoder) for encoder in encoders}

    def load(self, encoders: Sequence[VideoEncoder]) -> None:
        """Load the networks that the next video needs, while it is being opened."""
        for encoder in encoders:
            if isinstance(encoder, LoadableEncoder):
                try:
                    encoder.load()
                except Exception as error:
                    if not _is_out_of_memory(error):  # which `encode` reports, video by video
                        raise

    def add(self, video: VideoInFlight, chunk: ClipChunk) -> Iterator[None]:
        """Take in the next clips of a video; yields after each batch that they fill."""
        for encoder, clips in zip(video.encoders, chunk.rows, strict=True):
            yield from self._queues[encoder.spec.name].add(video, chunk.frames, clips)

    def end(self, video: VideoInFlight) -> Iterator[None]:
        """Take note that no more clips of a video come; yields after each batch that need not wait for another's."""
        video.ended = True
        for encoder in video.encoders:
            if not encoder.shares_batches and self._queues[encoder.spec.name].flush():
                yield

    def flush(self) -> Iterator[None]:
        """Encode the waiting clips in partial batches and wait for all rows; yields after each."""
        for waiting in self._queues.values():
            if waiting.flush():
                yield
        for waiting in self._queues.values():
            if waiting.collect(leave=0):
                yield

    def drop(self, video: VideoInFlight) -> None:
        """Forget the clips of a video that failed."""
        for waiting in self._queues.values():
            waiting.drop(video)


@dataclass(frozen=True)
class _Part:
    """Clips of one video, (n, F, S, S, 3)."""

    video: VideoInFlight
    clips: NDArray[np.uint8]


@dataclass(frozen=True)
class _Sent:
    """A batch that is being encoded."""

    parts: Sequence[_Part]
    rows: FutureRows


class _Queue:
    """Clips on their way into one encoder, and rows on their way out of it."""

    def __init__(self, encoder: VideoEncoder) -> None:
        self._encoder = encoder
        self._limit: int | None = None
        self._parts: list[_Part] = []
        self._sent: deque[_Sent] = deque()

    @property
    def _batch_size(self) -> int:
        """What the encoder is best given, or has memory for; asking it may load its libraries, so only when needed."""
        if self._limit is None:
            self._limit = self._encoder.batch_size
        return self._limit

    def add(
        self, video: VideoInFlight, frames: NDArray[np.uint8], clips: NDArray[np.int64]
    ) -> Iterator[None]:
        """Take clips in; yields after each batch that they fill.

        Args:
            video: whose clips they are.
            frames: (M, S, S, 3), which may be let go afterwards.
            clips: (N, F) rows of `frames`.
        """
        if video.error is None:
            clips = video.add(self._encoder, frames, clips)
        start = 0
        while start < len(clips) and video.error is None:
            room = max(self._batch_size - sum(len(part.clips) for part in self._parts), 1)
            part = _Part(video, frames[clips[start : start + room]])
            video.waiting += len(part.clips)
            self._parts.append(part)
            start += len(part.clips)
            if len(part.clips) == room:
                self.flush()
                yield

    def flush(self) -> bool:
        """Encode what is waiting, even less than a batch; returns whether there was anything.

        Its rows may come later, in `collect`.
        """
        if not self._parts:
            return False
        parts, self._parts = self._parts, []
        self._sent.append(_Sent(parts, self._send(parts)))
        self.collect(leave=_ON_THEIR_WAY)
        return True

    def collect(self, *, leave: int) -> bool:
        """Return finished rows, and wait until at most `leave` batches are unfinished; returns whether any came."""
        came = False
        while self._sent and (len(self._sent) > leave or self._sent[0].rows.is_ready):
            sent = self._sent.popleft()
            rows = self._received(sent)
            start = 0
            for part in sent.parts:
                end = start + len(part.clips)
                part.video.waiting -= len(part.clips)
                if part.video.error is None:
                    part.video.take(self._encoder, rows[start:end])
                start = end
            came = True
        return came

    def _received(self, sent: _Sent) -> NDArray[np.float32]:
        try:
            rows = sent.rows.rows()
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            return self._encode(np.concatenate([part.clips for part in sent.parts]), sent.parts)
        return self._checked(rows, sum(len(part.clips) for part in sent.parts))

    def drop(self, video: VideoInFlight) -> None:
        video.waiting -= sum(len(part.clips) for part in self._parts if part.video is video)
        self._parts = [part for part in self._parts if part.video is not video]

    def _send(self, parts: Sequence[_Part]) -> FutureRows:
        """Start encoding a batch, or encode it at once if the encoder cannot start one."""
        if isinstance(self._encoder, OverlappingEncoder):
            try:
                return self._encoder.submit([part.clips for part in parts])
            except Exception as error:
                if not _is_out_of_memory(error):
                    raise
                self.collect(leave=0)  # what is being encoded has memory that would be of use
        clips = parts[0].clips if len(parts) == 1 else np.concatenate([part.clips for part in parts])
        return ReadyRows(self._encode(clips, parts))

    def _encode(self, clips: NDArray[np.uint8], parts: Sequence[_Part]) -> NDArray[np.float32]:
        """Encode a batch, in smaller and smaller parts while memory runs out."""
        owners = [part.video for part in parts for _ in part.clips]
        rows = np.zeros((len(clips), self._encoder.spec.dim), np.float32)
        start = 0
        while start < len(clips):
            end = min(start + self._batch_size, len(clips))
            try:
                done = self._encode_if_it_fits(clips[start:end])
            except VideoError as error:  # not even one clip fits
                owners[start].error = VideoError(owners[start].path, error.reason)
                start = next((i for i in range(start, len(clips)) if owners[i].error is None), len(clips))
                continue
            if done is None:
                self._limit = (end - start) // 2
            else:
                rows[start:end] = done
                start = end
        return rows

    def _encode_if_it_fits(self, clips: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        name = self._encoder.spec.name
        try:
            rows = self._encoder.encode(clips)
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            if len(clips) == 1:
                reason = f"out of memory with a single clip in '{name}'; try device cpu"
                raise VideoError("", reason) from error
            return None
        return self._checked(rows, len(clips))

    def _checked(self, rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        spec = self._encoder.spec
        if rows.shape != (count, spec.dim):
            raise ValueError(f"encoder '{spec.name}' gave {rows.shape} for {count} clips of {spec.dim}")
        return rows


def _is_out_of_memory(error: Exception) -> bool:
    # torch has a class for CUDA alone; MPS and the CPU raise RuntimeError, and torch need not be loaded here.
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
