"""The parts of a SlowFast trunk as packed convolutions, each fused with the sum, ReLU or frames next to it.

PyTorchVideo's modules run a convolution, a sum and a ReLU as three passes over memory, which takes a tenth of the time
on a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from extractors.compute.onednn import PackedConvolution
from extractors.encoders.torch_encoder import without_deprecations

with without_deprecations():
    from pytorchvideo.models.resnet import BottleneckBlock, ResBlock
    from pytorchvideo.models.slowfast import FuseFastToSlow
    from pytorchvideo.models.stem import ResNetBasicStem

_LANES = 16  # channels that oneDNN's kernels compute at once


def pack(network: nn.Module) -> None:
    """Replace the parts of a trunk by packed ones, in place.

    Args:
        network: of PyTorchVideo's modules, in evaluation mode, its normalisations folded.

    Raises:
        ValueError: if a part is built otherwise than SlowFast's.
    """
    for name, child in list(network.named_children()):
        if isinstance(child, ResNetBasicStem):
            setattr(network, name, PackedStem(child))
        elif isinstance(child, ResBlock):
            setattr(network, name, PackedResidual(child))
        elif isinstance(child, FuseFastToSlow):
            setattr(network, name, PackedFusion(child))
        else:
            _require(not isinstance(child, nn.Conv3d), f"'{name}', a part")
            pack(child)


class PackedStem(nn.Module):
    """A stem's convolution, ReLU and spatial pooling; several frames at once where channels alone fill no register.

    The fast pathway's stem gives 8 channels, half of what a kernel computes at once. So two frames are computed as 16
    channels of one, with weights shifted by a frame: a fifth more products, in two thirds of the time.
    """

    def __init__(self, stem: ResNetBasicStem) -> None:
        super().__init__()
        _require(stem.norm is None and isinstance(stem.activation, nn.ReLU), "a stem")
        self.frames = max(_LANES // stem.conv.out_channels, 1)
        self.convolution = PackedConvolution(_over_frames(stem.conv, self.frames), "relu")
        self.pool: nn.Module = stem.pool

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, T, H, W) to (B, C, T, H / 4, W / 4); T a multiple of `frames`."""
        y: Tensor = self.pool(self.convolution(x))  # (B, frames * C, T / frames, H', W')
        if self.frames == 1:
            return y
        batch, channels, steps, height, width = y.shape
        y = y.view(batch, self.frames, channels // self.frames, steps, height, width)
        y = y.permute(0, 2, 3, 1, 4, 5).reshape(batch, -1, steps * self.frames, height, width)
        return y.contiguous(memory_format=_format(x))


class PackedResidual(nn.Module):
    """A bottleneck block: the shortcut is added, and the sum rectified, as the last convolution gives it.

    Its input may be written over.
    """

    def __init__(self, block: ResBlock) -> None:
        super().__init__()
        branch = block.branch2
        _require(isinstance(branch, BottleneckBlock) and isinstance(block.activation, nn.ReLU), "a block")
        _require(
            block.branch1_norm is None and branch.norm_a is branch.norm_b is branch.norm_c is None, "a block"
        )
        _require(isinstance(branch.act_a, nn.ReLU) and isinstance(branch.act_b, nn.ReLU), "a block")
        self.shortcut = None if block.branch1_conv is None else PackedConvolution(block.branch1_conv)
        self.a = PackedConvolution(branch.conv_a, "relu")
        self.b = PackedConvolution(branch.conv_b, "relu")
        self.c = PackedConvolution(branch.conv_c, "relu")

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) to (B, C', T, H', W')."""
        inner = self.b(self.a(x))
        return self.c.add_to(x if self.shortcut is None else self.shortcut(x), inner)


class PackedFusion(nn.Module):
    """Fast to slow: a convolution in time and its ReLU, joined to the slow pathway's channels."""

    def __init__(self, fusion: FuseFastToSlow) -> None:
        super().__init__()
        _require(fusion.norm is None and isinstance(fusion.activation, nn.ReLU), "a fusion")
        self.convolution = PackedConvolution(fusion.conv_fast_to_slow, "relu")

    def forward(self, pathways: list[Tensor]) -> list[Tensor]:
        """Slow (B, C, T, H, W) and fast (B, C', 4 T, H, W); the slow one gets 2 C' channels more."""
        slow, fast = pathways
        return [torch.cat([slow, self.convolution(fast)], dim=1), fast]


def _over_frames(convolution: nn.Conv3d, frames: int) -> nn.Conv3d:
    """A convolution whose channels are those of `frames` steps in time, one after another, and which takes as many."""
    if frames == 1:
        return convolution
    _require(
        convolution.stride[0] == 1 and convolution.dilation == (1, 1, 1) and convolution.groups == 1, "a stem"
    )
    weight, bias = convolution.weight.detach(), convolution.bias
    assert bias is not None, "a normalisation was folded into it"
    channels, depth = weight.shape[0], weight.shape[2]
    wide = weight.new_zeros(frames * channels, weight.shape[1], depth + frames - 1, *weight.shape[3:])
    for frame in range(frames):
        wide[frame * channels : (frame + 1) * channels, :, frame : frame + depth] = weight
    assert not isinstance(convolution.padding, str), "PyTorchVideo pads by numbers"
    _, *strides = convolution.stride
    depth_padding, *paddings = convolution.padding
    with torch.device("meta"):
        result = nn.Conv3d(
            weight.shape[1],
            len(wide),
            (wide.shape[2], wide.shape[3], wide.shape[4]),
            stride=(frames, strides[0], strides[1]),
            padding=(int(depth_padding), int(paddings[0]), int(paddings[1])),
        )
    result.weight = nn.Parameter(wide.contiguous(memory_format=torch.channels_last_3d), requires_grad=False)
    result.bias = nn.Parameter(bias.detach().repeat(frames), requires_grad=False)
    return result


def _format(x: Tensor) -> torch.memory_format:
    last = torch.channels_last_3d
    return last if x.is_contiguous(memory_format=last) else torch.contiguous_format


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"cannot pack {what} that is built otherwise than SlowFast's")
