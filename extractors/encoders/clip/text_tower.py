"""The text tower of CLIP ViT-B/32 in plain torch: importing open_clip takes longer than the rest of a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from extractors.compute.onednn import PackedLinear
from extractors.encoders.clip.tokenizer import END, START, load_tokenizer
from extractors.encoders.clip.weights import read_state

MAX_BPE_TOKENS = 30
"""Tokens kept of a query, between start and end of text, in the published text features."""

_VOCABULARY, _POSITIONS, _DIM, _LAYERS, _HEADS = 49408, 77, 512, 12, 8

_BLOCK_SHAPES = {
    "ln_1.weight": (_DIM,),
    "ln_1.bias": (_DIM,),
    "attn.in_proj_weight": (3 * _DIM, _DIM),
    "attn.in_proj_bias": (3 * _DIM,),
    "attn.out_proj.weight": (_DIM, _DIM),
    "attn.out_proj.bias": (_DIM,),
    "ln_2.weight": (_DIM,),
    "ln_2.bias": (_DIM,),
    "mlp.c_fc.weight": (4 * _DIM, _DIM),
    "mlp.c_fc.bias": (4 * _DIM,),
    "mlp.c_proj.weight": (_DIM, 4 * _DIM),
    "mlp.c_proj.bias": (_DIM,),
}
_SHAPES = {
    "token_embedding.weight": (_VOCABULARY, _DIM),
    "positional_embedding": (_POSITIONS, _DIM),
    **{
        f"transformer.resblocks.{layer}.{name}": shape
        for layer in range(_LAYERS)
        for name, shape in _BLOCK_SHAPES.items()
    },
    "ln_final.weight": (_DIM,),
    "ln_final.bias": (_DIM,),
    "text_projection": (_DIM, _DIM),
}


class TextTower:
    """Sentences in, token states and projected sentence features out.

    Attention is causal, so only the tokens of the longest query of a batch are computed, not all 77.

    Args:
        weights: a file `read_state` can read; only the tensors of this tower are read.
        device: where it runs.
        dtype: number format it computes in.

    Raises:
        WeightsInvalid: if the file does not hold CLIP ViT-B/32.
    """

    def __init__(self, weights: Path, device: torch.device, dtype: torch.dtype) -> None:
        expected = {name: torch.empty(shape, device="meta") for name, shape in _SHAPES.items()}
        state = read_state(weights, expected)
        # As it is in the file: of its 49,408 rows, a query needs a few.
        self._token_embedding = state.pop("token_embedding.weight").to(device)
        state = {name: value.to(device, dtype) for name, value in state.items()}
        self._positional_embedding = state["positional_embedding"]
        self._blocks = [_Block(state, f"transformer.resblocks.{layer}") for layer in range(_LAYERS)]
        self._final_norm = _LayerNorm.of(state, "ln_final")
        self._projection = state["text_projection"]
        self._encode = load_tokenizer()

    @torch.inference_mode()
    def __call__(self, queries: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """Encode queries.

        Args:
            queries: B sentences; of each the first `MAX_BPE_TOKENS` tokens count.

        Returns:
            For each query (T, 512) states after the last layer norm, start and end of text included, and
            (512,) the state of the end of text, projected; float32.
        """
        ids = [[START, *self._encode(query)[:MAX_BPE_TOKENS], END] for query in queries]
        length = max(map(len, ids))
        device, dtype = self._projection.device, self._projection.dtype
        padded = torch.tensor([row + [0] * (length - len(row)) for row in ids], device=device)  # (B, T)

        x = (
            F.embedding(padded, self._token_embedding).to(dtype) + self._positional_embedding[:length]
        )  # (B, T, D)
        for block in self._blocks:
            x = block(x)
        states = self._final_norm(x)
        ends = states[torch.arange(len(ids), device=device), [len(row) - 1 for row in ids]]  # (B, D)
        pooled = (ends @ self._projection).float()  # (B, E)
        return [(states[b, : len(row)].float(), pooled[b]) for b, row in enumerate(ids)]


@dataclass(frozen=True)
class _LayerNorm:
    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, state: Mapping[str, Tensor], name: str) -> _LayerNorm:
        return cls(state[f"{name}.weight"], state[f"{name}.bias"])

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (_DIM,), self.weight, self.bias)


class _Block:
    """A residual block: causal attention, then a perceptron, each behind a layer norm."""

    def __init__(self, state: Mapping[str, Tensor], name: str) -> None:
        self._norm1 = _LayerNorm.of(state, f"{name}.ln_1")
        self._query_key_value = PackedLinear(
            state[f"{name}.attn.in_proj_weight"], state[f"{name}.attn.in_proj_bias"]
        )
        self._output = _linear(state, f"{name}.attn.out_proj")
        self._norm2 = _LayerNorm.of(state, f"{name}.ln_2")
        self._expand = _linear(state, f"{name}.mlp.c_fc")
        self._contract = _linear(state, f"{name}.mlp.c_proj")

    def __call__(self, x: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        x = x + self._output(self._attended(self._norm1(x)))
        hidden = self._expand(self._norm2(x))  # (B, T, 4 · D)
        mapped: Tensor = self._contract(hidden * torch.sigmoid(1.702 * hidden))  # QuickGELU
        return x + mapped

    def _attended(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        heads = self._query_key_value(x).view(batch, length, 3, _HEADS, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (B, H, T, E) each
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return attended.transpose(1, 2).flatten(2)


def _linear(state: Mapping[str, Tensor], name: str) -> PackedLinear:
    return PackedLinear(state[f"{name}.weight"], state[f"{name}.bias"])
