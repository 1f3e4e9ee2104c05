"""Cuts spans out of a video: exactly, by re-encoding, or at key frames, by copying the streams.

Every frame keeps its time, so a variable frame rate is preserved. Sound starts at the exact sample of the first frame.
Spans of several videos can be joined, whatever their sizes and frame rates. This uses FFmpeg's libraries inside PyAV
and does not need the FFmpeg program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.decoding.container.timeline import open_container, read_timeline
from extractors.errors import UsageError, VideoError, VtgError
from extractors.files.atomic import atomic_write
from vtg_cli.cutting.streams import Fitted, Look, Picture, Sound, keeps_deep_colour

CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".ts": "mpegts",
    ".flv": "flv",
}
"""Endings of the files that can be written, and FFmpeg's names of their formats; AVI keeps no times for sound."""

ENCODED_CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv")
"""Endings of the files that can hold what is encoded again: H.264 or HEVC, and AAC."""

_TIE_S = 0.00051  # times are written to the millisecond: what is less than that off a frame means the frame
_PREROLL_S = (
    1.0  # sound that lies before its picture in the file, and what decoders of sound need to get going
)
_STRAGGLERS_S = 10.0  # how far picture is read beyond the end of a stretch for sound that lies behind it
_DECODING_LEAD_S = (
    0.1  # given to frames that are decoded in another order than shown, where the file does not say
)
_JOINED_TICK_S = Fraction(1, 120_000)  # frames of all usual rates last whole numbers of these

Span = tuple[float, float]


@dataclass(frozen=True)
class _Stretch:
    """Frames [first, last) of a timeline, in ticks of the video stream's clock."""

    first: int
    last: int
    start: int
    end: int


