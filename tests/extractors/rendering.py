"""Small videos whose every frame shows its own number, so that a test can read which frame it got."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from numpy.typing import NDArray

_GRID = 4
"""Side of the square of black and white cells that spells a frame's number in binary, 16 bits."""


def draw_frame(index: int, width: int, height: int) -> NDArray[np.uint8]:
    """(height, width, 3) RGB: the number's cells in the centre square, a moving colour ramp beside it."""
    side = min(width, height) // _GRID * _GRID
    cell = side // _GRID
    ramp = (np.arange(width) * 255 // max(width - 1, 1) + 3 * index) % 256
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = ramp
    image[..., 1] = (np.arange(height) * 255 // max(height - 1, 1))[:, None]
    image[..., 2] = 128
    bits = (index >> np.arange(_GRID * _GRID)) & 1
    # (4, 4) -> (side, side)
    cells = np.kron(bits.reshape(_GRID, _GRID), np.ones((cell, cell), np.int64)) * 200 + 28
    top, left = (height - side) // 2, (width - side) // 2
    # A border of the ramp round each cell keeps some colour in the crop that is compared pixel by pixel.
    inner = np.zeros((cell, cell), bool)
    border = max(cell // 8, 1)
    inner[border:-border, border:-border] = True
    mask = np.tile(inner, (_GRID, _GRID))
    image[top : top + side, left : left + side][mask] = cells[mask][:, None]
    return image


def read_index(frame: NDArray[np.uint8]) -> int:
    """The number drawn in a square frame."""
    cell = frame.shape[0] / _GRID
    value = 0
    for bit in range(_GRID * _GRID):
        row, column = divmod(bit, _GRID)
        top, left = int((row + 0.35) * cell), int((column + 0.35) * cell)
        extent = max(int(0.3 * cell), 1)
        value |= int(frame[top : top + extent, left : left + extent].mean() > 128) << bit
    return value


def read_indices(frames: NDArray[np.uint8]) -> list[int]:
    """The numbers drawn in (M, size, size, 3) frames."""
    return [read_index(frame) for frame in frames]


def render(
    path: Path,
    *,
    frames: int = 0,
    fps: Fraction | int = 30,
    times_s: Sequence[float] | None = None,
    width: int = 320,
    height: int = 240,
    codec: str = "libx264",
    gop: int = 30,
    options: dict[str, str] | None = None,
    pixel_format: str = "yuv420p",
    rotation: int = 0,
    audio_from_s: float | None = None,
) -> Path:
    """Render a video; frame i shows the number i.

    Args:
        path: where to; the suffix chooses the container.
        frames: how many, at `fps`; ignored if `times_s` is given.
        fps: frames a second.
        times_s: presentation time of every frame, for a variable frame rate or a late start.
        width, height: pixels.
        codec: FFmpeg's name of an encoder.
        gop: frames from one keyframe to the next.
        options: the encoder's own options.
        pixel_format: what the encoder is fed.
        rotation: degrees counter-clockwise a player must turn the picture.
        audio_from_s: start of a second of silence, or no sound track.
    """
    # The same arguments give the same bytes, and many tests ask for the same video.
    path.write_bytes(
        _rendered(
            path.suffix,
            frames,
            Fraction(fps),
            None if times_s is None else tuple(times_s),
            width,
            height,
            codec,
            gop,
            tuple((options or {}).items()),
            pixel_format,
            rotation,
            audio_from_s,
        )
    )
    return path


@lru_cache(maxsize=256)
def _rendered(
    suffix: str,
    frames: int,
    fps: Fraction,
    times_s: tuple[float, ...] | None,
    width: int,
    height: int,
    codec: str,
    gop: int,
    options: tuple[tuple[str, str], ...],
    pixel_format: str,
    rotation: int,
    audio_from_s: float | None,
) -> bytes:
    """The bytes of a video."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"video{suffix}"
        if times_s is None:
            base = 1 / fps
            ticks = list(range(frames))
        else:
            base = Fraction(1, 30000)
            ticks = [round(time / base) for time in times_s]
        with _own_priority(), av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=fps, options={"g": str(gop), **dict(options)})
            stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
            stream.codec_context.time_base = base
            stream.codec_context.gop_size = gop
            stream.codec_context.thread_count = 1
            if rotation:
                stream.set_display_rotation(rotation)
            sound = None
            if audio_from_s is not None:
                sound = container.add_stream("aac", rate=16000, layout="mono")
            if sound is not None:
                for packet in _silence(sound, audio_from_s or 0.0):
                    container.mux(packet)
            for index, tick in enumerate(ticks):
                frame = av.VideoFrame.from_ndarray(draw_frame(index, width, height), format="rgb24")
                frame.pts, frame.time_base = tick, base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path.read_bytes()


@contextmanager
def _own_priority() -> Iterator[None]:
    """SVT-AV1 makes the thread that calls it real-time where it may, as root; every test then waits for that one."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def _silence(stream: av.AudioStream, from_s: float) -> list[av.Packet]:
    packets = []
    for block in range(16):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate, frame.time_base = 16000, Fraction(1, 16000)
        frame.pts = int(from_s * 16000) + 1024 * block
        packets += stream.encode(frame)
    return packets + stream.encode(None)
