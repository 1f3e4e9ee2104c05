"""When each frame of a video file is shown, read from its packets without decoding them."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.decoding import ffmpeg_log, pulse
from extractors.decoding.container.file import VideoFile
from extractors.errors import VideoError, reason_of

# What FFmpeg may take a file for. Pictures, subtitles and text are no videos, and a playlist has FFmpeg try for ever to
# fetch what it names.
_FORMATS = (
    "mov,matroska,avi,flv,mpegts,mpeg,asf,ogg,gif,ivf,mxf,rm,wtv,nut,dv,nsv,swf,"
    "h264,hevc,m4v,mpegvideo,obu,vc1,mjpeg,yuv4mpegpipe"
)
# Formats with an index that decord finds its way by.
_INDEXED = frozenset({"mov", "matroska", "avi"})
# Formats that carry the clock of a broadcast, which may jump where recordings were cut or joined.
_BROADCAST = frozenset({"mpegts", "mpeg"})
_JUMP_BACK_S = 1.0
_JUMP_AHEAD = 1000  # times the usual step: 40 s at 25 frames per second
_IDR = 5
_NOT_WHOLE = "it is damaged or mostly empty"

# A still picture under a day of sound is a video; beyond it, frames have to follow each other.
_LONG_S = 24 * 3600.0
_LONGEST_FRAME_S = 600.0

# A day of 60 frames per second has 5.2 million.
_MOST_FRAMES = 6_000_000
_TOO_MANY_FRAMES = f"has more than {_MOST_FRAMES:,} frames; cut it into parts"
_PATIENCE_S = 30.0  # for one packet: FFmpeg reads everything between two of them, even 200 GB of zeros


@dataclass(frozen=True)
class Timeline:
    """The frames of a video's main stream in the order they are shown.

    Attributes:
        file: the file.
        start_s: start of the container on the stream's clock, in seconds.
        timestamps_s: (M,) when each frame appears, in seconds after that start, rising.
        fps: average frame rate.
        width, height: pixels of a stored frame, before rotation.
        codec: as FFmpeg names it.
        key_frames: (K,) indices of the frames that decoding can start from.
        decode_order: (M,) the place of each frame in the order of decoding, in which the file holds them.
        layers: (M,) the temporal sub-layer of each HEVC frame; 0 for other codecs.
        trustworthy: whether the file gives each frame a separate timestamp, on one clock; if not, they are made from
            the rate.
        seek_fault: why decoding from a key frame may give other frames than expected; empty if it does not.
        closed_groups: whether no frame needs anything from before the last key frame that is decoded before it.
        has_hidden_frames: whether the file holds frames that are decoded but not shown (edit lists, cut copies).
        formats: names that FFmpeg has for the format of the file.
        stream_count: video streams of the file that have frames to show over time; cover art does not count.
    """

    file: VideoFile
    start_s: float
    timestamps_s: NDArray[np.float64]
    fps: float
    width: int
    height: int
    codec: str
    key_frames: NDArray[np.int64]
    decode_order: NDArray[np.int64]
    layers: NDArray[np.uint8]
    trustworthy: bool
    seek_fault: str
    closed_groups: bool
    has_hidden_frames: bool
    formats: frozenset[str]
    stream_count: int

    @property
    def end_s(self) -> float:
        """End of the last frame in seconds, one average frame after it appears."""
        return float(self.timestamps_s[-1]) + 1 / self.fps

    @property
    def is_seekable(self) -> bool:
        """Whether decoding can start at any key frame and give the frames from there on."""
        return self.trustworthy and not self.has_hidden_frames and not self.seek_fault

    def key_frame_before(self, index: int) -> int:
        """The frame to decode another frame from: the last key frame up to it, or the first of all frames.

        Where key frames may be no points to start decoding from, it is the key frame before that one.
        """
        place = int(np.searchsorted(self.key_frames, index, side="right")) - (2 if self.seek_fault else 1)
        return int(self.key_frames[place]) if place >= 0 and self.trustworthy else 0

    def seek(self, container: Any, stream: Any, index: int) -> bool:
        """Have an open container continue with a key frame, or one before it; returns whether it can."""
        import av

        time_s = self.start_s + float(self.timestamps_s[index])
        try:
            container.seek(round(time_s / float(stream.time_base)), stream=stream)
        except av.error.FFmpegError:
            return False
        return True

    @property
    def longest_group_s(self) -> float:
        """The longest time between two neighbouring key frames, in seconds."""
        starts_s = self.timestamps_s[self.key_frames] if len(self.key_frames) else self.timestamps_s[:1]
        return float(np.diff(np.append(starts_s, self.timestamps_s[-1])).max())


@contextmanager
def open_container(file: Path | VideoFile, *, patience_s: float | None = None) -> Iterator[tuple[Any, Any]]:
    """Open a video file with PyAV.

    Args:
        file: the file; one that is a `VideoFile` is not checked again.
        patience_s: how long FFmpeg may look for the streams, and then for each packet; reading a packet raises PyAV's
            `ExitError` after that. None lets it take whatever time it needs.

    Yields:
        the container, and the video stream that everything here reads: see `main_video_stream`.

    Raises:
        VideoError: if the file is missing, is not a regular file, is a playlist, cannot be read, or holds no video.
    """
    import av

    path = _checked(file).path
    ffmpeg_log.set_level_of_av()
    try:
        # With the protocol named, a colon in a file name is not read as one.
        options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
        # Titles and names of chapters are in whatever encoding, and not asked for; from 19 on PyAV takes them all.
        lenient = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}
        container = av.open(
            f"file:{os.path.abspath(path)}",  # noqa: PTH100
            options=options,
            timeout=patience_s,
            **lenient,
        )
    except av.error.ExitError as error:
        raise VideoError(path, f"no video was found in it within {patience_s:g} s; {_NOT_WHOLE}") from error
    except (av.error.FileNotFoundError, av.error.PermissionError) as error:  # since it was looked at
        raise VideoError(path, f"cannot be read: {reason_of(error)}") from error
    except (av.error.FFmpegError, ValueError, UnicodeError) as error:
        raise VideoError(path, f"not a video that can be read ({_reason(error)})") from error
    with container:
        stream = main_video_stream(container)
        if stream is None:
            raise VideoError(path, "holds no video stream")
        if stream.codec_context is None:
            raise VideoError(path, "its video stream is of a codec that FFmpeg cannot decode")
        yield container, stream


def _checked(file: Path | VideoFile) -> VideoFile:
    return file if isinstance(file, VideoFile) else VideoFile.check(file)


def main_video_stream(container: Any) -> Any | None:
    """The video stream used for features, thumbnails, cuts and facts; None if the file has none.

    As players do, this takes the stream that is marked as the default, otherwise the first. Still pictures (cover art,
    chapter thumbnails) come after moving ones, streams without a known size or decoder after those that can be read,
    and versions for impaired viewers or parts of another stream after complete ones.

    Args:
        container: of PyAV.
    """
    from av.stream import Disposition

    pictures = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    secondary = Disposition.visual_impaired | Disposition.hearing_impaired | Disposition.dependent

    def rank(stream: Any) -> tuple[bool, bool, bool, bool]:
        marks, context = stream.disposition, stream.codec_context
        return (
            not marks & pictures,
            context is not None and context.width > 0,
            not marks & secondary,
            bool(marks & Disposition.default),
        )

    return max(container.streams.video, key=rank, default=None)


def read_timeline(file: Path | VideoFile) -> Timeline:
    """Read when each frame is shown.

    Raises:
        VideoError: as `open_container`, and if the stream holds no frames, none with a size, or too few for the
            length that it declares; if the file claims or holds more than there is room for; or if a gap takes too long
            to search.
    """
    file = _checked(file)
    path = file.path
    with open_container(file, patience_s=_PATIENCE_S) as (container, stream):
        packets = _read_packets(path, container, stream)
        time_base = float(stream.time_base or 0)
        start_s = _start_s(container, time_base)
        formats = frozenset(container.format.name.split(","))
        average = float(stream.average_rate or stream.guessed_rate or 0)
        context = stream.codec_context
        width, height, codec = context.width, context.height, context.codec.canonical_name
        stream_count = _count_streams(container)
    if not packets.count:
        raise VideoError(path, "its video stream holds no frames")
    if not width or not height:
        raise VideoError(path, "has no frame size; it is damaged")

    ticks = np.array(packets.pts, dtype=np.int64)
    order = np.argsort(ticks, kind="stable")
    shown_s = ticks[order].astype(np.float64) * time_base - start_s
    decoded_s = np.array(packets.dts, dtype=np.float64) * time_base
    steps_s: NDArray[np.float64] = decoded_s[1:] - decoded_s[:-1]
    jumps = _clock_jumps(steps_s, formats)
    trustworthy = packets.without_pts == 0 and _is_sound(shown_s) and not jumps
    if trustworthy:
        key_frames = np.flatnonzero(np.frombuffer(packets.keys, np.uint8)[order]).astype(np.int64)
    else:
        if jumps:
            average = _rate_beside_jumps(steps_s, average)
        average = average if 0 < average <= 1000 else 25.0
        shown_s = np.arange(packets.count) / average
        key_frames = np.zeros(1, dtype=np.int64)
        order = np.arange(packets.count)
    layers = np.frombuffer(packets.layers, np.uint8) if packets.layers else np.zeros(packets.count, np.uint8)
    group_fault = _group_fault(packets)
    timeline = Timeline(
        file=file,
        start_s=start_s,
        timestamps_s=shown_s,
        fps=_average_rate(shown_s, average),
        width=width,
        height=height,
        codec=codec,
        key_frames=key_frames,
        decode_order=order.astype(np.int64),
        layers=layers[order] if trustworthy else np.zeros(packets.count, np.uint8),
        trustworthy=trustworthy,
        seek_fault=group_fault if formats & _INDEXED else "its format has no index to seek by",
        closed_groups=trustworthy and not group_fault,
        has_hidden_frames=packets.hidden > 0 or bool(shown_s[0] < -1e-3),
        formats=formats,
        stream_count=stream_count,
    )
    # A few damaged bytes can make a year of a second, and its clips would all be made.
    if timeline.end_s > max(_LONG_S, _LONGEST_FRAME_S * len(shown_s)):
        raise VideoError(
            path,
            f"claims that its {len(shown_s)} frames last {timeline.end_s / 86400:.3g} days; its times are damaged",
        )
    return timeline


@dataclass
class _Packets:
    """The facts in the packets of a video stream, in decoding order.

    Attributes:
        pts: when each frame is shown, in ticks of the stream; only of packets that say so.
        dts: for each of `pts`, when the frame is decoded; when it is shown, if that is not said.
        keys: for each of `pts`, 1 where the container calls it a key frame.
        fresh: for each of `pts`, 1 where decoding can start.
        layers: for each of `pts`, its temporal sub-layer; of HEVC only.
        hidden: number of packets that are decoded but not shown.
        without_pts: number of packets that do not say when they are shown.
    """

    pts: array[int] = field(default_factory=lambda: array("q"))
    dts: array[int] = field(default_factory=lambda: array("q"))
    keys: bytearray = field(default_factory=bytearray)
    fresh: bytearray = field(default_factory=bytearray)
    layers: bytearray = field(default_factory=bytearray)
    hidden: int = 0
    without_pts: int = 0

    @property
    def count(self) -> int:
        """Number of frames that are shown."""
        return len(self.pts) + self.without_pts


def _read_packets(path: Path, container: Any, stream: Any) -> _Packets:
    """Read a file once; if it is truncated, the part before counts."""
    import av

    # Of MP4 this is the length of its tables; other formats may claim what they like, and are counted.
    if "mov" in container.format.name and stream.frames > _MOST_FRAMES:
        raise VideoError(path, _TOO_MANY_FRAMES)
    packets = _Packets()
    has_layers = stream.codec_context.codec.canonical_name == "hevc"
    try:
        for number, packet in enumerate(container.demux(stream)):
            pulse.beat()
            if number > _MOST_FRAMES:
                raise VideoError(path, _TOO_MANY_FRAMES)
            if packet.size == 0:
                continue
            if packet.is_discard:
                packets.hidden += 1
            elif packet.pts is None:
                packets.without_pts += 1
            else:
                packets.pts.append(packet.pts)
                packets.dts.append(packet.pts if packet.dts is None else packet.dts)
                packets.keys.append(packet.is_keyframe)
                packets.fresh.append(packet.is_keyframe and _starts_afresh(packet, stream))
                if has_layers:
                    packets.layers.append(_layer(packet, stream))
    except av.error.ExitError as error:
        reason = f"after frame {packets.count} no other was found within {_PATIENCE_S:g} s; {_NOT_WHOLE}"
        raise VideoError(path, reason) from error
    except av.error.FFmpegError as error:
        if not packets.count:
            raise VideoError(path, f"damaged before its first frame ({_reason(error)})") from error
    return packets


def _count_streams(container: Any) -> int:
    from av.stream import Disposition

    marks = [stream.disposition for stream in container.streams.video]
    cover = Disposition.attached_pic
    return sum(not mark & cover or bool(mark & Disposition.timed_thumbnails) for mark in marks)


def _group_fault(packets: _Packets) -> str:
    """Why groups of pictures depend on each other; empty if they do not."""
    if packets.keys != packets.fresh:
        return "decoding cannot start at its key frames"
    latest_key: float = np.inf
    for shown, key in zip(packets.pts, packets.keys, strict=True):
        if key:
            latest_key = shown
        elif shown < latest_key:
            # An open group of pictures: who starts decoding at its key frame drops these, and miscounts the rest.
            return "frames shown before a key frame depend on it"
    return ""


def _start_s(container: Any, tick_s: float) -> float:
    """Start of the container on the stream's own ticks: microseconds would tip the ties of a 60 fps video."""
    start_s = (container.start_time or 0) / 1_000_000
    return round(start_s / tick_s) * tick_s if tick_s else start_s


