"""Clip-Aware Score Loss: confidence should rise and fall with saliency (equation 10)."""

from __future__ import annotations

import torch
from torch import Tensor


def clip_aware_loss(logits: Tensor, saliency: Tensor, mask: Tensor) -> Tensor:
    """Squared distance of confidences from saliency labels, each rescaled to [0, 1].

    The least and the largest value are those of the whole batch, as in the released code; the paper can be
    read as saying those of each sample. Padding takes no part.

    Args:
        logits: (B, L) confidence of the points of stride 1.
        saliency: (B, L) labels.
        mask: (B, L) bool.
    """
    distance = (_rescaled(saliency, mask) - _rescaled(logits, mask)) ** 2
    return (distance * mask).sum() / mask.sum().clamp(min=1)


def _rescaled(x: Tensor, mask: Tensor) -> Tensor:
    low = torch.where(mask, x, torch.inf).min()
    span = torch.where(mask, x, -torch.inf).max() - low
    return (x - low) / torch.where(span > 0, span, 1.0)  # a constant cannot be rescaled
