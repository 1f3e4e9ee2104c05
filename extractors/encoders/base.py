"""The two protocols of frozen encoders, and how they are built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from extractors.decoding.grid import Sampling
from extractors.features import FeatureSpec, TextFeatures


class VideoEncoder(Protocol):
    """A frozen network that turns the frames of a clip into one row."""

    @property
    def spec(self) -> FeatureSpec:
        """What its rows are."""
        ...

    @property
    def sampling(self) -> Sampling:
        """Which frames of the video it wants."""
        ...

    @property
    def batch_size(self) -> int:
        """The best number of clips per call of `encode` on the encoder's device."""
        ...

    @property
    def shares_batches(self) -> bool:
        """Whether a batch may hold clips of several videos.

        It fills batches where many videos are short. But kernels round differently for batches of other sizes, so that
        the last bits of a row would depend on which videos happen to come together.
        """
        ...

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode clips.

        Args:
            clips: (B, F, S, S, 3) RGB, F frames per clip, S pixels wide and high, as `sampling` asks.

        Returns:
            (B, dim) features, not normalised.
        """
        ...


class TextEncoder(Protocol):
    """A frozen network that turns sentences into token rows and one pooled row."""

    @property
    def spec(self) -> FeatureSpec:
        """What the token rows are; `clip_length_s` is 0."""
        ...

    def encode(self, queries: Sequence[str]) -> list[TextFeatures]:
        """Encode queries; one result a query, in order."""
        ...


@dataclass(frozen=True)
class EncoderOptions:
    """How an encoder is to be built.

    Attributes:
        clip_length_s: seconds per clip, the inverse of the sampling rate in FPS.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        weights: paths that replace the named artefacts, by feature name.
        offline: never open a connection.
        on_download: called with bytes done and bytes in all (None if unknown) while weights are fetched.
    """

    clip_length_s: float = 2.0
    device: str = "auto"
    precision: str = "auto"
    weights: Mapping[str, Path] | None = None
    offline: bool = False
    on_download: Callable[[int, int | None], None] | None = None

    def weights_path(self, name: str) -> Path | None:
        """The path given for a feature's weights, if any."""
        return None if self.weights is None else self.weights.get(name)
