"""Weights files of the real architectures, filled from a seed.

They take as long to read and run as trained ones, so speed can be measured without weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extractors.errors import UsageError

if TYPE_CHECKING:
    from torch import nn


def write_random_weights(feature: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a file that the encoders of a feature can read, of the size and form of a published one.

    Args:
        feature: `clip`, `slowfast` or `vgg`.
        folder: where to; must exist.
        seed: of the random numbers; the global generator is left as it was.

    Returns:
        The file.

    Raises:
        UsageError: if the feature has no weights.
    """
    import torch

    if feature not in _WRITERS:
        raise UsageError(f"'{feature}' has no weights to be made up; known are {', '.join(_WRITERS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _WRITERS[feature](folder)


def _write_clip(folder: Path) -> Path:
    import open_clip
    from safetensors.torch import save_file

    from extractors.encoders.clip.image_tower import ARCHITECTURE

    state = open_clip.CLIP(**open_clip.get_model_config(ARCHITECTURE)).state_dict()
    path = folder / "clip.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


def _write_slowfast(folder: Path) -> Path:
    import torch

    network = random_slowfast()
    path = folder / "slowfast.pyth"
    torch.save({"model_state": network.state_dict()}, path)
    return path


def _write_vgg(folder: Path) -> Path:
    import torch
    from torchvision.models import vgg16

    path = folder / "vgg16.pth"
    torch.save(vgg16().state_dict(), path)
    return path


def random_slowfast() -> nn.Module:
    """PyTorchVideo's own SlowFast 8x8 R50, with statistics in its normalisations that keep its states in range.

    Without them the states of a random network this deep grow from layer to layer, and rows say nothing of the clip.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        from pytorchvideo.models.hub.slowfast import slowfast_r50

    network: Any = slowfast_r50(pretrained=False)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = None  # the statistics of the one batch below
    fast = torch.randn(2, 3, 32, 56, 56)
    pathways = [fast[:, :, ::4], fast]
    with torch.no_grad():
        for block in network.train().blocks[:5]:
            pathways = block(pathways)
    random: nn.Module = network.eval().requires_grad_(False)
    return random


_WRITERS: Mapping[str, Callable[[Path], Path]] = {
    "clip": _write_clip,
    "slowfast": _write_slowfast,
    "vgg": _write_vgg,
}