class VideoCutter:
    """Cuts stretches out of one video, into any number of files.

        cutter = VideoCutter("talk.mp4")
        cutter.cut("best.mp4", [(62.0, 70.5)])
        cutter.cut("all.mp4", [(62.0, 70.5), (120.0, 131.0)])  # joined, in this order
        cutter.copy("fast.mp4", (62.0, 70.5))  # from the key frame before

    Args:
        source: the video file.

    Raises:
        VideoError: if it is missing, not a video, or has no frames.
    """

    def __init__(self, source: str | Path) -> None:
        self._path = Path(source)
        self._timeline = timeline = read_timeline(self._path)
        with open_container(self._path) as (container, stream):
            tick = stream.time_base
            self._look = Look.of(stream, timeline.fps, _rotation(self._path))
            sound = container.streams.best("audio")
            known = sound is not None and sound in _decodable(container)
            self._sound = (sound.index, sound.codec_context) if known else None
        if timeline.trustworthy and tick:
            self._tick_s = Fraction(tick)
        else:
            self._tick_s = 1 / Fraction(timeline.fps).limit_denominator(1001)
        start = round(timeline.start_s / self._tick_s)
        # Frames without times of their own are counted from 0, wherever the clock of the sound starts.
        self._start = start if timeline.trustworthy else 0
        self._clock_s = Fraction(0) if timeline.trustworthy else start * self._tick_s
        # (M,) when each frame appears, on the stream's own clock
        self._ticks: NDArray[np.int64] = (
            np.rint(timeline.timestamps_s / float(self._tick_s)).astype(np.int64) + self._start
        )

    @property
    def look(self) -> Look:
        """How the picture of the video is stored, as far as cuts that are encoded keep it."""
        return self._look

    @property
    def loss(self) -> str:
        """What an encoded cut loses of the picture here, in words; empty if nothing important."""
        if self._look.bits > 8 and not keeps_deep_colour():
            return f"{self._path}: has colours of more than 8 bits; cuts have 8, as this PyAV has no HEVC encoder"
        return ""

    def cut(self, target: str | Path, spans: Sequence[Span]) -> tuple[Span, ...]:
        """Write stretches of the video to a file, one after another in the order given, encoded again.

        A stretch runs from the frame on screen at its start to the one on screen at its end, which is left out:
        stretches that meet share no frame.

        Args:
            target: the file, which appears whole or not at all; its ending says the format.
            spans: start and end in seconds from the start of the video.

        Returns:
            start and end in seconds of what each stretch came to hold.

        Raises:
            UsageError: if there is no span, one is empty or outside of the video, the ending of the target says no
                format that can be written, or the target is the source.
            VideoError: if the source cannot be decoded.
            VtgError: if the target cannot be written.
        """
        if not spans:
            raise UsageError(f"{self._path}: there is no span to cut out")
        target = Path(target)
        stretches = [self._stretch(span) for span in spans]
        _check_target(target, ENCODED_CONTAINERS, self._path)
        with _writing(target, self._path) as output:
            self._encode(output, stretches)
        return tuple(self._seconds(stretch) for stretch in stretches)

    def copy(self, target: str | Path, span: Span) -> Span:
        """Write a stretch of the video to a file as it is, from the last key frame at or before its start.

        Takes no time to speak of and loses nothing; the end may come a few frames late where frames depend on later
        ones. Arguments and errors as for `cut`.

        Returns:
            start and end in seconds of what the file came to hold.

        Raises:
            VideoError: also if the format of the target cannot hold what is copied.
        """
        target = Path(target)
        wanted = self._stretch(span)
        _check_target(target, tuple(CONTAINERS), self._path)
        if not self._timeline.trustworthy:
            raise VideoError(self._path, "its frames have no times to cut them at; cut without copying")
        keys = self._timeline.key_frames
        if not len(keys):
            raise VideoError(self._path, "has no key frame that a copy could start at; cut without copying")
        first = int(keys[max(int(np.searchsorted(keys, wanted.first, side="right")) - 1, 0)])
        stretch = replace(wanted, first=first, start=int(self._ticks[first]))
        with _writing(target, self._path) as output:
            end = self._copy(output, stretch)
        return self._seconds(replace(stretch, end=end))

    def _stretch(self, span: Span) -> _Stretch:
        if not (0 <= span[0] < span[1] and span[0] < self._timeline.end_s):
            raise UsageError(
                f"{self._path}: {span[0]:g} s to {span[1]:g} s is not a span of a video of "
                f"{self._timeline.end_s:.3f} s"
            )
        times_s = self._timeline.timestamps_s
        on_show = np.searchsorted(times_s, np.array(span) + _TIE_S, side="right") - 1
        first = max(int(on_show[0]), 0)
        to_the_end = span[1] > self._timeline.end_s - _TIE_S
        last = len(times_s) if to_the_end else max(int(on_show[1]), first + 1)
        return _Stretch(first, last, int(self._ticks[first]), self._end_of(last))

    def _end_of(self, last: int) -> int:
        """When the frame before `last` leaves the screen."""
        if last < len(self._ticks):
            return int(self._ticks[last])
        frame = max(round(1 / self._timeline.fps / self._tick_s), 1)
        return int(self._ticks[-1]) + frame

    def _seconds(self, stretch: _Stretch) -> Span:
        start, end = stretch.start - self._start, stretch.end - self._start
        return float(start * self._tick_s), float(end * self._tick_s)

    # Re-encoding.

    def _encode(self, output: Any, stretches: Sequence[_Stretch]) -> None:
        picture = Picture(output, self._look, self._tick_s)
        with open_container(self._path) as (container, _):
            sounds = {
                sound.index: Sound(
                    output,
                    rate=sound.codec_context.sample_rate,
                    channels=sound.codec_context.channels,
                    language=sound.language,
                )
                for sound in _decodable(container)
            }
        at_s = Fraction(0)
        for stretch in stretches:
            at_s = self._encode_stretch(stretch, at_s, picture, sounds)
        picture.finish()
        for sound in sounds.values():
            sound.finish()

    def _encode_stretch(
        self, stretch: _Stretch, at_s: Fraction, picture: Picture | Fitted, sounds: Mapping[int, Sound]
    ) -> Fraction:
        """Encode a stretch from a second of the file on, its sounds by their indices here; returns where it ends."""
        end_s = at_s + (stretch.end - stretch.start) * self._tick_s
        for sound in sounds.values():
            sound.begin(stretch.start * self._tick_s + self._clock_s, at_s, end_s)
        shown = 0
        with ExitStack() as stack:
            container, stream = self._open_before(stack, stretch)
            for kind, tick, frame in self._decode(container, stream, tuple(sounds), stretch):
                if kind == stream.index:
                    shown += 1
                    # The frame on screen at the start appeared before it, or replaces a damaged one.
                    since_start = 0 if shown == 1 else tick - stretch.start
                    picture.add(frame, at_s + since_start * self._tick_s, self._step(tick) * self._tick_s)
                else:
                    sounds[kind].add(frame)
        if not shown:
            first_s, last_s = self._seconds(stretch)
            raise VideoError(
                self._path, f"none of its frames from {first_s:.3f} s to {last_s:.3f} s can be decoded"
            )
        for sound in sounds.values():
            sound.end()
        return end_s

    def _step(self, tick: int) -> int:
        """How long the frame that appears at a tick stays on screen."""
        index = int(np.searchsorted(self._ticks, tick, side="right"))
        return max(self._end_of(index) - tick, 1)

    def _open_before(self, stack: ExitStack, stretch: _Stretch) -> tuple[Any, Any]:
        """Open the file where decoding has to begin for a stretch, or at its start if it cannot be sought."""
        opened = ExitStack()
        container, stream = opened.enter_context(open_container(self._path))
        target = self._seek_target(stretch)
        if target is not None and not _seek(container, stream, *target):
            opened.close()
            container, stream = opened.enter_context(open_container(self._path))
        stack.push(opened.pop_all())
        return container, stream

    def _seek_target(self, stretch: _Stretch) -> tuple[int, int] | None:
        """Where to seek to, and the latest tick at which a stretch can still be decoded from there."""
        if not self._timeline.trustworthy:
            return None
        keys = self._ticks[self._timeline.key_frames]
        before = int(np.searchsorted(keys, stretch.start, side="right")) - 1
        # Where a key frame may be no point to start decoding from, the one before it is.
        needed = before - 1 if self._timeline.seek_fault else before
        if needed < 0:
            return None
        earlier = stretch.start - round(_PREROLL_S / self._tick_s)
        return min(int(keys[needed]), earlier), int(keys[needed])

    def _decode(
        self, container: Any, stream: Any, sound_indices: Sequence[int], stretch: _Stretch
    ) -> Iterator[tuple[int, int, Any]]:
        """Frames of picture and sound that may belong to a stretch: index of the stream, tick, frame."""
        import av

        sounds = [container.streams[index] for index in sound_indices]
        stream.thread_type = "AUTO"
        waiting = {stream.index, *sound_indices}
        given_up = stretch.end + round(_STRAGGLERS_S / self._tick_s)
        end_s = stretch.end * self._tick_s + self._clock_s
        count, latest = 0, stretch.start - 1
        for packet in _packets(container, [stream, *sounds]):
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
                if tick is not None and tick >= stretch.end:
                    waiting.discard(index)
                elif tick is not None and tick > latest:
                    latest = tick
                    yield index, tick, frame
            if not waiting:
                return
            seen = packet.pts if index == stream.index and self._timeline.trustworthy else None
            if seen is not None and seen > given_up:
                return

    def _tick(self, frame: Any, count: int) -> int | None:
        if not self._timeline.trustworthy:
            return count
        return None if frame.pts is None else int(frame.pts)

    # Copying.

    def _copy(self, output: Any, stretch: _Stretch) -> int:
        """Copy the packets of a stretch; returns the tick at which the last frame that had to come along ends."""
        missing, end = stretch.last - stretch.first, stretch.end
        start_s, end_s = stretch.start * self._tick_s, stretch.end * self._tick_s
        with ExitStack() as stack:
            container, stream = self._open_before(stack, stretch)
            copied = self._copied_streams(output, container, stream, start_s)
            waiting = {index for index in copied if index != stream.index}
            begun = False
            for packet in _packets(container, [container.streams[index] for index in copied]):
                if packet.pts is None or packet.size == 0 or packet.is_discard:
                    continue
                index, pts = packet.stream.index, packet.pts
                if index != stream.index:
                    if pts * packet.time_base >= end_s:
                        waiting.discard(index)
                    elif pts * packet.time_base >= start_s:
                        copied[index].mux(output, packet)
                elif missing:
                    begun = begun or (packet.is_keyframe and pts >= stretch.start)
                    # Frames before the key frame that follow it in the file need frames that stay behind.
                    if begun and pts >= stretch.start:
                        missing -= pts < stretch.end
                        end = max(end, pts + self._step(pts))
                        copied[index].mux(output, packet)
                elif pts > stretch.end + round(_STRAGGLERS_S / self._tick_s):
                    break
                if not (waiting or missing):
                    break
        if not begun:
            raise VideoError(self._path, "its key frames cannot be found again; cut without copying")
        return end

    def _copied_streams(
        self, output: Any, container: Any, stream: Any, start_s: Fraction
    ) -> dict[int, _Copied]:
        copied = {}
        lead_s = _DECODING_LEAD_S if stream.codec_context.has_b_frames else 0.0
        for one in (stream, *_decodable(container)):
            try:
                # Opaque, as there need not be an encoder for what is copied.
                written = output.add_stream_from_template(one, opaque=True)
            except ValueError as error:
                raise VideoError(
                    self._path,
                    f"{one.codec_context.codec.canonical_name} cannot be copied into a file of this format; take the "
                    "ending of the source, or .mkv",
                ) from error
            copied[one.index] = _Copied(written, start_s, lead_s if one is stream else 0.0)
        return copied


