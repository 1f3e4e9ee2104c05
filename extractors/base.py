"""The two protocols of frozen encoders, the identity of what they emit, and how they are built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from extractors.clips import Sampling

FRAME_SIZE = 224
"""Side in pixels of the square frames every video encoder eats: short side 224, centre crop."""


@dataclass(frozen=True)
class FeatureSpec:
    """What one row of a feature array is; two arrays are interchangeable only if their specs are equal.

    Attributes:
        name: the feature's name, as in `<name>_features/` of the published layout.
        dim: length of a row.
        clip_length_s: seconds one row stands for; 0 for text, whose rows are tokens.
        order: the parts a row is made of, in order, as `name:length`.
        normalization: how a model normalises the stored rows before it reads them: `l2` or `none`.
            Rows are stored as the encoder gives them.
        weights_id: identity of the weights that made the row.
        recipe: version of the preprocessing; raised whenever the same video would give other numbers.
    """

    name: str
    dim: int
    clip_length_s: float
    order: tuple[str, ...] = ()
    normalization: str = "l2"
    weights_id: str = "unknown"
    recipe: int = 1

    def digest(self) -> str:
        """Short stable hash of every field: the part of a cache key that stands for the spec."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON types; `from_json` reads it back."""
        return {**asdict(self), "order": list(self.order)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FeatureSpec:
        """Read what `to_json` wrote.

        Raises:
            TypeError: if a field is missing or unknown.
        """
        return replace(cls(**data), order=tuple(data.get("order", ())))


@dataclass(frozen=True)
class TextFeatures:
    """One encoded query.

    Attributes:
        tokens: (T, D) float32, a row a token, as FlashVTG reads it.
        pooled: (E,) float32, one vector for the whole query, in the space of the matching video encoder.
    """

    tokens: NDArray[np.float32]
    pooled: NDArray[np.float32]


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
        """Clips a call of `encode` is best given on the encoder's device."""
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
            clips: (B, F, 224, 224, 3) RGB, F frames a clip as `sampling` asks.

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
        clip_length_s: seconds a clip, the inverse of the sampling rate in FPS.
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
