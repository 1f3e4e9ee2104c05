"""Temporal Feature Layering, the points it makes, and the boundaries they predict (section 3.4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig


@dataclass(frozen=True)
class Pyramid:
    """Levels of ever coarser points, laid one after another.

    Attributes:
        features: (B, P, D), zero outside the mask.
        mask: (B, P) true where the point covers valid clips alone.
        lengths: points of each level, adding up to P.
        strides: clips per point of each level.
    """

    features: Tensor
    mask: Tensor
    lengths: tuple[int, ...]
    strides: tuple[int, ...]

    def levels(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Features (B, D, L) and mask (B, 1, L) of each level, as convolutions read them."""
        parts = (torch.split(x, list(self.lengths), dim=1) for x in (self.features, self.mask))
        for features, mask in zip(*parts, strict=True):
            yield features.transpose(1, 2), mask[:, None]


class TemporalFeatureLayering(nn.Module):
    """Levels of stride 1, 2, 4, …: each has its own stack of halvings, all starting from the clips.

    The paper writes F_k as k − 1 strided convolutions of F; the released code puts a LayerNorm and a ReLU
    behind each, and rectifies F itself before every level reads it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.strides = config.level_strides
        self.levels = nn.ModuleList(
            nn.Sequential(*(Halving(config.hidden_dim) for _ in range(level)))
            for level in range(len(self.strides))
        )

    def forward(self, clips: Tensor, mask: Tensor) -> Pyramid:
        """Build the levels.

        Args:
            clips: (B, L, D) rectified clips, zero outside the mask.
            mask: (B, L) bool, valid clips first.

        Returns:
            Levels of ⌊L / stride⌋ points; strides longer than the video have none and are left out.
        """
        count = mask.sum(dim=1, keepdim=True)  # (B, 1)
        features, masks = [], []
        for stride, halvings in zip(self.strides, self.levels, strict=True):
            if stride > clips.shape[1]:
                break
            level = halvings(clips)  # (B, ⌊L / stride⌋, D)
            index = torch.arange(level.shape[1], device=mask.device)
            valid = index < count // stride
            features.append(level * valid[..., None])
            masks.append(valid)
        return Pyramid(
            torch.cat(features, dim=1),
            torch.cat(masks, dim=1),
            tuple(level.shape[1] for level in features),
            self.strides[: len(features)],
        )


class Halving(nn.Module):
    """One row from every two: a convolution of kernel and stride 2, LayerNorm, ReLU.

    Such a convolution never overlaps itself, so it is a linear map of pairs.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) → (B, ⌊L / 2⌋, D)."""
        length = x.shape[1] // 2
        pairs = x[:, : 2 * length].reshape(len(x), length, -1)  # (B, L / 2, 2 · D), the earlier row first
        return F.relu(self.norm(self.linear(pairs)))


class BoundaryHead(nn.Module):
    """How far each point is from the start and the end of its moment (equation 5).

    The paper rectifies the distances; the released code takes an exponential and scales it by a learned
    factor a level.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.hidden = nn.Conv1d(config.hidden_dim, config.hidden_dim, kernel_size=3, padding=1)
        self.output = nn.Conv1d(config.hidden_dim, 2, kernel_size=3, padding=1)
        self.scale = nn.Parameter(torch.ones(len(config.level_strides)))

    def forward(self, pyramid: Pyramid) -> Tensor:
        """Predict offsets.

        Returns:
            (B, P, 2) distances to start and end, positive, in strides of the point's level; float32.
        """
        distances = self.raw(pyramid).float().exp()
        scale = torch.cat(
            [factor.expand(length) for factor, length in zip(self.scale, pyramid.lengths, strict=False)]
        )
        return distances * scale[:, None]

    def raw(self, pyramid: Pyramid) -> Tensor:
        """(B, P, 2) logarithms of the distances, before they are scaled."""
        levels = [self.output(F.relu(self.hidden(x)) * mask) for x, mask in pyramid.levels()]
        return torch.cat(levels, dim=2).transpose(1, 2)


def level_points(pyramid: Pyramid) -> Tensor:
    """Where points lie and which moments they answer for.

    Returns:
        (P, 4) position and the least and largest distance to the farther boundary a level is trained on,
        both in clips; stride.
    """
    device = pyramid.features.device
    points = []
    for level, (length, stride) in enumerate(zip(pyramid.lengths, pyramid.strides, strict=True)):
        low = 0 if level == 0 else stride
        high = torch.inf if level == len(pyramid.strides) - 1 else 2 * stride
        row = torch.tensor([0, low, high, stride], dtype=torch.float32, device=device).expand(length, 4)
        position = torch.arange(length, dtype=torch.float32, device=device) * stride
        points.append(torch.cat([position[:, None], row[:, 1:]], dim=1))
    return torch.cat(points)
