"""Boundary regression."""

from __future__ import annotations

import torch
from torch import Tensor


def offset_iou(offsets: Tensor, target: Tensor) -> Tensor:
    """IoU of two moments around the same point, given by their distances from it.

    Args:
        offsets, target: (…, 2) distances to start and end, not negative.

    Returns:
        (…) in [0, 1]; 0 where both are empty.
    """
    common = torch.minimum(offsets, target).sum(dim=-1)
    covered = torch.maximum(offsets, target).sum(dim=-1)
    return common / covered.clamp(min=torch.finfo(covered.dtype).tiny)


def offset_loss(offsets: Tensor, target: Tensor, positive: Tensor) -> Tensor:
    """L1 distance of offsets from their targets, averaged over positive points; 0 if there are none.

    Args:
        offsets: (B, P, 2), in strides.
        target: (B, P, 2), in strides; read only where positive.
        positive: (B, P) bool.

    Source: section 3.6.
    """
    chosen = positive[..., None]
    distance = torch.where(chosen, offsets - torch.where(chosen, target, 0.0), 0.0).abs()
    return distance.sum() / (2 * positive.sum()).clamp(min=1)