def _starts_afresh(packet: Any, stream: Any) -> bool:
    """Whether a key packet of H.264 holds an IDR picture; to the container a mere recovery point looks the same."""
    context = stream.codec_context
    if context.codec.canonical_name != "h264":
        return True
    extradata = context.extradata or b""
    length_at = 4 if len(extradata) > 4 and extradata[0] == 1 else None
    return any(
        header[0] & 31 == _IDR
        for header in _nal_unit_headers(packet, extradata[length_at] if length_at else None)
    )


def _layer(packet: Any, stream: Any) -> int:
    """The temporal sub-layer of an HEVC picture."""
    extradata = stream.codec_context.extradata or b""
    sizes = extradata[21] if len(extradata) > 21 and extradata[0] == 1 else None
    pictures = (header[1] & 7 for header in _nal_unit_headers(packet, sizes) if header[0] >> 1 & 63 < 32)
    return max(next(pictures, 1) - 1, 0)


def _nal_unit_headers(packet: Any, sizes: int | None) -> Iterator[bytes]:
    """The first two bytes of each unit of H.264 or HEVC.

    Args:
        packet: of PyAV.
        sizes: the byte whose last two bits are the bytes of a length, less one, where each unit stands behind its
            length, as in MP4 and Matroska; None where units begin with a start code.
    """
    data = bytes(packet)
    if sizes is not None:
        prefix = (sizes & 3) + 1
        at = 0
        while at + prefix + 1 < len(data):
            yield data[at + prefix : at + prefix + 2]
            at += prefix + int.from_bytes(data[at : at + prefix], "big")
        return
    at = data.find(b"\0\0\1")
    while 0 <= at < len(data) - 4:
        yield data[at + 3 : at + 5]
        at = data.find(b"\0\0\1", at + 3)


