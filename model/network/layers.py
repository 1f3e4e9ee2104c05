"""The few layers that every part of the network is built from, as the paper writes them.

What runs faster and gives the same stands beside them, in `model.network.fast`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head scaled dot-product attention over the valid keys, with dropout of its weights."""

    def __init__(self, heads: int, rate: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = nn.Dropout(rate)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor) -> Tensor:
        """Attend.

        Args:
            query: (B, L, D).
            key: (B, N, D).
            value: (B, N, D).
            key_mask: (B, N) true where the key is valid; a sample without any gives garbage, but finite.

        Returns:
            (B, L, D).
        """
        query, key, value = (split_heads(x, self.heads) for x in (query, key, value))  # (B, H, L or N, E)
        return merge_heads(self.dropout(attention_weights(query, key, key_mask)) @ value)


class DropPath(nn.Module):
    """Drop a whole residual branch for a sample, at random, and scale the rest (stochastic depth)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, residual: Tensor, branch: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Add a branch to its residual.

        Args:
            residual: (B, …).
            branch: makes (B, …) of the inputs, each sample for itself. It may be given fewer samples than B, even
                none, and its parameters get a gradient all the same.
            inputs: (B, …) each.
        """
        if not self.training or self.rate == 0:
            return residual + branch(*inputs)
        scale = self.draw(residual).to(residual.dtype) / (1 - self.rate)
        return residual + branch(*inputs) * scale.view(-1, *[1] * (residual.dim() - 1))

    def draw(self, residual: Tensor) -> Tensor:
        """(B,) true for the samples that keep the branch."""
        return torch.rand(len(residual), device=residual.device) >= self.rate


class FeedForward(nn.Module):
    """Linear, PReLU with one slope for all channels, dropout, linear."""

    def __init__(self, dim: int, inner_dim: int, rate: float) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, inner_dim)
        self.contract = nn.Linear(inner_dim, dim)
        self.slope = nn.Parameter(torch.tensor([0.25]))
        self.dropout = nn.Dropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) → (B, L, D)."""
        hidden = self.expand(x)  # (B, L, F)
        hidden = F.prelu(hidden, self.slope.to(hidden.dtype))
        return self.contract(self.dropout(hidden))  # type: ignore[no-any-return]


def attention_weights(query: Tensor, key: Tensor, key_mask: Tensor) -> Tensor:
    """Softmax of the scaled scores over the keys.

    Args:
        query: (B, H, L, E).
        key: (B, H, N, E).
        key_mask: (B, N) true where the key is valid.

    Returns:
        (B, H, L, N).
    """
    scores = (query * (1 / math.sqrt(query.shape[-1]))) @ key.transpose(-1, -2)
    mask = key_mask[:, None, None, :]
    # Half the least number: adding a score to it must not overflow. The mask is far smaller than the scores.
    bias = torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, torch.finfo(scores.dtype).min / 2)
    return (scores + bias).softmax(dim=-1)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, L, D) → (B, H, L, D / H); B may be 0."""
    return x.view(*x.shape[:2], heads, x.shape[-1] // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, L, E) → (B, L, H · E)."""
    return x.transpose(1, 2).flatten(2)
