"""The few layers that every part of the network is built from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_BLOCK_ROWS = 512


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Zero elements at random and scale the rest, as `torch.nn.functional.dropout`.

    On a CPU the stock generator draws one serial number an element, which costs as much as the matrix
    products around it; here one 64-bit draw serves four elements. The rate is thereby rounded to 1/65536,
    and the scale is that of the rounded rate, so expectations are exact.
    """
    if not training or rate == 0:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, rate)
    keep, scale = _keep_mask(x.shape, rate)
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
    if rate == 0 or query.device.type != "cpu" or torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
    return dropout(attention_weights(query, key, mask), rate, True) @ value


def attention_weights(query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    """Softmax of the scaled scores over the keys, written out; (B, H, L, N)."""
    scores = (query * (1 / math.sqrt(query.shape[-1]))) @ key.transpose(-1, -2)
    # Half the least number: adding a score to it must not overflow. The mask is far smaller than the scores.
    bias = torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, torch.finfo(scores.dtype).min / 2)
    return (scores + bias).softmax(dim=-1)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, L, D) → (B, H, L, D / H); B may be 0."""
    return x.view(*x.shape[:2], heads, x.shape[-1] // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, L, E) → (B, L, H · E)."""
    return x.transpose(1, 2).flatten(2)


class DropPath(nn.Module):
    """Drop a whole residual branch for a sample, at random, and scale the rest (stochastic depth).

    Where shapes may depend on chance, dropped samples are not run at all: a tenth of the work of an epoch.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, residual: Tensor, branch: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Add a branch to its residual.

        Args:
            residual: (B, …).
            branch: makes (B, …) of the inputs, each sample for itself; B is 0 where chance drops all samples, so that
                its parameters still get their gradient, zero.
            inputs: (B, …) each.
        """
        if not self.training or self.rate == 0:
            return residual + branch(*inputs)
        keep = torch.rand(len(residual), device=residual.device) >= self.rate  # (B,)
        if residual.device.type != "cpu" or torch.compiler.is_compiling():
            scale = keep.to(residual.dtype) / (1 - self.rate)
            return residual + branch(*inputs) * scale.view(-1, *[1] * (residual.dim() - 1))
        index = keep.nonzero()[:, 0]
        kept = branch(*(value.index_select(0, index) for value in inputs))
        return residual.index_add(0, index, kept.to(residual.dtype), alpha=1 / (1 - self.rate))


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
        rate = self.rate if self.training else 0.0
        if _suits_blocks(x):
            flat = _FeedForward.apply(  # type: ignore[no-untyped-call]
                x.flatten(0, -2),
                self.expand.weight,
                self.expand.bias,
                self.contract.weight,
                self.contract.bias,
                self.slope,
                rate,
            )
            return flat.view(x.shape)  # type: ignore[no-any-return]
        hidden = self.expand(x)  # (B, L, F)
        if hidden.device.type != "cpu" or torch.compiler.is_compiling():
            return self.contract(F.dropout(F.prelu(hidden, self.slope.to(hidden.dtype)), rate))  # type: ignore[no-any-return]
        active = _SharedPReLU.apply(hidden, self.slope)  # type: ignore[no-untyped-call]
        return self.contract(dropout(active, rate, self.training))  # type: ignore[no-any-return]


def _suits_blocks(x: Tensor) -> bool:
    """Whether the feed-forward network that goes block by block can run."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


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
    lanes = draws.view(torch.int16)[:count].view(shape)
    return lanes.ge_(dropped - 32768), 65536 / (65536 - dropped)


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
