"""Saliency loss: hinge, rank contrast and negative pairs, on saliency and again on attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import LossConfig
from model.network.flashvtg import FlashVTGOutput

HIGHEST_LABEL = 12
"""Largest saliency label: the sum of three annotators' scores of 0 to 4."""


def saliency_loss(
    output: FlashVTGOutput, saliency: Tensor, positive: Tensor, negative: Tensor, config: LossConfig
) -> Tensor:
    """The whole saliency loss.

    The paper's text gives the part on saliency scores. The released code repeats it on the share of attention
    that falls on words, with a cross-entropy in addition, and so does this one.

    Args:
        output: of the network; its negatives are used if it has them.
        saliency: (B, L) labels in 0 … 12.
        positive: (B, N) indices of clips that should be more salient …
        negative: (B, N) … than these.
        config: weights and constants.

    Source: section 3.6; Moon et al., CG-DETR.
    """
    mask, negatives = output.video_mask, output.negatives
    scores, engagement = output.saliency.float(), output.engagement.float()
    margin, temperature = config.saliency_margin, config.saliency_temperature

    on_scores = saliency_hinge(scores, positive, negative, margin=margin)
    on_attention = saliency_hinge(engagement, positive, negative, margin=margin)
    on_attention = (
        on_attention + _engagement_cross_entropy(engagement, saliency.clamp(0, 1), mask).sum() / mask.sum()
    )

    if negatives is None:
        on_scores = on_scores + rank_contrast(scores, saliency, mask, temperature=temperature).mean()
        on_attention = (
            on_attention + rank_contrast(engagement, saliency, mask, temperature=temperature).mean()
        )
        return on_scores + config.attention_weight * on_attention

    index = negatives.index
    mask_twice = torch.cat([mask[index], mask[index]], dim=1)  # (R, 2 L)
    labels = F.pad(saliency[index], (0, saliency.shape[1]))  # under a foreign query no clip is salient

    def contrast(under_own: Tensor, under_foreign: Tensor) -> Tensor:
        both = torch.cat([under_own[index], under_foreign], dim=1)  # (R, 2 L)
        return rank_contrast(both, labels, mask_twice, temperature=temperature).mean()

    foreign_scores, foreign_engagement = negatives.saliency.float(), negatives.engagement.float()
    on_scores = on_scores + contrast(scores, foreign_scores)
    on_scores = on_scores + _contrast_of_the_others(scores, saliency, mask, index, temperature)
    on_attention = on_attention + contrast(engagement, foreign_engagement)

    # −log(1 − σ(s)) is the softplus of s; summed over clips, averaged over samples.
    foreign_mask = mask[index]
    silence = (F.softplus(foreign_scores) * foreign_mask).sum(dim=1).mean()
    disengagement = _engagement_cross_entropy(
        foreign_engagement, torch.zeros_like(foreign_engagement), foreign_mask
    )
    on_scores = on_scores + config.negative_weight * silence
    on_attention = on_attention + config.negative_weight * disengagement.sum(dim=1).mean()
    return on_scores + config.attention_weight * on_attention


def saliency_hinge(scores: Tensor, positive: Tensor, negative: Tensor, *, margin: float) -> Tensor:
    """Positive clips should score higher than negative ones by a margin; twice the mean over pairs.

    Args:
        scores: (B, L).
        positive: (B, N) indices.
        negative: (B, N) indices.
        margin: wanted distance.
    """
    gap = scores.gather(1, positive) - scores.gather(1, negative)
    return 2 * F.relu(margin - gap).mean()


def rank_contrast(scores: Tensor, labels: Tensor, mask: Tensor, *, temperature: float) -> Tensor:
    """For every rank, clips of that label or more against all the others.

    Args:
        scores: (B, L).
        labels: (B, L) in 0 … 12.
        mask: (B, L) bool.
        temperature: of the softmax.

    Returns:
        (B,) loss of each sample, the sum over ranks 1 … 11 divided by 12, as in the released code.
    """
    logits = scores / temperature
    highest = torch.where(mask, logits, -torch.inf).amax(dim=1, keepdim=True)
    logits = torch.where(mask, logits - highest, 0.0)
    log_share = logits - ((logits.exp() * mask).sum(dim=1, keepdim=True) + 1e-6).log()  # (B, L)
    ranks = torch.arange(1, HIGHEST_LABEL, device=scores.device)
    salient = (labels >= ranks[:, None, None]) & mask  # (ranks, B, L)
    mean = (salient * log_share).sum(dim=2) / (salient.sum(dim=2) + 1e-6)  # (ranks, B)
    return -mean.sum(dim=0) / HIGHEST_LABEL


def _contrast_of_the_others(
    scores: Tensor, labels: Tensor, mask: Tensor, index: Tensor, temperature: float
) -> Tensor:
    """Rank contrast of the samples without a negative; none if it is a single one, as in the released code."""
    other = torch.ones(len(scores), dtype=scores.dtype, device=scores.device)
    other[index] = 0
    count = len(scores) - len(index)
    if count < 2:
        return scores.new_zeros(())
    return (rank_contrast(scores, labels, mask, temperature=temperature) * other).sum() / count


def _engagement_cross_entropy(engagement: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """(B, L) binary cross-entropy, zero where padded; finite even at 0 and 1."""
    return F.binary_cross_entropy(engagement, target.to(engagement.dtype), reduction="none") * mask
