"""VGG-16, the `vgg` features: one row every sixth of a second, from the middle frame.

A row is what torchvision's `vgg16` gives after the second ReLU of its classifier (fc7, 4,096 numbers), without dropout
and the last linear layer. An encoder is cheap to make: its network is built when the first clip has to be encoded.

The published features for Charades-STA (`rgb_features`, six rows per second) name VGG and its fully connected layer, no
weights and no preprocessing, so equality with them cannot be verified. The authors of Charades offer fc7 features of
the RGB stream of a two-stream network; if `rgb_features` are these, their weights saw videos, the weights named here
ImageNet alone. Weights of the same network with another last layer are read all the same.

Source: Simonyan and Zisserman, Very Deep Convolutional Networks, configuration D; the features published with UMT and
read by FlashVTG for Charades-STA.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extractors.encoders.base import EncoderOptions
from extractors.encoders.torch_encoder import TorchVideoEncoder
from extractors.encoders.vgg import FEATURE
from extractors.files.identity import file_identity

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_FC7_END = 5  # of the classifier: linear, ReLU, dropout, linear, ReLU; dropout and the last linear follow
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision trained it
_BATCH = {"cpu": 8, "cuda": 64, "mps": 16}


class VggEncoder(TorchVideoEncoder):
    """VGG-16 up to fc7 and its ReLU, so rows are not negative.

    Args:
        weights: the file its network is read from, a state dict of torchvision's names.
        options: clip length, device and precision; the rest follows from the file.
    """

    def __init__(self, weights: Path, options: EncoderOptions) -> None:
        weights_id = f"{FEATURE.weights}:{file_identity(weights)}"
        order = (f"fc7:{FEATURE.dim}",)
        super().__init__(FEATURE, options, order=order, weights_id=weights_id, batch_sizes=_BATCH)
        self._weights = weights

    def _build(self, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        import torch
        from torchvision.models import vgg16

        from extractors.weights.state_dicts import named_tensors, read_torch, require_shapes

        with torch.device("meta"):  # random initialisation would be thrown away
            network: Any = vgg16(init_weights=False)
        network.classifier = network.classifier[:_FC7_END]
        state = named_tensors(self._weights, read_torch(self._weights), nested_in=("state_dict",))
        expected = network.state_dict()
        require_shapes(self._weights, state, expected, architecture="VGG-16")
        network.load_state_dict({name: state[name] for name in expected}, assign=True)
        # Channels-last is the faster layout on CPUs too, in every precision.
        network.to(device=device, dtype=dtype, memory_format=torch.channels_last)
        network.eval().requires_grad_(False)
        mean, std = (torch.tensor(values, device=device) for values in (_MEAN, _STD))

        def fc7(clips: Tensor) -> Tensor:
            pixels = (clips[:, 0].to(device).float() / 255 - mean) / std  # (B, 224, 224, 3)
            # A view that is channels-last in memory, (B, 3, 224, 224).
            features: Tensor = network(pixels.to(dtype).permute(0, 3, 1, 2))
            return features.float()

        return fc7


def write_random_weights(folder: Path) -> Path:
    """Write a file of random weights, of the size and form of torchvision's."""
    import torch
    from torchvision.models import vgg16

    path = folder / "vgg16.pth"
    torch.save(vgg16().state_dict(), path)
    return path
