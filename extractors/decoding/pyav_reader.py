"""Frames from PyAV: exact for every file that FFmpeg can read, with constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.decoding import ffmpeg_log, pulse
from extractors.decoding.container.file import VideoFile
from extractors.decoding.container.timeline import Timeline, open_container
from extractors.decoding.frames import Geometry, centre_part, is_elongated
from extractors.errors import VideoError


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
    wanted: NDArray[np.int64], timeline: Timeline, geometry: Geometry, *, num_threads: int = 0
) -> Iterator[NDArray[np.uint8]]:
    """Decode a video once, front to back from the first frame that is wanted, and yield those that are.

    A frame that cannot be decoded is stood in for by the one shown before it.

    Args:
        wanted: (M,) rising indices into the timeline.
        timeline: the video, and when each frame is shown.
        geometry: how frames are scaled and cut.
        num_threads: decoding threads; 0 leaves it to FFmpeg.

    Yields:
        (size, size, 3) RGB, one for each of `wanted`.

    Raises:
        VideoError: if the file cannot be opened, no frame can be decoded, or frames cannot be scaled.
    """
    import av

    if len(wanted) == 0:
        return
    path = timeline.file.path
    for start in (timeline.key_frame_before(int(wanted[0])) if timeline.is_seekable else 0, 0):
        with open_container(timeline.file) as (container, stream):
            stream.thread_type = "AUTO"
            stream.thread_count = num_threads
            if start > 0 and not timeline.seek(container, stream, start):
                continue
            frames = numbered_frames(container, stream, timeline)
            first = next(frames, None)
            if start > 0 and (first is None or first[0] > wanted[0]):
                continue  # that key frame is damaged, or not to be found: what is shown before it is needed
            if first is None:
                raise VideoError(path, "none of its frames can be decoded")
            try:
                yield from _shown(chain([first], frames), wanted, geometry)
            except av.error.FFmpegError as error:
                reason = f"its frames cannot be scaled to {geometry.width}x{geometry.height}"
                raise VideoError(path, f"{reason} ({error.strerror})") from error
            return


def _shown(
    frames: Iterable[tuple[int, Any]], wanted: NDArray[np.int64], geometry: Geometry
) -> Iterator[NDArray[np.uint8]]:
    shown: Any = None
    position = 0
    for index, frame in frames:
        # Frames that appear later than a wanted one leave the one before them on show for it.
        while position < len(wanted) and shown is not None and wanted[position] < index:
            yield _picture(shown, geometry)
            position += 1
        if position == len(wanted):
            return
        shown = frame
    for _ in range(position, len(wanted)):
        yield _picture(shown, geometry)


def numbered_frames(container: Any, stream: Any, timeline: Timeline) -> Iterator[tuple[int, Any]]:
    """Decoded frames with their indices in the timeline, from where the container stands; damaged ones are left out."""
    half_frame_s = 0.5 / timeline.fps
    count = 0
    for frame in _decoded(container, stream):
        if not timeline.trustworthy:
            yield count, frame
            count += 1
        elif frame.pts is not None:
            time_s = frame.pts * float(frame.time_base) - timeline.start_s
            nearest = np.searchsorted(timeline.timestamps_s, time_s - 1e-6)
            if time_s > timeline.timestamps_s[0] - half_frame_s:
                yield min(int(nearest), len(timeline.timestamps_s) - 1), frame


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
            pulse.beat()
            yield from packet.decode()
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


def _picture(frame: Any, geometry: Geometry) -> NDArray[np.uint8]:
    if is_elongated(frame.width, frame.height):
        frame = _cut(frame)
    return geometry.upright_square(_to_rgb(frame, geometry.width, geometry.height))


def _cut(frame: Any) -> Any:
    from av import VideoFrame

    left, top, width, height = centre_part(frame.width, frame.height)
    pixels = _to_rgb(frame, frame.width, frame.height)[top : top + height, left : left + width]
    return VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")


def _to_rgb(frame: Any, width: int, height: int) -> NDArray[np.uint8]:
    from av.video.reformatter import Interpolation

    scaled = frame.reformat(width=width, height=height, format="rgb24", interpolation=Interpolation.BICUBIC)
    pixels: NDArray[np.uint8] = scaled.to_ndarray()
    return pixels
