"""A FlashVTG that only answers: its linear maps and convolutions in the order in which the CPU's kernels read them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from extractors.compute.onednn import PackedLinear
from model.network.fusion import SelfAttentionLayer
from model.network.layers import FeedForward


def pack(network: nn.Module) -> None:
    """Pack a network in place for repeated inference; it can no longer be trained or saved.

    Args:
        network: on the device where it runs, in evaluation mode.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            packed = _packed(child)
            # That layer reads the weights of its input by thirds.
            if packed is not None and not (isinstance(parent, SelfAttentionLayer) and name == "input"):
                setattr(parent, name, packed)


def _packed(module: nn.Module) -> nn.Module | None:
    if isinstance(module, FeedForward):
        return _PackedFeedForward(module)
    if isinstance(module, nn.Linear):
        return PackedLinear(module.weight, module.bias)
    if isinstance(module, nn.Conv1d):
        return _PackedConvolution(module)
    return None


class _PackedFeedForward(nn.Module):
    """`FeedForward`, for inference."""

    def __init__(self, plain: FeedForward) -> None:
        super().__init__()
        self.expand = PackedLinear(plain.expand.weight, plain.expand.bias, slope=plain.slope.item())
        self.contract = PackedLinear(plain.contract.weight, plain.contract.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) → (B, L, D)."""
        hidden: Tensor = self.contract(self.expand(x))
        return hidden


class _PackedConvolution(nn.Module):
    """A convolution of stride 1 as a linear map of each row and its neighbours.

    With some hundred rows that is faster than oneDNN's convolution, which rearranges its weights at every call.
    """

    def __init__(self, plain: nn.Conv1d) -> None:
        super().__init__()
        (self.kernel,) = plain.kernel_size
        self.linear = PackedLinear(plain.weight.transpose(1, 2).flatten(1), plain.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, R) → (B, D', R)."""
        rows = F.pad(x.transpose(1, 2), (0, 0, self.kernel // 2, self.kernel // 2))  # (B, R + 2 · pad, D)
        neighbours = rows.unfold(1, self.kernel, 1).transpose(2, 3).flatten(2)  # (B, R, kernel · D)
        result: Tensor = self.linear(neighbours).transpose(1, 2)
        return result