@dataclass(frozen=True)
class Joined:
    """What a file came to hold that was joined from several videos.

    Attributes:
        spans: start and end in seconds of each stretch, in its own video.
        note: what is not as in the videos, in words; empty if nothing is.
    """

    spans: tuple[Span, ...]
    note: str = ""

    @property
    def length_s(self) -> float:
        """Seconds of it all."""
        return sum(end_s - start_s for start_s, end_s in self.spans)


def join(target: str | Path, parts: Sequence[tuple[str | Path, Span]]) -> Joined:
    """Write stretches of any number of videos to one file, one after another in the order given, encoded again.

    Of one video, the file has all that `VideoCutter.cut` keeps. Of several, it has the size of the largest, upright and
    with square pixels; others are made as large as fits, with black beside them where their shape is another. Frames
    keep their times, whatever the rates; sound is the main one of each, silence where there is none.

    Args:
        target: the file, which appears whole or not at all; its ending says the format.
        parts: videos, and start and end in seconds from the start of each.

    Raises:
        UsageError, VideoError, VtgError: as `VideoCutter.cut`.
    """
    target = Path(target)
    if not parts:
        raise UsageError(f"{target}: there is no span to join")
    cutters: dict[str, VideoCutter] = {}
    for path, _ in parts:
        if str(path) not in cutters:
            cutters[str(path)] = VideoCutter(path)
    if len(cutters) == 1:
        (cutter,) = cutters.values()
        return Joined(cutter.cut(target, [span for _, span in parts]), cutter.loss)
    stretches = [(cutters[str(path)], cutters[str(path)]._stretch(span)) for path, span in parts]
    for cutter in cutters.values():
        _check_target(target, ENCODED_CONTAINERS, cutter._path)
    with _writing(target, stretches[0][0]._path) as output:
        _encode_parts(output, stretches, list(cutters.values()))
    looks = [cutter.look for cutter in cutters.values()]
    note = next((cutter.loss for cutter in cutters.values() if cutter.loss), "")
    if len({look.is_hdr for look in looks}) > 1:
        note = f"{target}: joins HDR and other videos, whose colours are not fitted to one another"
    return Joined(tuple(cutter._seconds(stretch) for cutter, stretch in stretches), note)


