"""Frames from PyAV: exact for every file that FFmpeg can read, with constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.decoding import ffmpeg_log, pulse
from extractors.decoding.container.file import VideoFile
from extractors.decoding.container.timeline import Timeline, open_container
from extractors.decoding.frames import Geometry, centre_part, is_elongated
from extractors.decoding.selection import Need, needs
from extractors.errors import VideoError


class FrameMissing(Exception):
    """Selective decoding did not give a frame that is wanted."""


def first_frame_quarter_turns(file: Path | VideoFile) -> int:
    """Quarter turns counter-clockwise that bring the video's frames upright, from the metadata of its first frame.

    Raises:
        VideoError: if no frame can be decoded.
    """
    with open_container(file) as (container, stream):
        for frame in _decoded(container, stream):
            return round(int(frame.rotation) / 90) % 4
    path = file.path if isinstance(file, VideoFile) else file
    raise VideoError(path, "none of its frames can be decoded")


def read_frames(
    wanted: NDArray[np.int64],
    timeline: Timeline,
    geometry: Geometry | Callable[[Any], NDArray[np.uint8]],
    *,
    num_threads: int = 0,
    selective: bool = True,
) -> Iterator[NDArray[np.uint8]]:
    """Decode a video once, front to back from the first frame that is wanted, and yield those that are.

    Args:
        wanted: (M,) rising indices into the timeline.
        timeline: the video, and when each frame is shown.
        geometry: how frames are scaled and cut, or what makes pictures of frames of PyAV.
        num_threads: decoding threads; 0 leaves it to FFmpeg.
        selective: decode only what the wanted frames need. Otherwise all frames are decoded, and a wanted one that
            cannot be decoded is replaced by the one shown before it.

    Yields:
        (size, size, 3) RGB, or what is made, one for each of `wanted`.

    Raises:
        VideoError: if the file cannot be opened, no frame can be decoded, or frames cannot be scaled.
        FrameMissing: if a frame that is wanted cannot be decoded selectively.
    """
    import av

    if len(wanted) == 0:
        return
    path = timeline.file.path
    needed = needs(wanted, timeline) if selective else None
    for start in (timeline.key_frame_before(int(wanted[0])) if timeline.is_seekable else 0, 0):
        with open_container(timeline.file) as (container, stream):
            stream.thread_type = "AUTO"
            stream.thread_count = num_threads
            if start > 0 and not timeline.seek(container, stream, start):
                continue
            frames = numbered_frames(container, stream, timeline, needed)
            first = next(frames, None)
            if start > 0 and (first is None or first[0] > wanted[0]):
                continue  # that key frame is damaged, or not to be found: what is shown before it is needed
            if first is None:
                raise VideoError(path, "none of its frames can be decoded")
            try:
                picture_of = _Pictures(geometry) if isinstance(geometry, Geometry) else geometry
                yield from _shown(chain([first], frames), wanted, picture_of, exact=selective)
            except av.error.FFmpegError as error:
                reason = "its frames cannot be scaled"
                if isinstance(geometry, Geometry):
                    reason += f" to {geometry.width}x{geometry.height}"
                raise VideoError(path, f"{reason} ({error.strerror})") from error
            return


class PartReader:
    """Reads parts of a video, from key frame to key frame, in any order; for one thread.

    Args:
        container, stream: of `open_container`, which nothing else reads.
        timeline: the video; it is seekable, and its groups are closed.
        geometry: how frames are scaled and cut.
        needed: (frames of the video,) what has to be done with their packets.
        num_threads: decoding threads.
    """

    def __init__(
        self,
        container: Any,
        stream: Any,
        timeline: Timeline,
        geometry: Geometry,
        needed: NDArray[np.uint8],
        *,
        num_threads: int = 1,
    ) -> None:
        stream.thread_type = "AUTO"
        stream.thread_count = num_threads
        self._container = container
        self._stream = stream
        self._timeline = timeline
        self._needed = needed
        self._pictures = _Pictures(geometry)

    def read(self, wanted: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        """Decode from the key frame before the first wanted frame to the one after the last.

        Args:
            wanted: (M,) rising indices into the timeline; at least one.

        Yields:
            (size, size, 3) RGB, one for each of `wanted`.

        Raises:
            FrameMissing: if one of them does not come out, or cannot be scaled.
        """
        import av

        timeline = self._timeline
        start = timeline.key_frame_before(int(wanted[0]))
        after = int(np.searchsorted(timeline.key_frames, wanted[-1], side="right"))
        end = int(timeline.key_frames[after]) if after < len(timeline.key_frames) else None
        if not timeline.seek(self._container, self._stream, start):
            raise FrameMissing
        frames = numbered_frames(self._container, self._stream, timeline, self._needed, end=end)
        try:
            yield from _shown(frames, wanted, self._pictures, exact=True)
        except av.error.FFmpegError as error:
            raise FrameMissing from error


def _shown(
    frames: Iterable[tuple[int, Any]],
    wanted: NDArray[np.int64],
    picture_of: Callable[[Any], NDArray[np.uint8]],
    *,
    exact: bool,
) -> Iterator[NDArray[np.uint8]]:
    shown: tuple[int, Any] | None = None
    position = 0

    def picture() -> NDArray[np.uint8]:
        if shown is None or (exact and shown[0] != wanted[position]):
            raise FrameMissing
        return picture_of(shown[1])

    for frame in frames:
        # Frames that appear later than a wanted one leave the one before them on show for it.
        while position < len(wanted) and shown is not None and wanted[position] < frame[0]:
            yield picture()
            position += 1
        if position == len(wanted):
            return
        shown = frame
    while position < len(wanted):
        yield picture()
        position += 1


def numbered_frames(
    container: Any,
    stream: Any,
    timeline: Timeline,
    needed: NDArray[np.uint8] | None = None,
    *,
    end: int | None = None,
) -> Iterator[tuple[int, Any]]:
    """Decoded frames with their indices in the timeline, from where the container stands; damaged ones are left out.

    Args:
        container, stream: of PyAV.
        timeline: the video.
        needed: (frames of the video,) what has to be done with their packets; None decodes them all.
        end: where `needed` is given, the key frame to stop at; None reads to the end of the video.
    """
    if not timeline.trustworthy:
        yield from enumerate(_decoded(container, stream))
        return
    index_of = _Numbering(timeline)
    selector = None if needed is None else _Selector(stream, index_of, needed, end)
    for frame in _decoded(container, stream, selector):
        if frame.pts is not None and (index := index_of(frame.time)) is not None:
            yield index, frame


class _Numbering:
    """From the time of a frame on the stream's clock, in seconds, to its index in the timeline; None before the first.

    It is asked for every packet, so it does as little as it can.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._start_s = timeline.start_s
        self._first_s = float(timeline.timestamps_s[0]) - 0.5 / timeline.fps
        self._search = timeline.timestamps_s.searchsorted
        self._last = len(timeline.timestamps_s) - 1

    def __call__(self, clock_s: float) -> int | None:
        time_s = clock_s - self._start_s
        if time_s <= self._first_s:
            return None
        return min(int(self._search(time_s - 1e-6)), self._last)


