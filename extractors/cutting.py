"""Video in, stretches of it out: exact, by encoding anew, or at key frames, by copying what the file holds.

Every frame keeps the time it had, so a variable frame rate stays one; sound starts at the very sample that belongs to
the first frame. FFmpeg's libraries inside PyAV do the work, its program is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.atomic import atomic_write
from extractors.errors import UsageError, VideoError, VtgError
from extractors.timeline import open_container, read_timeline

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
"""Endings of the files that can hold what is encoded anew: H.264 and AAC."""

_TIE_S = 0.00051  # times are written to the millisecond: what is less than that off a frame means the frame
_PREROLL_S = (
    1.0  # sound that lies before its picture in the file, and what decoders of sound need to get going
)
_STRAGGLERS_S = 10.0  # how far picture is read beyond the end of a stretch for sound that lies behind it
_JITTER_S = 0.02  # sound whose timestamps are off by less is taken to go on without a break
# Without B-frames the file needs no edit list for its picture, and every reader finds the same lengths in it.
_VIDEO_CODEC, _VIDEO_OPTIONS = "libx264", {"crf": "18", "preset": "fast", "bf": "0"}
_DECODING_LEAD_S = (
    0.1  # given to frames that are decoded in another order than shown, where the file does not say
)
_AUDIO_BITS_PER_CHANNEL = 96_000
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}

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
        with open_container(self._path) as (_, stream):
            tick = stream.time_base
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

    def cut(self, target: str | Path, spans: Sequence[Span]) -> tuple[Span, ...]:
        """Write stretches of the video to a file, one after another in the order given, encoded anew.

        A stretch runs from the frame that is on show at its start to the one on show at its end, which is left out:
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
            raise UsageError(f"{self._path}: there is no stretch to cut out")
        target = Path(target)
        stretches = [self._stretch(span) for span in spans]
        self._check_target(target, ENCODED_CONTAINERS)
        with self._writing(target) as output:
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
        self._check_target(target, tuple(CONTAINERS))
        if not self._timeline.trustworthy:
            raise VideoError(self._path, "its frames have no times to cut them at; cut without copying")
        keys = self._timeline.key_frames
        first = int(keys[max(int(np.searchsorted(keys, wanted.first, side="right")) - 1, 0)])
        stretch = replace(wanted, first=first, start=int(self._ticks[first]))
        with self._writing(target) as output:
            end = self._copy(output, stretch)
        return self._seconds(replace(stretch, end=end))

    @contextmanager
    def _writing(self, target: Path) -> Iterator[Any]:
        import av

        try:
            with atomic_write(target) as file, ExitStack() as stack:
                output = av.open(file, "w", format=CONTAINERS[target.suffix.lower()])
                stack.callback(_close, output)
                yield output
                stack.pop_all()
                output.close()
        except av.error.FFmpegError as error:
            raise VideoError(self._path, f"cannot be cut into {target} ({error.strerror})") from error
        except OSError as error:
            raise VtgError(f"{target}: cannot be written ({error.strerror or error})") from error

    def _check_target(self, target: Path, endings: Sequence[str]) -> None:
        if target.suffix.lower() not in endings:
            raise UsageError(
                f"{target}: cannot be written as a video; its name has to end in {', '.join(endings)}"
            )
        with suppress(OSError):
            if target.samefile(self._path):
                raise UsageError(f"{target}: is the video that is cut; give the clip another name")

    def _stretch(self, span: Span) -> _Stretch:
        if not (0 <= span[0] < span[1] and span[0] < self._timeline.end_s):
            raise UsageError(
                f"{self._path}: {span[0]:g} s to {span[1]:g} s is no stretch of a video of "
                f"{self._timeline.end_s:.3f} s"
            )
        times_s = self._timeline.timestamps_s
        on_show = np.searchsorted(times_s, np.array(span) + _TIE_S, side="right") - 1
        first = max(int(on_show[0]), 0)
        to_the_end = span[1] > self._timeline.end_s - _TIE_S
        last = len(times_s) if to_the_end else max(int(on_show[1]), first + 1)
        return _Stretch(first, last, int(self._ticks[first]), self._end_of(last))

    def _end_of(self, last: int) -> int:
        """When the frame before `last` stops being on show."""
        if last < len(self._ticks):
            return int(self._ticks[last])
        frame = max(round(1 / self._timeline.fps / self._tick_s), 1)
        return int(self._ticks[-1]) + frame

    def _seconds(self, stretch: _Stretch) -> Span:
        start, end = stretch.start - self._start, stretch.end - self._start
        return float(start * self._tick_s), float(end * self._tick_s)

    # Encoding anew.

    def _encode(self, output: Any, stretches: Sequence[_Stretch]) -> None:
        with open_container(self._path) as (container, stream):
            picture = _Picture(output, stream, self._tick_s, self._timeline.fps, _rotation(self._path))
            sounds = {sound.index: _Sound(output, sound) for sound in _decodable(container)}
        at = 0
        for stretch in stretches:
            self._encode_stretch(stretch, at, picture, sounds)
            at += stretch.end - stretch.start
        picture.finish()
        for sound in sounds.values():
            sound.finish()

    def _encode_stretch(
        self, stretch: _Stretch, at: int, picture: _Picture, sounds: dict[int, _Sound]
    ) -> None:
        for sound in sounds.values():
            sound.begin(
                stretch.start * self._tick_s + self._clock_s,
                at * self._tick_s,
                (at + stretch.end - stretch.start) * self._tick_s,
            )
        shown = 0
        with ExitStack() as stack:
            container, stream = self._open_before(stack, stretch)
            for kind, tick, frame in self._decode(container, stream, tuple(sounds), stretch):
                if kind == stream.index:
                    shown += 1
                    # What is on show at the start has been so since before it, or stands in for a damaged frame.
                    since_start = 0 if shown == 1 else tick - stretch.start
                    picture.add(frame, at + since_start, self._step(tick))
                else:
                    sounds[kind].add(frame)
        if not shown:
            start_s, end_s = self._seconds(stretch)
            raise VideoError(
                self._path, f"none of its frames from {start_s:.3f} s to {end_s:.3f} s can be decoded"
            )
        for sound in sounds.values():
            sound.end()

    def _step(self, tick: int) -> int:
        """How long the frame that appears at a tick stays on show."""
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


