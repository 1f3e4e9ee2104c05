"""What a row of a feature array is, and an encoded query."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


def folder_name(feature: str) -> str:
    """The name of a feature as a part of paths: `open_clip:ViT-L-14/openai` is `open_clip-ViT-L-14-openai`."""
    return re.sub(r"[:/]", "-", feature)


@dataclass(frozen=True)
class FeatureSpec:
    """What one row of a feature array is; two arrays are interchangeable only if their specs are equal.

    Attributes:
        name: the feature's name, as in `<name>_features/` of the published layout (`folder_name`).
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
        tokens: (T, D) float32, one row per token, as FlashVTG reads it.
        pooled: (E,) float32, one vector for the whole query, in the space of the matching video encoder.
        sentence: the query itself; empty where only its rows are known.
    """

    tokens: NDArray[np.float32]
    pooled: NDArray[np.float32]
    sentence: str = ""