def _is_sound(shown_s: NDArray[np.float64]) -> bool:
    if not np.isfinite(shown_s).all() or np.abs(shown_s).max() > 1e8:
        return False
    # A few frames that share a timestamp are a muxer's slip; many are timestamps that mean nothing.
    return len(shown_s) < 2 or float((np.diff(shown_s) > 0).mean()) > 0.95


def _clock_jumps(steps_s: NDArray[np.float64], formats: frozenset[str]) -> bool:
    """Whether the clock jumps back or ahead within the file, because it joins several recordings.

    Args:
        steps_s: (M - 1,) seconds from each frame to the next, in the order of decoding.
        formats: as of `Timeline`.
    """
    if not len(steps_s) or formats & _INDEXED:
        return False
    if float(steps_s.min()) < -_JUMP_BACK_S:
        return True
    # Elsewhere a frame may stay on screen for long; but FFmpeg reads a clock that is set back as one that wrapped.
    most_s = _JUMP_AHEAD * float(np.median(steps_s)) if formats & _BROADCAST else _LONG_S
    return float(steps_s.max()) > most_s > 0


def _rate_beside_jumps(steps_s: NDArray[np.float64], stated: float) -> float:
    usual_s = float(np.median(steps_s))
    if usual_s <= 0 or 0.5 < stated * usual_s < 2:
        return stated
    return 1 / usual_s


def _average_rate(shown_s: NDArray[np.float64], stated: float) -> float:
    span_s = float(shown_s[-1] - shown_s[0])
    measured = (len(shown_s) - 1) / span_s if span_s > 0 else 0.0
    if stated > 0 and (measured == 0 or 0.5 < stated / measured < 2):
        return stated
    return measured or 25.0


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).split(":", maxsplit=1)[0] or type(error).__name__
