"""The trunk of SlowFast 8x8 R50 as an inference network: normalisations folded, classifier left out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from extractors.compute.folding import fold_norms
from extractors.compute.onednn import can_pack
from extractors.encoders.slowfast.weights import read_slowfast
from extractors.encoders.torch_encoder import without_deprecations
from extractors.weights.state_dicts import require_shapes

with without_deprecations():
    from pytorchvideo.models.hub.slowfast import slowfast_r50
    from pytorchvideo.models.resnet import ResBlock

SLOW_FRAMES = (0, 4, 8, 13, 17, 22, 26, 31)
"""Of the 32 frames of a clip, those the slow pathway reads: `linspace(0, 31, 8)` cut to integers."""

_TRUNK_BLOCKS = 5  # stem and res2 to res5; pooling and the classifier follow
_MEAN, _STD = 0.45, 0.225

# Convolutions of PyTorchVideo's modules and the normalisations that run right after them.
_FOLDABLE = (
    ("conv", "norm"),
    ("conv_fast_to_slow", "norm"),
    ("branch1_conv", "branch1_norm"),
    ("conv_a", "norm_a"),
    ("conv_b", "norm_b"),
    ("conv_c", "norm_c"),
)


class SlowFastTrunk(nn.Module):
    """Clips in, pooled features of both pathways out.

    Args:
        weights: a file `read_slowfast` can read.
        device: where it runs.
        dtype: number format it computes in. Formats of 16 bits run channels-last, the faster layout for them where
            weights are not packed.

    Raises:
        WeightsInvalid: if the file does not hold SlowFast 8x8 R50.
    """

    def __init__(self, weights: Path, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        with torch.device("meta"):  # random initialisation would be thrown away
            blocks = slowfast_r50(pretrained=False).blocks[:_TRUNK_BLOCKS]
        trunk = nn.ModuleDict({"blocks": blocks})
        _, state = read_slowfast(weights)
        expected = {k: v for k, v in trunk.state_dict().items() if not k.endswith("num_batches_tracked")}
        require_shapes(weights, state, expected, architecture="SlowFast 8x8 R50")
        trunk.load_state_dict({k: v.float() for k, v in state.items()}, strict=False, assign=True)
        fold_norms(trunk.eval(), _FOLDABLE, None)
        _work_in_place(trunk)
        self.memory_format = torch.contiguous_format if dtype == torch.float32 else torch.channels_last_3d
        # On the device: a list of numbers would be copied there for every batch, and a GPU waited for.
        self.slow_frames = torch.tensor(SLOW_FRAMES, device=device)
        self.blocks = blocks.to(device=device, dtype=dtype, memory_format=self.memory_format)
        if can_pack(device, dtype):
            from extractors.encoders.slowfast.packed import pack

            pack(self.blocks)
        self.dtype = dtype
        self.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return next(self.parameters()).device

    @torch.inference_mode()
    def forward(self, clips: Tensor) -> Tensor:
        """Encode clips.

        Args:
            clips: (B, 32, 224, 224, 3) uint8 RGB, on any device.

        Returns:
            (B, 2304) float32: 2048 of the slow pathway, then 256 of the fast one, each the mean over time and
            space of its last stage.
        """
        clips = clips.to(self.device)
        pathways = [self._pixels(clips[:, self.slow_frames]), self._pixels(clips)]
        for block in self.blocks:
            pathways = block(pathways)
        return torch.cat([x.mean((2, 3, 4), dtype=torch.float32) for x in pathways], dim=1)  # (B, 2304)

    def _pixels(self, frames: Tensor) -> Tensor:
        pixels = frames.permute(0, 4, 1, 2, 3)  # (B, T, H, W, 3) -> (B, 3, T, H, W)
        pixels = pixels.float().sub_(255 * _MEAN).mul_(1 / (255 * _STD))
        return pixels.to(self.dtype).contiguous(memory_format=self.memory_format)


def _work_in_place(network: nn.Module) -> None:
    """Skip the copies that only training needs: only the next operation reads the result of a convolution or a sum."""
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
        elif isinstance(module, ResBlock):
            module.branch_fusion = _add_to_branch


def _add_to_branch(shortcut: Tensor, branch: Tensor) -> Tensor:
    return branch.add_(shortcut)  # the shortcut may be the block's input, which others read
