"""A space that clips and queries share, where clips that show what a query asks for point in its direction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MatchingSpace(nn.Module):
    """Maps of clips and of queries into one space, always in float32.

    The rows of videos and queries are read as they come, not as the rest of the network projects them.

    Args:
        video_dim: length of a video row.
        text_dim: length of a token row.
        dim: of the space.
        dropout: of what is projected.
        kernel: of the convolution over clips, odd; 1 is a linear map of each.
    """

    def __init__(
        self, video_dim: int, text_dim: int, dim: int, *, dropout: float = 0.0, kernel: int = 1
    ) -> None:
        super().__init__()
        self._reads_neighbours = kernel > 1
        self.clip_projection: nn.Linear | nn.Conv1d = (
            nn.Linear(video_dim, dim)
            if kernel == 1
            else nn.Conv1d(video_dim, dim, kernel, padding=kernel // 2)
        )
        self.query_projection = nn.Linear(text_dim, dim)
        self.word_scores = nn.Linear(text_dim, 1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def clip_directions(self, video: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors of clips.

        Args:
            video: (B, L, D_v) rows, without the temporal endpoint feature.
            mask: (B, L) bool; padding has no effect on valid clips.

        Returns:
            (B, L, D).
        """
        with torch.autocast(video.device.type, enabled=False):
            rows = self.dropout(video)
            if not self._reads_neighbours:
                return F.normalize(self.clip_projection(rows), dim=-1)
            rows = (rows * mask[..., None]).transpose(1, 2)
            return F.normalize(self.clip_projection(rows).transpose(1, 2), dim=-1)

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
            return F.normalize(self.query_projection(self.dropout(pooled)), dim=-1)
