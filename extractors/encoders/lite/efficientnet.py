"""EfficientNet-Lite as an inference network: normalisations folded, and packed on a CPU.

On one thread, torch computes 1x1 convolutions by copying all pixels first; packed ones are computed in place.
"""

from __future__ import annotations

from torch import Tensor, nn

from extractors.compute.folding import fold_norms
from extractors.compute.onednn import Activation, PackedConvolution

# Convolutions of the package's modules, the normalisations that run right after them, and what follows those.
_LAYERS: tuple[tuple[str, str, Activation], ...] = (
    ("_conv_stem", "_bn0", "relu6"),
    ("_expand_conv", "_bn0", "relu6"),
    ("_depthwise_conv", "_bn1", "relu6"),
    ("_project_conv", "_bn2", "none"),
    ("_conv_head", "_bn1", "relu6"),
)


def fold(network: nn.Module) -> None:
    """Fold every batch normalisation into the convolution before it, in place.

    Args:
        network: of efficientnet_lite_pytorch, in evaluation mode.
    """
    fold_norms(network, [(conv, norm) for conv, norm, _ in _LAYERS], nn.Identity())


def pack(network: nn.Module) -> None:
    """Replace every convolution, and the activation after it, by a packed one, in place.

    Args:
        network: as `fold` leaves it; of the "lite" kind, with ReLUs of at most 6.
    """
    for module in list(network.modules()):
        children = dict(module.named_children())
        for conv_name, _, activation in _LAYERS:
            conv = children.get(conv_name)
            if isinstance(conv, nn.Conv2d):
                setattr(module, conv_name, _PackedSame(conv, activation))
                module._swish = nn.Identity()


class _PackedSame(nn.Module):
    """A convolution padded as TensorFlow pads: more on the far side where it cannot be the same on both."""

    def __init__(self, convolution: nn.Conv2d, activation: Activation) -> None:
        super().__init__()
        pad = convolution.static_padding
        left, right, top, bottom = pad.padding if isinstance(pad, nn.ZeroPad2d) else (0, 0, 0, 0)
        self.even = left == right and top == bottom
        self.pad = nn.ZeroPad2d((left, right, top, bottom))
        self.convolution = PackedConvolution(
            convolution, activation, padding=(top, left) if self.even else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        result: Tensor = self.convolution(x if self.even else self.pad(x))
        return result
