"""Linear maps whose weights lie in memory as oneDNN's kernels read them.

Given plain weights, a matrix product with few rows spends most of its time on rearranging them, at every call.
"""

from __future__ import annotations

import platform

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ROWS = 64  # the order chosen for this many serves from a dozen to thousands


def can_pack_linear(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether linear maps on a device and in a number format can run in oneDNN kernels with an order of their own."""
    return (
        device.type == "cpu"
        and dtype == torch.float32
        and platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # what torch.compile makes of a linear map
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


class PackedLinear(nn.Module):
    """A linear map for inference, and the leaky ReLU after it where there is one.

    Weights are packed at the second call, where they can be: to pack them takes as long as several calls, and a process
    that asks once would not get the time back. From then on the plain ones are not kept.

    Args:
        weight: (N, K).
        bias: (N,).
        slope: of the leaky ReLU; None for none.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, slope: float | None = None) -> None:
        super().__init__()
        self._plain: Tensor | None = weight.detach()
        self._packed: Tensor | None = None
        self._bias = None if bias is None else bias.detach()
        self._slope = slope
        self._can_pack = can_pack_linear(weight.device, weight.dtype)
        self._used = False

    def forward(self, x: Tensor) -> Tensor:
        """(…, K) → (…, N)."""
        plain = self._plain
        if plain is not None:
            if not self._used or not self._can_pack:
                self._used = True
                y = F.linear(x, plain, self._bias)
                return y if self._slope is None else F.leaky_relu_(y, self._slope)
            self._packed = torch.ops.mkldnn._reorder_linear_weight(plain, _ROWS)
            self._plain = None
        activation, factors = ("none", []) if self._slope is None else ("leaky_relu", [self._slope])
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self._bias, activation, factors, ""
        )
        return result
