"""Models of open_clip: one row per clip from its middle frame, one row per token of a query, both in one space.

Networks and tokenizers are open_clip's own. Frames come from the decoder in the size that the model reads, cropped or
squashed as the model was trained, and are normalised as open_clip's own preprocessing does it. An encoder is cheap to
create: its network is built when the first clip or query has to be encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from extractors.decoding.frames import Framing
from extractors.encoders.base import EncoderOptions
from extractors.encoders.entry import Feature
from extractors.encoders.torch_encoder import TorchVideoEncoder, encode_texts, text_placement
from extractors.features import FeatureSpec, TextFeatures
from extractors.files.identity import file_identity
from extractors.weights.open_clip_table import OpenClipModel

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from extractors.encoders.open_clip.network import TextTower

_BATCH = {"cpu": 16, "cuda": 64, "mps": 16}


class OpenClipVideoEncoder(TorchVideoEncoder):
    """The image tower of a model: projected image features.

    Args:
        feature: its entry.
        model: its facts.
        weights: the file its network is read from.
        options: clip length, device and precision; the rest follows from the model.
    """

    def __init__(
        self, feature: Feature, model: OpenClipModel, weights: Path, options: EncoderOptions
    ) -> None:
        super().__init__(
            feature,
            options,
            order=(f"open_clip:{model.dim}",),
            weights_id=_weights_id(model, weights),
            batch_sizes=_BATCH,
            framing=Framing(model.size, "squash" if model.squashes else "crop"),
        )
        self._model = model
        self._weights = weights

    def _build(self, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        from extractors.encoders.open_clip.network import ImageTower

        tower = ImageTower(self._model, self._weights, device, dtype)
        return lambda clips: tower(clips[:, 0])


class OpenClipTextEncoder:
    """The text tower of a model; a `TextEncoder`.

    Args:
        model: its facts.
        weights: the file its network is read from.
        options: device, precision, and whether a tokenizer may be downloaded. Precision `auto` is fp32, as for `clip`.
    """

    def __init__(self, model: OpenClipModel, weights: Path, options: EncoderOptions) -> None:
        self._model = model
        self._weights = weights
        self._options = options
        self._spec = FeatureSpec(
            name=model.name,
            dim=model.dim,
            clip_length_s=0.0,
            order=(f"open_clip:{model.dim}",),
            weights_id=_weights_id(model, weights),
        )

    @property
    def spec(self) -> FeatureSpec:
        """What its token rows are: states after the last layer norm, projected like the pooled row."""
        return self._spec

    def encode(self, queries: Sequence[str]) -> list[TextFeatures]:
        """Encode queries.

        Args:
            queries: sentences; the model's tokenizer cuts what is longer than its context.

        Returns:
            One result per query, in order: `tokens` (T, dim), without those that only fill the context up, and
            `pooled` (dim,) in the space of the image features. Networks of the transformers library do not give states
            of tokens; for them `tokens` is the pooled row alone.

        Raises:
            WeightsMissing: on the first call, if the tokenizer, or a package that it needs, is not here.
            WeightsInvalid: on the first call, if the weights are damaged or of another architecture.
            UsageError: on the first call, if the device or precision is not there.
        """
        return encode_texts(self._tower, queries)

    @cached_property
    def _tower(self) -> TextTower:
        from extractors.encoders.open_clip.network import TextTower
        from extractors.weights.store import is_offline

        return TextTower(
            self._model,
            self._weights,
            *text_placement(self._options),
            offline=self._options.offline or is_offline(),
        )


def _weights_id(model: OpenClipModel, weights: Path) -> str:
    """Identity of the file and of what open_clip's tables, which change, state of the model's pictures."""
    facts = repr((model.size, model.squashes, model.mean, model.std)).encode()
    return f"{model.name}:{file_identity(weights)}:{blake2b(facts, digest_size=4).hexdigest()}"
