"""Batch normalisations folded into the convolutions before them, for inference."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_norms(network: nn.Module, layers: Iterable[tuple[str, str]], left: nn.Module | None) -> None:
    """Fold every batch normalisation into the convolution before it, in place.

    Args:
        network: in evaluation mode.
        layers: names of a convolution and of the normalisation that runs right after it, both in one module.
        left: stands in place of each normalisation.

    Raises:
        ValueError: if a normalisation has no convolution known to run before it.
    """
    layers = tuple(layers)
    for module in network.modules():
        for conv_name, norm_name in layers:
            conv, norm = getattr(module, conv_name, None), getattr(module, norm_name, None)
            if isinstance(conv, (nn.Conv2d, nn.Conv3d)) and isinstance(
                norm, (nn.BatchNorm2d, nn.BatchNorm3d)
            ):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, left)
    kept = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    if kept:
        raise ValueError(f"{len(kept)} normalisations could not be folded, among them {kept[0]}")
