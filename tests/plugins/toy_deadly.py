"""An encoder of another package that takes its time, notes what it does, and dies of red videos."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extractors.decoding.grid import Sampling
from extractors.encoders.base import EncoderOptions
from extractors.encoders.entry import Feature
from extractors.encoders.registry import register
from extractors.errors import WeightsInvalid
from extractors.features import FeatureSpec


class DeadlyEncoder:
    """A `VideoEncoder`: red, green and blue of the middle frame.

    The folder VTG_TOY_NOTES gets a file per batch, named by its content. While it holds a file
    `wait`, batches wait after the first two. If it holds a file `damaged`, the encoder finds its weights damaged.
    """

    batch_size = 64
    shares_batches = False

    def __init__(self, options: EncoderOptions) -> None:
        self.spec = FeatureSpec("deadly", 3, options.clip_length_s, ("deadly:3",), weights_id="toy")
        self.sampling = Sampling("center_frame", options.clip_length_s)

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, 1, 224, 224, 3) frames to (B, 3) rows."""
        rows = clips.mean(axis=(1, 2, 3)).astype(np.float32)
        if rows[0, 0] > 200 and rows[0, 1] < 100:
            os._exit(9)
        notes = Path(os.environ["VTG_TOY_NOTES"])
        if (notes / "damaged").exists():
            raise WeightsInvalid("toy.safetensors: is damaged")
        content = hashlib.blake2b(clips.tobytes(), digest_size=8).hexdigest()
        (notes / f"{content}-{uuid.uuid4().hex}.note").touch()
        while (notes / "wait").exists() and len(list(notes.glob("*.note"))) > 2:
            time.sleep(0.05)
        return rows


FEATURE = Feature(
    name="deadly",
    row="the mean colour",
    dim=3,
    network="none",
    video_encoder=DeadlyEncoder,
    fps=1.0,
    good_for="tests",
)
register(FEATURE)
