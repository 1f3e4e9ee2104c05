"""The sound of a video as one channel of 16,000 samples per second, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.cues.packets import read_packets
from extractors.decoding import ffmpeg_log
from extractors.decoding.container.timeline import Timeline, open_container
from extractors.errors import VideoError

RATE = 16_000
"""Samples per second."""

_BLOCK = 10 * RATE
_LEAST_JUMP_S = 0.1  # the times of packets are rounded, and drift a little
_MOST_LATE_S = 60.0  # of sound after the end of the video: a damaged time says nothing about the next
_MOST_RATE = 768_000
_MOST_CHANNELS = 64


@dataclass(frozen=True)
class Sound:
    """Successive samples.

    Attributes:
        start_s: seconds from the start of the video.
        samples: (N,) in [-1, 1].
        continues: whether it follows the one before without a gap.
    """

    start_s: float
    samples: NDArray[np.float32]
    continues: bool


def has_sound(timeline: Timeline) -> bool:
    """Whether a video has an audio track.

    Raises:
        VideoError: if the file cannot be read.
    """
    with open_container(timeline.file) as (container, _):
        return main_audio_stream(container) is not None


def read_sound(timeline: Timeline, from_s: float = 0.0) -> Iterator[Sound]:
    """The sound of the main audio track, up to the end of the video.

    Where the track has no sound for a while, and where times jump, the next block does not continue the one before.

    Args:
        timeline: of the video.
        from_s: where to begin, in seconds from its start.

    Yields:
        blocks of about ten seconds; none if there is no audio track. Damaged packets are left out.

    Raises:
        VideoError: if the file cannot be read, or its sound is of a codec that cannot be decoded.
    """
    with open_container(timeline.file) as (container, _):
        stream = main_audio_stream(container)
        if stream is None:
            return
        if stream.codec_context is None:
            raise VideoError(timeline.file.path, "its sound is of a codec that FFmpeg cannot decode")
        run, late_s = _Run(from_s), 0.0
        passed_s = 0.0
        for frame in _frames(container, stream):
            length_s = frame.samples / max(frame.sample_rate, 1)
            start_s = passed_s if frame.time is None else float(frame.time) - timeline.start_s
            passed_s = start_s + length_s
            if from_s and passed_s <= from_s:
                continue
            if start_s >= timeline.end_s:
                late_s += length_s
                if late_s > _MOST_LATE_S:
                    break
                continue
            if not run.is_next(start_s):
                yield from run.finish()
                run = _Run(start_s)
            yield from run.add(frame)
        yield from run.finish()


def main_audio_stream(container: Any) -> Any | None:
    """The audio track that players play: the default one, otherwise the first; None if there is none.

    Versions for impaired listeners and comments come after complete ones.

    Args:
        container: of PyAV.
    """
    from av.stream import Disposition

    secondary = Disposition.visual_impaired | Disposition.hearing_impaired | Disposition.comment

    def rank(stream: Any) -> tuple[bool, bool, bool]:
        marks = stream.disposition
        return stream.codec_context is not None, not marks & secondary, bool(marks & Disposition.default)

    return max(container.streams.audio, key=rank, default=None)


class _Run:
    """Frames that follow each other without a gap.

    Args:
        start_s: of the first one, in seconds from the start of the video.

    Attributes:
        next_s: where the next frame is expected.
    """

    def __init__(self, start_s: float) -> None:
        self.next_s = start_s
        self._start_s = start_s
        self._resampler: Any = None
        self._parts: list[NDArray[np.float32]] = []
        self._waiting = 0
        self._given = 0
        self._has_begun = False

    def is_next(self, start_s: float) -> bool:
        """Whether a frame that begins there follows. One that goes back in time does: its time is damaged."""
        return start_s - self.next_s < (_LEAST_JUMP_S if self._has_begun else 0.0)

    def add(self, frame: Any) -> Iterator[Sound]:
        """Take in a frame of PyAV; gives a block if there is one."""
        if not (0 < frame.sample_rate <= _MOST_RATE and 0 < frame.layout.nb_channels <= _MOST_CHANNELS):
            return
        self._has_begun = True
        self.next_s += frame.samples / frame.sample_rate
        self._take(self._resampled(frame))
        if self._waiting >= _BLOCK:
            yield self._block()

    def finish(self) -> Iterator[Sound]:
        """The rest."""
        self._take(self._flushed())
        if self._waiting:
            yield self._block()

    def _resampled(self, frame: Any) -> list[Any]:
        import av

        if self._resampler is None:
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        try:
            frames: list[Any] = self._resampler.resample(frame)
        except (ValueError, av.error.FFmpegError):  # the format of the sound has changed
            frames = self._flushed()
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
            frames += self._resampler.resample(frame)
        return frames

    def _flushed(self) -> list[Any]:
        import av

        if self._resampler is None:
            return []
        try:
            rest: list[Any] = self._resampler.resample(None)
        except (ValueError, av.error.FFmpegError):
            rest = []
        self._resampler = None
        return rest

    def _take(self, frames: list[Any]) -> None:
        for frame in frames:
            samples = frame.to_ndarray().reshape(-1)
            self._parts.append(np.nan_to_num(samples, posinf=0.0, neginf=0.0).clip(-1, 1))
            self._waiting += len(samples)

    def _block(self) -> Sound:
        samples = np.concatenate(self._parts).astype(np.float32, copy=False)
        block = Sound(self._start_s + self._given / RATE, samples, continues=self._given > 0)
        self._given += len(samples)
        self._parts, self._waiting = [], 0
        return block


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    import av

    for packet in read_packets(container, [stream]):
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            ffmpeg_log.complain()
