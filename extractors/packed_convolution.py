"""Convolutions whose weights lie in memory as oneDNN's kernels read them, with what follows them done on the way.

torch hands oneDNN plain weights, which are then reordered at every call: with one clip a batch, a third of the CPU time
of SlowFast in fp32. In bf16 it is a twentieth at most.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

Activation = Literal["none", "relu", "relu6"]


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether convolutions on a device and in a number format run in oneDNN kernels with an order of their own."""
    return (
        device.type == "cpu"
        and dtype in (torch.float32, torch.bfloat16)
        and platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")  # what torch.compile makes of a convolution
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise_")
    )


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
