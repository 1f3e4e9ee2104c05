"""Render `example.mp4` and `truth.json`: slow camera moves over public-domain photographs.

    python examples/render.py [FOLDER]

The photographs come with scikit-image. Each shot's true window is known because this script makes it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

WIDTH, HEIGHT, FPS = 640, 360, 25


@dataclass(frozen=True)
class Shot:
    """One camera move over one photograph.

    Attributes:
        photo: name of the photograph in `skimage.data`.
        length_s: seconds the shot lasts.
        start_view: centre x, centre y and width of the first view, as fractions of the photograph's width
            and height.
        end_view: the same for the last view.
        licence: under which the photograph is published.
        query: a sentence that only this shot matches, or none.
    """

    photo: str
    length_s: float
    start_view: tuple[float, float, float]
    end_view: tuple[float, float, float]
    licence: str
    query: str | None = None


SHOTS = (
    Shot("hubble_deep_field", 6, (0.40, 0.40, 0.60), (0.60, 0.60, 0.85), "public domain (NASA, ESA)"),
    Shot("chelsea", 8, (0.50, 0.45, 0.98), (0.50, 0.42, 0.75), "CC0 (Stefan van der Walt)", "a cat"),
    Shot("astronaut", 7, (0.45, 0.30, 0.70), (0.50, 0.40, 0.98), "public domain (NASA)"),
    Shot("coffee", 9, (0.50, 0.50, 0.98), (0.48, 0.52, 0.78), "CC0 (Rachel Michetti)", "a cup of coffee"),
    Shot("brick", 5, (0.40, 0.40, 0.60), (0.55, 0.55, 0.70), "CC0 (cc0textures.com)"),
    Shot(
        "rocket",
        8,
        (0.50, 0.50, 0.98),
        (0.50, 0.45, 0.80),
        "public domain (SpaceX)",
        "a rocket on the launch pad",
    ),
    Shot(
        "camera",
        7,
        (0.50, 0.45, 0.98),
        (0.55, 0.35, 0.80),
        "CC0 (Lav Varshney)",
        "a photographer with a camera on a tripod",
    ),
)


def render(folder: Path) -> None:
    """Write `example.mp4` and `truth.json` into a folder."""
    with av.open(str(folder / "example.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": "27", "preset": "slow", "threads": "1"}
        for index, pixels in enumerate(frame for shot in SHOTS for frame in _frames(shot)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (folder / "truth.json").write_text(json.dumps(_truth(), indent=2) + "\n")


def _frames(shot: Shot) -> Iterator[NDArray[np.uint8]]:
    photo = np.atleast_3d(getattr(data, shot.photo)())
    image = Image.fromarray(np.broadcast_to(photo[..., :3], (*photo.shape[:2], 3)).copy())
    count = round(shot.length_s * FPS)
    for index in range(count):
        # A cosine ramp starts and ends the move softly, as a hand on a camera would.
        progress = (1 - np.cos(np.pi * index / (count - 1))) / 2
        x, y, width = (a + (b - a) * progress for a, b in zip(shot.start_view, shot.end_view, strict=True))
        half_width = width * image.width / 2
        half_height = half_width * HEIGHT / WIDTH
        left = np.clip(x * image.width - half_width, 0, image.width - 2 * half_width)
        top = np.clip(y * image.height - half_height, 0, image.height - 2 * half_height)
        box = (left, top, left + 2 * half_width, top + 2 * half_height)
        yield np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=box))


def _truth() -> list[dict[str, object]]:
    truth: list[dict[str, object]] = []
    start_s = 0.0
    for shot in SHOTS:
        end_s = start_s + shot.length_s
        if shot.query is not None:
            truth.append({"video": "example.mp4", "query": shot.query, "windows": [[start_s, end_s]]})
        start_s = end_s
    return truth


if __name__ == "__main__":
    render(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
