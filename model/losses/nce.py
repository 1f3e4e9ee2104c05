"""SampledNCE: a query should be nearest to its most salient clip."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sampled_nce_loss(
    clips: Tensor,
    query: Tensor,
    positive: Tensor,
    saliency: Tensor,
    mask: Tensor,
    *,
    temperature: float,
    over_batch: bool,
) -> Tensor:
    """Contrast a query's positive clip with the clips that are no more salient.

    Args:
        clips: (B, L, D) fused clips.
        query: (B, D) pooled queries.
        positive: (B,) index of each sample's positive clip.
        saliency: (B, L) labels.
        mask: (B, L) bool.
        temperature: of the softmax.
        over_batch: also contrast the clip at each sample's positive index over the batch.

    Source: Liu et al., R²-Tuning, video-query contrast; section 3.6.
    """
    similarity = (F.normalize(clips, dim=-1) @ F.normalize(query, dim=-1)[..., None])[..., 0]  # (B, L)
    allowed = (saliency <= saliency.gather(1, positive[:, None])) & mask
    scores = (similarity / temperature).masked_fill(~allowed, -torch.inf)
    loss = -scores.log_softmax(dim=1).gather(1, positive[:, None]).mean()
    if over_batch:
        at_positive = scores[:, positive]  # (B, B): sample, whose positive index
        loss = loss - at_positive.log_softmax(dim=0).diagonal().mean()
    return loss