def _encode_parts(
    output: Any, stretches: Sequence[tuple[VideoCutter, _Stretch]], cutters: Sequence[VideoCutter]
) -> None:
    look = Look.for_all([cutter.look for cutter in cutters])
    picture = Picture(output, look, _JOINED_TICK_S)
    fitted = {cutter: Fitted(picture, look, cutter.look) for cutter in cutters}
    contexts = [cutter._sound[1] for cutter in cutters if cutter._sound]
    sound = None
    if contexts:
        rates = {context.sample_rate for context in contexts}
        channels = max(context.channels for context in contexts)
        sound = Sound(output, channels=channels, **({"rate": rates.pop()} if len(rates) == 1 else {}))
    at_s = Fraction(0)
    for cutter, stretch in stretches:
        sounds = {cutter._sound[0]: sound} if sound and cutter._sound else {}
        end_s = cutter._encode_stretch(stretch, at_s, fitted[cutter], sounds)
        if sound and not sounds:
            sound.begin(Fraction(0), at_s, end_s)
            sound.end()
        at_s = end_s
    picture.finish()
    if sound:
        sound.finish()


class _Copied:
    """A stream whose packets are copied.

    Args:
        stream: of the file that is written.
        start_s: what of the source's clock is 0 there.
        lead_s: how long its first frame is decoded before it is shown, where the source does not say.
    """

    def __init__(self, stream: Any, start_s: Fraction, lead_s: float) -> None:
        self._stream = stream
        self._start_s = start_s
        self._lead_s = lead_s
        self._latest: int | None = None

    def mux(self, output: Any, packet: Any) -> None:
        """Write a packet of the source, with its times moved."""
        shift = round(self._start_s / packet.time_base)
        packet.pts -= shift
        if packet.dts is not None:
            packet.dts -= shift
        elif self._latest is not None:
            packet.dts = self._latest + 1
        else:
            # Matroska does not say when its first frames are decoded: in this order, and before any other.
            packet.dts = packet.pts - round(self._lead_s / packet.time_base)
        self._latest = packet.dts
        packet.stream = self._stream
        output.mux(packet)


