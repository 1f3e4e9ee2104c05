"""The layers of the network as a CPU runs them fastest: the same weights, the same results.

Each class here takes the place of a plain one. On a GPU and under torch's compiler it mostly is the plain one, whose
operations are fused there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from model.network.fast.heads import FastBoundaryHead, FastScoreHead
from model.network.fusion import AdaptiveCrossAttention, CrossAttentionLayer
from model.network.layering import BoundaryHead
from model.network.layers import Attention, DropPath, FeedForward, merge_heads, split_heads
from model.network.refinement import ScoreHead

_BLOCK_ROWS = 512
_MASS_CHANNELS = 8
"""Channels added for the attention mass: one, filled up to the multiple of 8 that fused kernels ask for."""


def speed_up(network: nn.Module) -> None:
    """Let the layers of a network run fast from now on; names, weights and results stay."""
    for module in network.modules():
        module.__class__ = _FAST.get(type(module), type(module))


class FastDropout(nn.Dropout):
    """Dropout by one 64-bit draw for four elements.

    On a CPU the stock generator draws one serial number per element, which costs as much as the matrix products
    around it. The rate is rounded to 1/65536, and the scale is that of the rounded rate, so expectations are exact.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Zero elements at random and scale the rest."""
        if not self.training or self.p == 0 or not _on_cpu(x):
            return super().forward(x)
        return _Mask.apply(x, *_keep_mask(x.shape, self.p))  # type: ignore[no-any-return, no-untyped-call]


class FastAttention(Attention):
    """Attention in one fused call where there is one: a CPU has none with dropout."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor) -> Tensor:
        """As `Attention.forward`."""
        rate = self.dropout.p if self.training else 0.0
        if rate > 0 and _on_cpu(query):
            return super().forward(query, key, value, key_mask)
        query, key, value = (split_heads(x, self.heads) for x in (query, key, value))
        mask = key_mask[:, None, None, :]  # (B, 1, 1, N)
        return merge_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate))


