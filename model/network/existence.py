"""The existence head: whether a video shows what a query asks for at all. It is an addition to the paper."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig

MEASURES = 6
"""Numbers beside the pooled clips: maximum and mean of saliency, engagement and the cosine with the query."""


class ExistenceHead(nn.Module):
    """One linear layer on the fused clips, pooled, and on what the other heads make of them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * config.hidden_dim + MEASURES, 1)

    def forward(
        self, clips: Tensor, query: Tensor, saliency: Tensor, engagement: Tensor, mask: Tensor
    ) -> Tensor:
        """Judge pairs of a video and a query.

        Args:
            clips: (B, L, D) fused clips.
            query: (B, D) the pooled query.
            saliency: (B, L) logits.
            engagement: (B, L) share of the attention that falls on words.
            mask: (B, L) bool; padding has no effect.

        Returns:
            (B,) logits of the probability that the video shows what the query asks for.
        """
        rectified = F.relu(clips)
        nearness = F.cosine_similarity(rectified, query[:, None], dim=-1)  # (B, L)
        rows = torch.stack([saliency, engagement, nearness], dim=-1).to(clips.dtype)
        rows = torch.cat([rectified, rows], dim=-1)  # (B, L, D + 3)
        highest = rows.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)
        mean = (rows * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        logits: Tensor = self.linear(torch.cat([highest, mean], dim=-1))  # (B, 1)
        return logits[..., 0]