class _Selector:
    """Sets a decoder up for each packet of a video.

    Args:
        stream: of PyAV.
        index_of: the numbering of the video's frames.
        needed: what has to be done with the packet of each frame.
        end: the key frame to stop at; None for none.

    Attributes:
        is_over: whether the last packet was that key frame, or one after it.
    """

    def __init__(
        self, stream: Any, index_of: _Numbering, needed: NDArray[np.uint8], end: int | None = None
    ) -> None:
        self.is_over = False
        self._end = len(needed) if end is None else end
        self._context = stream.codec_context
        self._tick_s = float(stream.time_base)
        self._index_of = index_of
        self._needed = needed
        self._need: int = Need.FRAME
        self._context.skip_frame = "DEFAULT"  # whatever was last read with it

    def is_needed(self, packet: Any) -> bool:
        """Whether a packet is to be given to the decoder, which is then set up for it."""
        need: int = Need.FRAME
        pts = packet.pts
        if pts is not None and (index := self._index_of(pts * self._tick_s)) is not None:
            if index >= self._end:
                self.is_over = True
                return False
            need = self._needed.item(index)
        if need == Need.NONE:
            return False
        if need != self._need:
            self._need = need
            self._context.skip_frame = "DEFAULT" if need == Need.FRAME else "NONREF"
        return True


def _decoded(container: Any, stream: Any, selector: _Selector | None = None) -> Iterator[Any]:
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
            pulse.beat()
            if selector is None or selector.is_needed(packet):
                yield from packet.decode()
            elif selector.is_over:
                packets = iter([_flush(stream)])
                selector = None
        except StopIteration:
            return
        except av.error.EOFError:
            return
        except av.error.InvalidDataError:
            ffmpeg_log.complain()
            continue  # a damaged packet costs its own frames only
        except av.error.FFmpegError:
            ffmpeg_log.complain()
            return  # what came before it counts


def _flush(stream: Any) -> Any:
    """The packet that has a decoder give the frames it still holds."""
    import av

    packet = av.Packet()
    packet.stream = stream
    packet.time_base = stream.time_base
    return packet


class _Pictures:
    """Makes square pictures of frames; a scaler is set up for frames of a kind, not for each of them."""

    def __init__(self, geometry: Geometry) -> None:
        from av.video.reformatter import Interpolation, VideoReformatter

        self._geometry = geometry
        self._scaler = VideoReformatter()
        self._bicubic = Interpolation.BICUBIC

    def __call__(self, frame: Any) -> NDArray[np.uint8]:
        if is_elongated(frame.width, frame.height):
            frame = self._cut(frame)
        return self._geometry.upright_square(self._to_rgb(frame, self._geometry.width, self._geometry.height))

    def _cut(self, frame: Any) -> Any:
        from av import VideoFrame

        left, top, width, height = centre_part(frame.width, frame.height)
        pixels = self._to_rgb(frame, frame.width, frame.height)[top : top + height, left : left + width]
        return VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")

    def _to_rgb(self, frame: Any, width: int, height: int) -> NDArray[np.uint8]:
        scaled: Any = self._scaler.reformat(frame, width, height, "rgb24", interpolation=self._bicubic)
        pixels: NDArray[np.uint8] = scaled.to_ndarray()
        return pixels
