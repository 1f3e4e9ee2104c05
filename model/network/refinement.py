"""Adaptive Score Refinement: how sure each point is, judged within its level and across levels (section 3.5)."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.layering import Pyramid


class AdaptiveScoreRefinement(nn.Module):
    """A learned blend of an intra-scale and an inter-scale score (equation 9).

    The paper blends scores in [0, 1]; the released code blends logits, by a factor that is not bounded.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.intra = ScoreHead(config)
        self.inter = ScoreHead(config) if config.score_refinement else None
        self.balance = nn.Parameter(torch.tensor(0.5)) if config.score_refinement else None

    def forward(self, pyramid: Pyramid) -> Tensor:
        """Score points.

        Returns:
            (B, P) logits of the confidence, float32.
        """
        intra = self.intra.over_levels(pyramid).float()
        if self.inter is None or self.balance is None:
            return intra
        inter = self.inter.across_levels(pyramid).float()
        return self.balance * intra + (1 - self.balance) * inter


class ScoreHead(nn.Module):
    """Convolutions over time and a perceptron a point."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, kernel = config.hidden_dim, config.score_kernel
        self.kernel = kernel
        self.convolutions = nn.ModuleList(
            nn.Conv1d(dim, dim, kernel, padding=kernel // 2) for _ in range(config.score_convolutions)
        )
        dims = [dim] + [dim // 2] * (config.score_layers - 1) + [1]
        self.linears = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(dims))

    def over_levels(self, pyramid: Pyramid) -> Tensor:
        """Score each level by itself; (B, P)."""
        scores = []
        for features, mask in pyramid.levels():
            x = features
            for convolution in self.convolutions:
                x = F.relu(convolution(x)) * mask
            scores.append(self.perceptron(x.transpose(1, 2)))  # (B, L)
        return torch.cat(scores, dim=1)

    def across_levels(self, pyramid: Pyramid) -> Tensor:
        """Score all levels as one sequence, where the end of a level meets the start of the next; (B, P).

        Where a sample is shorter than its batch its levels are first moved together, as they would lie if it
        were alone.
        """
        batch, points = pyramid.mask.shape
        order = (~pyramid.mask).to(torch.uint8).argsort(dim=1, stable=True)  # (B, P), valid points first
        offset = torch.arange(batch, device=order.device)[:, None] * points
        packed = pyramid.features.flatten(0, 1)[(order + offset).flatten()]  # (B · P, D)
        valid = pyramid.mask.gather(1, order)[:, None]  # (B, 1, P)
        x = packed.view(batch, points, -1).transpose(1, 2)  # (B, D, P)
        for convolution in self.convolutions:
            x = F.relu(convolution(x)) * valid
        scores = self.perceptron(x.transpose(1, 2))
        return scores.gather(1, order.argsort(dim=1))

    def perceptron(self, x: Tensor) -> Tensor:
        """(B, P, D) → (B, P)."""
        for linear in self.linears[:-1]:
            x = F.relu(linear(x))
        return self.linears[-1](x)[..., 0]  # type: ignore[no-any-return]
