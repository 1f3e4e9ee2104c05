"""VGG-16, the `vgg` features: one row every sixth of a second, from the middle frame.

A row is what torchvision's `vgg16` gives after the second ReLU of its classifier (fc7, 4,096 numbers), without dropout
and the last linear layer. An encoder is cheap to make: its network is built when the first clip has to be encoded.

The published features for Charades-STA (`rgb_features`, six rows a second) name VGG and its fully connected layer, no
weights and no preprocessing, so equality with them cannot be verified. The authors of Charades offer fc7 features of
the RGB stream of a two-stream network; if `rgb_features` are these, their weights saw videos, the weights named here
ImageNet alone. Weights of the same network with another last layer are read all the same.

Source: Simonyan and Zisserman, Very Deep Convolutional Networks, configuration D; the features published with UMT and
read by FlashVTG for Charades-STA.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from extractors.base import FRAME_SIZE, EncoderOptions, FeatureSpec
from extractors.clips import Sampling
from extractors.identity import file_identity
from extractors.weights import resolve

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

ARTEFACT = "vgg16"
DIM = 4096

_FC7_END = 5  # of the classifier: linear, ReLU, dropout, linear, ReLU; dropout and the last linear follow
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision trained it
_BATCH = {"cpu": 8, "cuda": 64, "mps": 16}


def load_video_encoder(options: EncoderOptions) -> VggEncoder:
    """Make the encoder of frames.

    Raises:
        WeightsMissing: if its weights are neither here nor reachable.
        WeightsInvalid: if a download is damaged.
    """
    weights = resolve(
        ARTEFACT,
        path=options.weights_path("vgg"),
        offline=options.offline,
        progress=options.on_download,
    )
    return VggEncoder(weights, options)


class VggEncoder:
    """VGG-16 up to fc7; a `VideoEncoder`.

    Args:
        weights: the file its network is read from, a state dict of torchvision's names.
        options: clip length, device and precision; the rest is settled by the file.
    """

    def __init__(self, weights: Path, options: EncoderOptions) -> None:
        self._weights = weights
        self._options = options
        self._spec = FeatureSpec(
            name="vgg",
            dim=DIM,
            clip_length_s=options.clip_length_s,
            order=(f"fc7:{DIM}",),
            weights_id=f"{ARTEFACT}:{file_identity(weights)}",
        )

    @property
    def spec(self) -> FeatureSpec:
        """What its rows are: fc7 after its ReLU, so not negative, and not normalised."""
        return self._spec

    @property
    def sampling(self) -> Sampling:
        """The frame at the middle of each clip."""
        return Sampling("center_frame", self._spec.clip_length_s)

    @property
    def batch_size(self) -> int:
        """Clips a forward pass takes at once on its device."""
        return _BATCH[self._device.type]

    @property
    def shares_batches(self) -> bool:
        """On GPUs, where a batch that is not full costs as much as one that is."""
        return self._device.type == "cuda"

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode clips; longer inputs than `batch_size` are cut into batches.

        Args:
            clips: (B, 1, 224, 224, 3) RGB.

        Returns:
            (B, 4096) features, not normalised.

        Raises:
            ValueError: if the shape is another.
            WeightsInvalid: on the first call, if the weights are damaged or of another architecture.
            UsageError: on the first call, if the device or precision is not there.
        """
        import torch

        expected = (1, FRAME_SIZE, FRAME_SIZE, 3)
        if clips.dtype != np.uint8 or clips.shape[1:] != expected:
            raise ValueError(f"clips are {clips.dtype} {clips.shape}; expected uint8 (B, {expected})")
        rows = np.empty((len(clips), DIM), np.float32)
        for first in range(0, len(clips), self.batch_size):
            batch = np.require(clips[first : first + self.batch_size, 0], requirements=["C", "W"])
            with torch.inference_mode():
                features = self._network(self._pixels(torch.from_numpy(batch)))
            rows[first : first + len(batch)] = features.float().cpu().numpy()
        return rows

    def _pixels(self, frames: Tensor) -> Tensor:
        """(B, 224, 224, 3) bytes to (B, 3, 224, 224) as the network was trained; still channels-last in memory."""
        import torch

        pixels = frames.to(self._device).float() / 255
        mean, std = (torch.tensor(values, device=self._device) for values in (_MEAN, _STD))
        return ((pixels - mean) / std).to(self._dtype).permute(0, 3, 1, 2)

    @cached_property
    def _device(self) -> torch.device:
        from extractors.device import resolve_device

        return resolve_device(self._options.device)

    @cached_property
    def _dtype(self) -> torch.dtype:
        from extractors.device import resolve_precision

        return resolve_precision(self._options.precision, self._device)

    @cached_property
    def _network(self) -> nn.Module:
        import torch
        from torchvision.models import vgg16

        from extractors.state_dicts import named_tensors, read_torch, require_shapes

        with torch.device("meta"):  # random initialisation would be thrown away
            network: Any = vgg16(init_weights=False)
        network.classifier = network.classifier[:_FC7_END]
        state = named_tensors(self._weights, read_torch(self._weights), nested_in=("state_dict",))
        expected = network.state_dict()
        require_shapes(self._weights, state, expected, architecture="VGG-16")
        network.load_state_dict({name: state[name] for name in expected}, assign=True)
        # Channels-last is the faster layout on CPUs too, in every precision.
        network.to(device=self._device, dtype=self._dtype, memory_format=torch.channels_last)
        trunk: nn.Module = network.eval().requires_grad_(False)
        return trunk