class FastAdaptiveCrossAttention(AdaptiveCrossAttention):
    """Keys and values as `FastCrossAttentionLayer` reads them, made once for all layers."""

    def split(self, keys: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values; outside of training both (B, H, N + T, E + 8).

        Dummies then have the value zero, and words a further channel that is one.
        """
        key, value = super().split(keys, words)
        if self.training:
            return key, value
        dummies, count = key.shape[-2] - value.shape[-2], value.shape[-2]
        ones = F.pad(value.new_ones(1, 1, count, 1).expand(*value.shape[:3], 1), (0, _MASS_CHANNELS - 1))
        value = F.pad(torch.cat([value, ones], dim=-1), (0, 0, dummies, 0))
        return F.pad(key, (0, _MASS_CHANNELS)), value


class FastCrossAttentionLayer(CrossAttentionLayer):
    """Attention in one fused call; what comes out in the further channel is the mass that fell on words."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As `CrossAttentionLayer.attend`, of what `FastAdaptiveCrossAttention.split` gives."""
        if self.training:
            return super().attend(query, key, value, mask)
        head_dim = query.shape[-1]
        query, scale = F.pad(query, (0, _MASS_CHANNELS)), 1 / math.sqrt(head_dim)
        mask = mask[:, None, None, :]
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
        return out[..., :head_dim], out[..., head_dim].mean(dim=1)


class FastDropPath(DropPath):
    """Samples that drop the branch are not run at all: a tenth of the work of an epoch."""

    def forward(self, residual: Tensor, branch: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """As `DropPath.forward`."""
        if not self.training or self.rate == 0 or not _on_cpu(residual):
            return super().forward(residual, branch, *inputs)
        index = self.draw(residual).nonzero()[:, 0]
        kept = branch(*(value.index_select(0, index) for value in inputs))
        return residual.index_add(0, index, kept.to(residual.dtype), alpha=1 / (1 - self.rate))


class FastFeedForward(FeedForward):
    """The feed-forward network with gradients by hand."""

    def forward(self, x: Tensor) -> Tensor:
        """As `FeedForward.forward`."""
        if not _on_cpu(x):
            return super().forward(x)
        if x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            active = _SharedPReLU.apply(self.expand(x), self.slope)  # type: ignore[no-untyped-call]
            return self.contract(self.dropout(active))  # type: ignore[no-any-return]
        flat = _FeedForward.apply(  # type: ignore[no-untyped-call]
            x.flatten(0, -2),
            self.expand.weight,
            self.expand.bias,
            self.contract.weight,
            self.contract.bias,
            self.slope,
            self.dropout.p if self.training else 0.0,
        )
        return flat.view(x.shape)  # type: ignore[no-any-return]


_FAST: dict[type[nn.Module], type[nn.Module]] = {
    nn.Dropout: FastDropout,
    Attention: FastAttention,
    AdaptiveCrossAttention: FastAdaptiveCrossAttention,
    CrossAttentionLayer: FastCrossAttentionLayer,
    DropPath: FastDropPath,
    FeedForward: FastFeedForward,
    BoundaryHead: FastBoundaryHead,
    ScoreHead: FastScoreHead,
}


def _on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


class _FeedForward(torch.autograd.Function):
    """The feed-forward network in blocks of rows that stay in a core's cache.

    Its inner activations are four times as wide as its input and pass through half a dozen elementwise
    operations either way. Done over all rows at once, these move through main memory and cost as much as the
    matrix products between them; and the stock gradient of a shared slope alone writes one value for every
    element before it sums them up.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight1: Tensor,
        bias1: Tensor,
        weight2: Tensor,
        bias2: Tensor,
        slope: Tensor,
        rate: float,
    ) -> Tensor:
        needs_grad, factor = any(ctx.needs_input_grad), float(slope)
        out = x.new_empty(len(x), len(weight2))
        hidden = x.new_empty(len(x) if needs_grad else _BLOCK_ROWS, len(weight1))
        keep, scale = _keep_mask((len(x), len(weight1)), rate) if rate > 0 else (None, 1.0)
        active, mask = (x.new_empty(_BLOCK_ROWS, len(weight1)) for _ in range(2))
        for rows in _blocks(len(x)):
            count = rows.stop - rows.start
            inner = torch.addmm(
                bias1, x[rows], weight1.t(), out=hidden[rows] if needs_grad else hidden[:count]
            )
            F.leaky_relu_(active[:count].copy_(inner), factor)
            if keep is not None:
                active[:count] *= mask[:count].copy_(keep[rows])
            torch.addmm(bias2, active[:count], weight2.t(), alpha=scale, out=out[rows])
        if needs_grad:
            ctx.save_for_backward(x, weight1, weight2, slope, hidden, keep)
            ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight1, weight2, slope, hidden, keep = ctx.saved_tensors
        factor, grad = float(slope), grad.contiguous()
        grad_x = torch.empty_like(x)
        grad_weight1, grad_weight2 = torch.zeros_like(weight1), torch.zeros_like(weight2)
        grad_bias1 = weight1.new_zeros(len(weight1))
        grad_slope = 0.0
        buffers = [x.new_empty(_BLOCK_ROWS, len(weight1)) for _ in range(3)]
        for rows in _blocks(len(x)):
            active, inner, scratch = (buffer[: rows.stop - rows.start] for buffer in buffers)
            F.leaky_relu_(active.copy_(hidden[rows]), factor)
            torch.mm(grad[rows], weight2, out=inner)
            if keep is not None:
                active *= scratch.copy_(keep[rows]).mul_(ctx.scale)
                inner *= scratch
            grad_weight2.addmm_(grad[rows].t(), active)
            below = torch.clamp(hidden[rows], max=0, out=scratch)
            grad_slope += float(torch.dot(below.flatten(), inner.flatten()))
            # 1 where the input is positive, elsewhere the slope.
            inner *= torch.sign(hidden[rows], out=scratch).clamp_(min=0).mul_(1 - factor).add_(factor)
            grad_bias1 += inner.sum(dim=0)
            grad_weight1.addmm_(inner.t(), x[rows])
            torch.mm(inner, weight1, out=grad_x[rows])
        return (
            grad_x,
            grad_weight1,
            grad_bias1,
            grad_weight2,
            grad.sum(dim=0),
            torch.full_like(slope, grad_slope),
            None,
        )


class _SharedPReLU(torch.autograd.Function):
    """PReLU with one slope, whose gradient is summed up without being written out for every element."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return F.leaky_relu(x, float(slope))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x, slope = ctx.saved_tensors
        grad_slope = (x.clamp(max=0) * grad).sum(dtype=torch.float32)
        grad_x = torch.ops.aten.leaky_relu_backward(grad, x, float(slope), False)
        return grad_x, grad_slope.to(slope.dtype).expand_as(slope)


def _blocks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, _BLOCK_ROWS):
        yield slice(start, min(start + _BLOCK_ROWS, rows))


def _keep_mask(shape: tuple[int, ...], rate: float) -> tuple[Tensor, float]:
    """Which elements survive (1, else 0), and the factor that makes up for the others.

    In int16 all along: conversions from and comparisons to bool are many times slower.
    """
    # Some always survive, or no factor could make up for the others.
    dropped, count = min(round(rate * 65536), 65535), math.prod(shape)
    draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    values = draws.view(torch.int16)[:count].view(shape)
    return values.ge_(dropped - 32768), 65536 / (65536 - dropped)


class _Mask(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        mask = keep.to(x.dtype).mul_(scale)
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return mask.mul_(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (keep,) = ctx.saved_tensors
        return keep.to(grad.dtype).mul_(ctx.scale).mul_(grad), None, None
