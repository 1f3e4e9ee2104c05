"""Videos of plain colours, and a library that finds them with the encoder of `tests.plugins.toy_encoder`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import av
import numpy as np

from extractors.encoders import registry
from extractors.extraction.options import ExtractionOptions
from extractors.places import Address
from model.grounding.grounder import Grounder
from model.search.library import Library

FPS = 5
RGB = {"red": (230, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 230), "black": (0, 0, 0)}


def colour_video(path: Path, scenes: Sequence[tuple[str, int]], *, variant: int = 0) -> Path:
    """Write a video of 64 x 64.

    Args:
        path: where to; its folder is made if missing.
        scenes: colour and seconds of each, one after another.
        variant: another one is another file with nearly the same colours.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for colour, seconds in scenes:
            picture = np.full((64, 64, 3), RGB[colour], np.uint8)
            # In a corner, so that it makes another file without another colour.
            picture[:8, :8] = variant * 37 % 256, variant * 11 % 256, variant % 256
            for _ in range(seconds * FPS):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def colour_videos(folder: Path, scenes: Mapping[str, Sequence[tuple[str, int]]]) -> list[Path]:
    """Write videos by name."""
    return [
        colour_video(folder / name, parts, variant=number)
        for number, (name, parts) in enumerate(scenes.items())
    ]


def colour_library(folder: Path | Address, cache: Path, *, fps: float | None = None) -> Library:
    """A library in a folder; videos are decoded in this process."""
    from tests.plugins.toy_encoder import FEATURE

    registry.register(FEATURE)
    load = partial(Grounder.load, cache=cache, offline=True, extraction=ExtractionOptions(stall_s=None))
    return Library.open(folder, features="colour", fps=fps, load=load)
