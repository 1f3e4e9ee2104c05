"""CLIP ViT-B/32, the `clip` features: one row per clip from its middle frame, one row per token of a query.

An encoder is cheap to create: its network is built when the first clip or query has to be encoded. A program that finds
everything in the cache never imports torch for it.

Source: the features published with Moment-DETR and read by FlashVTG.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extractors.encoders.base import EncoderOptions, TextEncoder
from extractors.encoders.clip import FEATURE
from extractors.encoders.clip.identity import clip_identity
from extractors.encoders.torch_encoder import TorchVideoEncoder, encode_texts, text_placement
from extractors.features import FeatureSpec, TextFeatures
from extractors.weights.store import require

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from extractors.encoders.clip.text_tower import TextTower

_BATCH = {"cpu": 16, "cuda": 128, "mps": 32}

# Start of the state of the start-of-text token, from the published text features. Attention is causal, so it
# is the same for every query and depends on the weights alone.
_SOT_STATE = (0.3391, 0.1166, 0.1020, 0.0313, -26.391)


class ClipVideoEncoder(TorchVideoEncoder):
    """The image tower of CLIP: projected image features.

    Args:
        weights: the file its network is read from.
        options: clip length, device and precision; the rest follows from the file.
    """

    def __init__(self, weights: Path, options: EncoderOptions) -> None:
        order = (f"clip:{FEATURE.dim}",)
        super().__init__(FEATURE, options, order=order, weights_id=_weights_id(weights), batch_sizes=_BATCH)
        self._weights = weights

    def _build(self, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        from extractors.encoders.clip.image_tower import ImageTower

        tower = ImageTower(self._weights, device, dtype)
        return lambda clips: tower(clips[:, 0])


class ClipTextEncoder:
    """The text tower of CLIP; a `TextEncoder`.

    Args:
        weights: the file its network is read from.
        options: device and precision. `auto` is fp32 here: a query costs milliseconds, and its states have a
            component a hundred times the others, which bf16 rounds by about as much as those are long.
    """

    def __init__(self, weights: Path, options: EncoderOptions) -> None:
        self._weights = weights
        self._options = options
        self._spec = FeatureSpec(
            name=FEATURE.name,
            dim=FEATURE.dim,
            clip_length_s=0.0,
            order=(f"clip:{FEATURE.dim}",),
            weights_id=_weights_id(weights),
        )

    @property
    def spec(self) -> FeatureSpec:
        """What its token rows are: states after the last layer norm, before the projection."""
        return self._spec

    def encode(self, queries: Sequence[str]) -> list[TextFeatures]:
        """Encode queries.

        Args:
            queries: sentences; of each the first 30 BPE tokens count, as in the published features.

        Returns:
            One result per query, in order: `tokens` (T, 512) with start and end of text, T at most 32, and
            `pooled` (512,) in the space of the image features.

        Raises:
            WeightsInvalid: on the first call, if the weights are damaged or of another architecture.
            UsageError: on the first call, if the device or precision is not there.
        """
        return encode_texts(self._tower, queries)

    @cached_property
    def _tower(self) -> TextTower:
        from extractors.encoders.clip.text_tower import TextTower

        return TextTower(self._weights, *text_placement(self._options))


def looks_like_openai_clip(encoder: TextEncoder) -> bool:
    """Whether an encoder's weights are those behind the published features, by a number both must share.

    Args:
        encoder: a `clip` text encoder in fp32.
    """
    state = encoder.encode([""])[0].tokens[0, : len(_SOT_STATE)]
    return bool(np.allclose(state, _SOT_STATE, rtol=2e-3, atol=3e-3))


def check_weights(options: EncoderOptions) -> str:
    """What is wrong with the weights on this machine; empty if they are those behind the published features.

    Raises:
        WeightsMissing, WeightsInvalid: as when an encoder is used.
    """
    encoder = ClipTextEncoder(require(FEATURE.weights), options)
    return (
        ""
        if looks_like_openai_clip(encoder)
        else "not OpenAI's weights: features will not match trained models"
    )


def _weights_id(weights: Path) -> str:
    return f"{FEATURE.weights}:{clip_identity(weights)}"
