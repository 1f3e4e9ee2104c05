"""One video through its encoders: clips gathered into batches, rows gathered into features."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extractors.base import VideoEncoder
from extractors.cache import CachedFeatures, FeatureCache
from extractors.errors import VideoError
from extractors.prefetch import Opened
from extractors.video import ClipChunk


class Encoding:
    """A video on its way through the encoders that lack it."""

    def __init__(self, path: Path, opened: Opened) -> None:
        self.info = opened.info
        self.clip_counts = {
            encoder.spec.name: count
            for encoder, count in zip(opened.encoders, opened.clip_counts, strict=True)
        }
        self._path = path
        self._identity = opened.identity
        self._found = opened.found
        self._rows = [_Rows(path, encoder) for encoder in opened.encoders]

    def encode(self, chunk: ClipChunk) -> Iterator[float]:
        """Encode what fills batches; yields the seconds of video done, after each batch."""
        for rows, clips in zip(self._rows, chunk.rows, strict=True):
            for _ in rows.add(chunk.frames, clips):
                yield self._done_s()

    def encode_rest(self) -> Iterator[float]:
        """Encode the batches that the end of the video leaves unfilled."""
        for rows in self._rows:
            rows.flush()
            yield self._done_s()

    def store(self, cache: FeatureCache) -> dict[str, CachedFeatures]:
        """Keep what has been encoded; returns it with what had been in the cache.

        Raises:
            VideoError: if clips are missing, or features are not finite.
            CacheError: if the cache cannot be written.
        """
        for rows in self._rows:
            expected = self.clip_counts[rows.spec.name]
            if rows.count == 0:
                raise VideoError(self._path, f"too short for one clip: {self.info.duration_s:.2f} s")
            if rows.count != expected:
                raise VideoError(self._path, f"only {rows.count} of {expected} clips could be decoded")
        try:
            stored = [
                cache.store_video(self._path, rows.spec, rows.features(), self.info, identity=self._identity)
                for rows in self._rows
            ]
        except ValueError as error:
            raise VideoError(self._path, f"{error}; try precision fp32") from error
        return {**self._found, **{entry.spec.name: entry for entry in stored}}

    def _done_s(self) -> float:
        return self.info.duration_s * sum(rows.count for rows in self._rows) / sum(self.clip_counts.values())


class _Rows:
    """Rows of one encoder for one video, made in batches that run over the borders of chunks."""

    def __init__(self, path: Path, encoder: VideoEncoder) -> None:
        self.spec = encoder.spec
        self.count = 0
        self._path = path
        self._encoder = encoder
        self._batch_size = encoder.batch_size
        self._waiting: list[NDArray[np.uint8]] = []
        self._done: list[NDArray[np.float32]] = []

    def add(self, frames: NDArray[np.uint8], clips: NDArray[np.int64]) -> Iterator[None]:
        """Take clips in; yields after each batch that they fill.

        Args:
            frames: (M, S, S, 3), which may be let go afterwards.
            clips: (N, F) rows of `frames`.
        """
        start = 0
        while start < len(clips):
            room = self._batch_size - sum(map(len, self._waiting))
            part = frames[clips[start : start + room]]  # (n, F, S, S, 3)
            self._waiting.append(part)
            start += len(part)
            if len(part) == room:
                self.flush()
                yield

    def flush(self) -> None:
        """Encode what is waiting, be it less than a batch."""
        if self._waiting:
            clips = np.concatenate(self._waiting)  # (B, F, S, S, 3)
            self._waiting.clear()
            self._done.append(self._encode(clips))
            self.count += len(clips)

    def features(self) -> NDArray[np.float32]:
        """All rows so far, (N, dim)."""
        return np.concatenate(self._done)

    def _encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode a batch, in ever smaller ones while memory does not suffice."""
        done: list[NDArray[np.float32]] = []
        start = 0
        while start < len(clips):
            part = clips[start : start + self._batch_size]
            rows = self._encode_if_it_fits(part)
            if rows is None:
                self._batch_size = len(part) // 2
            else:
                done.append(rows)
                start += len(part)
        return np.concatenate(done)

    def _encode_if_it_fits(self, clips: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        try:
            rows = self._encoder.encode(clips)
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            if len(clips) == 1:
                reason = f"out of memory with a single clip in '{self.spec.name}'; try device cpu"
                raise VideoError(self._path, reason) from error
            return None
        if rows.shape != (len(clips), self.spec.dim):
            raise ValueError(
                f"encoder '{self.spec.name}' gave {rows.shape} for {len(clips)} clips of {self.spec.dim}"
            )
        return rows


def _is_out_of_memory(error: Exception) -> bool:
    # torch has a class for CUDA alone; MPS and the CPU raise RuntimeError, and torch need not be loaded here.
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
