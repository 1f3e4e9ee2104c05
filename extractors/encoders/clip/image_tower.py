"""The image tower of CLIP ViT-B/32, built by open_clip from only its own weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from extractors.encoders.clip.weights import read_state
from extractors.encoders.torch_encoder import without_deprecations

with without_deprecations():
    import open_clip

ARCHITECTURE = "ViT-B-32-quickgelu"
"""OpenAI trained with QuickGELU; under plain `ViT-B-32` the same weights give other features."""

_PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
_PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


class ImageTower(nn.Module):
    """Frames in, projected image features out.

    Args:
        weights: a file `read_state` can read.
        device: where it runs.
        dtype: number format it computes in.

    Raises:
        WeightsInvalid: if the file does not hold CLIP ViT-B/32.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, weights: Path, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        clip = _bare_clip()
        expected = {name: value for name, value in clip.state_dict().items() if name.startswith("visual.")}
        clip.load_state_dict(read_state(weights, expected), strict=False, assign=True)
        self.visual: nn.Module = clip.visual.to(device=device, dtype=dtype)
        scale, shift = pixel_affine(_PIXEL_MEAN, _PIXEL_STD)
        self.register_buffer("scale", scale.view(1, 3, 1, 1).to(device))
        self.register_buffer("shift", shift.view(1, 3, 1, 1).to(device))
        self.dtype = dtype
        self.eval().requires_grad_(False)

    @torch.inference_mode()
    def forward(self, frames: Tensor) -> Tensor:
        """Encode frames.

        Args:
            frames: (B, 224, 224, 3) uint8 RGB, on any device.

        Returns:
            (B, 512) float32, not normalised.
        """
        pixels = frames.to(self.scale.device).permute(0, 3, 1, 2)  # (B, 3, H, W)
        pixels = torch.addcmul(self.shift, pixels.float(), self.scale)  # in fp32: rounded once, by the cast
        features: Tensor = self.visual(pixels.to(self.dtype))
        return features.float()


def open_clips_tokenizer() -> Callable[[str], list[int]]:
    """What turns a text into tokens in open_clip, without start and end."""
    encode: Callable[[str], list[int]] = open_clip.get_tokenizer(ARCHITECTURE).encode
    return encode


def pixel_affine(mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor]:
    """The (3,) scale and shift that turn bytes x into `(x / 255 - mean) / std` as `shift + x * scale`."""
    mean_t, std_t = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    return (1 / (255 * std_t)).float(), (-mean_t / std_t).float()


def _bare_clip() -> Any:
    """CLIP without memory behind its parameters: a random start would take longer than all the rest."""
    with torch.device("meta"):
        return open_clip.CLIP(**open_clip.get_model_config(ARCHITECTURE))


def write_random_weights(folder: Path) -> Path:
    """Write a file of random weights, of the size and form of the published one."""
    from safetensors.torch import save_file

    state = open_clip.CLIP(**open_clip.get_model_config(ARCHITECTURE)).state_dict()
    path = folder / "clip.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path