class _Picture:
    """The video stream of a file that is encoded anew: H.264, 8 bits, turned as the source is."""

    def __init__(self, output: Any, source: Any, tick_s: Fraction, fps: float, rotation: int) -> None:
        context = source.codec_context
        self._output = output
        self._tick_s = tick_s
        self._steps: dict[int, int] = {}
        rate = Fraction(fps).limit_denominator(1001)
        try:
            self._stream = output.add_stream(_VIDEO_CODEC, rate=rate, options=_VIDEO_OPTIONS)
        except ValueError as error:
            raise VtgError(
                f"this PyAV has no H.264 encoder ({_VIDEO_CODEC}) to cut with; install its authors' own build, or copy "
                "instead of cutting"
            ) from error
        # H.264 with 4:2:0 colour has no odd sizes.
        self._stream.width = max(context.width // 2 * 2, 2)
        self._stream.height = max(context.height // 2 * 2, 2)
        stored = context.pix_fmt or ""
        self._stream.pix_fmt = "yuvj420p" if stored.startswith("yuvj") else "yuv420p"
        encoder = self._stream.codec_context
        encoder.time_base = tick_s
        if source.sample_aspect_ratio:
            encoder.sample_aspect_ratio = source.sample_aspect_ratio
        if stored.startswith(("yuv", "nv", "p0")):
            for tag in ("color_range", "color_primaries", "color_trc", "colorspace"):
                setattr(encoder, tag, getattr(context, tag))
        if rotation:
            self._stream.set_display_rotation(rotation)

    def add(self, frame: Any, tick: int, step: int) -> None:
        """Encode a frame that appears at a tick of the file and stays for a step."""
        from av.video.frame import PictureType

        frame = frame.reformat(
            width=self._stream.width, height=self._stream.height, format=self._stream.pix_fmt
        )
        frame.pts, frame.time_base = tick, self._tick_s
        frame.pict_type = PictureType.NONE  # which frames are key frames is the encoder's affair
        self._steps[tick] = step
        self._mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds."""
        self._mux(self._stream.encode(None))

    def _mux(self, packets: Sequence[Any]) -> None:
        for packet in packets:
            # The last frame's length is in no other place, and others' are guesses at a variable frame rate.
            tick = round(packet.pts * packet.time_base / self._tick_s)
            packet.duration = round(self._steps.pop(tick, 1) * self._tick_s / packet.time_base)
            self._output.mux(packet)


class _Sound:
    """An audio stream of a file that is encoded anew: AAC, without a gap, as long as the picture to the sample."""

    def __init__(self, output: Any, source: Any) -> None:
        context = source.codec_context
        self._output = output
        self._rate = context.sample_rate if context.sample_rate in _AAC_RATES else 48_000
        layout = _LAYOUTS.get(context.channels, "stereo")
        self._stream = output.add_stream("aac", rate=self._rate, layout=layout)
        self._channels = self._stream.codec_context.channels
        self._stream.codec_context.bit_rate = _AUDIO_BITS_PER_CHANNEL * self._channels
        if source.language:
            self._stream.metadata["language"] = source.language
        self._layout = layout
        self._resampler: Any = None
        self._start_s = Fraction(0)  # of the stretch, on the source's clock
        self._begin = self._end = self._written = 0  # samples of the file
        self._next: int | None = None  # sample of the file that the next of the source's is

    def begin(self, start_s: Fraction, file_start_s: Fraction, file_end_s: Fraction) -> None:
        """Take sound from the source's second `start_s` on, for a stretch of the file."""
        self._resampler = self._new_resampler()
        self._start_s = start_s
        self._begin, self._end = round(file_start_s * self._rate), round(file_end_s * self._rate)
        self._next = None

    def add(self, frame: Any) -> None:
        """Add a decoded frame of the source; what lies outside of the stretch is left out."""
        try:
            parts = self._resampler.resample(frame)
        except ValueError:  # the source goes on in another rate or layout
            self._resampler = self._new_resampler()
            parts = self._resampler.resample(frame)
        for part in parts:
            self._add(part)

    def end(self) -> None:
        """Fill the stretch up with silence if the source has no more sound."""
        if self._next is not None:
            for part in self._resampler.resample(None):
                if part is not None:
                    self._add(part)
        self._fill(self._end)

    def finish(self) -> None:
        """Write what the encoder still holds."""
        self._output.mux(self._stream.encode(None))

    def _new_resampler(self) -> Any:
        from av.audio.resampler import AudioResampler

        return AudioResampler(format="fltp", layout=self._layout, rate=self._rate)

    def _add(self, part: Any) -> None:
        samples = part.to_ndarray()  # (channels, n)
        at = self._begin + round((part.pts * part.time_base - self._start_s) * self._rate)
        if self._next is not None and abs(at - self._next) < _JITTER_S * self._rate:
            at = self._next
        self._next = at + samples.shape[1]
        samples = samples[:, max(self._written - at, 0) : max(self._end - at, 0)]
        if samples.shape[1]:
            self._fill(max(at, self._written))
            self._write(samples)

    def _fill(self, until: int) -> None:
        while self._written < until:
            self._write(np.zeros((self._channels, min(until - self._written, self._rate)), np.float32))

    def _write(self, samples: NDArray[np.float32]) -> None:
        from av import AudioFrame

        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._layout)
        frame.sample_rate = self._rate
        frame.pts, frame.time_base = self._written, Fraction(1, self._rate)
        self._written += samples.shape[1]
        self._output.mux(self._stream.encode(frame))


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


def _decodable(container: Any) -> list[Any]:
    """Streams of sound that can be decoded; others are silent in players too."""
    known = [sound for sound in container.streams.audio if sound.codec_context is not None]
    return [sound for sound in known if sound.codec_context.sample_rate > 0]


def _rotation(path: Path) -> int:
    from extractors.pyav_reader import first_frame_quarter_turns

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
    """Close a file that is given up; that it is not whole is no news."""
    import av

    with suppress(av.error.FFmpegError, OSError, ValueError):
        output.close()
