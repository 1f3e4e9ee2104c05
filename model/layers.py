"""The few layers that every part of the network is built from."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Zero elements at random and scale the rest, as `torch.nn.functional.dropout`.

    On a CPU the stock generator draws one serial number an element, which costs as much as the matrix
    products around it; here one 64-bit draw serves four elements. The rate is thereby rounded to 1/65536,
    and the scale is that of the rounded rate, so expectations are exact.
    """
    if not training or rate == 0:
        return x
    if x.is_cuda or torch.compiler.is_compiling():
        return F.dropout(x, rate)
    keep, scale = _keep_mask(x, rate)
    return _Mask.apply(x, keep, scale)  # type: ignore[no-any-return, no-untyped-call]


def attend(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor, rate: float = 0.0, *, training: bool = False
) -> Tensor:
    """Scaled dot-product attention over the valid keys.

    Args:
        query: (B, H, L, E).
        key: (B, H, N, E).
        value: (B, H, N, E).
        key_mask: (B, N) true where the key is valid; a sample without any gives garbage, but finite.
        rate: dropout of the attention weights while training.
        training: whether dropout is on.

    Returns:
        (B, H, L, E).
    """
    rate = rate if training else 0.0
    mask = key_mask[:, None, None, :]  # (B, 1, 1, N)
    if rate == 0 or query.is_cuda or torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
    return dropout(attention_weights(query, key, mask), rate, True) @ value


def attention_weights(query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    """Softmax of the scaled scores over the keys, written out; (B, H, L, N)."""
    scores = (query * (1 / math.sqrt(query.shape[-1]))) @ key.transpose(-1, -2)
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=-1)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, L, D) → (B, H, L, D / H)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, L, E) → (B, L, H · E)."""
    return x.transpose(1, 2).flatten(2)


class DropPath(nn.Module):
    """Drop a whole residual branch for a sample, at random, and scale the rest (stochastic depth)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) → (B, …)."""
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        shape = (len(x), *(1 for _ in x.shape[1:]))
        return x * (torch.rand(shape, device=x.device) < keep).to(x.dtype).div_(keep)


class FeedForward(nn.Module):
    """Linear, PReLU with one slope for all channels, dropout, linear."""

    def __init__(self, dim: int, inner_dim: int, rate: float) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, inner_dim)
        self.contract = nn.Linear(inner_dim, dim)
        self.slope = nn.Parameter(torch.tensor([0.25]))
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) → (B, L, D)."""
        hidden = self.expand(x)  # (B, L, F)
        rate = self.rate if self.training else 0.0
        if hidden.is_cuda or torch.compiler.is_compiling() or not torch.is_grad_enabled():
            hidden = F.dropout(F.prelu(hidden, self.slope.to(hidden.dtype)), rate)
        else:
            hidden = _PReLUDropout.apply(hidden, self.slope, rate)  # type: ignore[no-untyped-call]
        return self.contract(hidden)  # type: ignore[no-any-return]


def _keep_mask(x: Tensor, rate: float) -> tuple[Tensor, float]:
    """Which elements survive, and the factor that makes up for the others."""
    dropped = round(rate * 65536)
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    lanes = draws.view(torch.int16)[: x.numel()].view(x.shape)
    return lanes >= dropped - 32768, 65536 / (65536 - dropped)


class _Mask(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return torch.mul(x, keep).mul_(scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (keep,) = ctx.saved_tensors
        return torch.mul(grad, keep).mul_(ctx.scale), None, None


class _PReLUDropout(torch.autograd.Function):
    """PReLU with a shared slope, then dropout.

    The stock backward writes the slope's gradient out for every element before it sums it up, which on a CPU
    is the slowest operation of a training step; and only one of the two results need be kept for it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor, rate: float) -> Tensor:
        keep, ctx.scale = _keep_mask(x, rate) if rate > 0 else (None, 1.0)
        ctx.save_for_backward(x, slope, keep)
        out = F.prelu(x, slope.to(x.dtype))
        return out if keep is None else out.mul_(keep).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        x, slope, keep = ctx.saved_tensors
        grad = grad if keep is None else torch.mul(grad, keep).mul_(ctx.scale)
        below = x.clamp(max=0)
        grad_slope = torch.dot(below.flatten(), grad.flatten()).view(1)
        # Where x is positive the slope is 1, elsewhere the parameter.
        factor = torch.where(x > 0, 1.0, slope.to(x.dtype))
        return factor.mul_(grad), grad_slope.to(slope.dtype), None
