"""An encoder of another package: a clip is its mean colour, and a query the colours that it names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from extractors.decoding.grid import Sampling
from extractors.encoders.base import EncoderOptions
from extractors.encoders.entry import Feature
from extractors.encoders.registry import register
from extractors.features import FeatureSpec, TextFeatures

_COLOURS = {"red": 0, "green": 1, "blue": 2}
_DIM = 16


class ColourEncoder:
    """A `VideoEncoder`: red, green and blue of the middle frame, and zeros."""

    batch_size = 8
    shares_batches = False

    def __init__(self, options: EncoderOptions) -> None:
        self.spec = FeatureSpec("colour", _DIM, options.clip_length_s, (f"colour:{_DIM}",), weights_id="toy")
        self.sampling = Sampling("center_frame", options.clip_length_s)

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, 1, 224, 224, 3) frames to (B, 16) rows."""
        rows = np.zeros((len(clips), _DIM), np.float32)
        rows[:, :3] = clips.mean(axis=(1, 2, 3)) / 255 - 0.3
        return rows


class ColourWords:
    """A `TextEncoder`: the colours that a query names; other words lie elsewhere in the space."""

    def __init__(self, options: EncoderOptions) -> None:
        self.spec = FeatureSpec("colour", _DIM, 0, weights_id="toy")

    def encode(self, queries: Sequence[str]) -> list[TextFeatures]:
        """One result per query."""
        return [self._encode(query.lower().split()) for query in queries]

    def _encode(self, words: list[str]) -> TextFeatures:
        tokens = np.zeros((len(words), _DIM), np.float32)
        for token, word in zip(tokens, words, strict=True):
            token[_COLOURS.get(word, 3 + sum(word.encode()) % (_DIM - 3))] = 1
        pooled = tokens.sum(axis=0)
        return TextFeatures(tokens, pooled / np.linalg.norm(pooled))


FEATURE = Feature(
    name="colour",
    row="the mean colour",
    dim=_DIM,
    network="none",
    video_encoder=ColourEncoder,
    text_encoder=ColourWords,
    fps=1.0,
    good_for="colours",
    aligned_with_text=True,
)
register(FEATURE)
