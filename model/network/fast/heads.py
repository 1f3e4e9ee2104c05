"""The heads over the pyramid, with one convolution for all levels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.layering import BoundaryHead, Pyramid
from model.network.refinement import ScoreHead


class FastBoundaryHead(BoundaryHead):
    """Distances of all levels at once."""

    def raw(self, pyramid: Pyramid) -> Tensor:
        """As `BoundaryHead.raw`."""
        ribbon = Ribbon(pyramid, gap=1)
        return ribbon.points(self.output(ribbon.convolve(ribbon.features, self.hidden)))


class FastScoreHead(ScoreHead):
    """Scores within all levels at once."""

    def over_levels(self, pyramid: Pyramid) -> Tensor:
        """As `ScoreHead.over_levels`."""
        ribbon = Ribbon(pyramid, gap=self.kernel // 2)
        x = ribbon.features
        for convolution in self.convolutions:
            x = ribbon.convolve(x, convolution)
        return self.perceptron(ribbon.points(x))


class Ribbon:
    """All levels in one row with zeros between them, so that one convolution serves every level.

    The zeros are what a convolution over a level alone would be padded with.

    Attributes:
        features: (B, D, R).
    """

    def __init__(self, pyramid: Pyramid, gap: int) -> None:
        self._lengths = pyramid.lengths
        self._gap = gap
        self.features = self._lay(pyramid.features).transpose(1, 2)
        self._mask = self._lay(pyramid.mask[..., None]).transpose(1, 2)  # (B, 1, R)

    def convolve(self, x: Tensor, convolution: nn.Module) -> Tensor:
        """(B, D, R) → (B, D, R): convolve, rectify, and put the zeros back."""
        return F.relu(convolution(x)) * self._mask

    def points(self, x: Tensor) -> Tensor:
        """(B, C, R) → (B, P, C): take the zeros out again."""
        levels = torch.split(x.transpose(1, 2), [length + self._gap for length in self._lengths], dim=1)
        return torch.cat(
            [level[:, :length] for level, length in zip(levels, self._lengths, strict=True)], dim=1
        )

    def _lay(self, x: Tensor) -> Tensor:
        return torch.cat(
            [F.pad(level, (0, 0, 0, self._gap)) for level in torch.split(x, list(self._lengths), dim=1)],
            dim=1,
        )