@contextmanager
def _writing(target: Path, source: Path) -> Iterator[Any]:
    """A container to write to, which becomes the target if all goes well; errors name the source."""
    import av

    try:
        with atomic_write(target) as file, ExitStack() as stack:
            output = av.open(file, "w", format=CONTAINERS[target.suffix.lower()])
            stack.callback(_close, output)
            yield output
            stack.pop_all()
            output.close()
    except av.error.FFmpegError as error:
        raise VideoError(source, f"cannot be cut into {target} ({error.strerror})") from error
    except OSError as error:
        raise VtgError(f"{target}: cannot be written ({error.strerror or error})") from error


def _check_target(target: Path, endings: Sequence[str], source: Path) -> None:
    if target.suffix.lower() not in endings:
        raise UsageError(f"{target}: cannot be written as a video; its name must end in {', '.join(endings)}")
    with suppress(OSError):
        if target.samefile(source):
            raise UsageError(f"{target}: is the source video; give the cut another name")


def _decodable(container: Any) -> list[Any]:
    """Streams of sound that can be decoded; others are silent in players too."""
    known = [sound for sound in container.streams.audio if sound.codec_context is not None]
    return [sound for sound in known if sound.codec_context.sample_rate > 0]


def _rotation(path: Path) -> int:
    from extractors.decoding.pyav_reader import first_frame_quarter_turns

    return 90 * first_frame_quarter_turns(path)


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


def _packets(container: Any, streams: Sequence[Any]) -> Iterator[Any]:
    """Packets to the end of the file, or to where it breaks off."""
    import av

    with suppress(av.error.FFmpegError):
        yield from container.demux(*streams)


def _close(output: Any) -> None:
    """Close an abandoned file; that it is incomplete is expected."""
    import av

    with suppress(av.error.FFmpegError, OSError, ValueError):
        output.close()
