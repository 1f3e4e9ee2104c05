"""The highlight head: how well each clip matches the whole fused video (section 3.3)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from model.config import ModelConfig


class HighlightHead(nn.Module):
    """Saliency of every clip: its product with the mean of all clips, each projected."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.clip_projection = nn.Linear(config.hidden_dim, config.hidden_dim)
        self.video_projection = nn.Linear(config.hidden_dim, config.hidden_dim)

    def forward(self, clips: Tensor, mask: Tensor) -> Tensor:
        """Score clips.

        Args:
            clips: (B, L, D) fused clips.
            mask: (B, L) bool; only these enter the mean.

        Returns:
            (B, L) saliency, unbounded.
        """
        weight = mask.to(clips.dtype) / mask.sum(dim=1, keepdim=True).clamp(min=1)  # (B, L)
        video = self.video_projection((weight[:, None] @ clips)[:, 0])  # (B, D)
        scores: Tensor = self.clip_projection(clips) @ video[..., None]  # (B, L, 1)
        return scores[..., 0] / math.sqrt(clips.shape[-1])
