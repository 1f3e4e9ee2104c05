"""The existence head: whether a video shows what a query asks for at all. It is an addition to the paper."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.matching import MatchingSpace

_SCALE, _SHARPNESS = 10.0, 10.0  # learnt from here on


class ExistenceHead(MatchingSpace):
    """Judges pairs of videos and queries in a space of its own.

    The head shares no weight with the rest of the network. So training it changes nothing about the moments, and a
    video can be compared with every query of a batch.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.video_dim, config.text_dim, config.hidden_dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_SCALE)))
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(_SHARPNESS)))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, clips: Tensor, query: Tensor, mask: Tensor) -> Tensor:
        """Judge as many videos as queries.

        Args:
            clips: (B, L, D) from `clip_directions`.
            query: (B, D) from `query_directions`.
            mask: (B, L) bool; padding has no effect.

        Returns:
            (B,) logits of the probability that the video shows what the query asks for.
        """
        with torch.autocast(clips.device.type, enabled=False):
            return self._logits((clips @ query[..., None])[..., 0], mask)

    def pairs(self, clips: Tensor, query: Tensor, mask: Tensor) -> Tensor:
        """Judge every video under every query; arguments as for `forward`, but with any number of queries.

        Returns:
            (B, Q) logits.
        """
        with torch.autocast(clips.device.type, enabled=False):
            return self._logits((clips @ query.T).transpose(1, 2), mask[:, None])

    def _logits(self, cosines: Tensor, mask: Tensor) -> Tensor:
        """A mean over the clips in which those that match count most: (…, L) → (…)."""
        weights = (cosines * self.log_sharpness.exp()).masked_fill(~mask, -torch.inf).softmax(dim=-1)
        return self.log_scale.exp() * (weights * cosines).sum(dim=-1) + self.bias
