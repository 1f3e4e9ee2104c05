"""The streams of an output video file: picture and sound as they are encoded, with their times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.errors import VtgError

# Without B-frames the file needs no edit list for its picture, and every reader finds the same lengths in it.
_VIDEO_CODEC, _VIDEO_OPTIONS = "libx264", {"crf": "18", "preset": "fast", "bf": "0"}
# More than 8 bits: H.264 has them too, but no browser, phone or television plays it.
_DEEP_CODEC = "libx265"
_DEEP_OPTIONS = {"crf": "18", "preset": "fast", "x265-params": "log-level=none:bframes=0"}
_JITTER_S = 0.02  # sound whose timestamps are off by less counts as continuous
_AUDIO_BITS_PER_CHANNEL = 96_000
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_USUAL_AAC_RATE = 48_000
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
_TAGS = ("color_range", "color_primaries", "color_trc", "colorspace")
# FFmpeg's numbers, which are those of ITU-T H.273, and what its scaler calls them.
_BT709, _UNSAID, _BT601 = 1, 2, 6
_MATRICES = {1: "bt709", 5: "bt470", 6: "smpte170m", 7: "smpte240m", 9: "bt2020"}
_HDR = (16, 18)
_LIMITED_RANGE = 1
_TURNS: dict[int, list[tuple[str, str]]] = {
    0: [],
    90: [("transpose", "cclock")],
    180: [("hflip", ""), ("vflip", "")],
    270: [("transpose", "clock")],
}
_HD_HEIGHT = 720


@dataclass(frozen=True)
class StreamFormat:
    """How a picture is stored.

    Attributes:
        width, height: even numbers of pixels.
        fps: frames per second, about; each frame has its own time.
        bits: of a pixel's colour that are worth keeping, 8 or 10.
        full_range: whether colours take up all of those bits, as photographs' do.
        rotation: degrees counter-clockwise a player must turn the picture.
        pixel_aspect: width of a pixel by its height; None if it is not said.
        tags: range, primaries, transfer and matrix of the colours, by FFmpeg's names and numbers; what is not said is
            left out.
    """

    width: int
    height: int
    fps: float
    bits: int = 8
    full_range: bool = False
    rotation: int = 0
    pixel_aspect: Fraction | None = None
    tags: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, stream: Any, fps: float, rotation: int) -> StreamFormat:
        """How a video stream is stored, as far as it can be kept.

        Args:
            stream: of PyAV.
            fps: its average frame rate.
            rotation: degrees counter-clockwise.
        """
        context = stream.codec_context
        stored = context.pix_fmt or ""
        tags = [(tag, int(getattr(context, tag))) for tag in _TAGS]
        return cls(
            # 4:2:0 colour has no odd sizes.
            width=max(context.width // 2 * 2, 2),
            height=max(context.height // 2 * 2, 2),
            fps=fps,
            bits=10 if colour_bits(stored) > 8 else 8,
            full_range=stored.startswith("yuvj"),
            rotation=rotation,
            pixel_aspect=Fraction(aspect) if (aspect := stream.sample_aspect_ratio) else None,
            tags=tuple(tags) if stored.startswith(("yuv", "nv", "p0")) else (),
        )

    @classmethod
    def for_all(cls, formats: Sequence[StreamFormat]) -> StreamFormat:
        """One that the pictures of several videos fit into: of the largest, upright and with square pixels."""
        largest = max(formats, key=lambda shape: shape.upright_size[0] * shape.upright_size[1])
        width, height = largest.upright_size
        tags = dict(largest.tags)
        # What is not said is guessed by players from the size, and sizes are not kept.
        tags["colorspace"] = largest.matrix
        tags["color_range"] = _LIMITED_RANGE
        return cls(
            width=width,
            height=height,
            fps=max(shape.fps for shape in formats),
            bits=max(shape.bits for shape in formats),
            pixel_aspect=Fraction(1),
            tags=tuple(tags.items()),
        )

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in even numbers of square pixels, turned as a player turns it."""
        width = max(round(self.width * (self.pixel_aspect or 1) / 2) * 2, 2)
        return (self.height, width) if self.rotation % 180 else (width, self.height)

    @property
    def matrix(self) -> int:
        """How red, green and blue are made of its colours, by FFmpeg's number; as players guess if it is not said."""
        said = dict(self.tags).get("colorspace", _UNSAID)
        if said in _MATRICES:
            return said
        return _BT709 if self.height >= _HD_HEIGHT else _BT601

    @property
    def is_hdr(self) -> bool:
        """Whether its brightness is meant for HDR displays: PQ or HLG."""
        return dict(self.tags).get("color_trc") in _HDR

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name of how its pixels are stored."""
        if self.bits > 8:
            return "yuv420p10le"
        return "yuvj420p" if self.full_range else "yuv420p"


def colour_bits(pixel_format: str) -> int:
    """Bits of a pixel's colour in a format of FFmpeg's; 8 if it is unknown."""
    from av import VideoFormat

    try:
        return max((component.bits for component in VideoFormat(pixel_format).components), default=8)
    except ValueError:
        return 8


def keeps_deep_colour() -> bool:
    """Whether there is an encoder for more than 8 bits."""
    from av.codec.codec import Codec, UnknownCodecError

    try:
        Codec(_DEEP_CODEC, "w")
    except UnknownCodecError:
        return False
    return True


class VideoStream:
    """The video stream of a file that is encoded: H.264 with 8 bits, HEVC with 10, each frame with its own time.

    Args:
        output: PyAV's container that is written.
        shape: how it is stored; without an encoder for 10 bits, in 8.
        tick_s: seconds that times are counted in.

    Raises:
        VtgError: if there is no encoder.
    """

    def __init__(self, output: Any, shape: StreamFormat, tick_s: Fraction) -> None:
        if shape.bits > 8 and not keeps_deep_colour():
            shape = replace(shape, bits=8)
        self._output = output
        self._shape = shape
        self._tick_s = tick_s
        self._steps: dict[int, int] = {}
        rate = Fraction(shape.fps).limit_denominator(1001)
        codec, options = (_DEEP_CODEC, _DEEP_OPTIONS) if shape.bits > 8 else (_VIDEO_CODEC, _VIDEO_OPTIONS)
        try:
            self._stream = output.add_stream(codec, rate=rate, options=options)
        except ValueError as error:
            raise VtgError(
                f"this PyAV has no H.264 encoder ({_VIDEO_CODEC}) to cut with; install its authors' own build, or copy "
                "instead of cutting"
            ) from error
        self._stream.width, self._stream.height = shape.width, shape.height
        self._stream.pix_fmt = shape.pixel_format
        encoder = self._stream.codec_context
        encoder.time_base = tick_s
        if shape.bits > 8 and output.format.name in ("mp4", "mov"):
            encoder.codec_tag = "hvc1"  # under its other name Apple's players do not know it
        if shape.pixel_aspect:
            encoder.sample_aspect_ratio = shape.pixel_aspect
        for tag, value in shape.tags:
            setattr(encoder, tag, value)
        if shape.rotation:
            self._stream.set_display_rotation(shape.rotation)

    def add(self, frame: Any, time_s: Fraction, length_s: Fraction) -> None:
        """Encode a frame that appears at a second of the file and stays for so long."""
        from av.video.frame import PictureType

        frame = frame.reformat(
            width=self._shape.width, height=self._shape.height, format=self._shape.pixel_format
        )
        tick = round(time_s / self._tick_s)
        frame.pts, frame.time_base = tick, self._tick_s
        frame.pict_type = PictureType.NONE  # which frames are key frames is the encoder's affair
        self._steps[tick] = max(round(length_s / self._tick_s), 1)
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


class FittedVideo:
    """Pictures of one video fitted into another frame format: upright, uncropped, with black borders.

    Args:
        video: of the file.
        shape: the file's, from `StreamFormat.for_all`.
        source: the video's.
    """

    def __init__(self, video: VideoStream, shape: StreamFormat, source: StreamFormat) -> None:
        self._video = video
        self._shape = shape
        self._source = source
        self._graph: Any = None
        self._made_for: tuple[int, int, str] | None = None

    def add(self, frame: Any, time_s: Fraction, length_s: Fraction) -> None:
        """As `VideoStream.add`."""
        kind = (frame.width, frame.height, frame.format.name)
        if kind != self._made_for:
            self._graph, self._made_for = self._filters(*kind), kind
        frame.pts, frame.time_base = 0, Fraction(1, 1000)
        self._graph.vpush(frame)
        self._video.add(self._graph.vpull(), time_s, length_s)

    def _filters(self, width: int, height: int, pixel_format: str) -> Any:
        from av import VideoFormat
        from av.filter import Graph

        shape, source = self._shape, self._source
        turned = source.rotation % 180 != 0
        shown = Fraction(width, height) * (source.pixel_aspect or 1)
        across = 1 / shown if turned else shown
        inner_width = min(shape.width, max(round(shape.height * across / 2) * 2, 2))
        inner_height = min(shape.height, max(round(shape.width / across / 2) * 2, 2))
        colours = f"in_color_matrix={_MATRICES[source.matrix]}:out_color_matrix={_MATRICES[shape.matrix]}"
        steps = [
            *_TURNS[source.rotation],
            ("scale", f"{inner_width}:{inner_height}:{colours}:out_range=limited"),
            ("format", shape.pixel_format),
            ("pad", f"{shape.width}:{shape.height}:(ow-iw)/2:(oh-ih)/2"),
            ("setsar", "1"),
        ]
        graph = Graph()
        nodes = [
            graph.add_buffer(
                width=width, height=height, format=VideoFormat(pixel_format), time_base=Fraction(1, 1000)
            )
        ]
        nodes += [graph.add(name, arguments) for name, arguments in steps]
        nodes.append(graph.add("buffersink"))
        for node, following in pairwise(nodes):
            node.link_to(following)
        graph.configure()
        return graph


class AudioStream:
    """An audio stream of a file that is encoded: AAC, without a gap, as long as the picture to the sample.

    Args:
        output: PyAV's container that is written.
        rate: samples per second; 48,000 in place of those that AAC lacks.
        channels: of the sound; stereo is made of numbers that have no usual layout.
        language: of what is spoken, if it is known.
    """

    def __init__(
        self,
        output: Any,
        *,
        rate: int = _USUAL_AAC_RATE,
        channels: int = 2,
        language: str | None = None,
    ) -> None:
        self._output = output
        self._rate = rate if rate in _AAC_RATES else _USUAL_AAC_RATE
        self._layout = _LAYOUTS.get(channels, "stereo")
        self._stream = output.add_stream("aac", rate=self._rate, layout=self._layout)
        self._channels = self._stream.codec_context.channels
        self._stream.codec_context.bit_rate = _AUDIO_BITS_PER_CHANNEL * self._channels
        if language:
            self._stream.metadata["language"] = language
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
        except ValueError:  # the source continues with another rate or layout
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
