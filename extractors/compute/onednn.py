"""Convolutions with weights in the memory layout of oneDNN's kernels, fused with the operations after them.

torch passes plain weights to oneDNN, which reorders them at every call. With one clip per batch, that is a third of the
CPU time of SlowFast in fp32, and at most a twentieth in bf16.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ROWS = 64  # the order chosen for this many serves from a dozen to thousands

Activation = Literal["none", "relu", "relu6"]


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether convolutions on a device and in a number format run in oneDNN kernels with a separate weight layout."""
    # What torch.compile makes of a convolution.
    operations = ("_convolution_pointwise", "_convolution_pointwise_")
    return dtype in (torch.float32, torch.bfloat16) and _has(device, operations)


class PackedConvolution(nn.Module):
    """A 2D or 3D convolution, and the activation after it where there is one, for inference on a CPU.

    Args:
        convolution: zero-padded by numbers; its weights are not kept once they are packed, at the first call.
        activation: what follows.
        padding: of both sides of each axis, instead of the convolution's own.
    """

    def __init__(
        self,
        convolution: nn.Conv2d | nn.Conv3d,
        activation: Activation = "none",
        *,
        padding: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if convolution.padding_mode != "zeros" or isinstance(convolution.padding, str):
            raise ValueError(f"cannot pack a convolution with padding {convolution.padding!r}")
        self.bias = convolution.bias
        self._plain: Tensor | None = convolution.weight.detach()
        self._packed: Tensor | None = None
        self._shape = (
            list(convolution.padding if padding is None else padding),
            list(convolution.stride),
            list(convolution.dilation),
            convolution.groups,
        )
        self._activation, self._bounds = (
            ("hardtanh", [0.0, 6.0]) if activation == "relu6" else (activation, [])
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *size) to (B, C', *size')."""
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weights(x), self.bias, *self._shape, self._activation, self._bounds, ""
        )
        return result

    def add_to(self, other: Tensor, x: Tensor) -> Tensor:
        """Convolve (B, C, *size), add that to (B, C', *size') in its place, and rectify the sum if a ReLU follows."""
        after = None if self._activation == "none" else self._activation
        result: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            other, x, self._weights(x), self.bias, *self._shape, "add", 1.0, after, self._bounds, ""
        )
        return result

    def _weights(self, x: Tensor) -> Tensor:
        if self._packed is None:
            assert self._plain is not None
            functions: Any = torch._C._nn
            flat = self._plain.dim() == 4
            reorder = (
                functions.mkldnn_reorder_conv2d_weight if flat else functions.mkldnn_reorder_conv3d_weight
            )
            # The best order depends on the size of the input; another size is computed all the same.
            self._packed = reorder(self._plain.to_mkldnn(), *self._shape, list(x.shape))
            self._plain = None
        return self._packed


def can_pack_linear(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN can run linear maps on a device and in a number format with a separate weight layout."""
    # What torch.compile makes of a linear map.
    return dtype == torch.float32 and _has(device, ("_linear_pointwise", "_reorder_linear_weight"))


def _has(device: torch.device, operations: Sequence[str]) -> bool:
    return (
        device.type == "cpu"
        and platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and all(hasattr(torch.ops.mkldnn, name) for name in operations)
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
