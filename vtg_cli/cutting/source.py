"""A video that is cut: where its frames are, which of them a span means, and how they are decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.decoding.container.timeline import open_container, read_timeline
from extractors.decoding.grid import TIE_S, frames_on_screen
from extractors.errors import UsageError, VideoError
from vtg_cli.cutting.streams import StreamFormat

_PREROLL_S = (
    1.0  # sound that lies before its picture in the file, and what decoders of sound need to get going
)
STRAGGLERS_S = 10.0  # how far picture is read beyond the end of an excerpt for sound that lies behind it

Span = tuple[float, float]
"""Start and end in seconds from the start of a video."""


@dataclass(frozen=True)
class Excerpt:
    """Frames [first, last) of a video, and when the first appears and the last ends, in ticks of the stream's clock."""

    first: int
    last: int
    start: int
    end: int


class Source:
    """A video to cut from.

    Args:
        path: the video file.

    Attributes:
        path: the same.
        format: how its picture is stored.
        sound: number of its main audio stream and the context that decodes it, if it has one.
        tick_s: seconds that `Excerpt` counts in.
        clock_s: second of the sound's clock at tick 0.
        has_times: whether its frames have times of their own.

    Raises:
        VideoError: if it is missing, not a video, or has no frames.
    """

    def __init__(self, path: str | Path) -> None:
        from extractors.decoding.pyav_reader import first_frame_quarter_turns

        self.path = Path(path)
        self._timeline = timeline = read_timeline(self.path)
        with open_container(timeline.file) as (container, stream):
            tick = stream.time_base
            self.format = StreamFormat.of(stream, timeline.fps, 90 * first_frame_quarter_turns(timeline.file))
            sound = container.streams.best("audio")
            known = sound is not None and sound in decodable(container)
            self.sound = (sound.index, sound.codec_context) if known else None
        self.has_times = timeline.trustworthy
        if self.has_times and tick:
            self.tick_s = Fraction(tick)
        else:
            self.tick_s = 1 / Fraction(timeline.fps).limit_denominator(1001)
        start = round(timeline.start_s / self.tick_s)
        # Frames without times of their own are counted from 0, wherever the clock of the sound starts.
        self._start = start if self.has_times else 0
        self.clock_s = Fraction(0) if self.has_times else start * self.tick_s
        # (M,) when each frame appears, on the stream's own clock
        self._ticks: NDArray[np.int64] = (
            np.rint(timeline.timestamps_s / float(self.tick_s)).astype(np.int64) + self._start
        )

    def excerpt(self, span: Span) -> Excerpt:
        """The frames that a span means: from the one on screen at its start to the one on screen at its end, left out.

        Raises:
            UsageError: if it is empty, or outside of the video.
        """
        if not (0 <= span[0] < span[1] and span[0] < self._timeline.end_s):
            raise UsageError(
                f"{self.path}: {span[0]:g} s to {span[1]:g} s is not a span of a video of "
                f"{self._timeline.end_s:.3f} s"
            )
        times_s = self._timeline.timestamps_s
        first, after = map(int, frames_on_screen(np.array(span), times_s))
        to_the_end = span[1] > self._timeline.end_s - TIE_S
        last = len(times_s) if to_the_end else max(after, first + 1)
        return Excerpt(first, last, int(self._ticks[first]), self._end_of(last))

    def _end_of(self, last: int) -> int:
        """When the frame before `last` leaves the screen."""
        if last < len(self._ticks):
            return int(self._ticks[last])
        frame = max(round(1 / self._timeline.fps / self.tick_s), 1)
        return int(self._ticks[-1]) + frame

    def from_key_frame(self, excerpt: Excerpt) -> Excerpt:
        """The excerpt, from the last key frame at or before its start.

        Raises:
            VideoError: if there is none, or frames have no times.
        """
        if not self.has_times:
            raise VideoError(self.path, "its frames have no times to cut them at; cut without copying")
        keys = self._timeline.key_frames
        if not len(keys):
            raise VideoError(self.path, "has no key frame that a copy could start at; cut without copying")
        first = int(keys[max(int(np.searchsorted(keys, excerpt.first, side="right")) - 1, 0)])
        return replace(excerpt, first=first, start=int(self._ticks[first]))

    def seconds(self, excerpt: Excerpt) -> Span:
        """Start and end of an excerpt in seconds from the start of the video."""
        start, end = excerpt.start - self._start, excerpt.end - self._start
        return float(start * self.tick_s), float(end * self.tick_s)

    def step(self, tick: int) -> int:
        """How long the frame that appears at a tick stays on screen."""
        index = int(np.searchsorted(self._ticks, tick, side="right"))
        return max(self._end_of(index) - tick, 1)

    @contextmanager
    def open_before(self, excerpt: Excerpt) -> Iterator[tuple[Any, Any]]:
        """The container and its picture, opened where decoding has to begin for an excerpt.

        This is the start of the file if it cannot be sought.
        """
        target = self._seek_target(excerpt)
        with ExitStack() as stack:
            container, stream = stack.enter_context(open_container(self._timeline.file))
            if target is not None and not _seek(container, stream, *target):
                stack.close()
                container, stream = stack.enter_context(open_container(self._timeline.file))
            yield container, stream

    def _seek_target(self, excerpt: Excerpt) -> tuple[int, int] | None:
        """Where to seek to, and the latest tick at which an excerpt can still be decoded from there."""
        key_frame = self._timeline.key_frame_before(excerpt.first)
        if key_frame == 0:
            return None
        latest = int(self._ticks[key_frame])
        return min(latest, excerpt.start - round(_PREROLL_S / self.tick_s)), latest

    def decode(
        self, container: Any, stream: Any, sound_indices: Sequence[int], excerpt: Excerpt
    ) -> Iterator[tuple[int, int, Any]]:
        """Frames of picture and sound that may belong to an excerpt: index of the stream, tick, frame.

        Args:
            container, stream: from `open_before`.
            sound_indices: of the audio streams that are wanted.
        """
        import av

        sounds = [container.streams[index] for index in sound_indices]
        stream.thread_type = "AUTO"
        waiting = {stream.index, *sound_indices}
        given_up = excerpt.end + round(STRAGGLERS_S / self.tick_s)
        end_s = excerpt.end * self.tick_s + self.clock_s
        count, latest = 0, excerpt.start - 1
        for packet in packets(container, [stream, *sounds]):
            index = packet.stream.index
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue  # a damaged packet costs its own frames only
            for frame in frames:
                if index != stream.index:
                    if frame.pts is not None:
                        yield index, 0, frame
                        if frame.pts * frame.time_base >= end_s:
                            waiting.discard(index)
                    continue
                tick = self._tick(frame, count)
                count += 1
                if tick is not None and tick >= excerpt.end:
                    waiting.discard(index)
                elif tick is not None and tick > latest:
                    latest = tick
                    yield index, tick, frame
            if not waiting:
                return
            seen = packet.pts if index == stream.index and self.has_times else None
            if seen is not None and seen > given_up:
                return

    def _tick(self, frame: Any, count: int) -> int | None:
        if not self.has_times:
            return count
        return None if frame.pts is None else int(frame.pts)


def decodable(container: Any) -> list[Any]:
    """Streams of sound that can be decoded; others are silent in players too."""
    known = [sound for sound in container.streams.audio if sound.codec_context is not None]
    return [sound for sound in known if sound.codec_context.sample_rate > 0]


def _seek(container: Any, stream: Any, target: int, latest: int) -> bool:
    """Seek the container; says whether its picture goes on no later than at tick `latest`."""
    import av

    try:
        container.seek(target, stream=stream)
        for packet in container.demux(stream):
            if packet.pts is not None:
                found = packet.pts <= latest
                container.seek(target, stream=stream)
                return bool(found)
    except av.error.FFmpegError:
        pass
    return False


def packets(container: Any, streams: Sequence[Any]) -> Iterator[Any]:
    """Packets to the end of the file, or to where it breaks off."""
    import av

    with suppress(av.error.FFmpegError):
        yield from container.demux(*streams)
