"""Classification of points, and of clips where a dataset has no moments."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def focal_loss(logits: Tensor, positive: Tensor, mask: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Sigmoid focal loss, without class balance, averaged over the valid points of the batch.

    Args:
        logits: (B, P).
        positive: (B, P) bool.
        mask: (B, P) bool.
        gamma: how strongly easy points are discounted.

    Source: Lin et al., Focal Loss for Dense Object Detection.
    """
    target = positive.to(logits.dtype)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = torch.where(positive, -logits, logits).sigmoid()  # 1 − probability of the truth
    return _masked_mean(cross_entropy * wrong**gamma, mask)


def quality_focal_loss(logits: Tensor, quality: Tensor, positive: Tensor, mask: Tensor) -> Tensor:
    """Focal loss whose targets are how good a point's moment is, so that confidence ranks good moments first.

    Args:
        logits: (B, P).
        quality: (B, P) IoU of the moment that a positive point predicts with the annotated one, in [0, 1].
        positive: (B, P) bool; the target of other points is 0.
        mask: (B, P) bool.

    Returns:
        the sum over valid points, divided by the number of positive ones.

    Source: Li et al., Generalized Focal Loss, NeurIPS 2020, equation 2, with β = 2.
    """
    target = torch.where(positive, quality, 0.0)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = (logits.sigmoid() - target).square()
    return (cross_entropy * wrong * mask).sum() / (positive & mask).sum().clamp(min=1)


def saliency_classification_loss(logits: Tensor, saliency: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of confidence against saliency labels, averaged over the valid clips.

    TVSum's labels reach 12. The released recipe feeds them as they are, and so does this one.

    Args:
        logits: (B, L).
        saliency: (B, L) labels.
        mask: (B, L) bool.
    """
    return _masked_mean(F.binary_cross_entropy_with_logits(logits, saliency, reduction="none"), mask)


def _masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum() / mask.sum().clamp(min=1)
