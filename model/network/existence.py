"""The existence head: whether a video shows what a query asks for at all. It is an addition to the paper."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig

_SCALE, _SHARPNESS = 10.0, 10.0  # learnt from here on


class ExistenceHead(nn.Module):
    """Clips and queries in one space, where clips that show what a query asks for point in its direction.

    The head reads the rows of videos and queries as they come and shares no weight with the rest of the network. So
    training it changes nothing about the moments, and a video can be compared with every query of a batch. It always
    runs in float32.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.clip_projection = nn.Linear(config.video_dim, config.hidden_dim)
        self.query_projection = nn.Linear(config.text_dim, config.hidden_dim)
        self.word_scores = nn.Linear(config.text_dim, 1, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_SCALE)))
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(_SHARPNESS)))
        self.bias = nn.Parameter(torch.zeros(()))

    def clip_directions(self, video: Tensor) -> Tensor:
        """Unit vectors of clips.

        Args:
            video: (B, L, D_v) rows, without the temporal endpoint feature.

        Returns:
            (B, L, D).
        """
        with torch.autocast(video.device.type, enabled=False):
            return F.normalize(self.clip_projection(video), dim=-1)

    def query_directions(self, text: Tensor, text_mask: Tensor) -> Tensor:
        """Unit vectors of queries: their tokens, weighed by a learned softmax.

        Args:
            text: (Q, T, D_t).
            text_mask: (Q, T) bool.

        Returns:
            (Q, D).
        """
        with torch.autocast(text.device.type, enabled=False):
            scores = self.word_scores(text)[..., 0].masked_fill(~text_mask, -torch.inf)  # (Q, T)
            pooled = (scores.softmax(dim=-1)[:, None] @ text)[:, 0]  # (Q, D_t)
            return F.normalize(self.query_projection(pooled), dim=-1)

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
