"""Videos with known text on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf")
"""Three kinds of letters, which come with matplotlib."""

_FPS = 5


@dataclass(frozen=True)
class Slide:
    """What is on the screen for some time.

    Attributes:
        start_s, end_s: seconds.
        lines: text and its height in pixels, from top to bottom.
        font: one of `FONTS`.
        is_dark: whether the letters are light on dark.
        speed: pixels per second that the text moves to the right.
    """

    start_s: float
    end_s: float
    lines: tuple[tuple[str, int], ...]
    font: str = FONTS[0]
    is_dark: bool = False
    speed: float = 0.0


def render_slides(path: Path, slides: Sequence[Slide], *, duration_s: float) -> Path:
    """Render a video of 1280x720 pixels; between slides it is grey."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=_FPS, options={"preset": "ultrafast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(round(duration_s * _FPS)):
            time_s = number / _FPS
            slide = next((one for one in slides if one.start_s <= time_s < one.end_s), None)
            frame = av.VideoFrame.from_ndarray(_drawn(slide, time_s), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, _FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def _drawn(slide: Slide | None, time_s: float) -> np.ndarray:
    if slide is None:
        return np.full((720, 1280, 3), 128, np.uint8)
    ink, paper = ((235, 235, 220), (20, 30, 60)) if slide.is_dark else ((20, 20, 20), (250, 250, 245))
    picture = Image.new("RGB", (1280, 720), paper)
    draw = ImageDraw.Draw(picture)
    left, top = 60 + slide.speed * (time_s - slide.start_s), 50
    for text, height in slide.lines:
        font = ImageFont.truetype(Path(mpl.get_data_path(), "fonts", "ttf", slide.font), height)
        draw.text((left, top), text, font=font, fill=ink)
        top += height + 40
    return np.asarray(picture)
