"""A real, if modest, video encoder: its rows are the frame numbers that `rendering` draws."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extractors.decoding.grid import Sampling, SamplingKind
from extractors.features import FeatureSpec
from tests.extractors.rendering import read_indices, render

FPS = 10


class IndexEncoder:
    """A row holds the numbers of the frames of a clip.

    Args:
        name: the feature's name.
        kind: how the frames of a clip are chosen.
        batch_size: clips a batch.
        shares_batches: whether a batch may hold clips of several videos.
        delay_s: seconds each batch is made to take.
    """

    def __init__(
        self,
        name: str = "index",
        *,
        kind: SamplingKind = "center_frame",
        batch_size: int = 4,
        shares_batches: bool = False,
        delay_s: float = 0.0,
    ) -> None:
        self.spec = FeatureSpec(name, {"center_frame": 1, "slowfast": 32}[kind], 2.0)
        self.sampling = Sampling(kind, 2.0)
        self.batch_size = batch_size
        self.shares_batches = shares_batches
        self.batches: list[int] = []
        self._delay_s = delay_s

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, F, 224, 224, 3) frames to (B, F) numbers."""
        time.sleep(self._delay_s)
        self.batches.append(len(clips))
        return np.array([read_indices(clip) for clip in clips], np.float32)


def make_video(path: Path, *, seconds: float = 8.0, variant: int = 0) -> Path:
    """Render a video at 10 frames a second; another variant is another file with the same numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return render(path, frames=round(seconds * FPS), fps=FPS, width=160 + 16 * variant, height=128)


def centre_indices(clip_count: int) -> NDArray[np.float32]:
    """(N, 1) numbers of the last frame before the centre of each 2 s clip."""
    return np.array([[(2 * clip + 1) * FPS - 1] for clip in range(clip_count)], np.float32)
