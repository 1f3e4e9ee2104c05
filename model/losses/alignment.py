"""Alignment loss: the clips of the moment are closer to the query than the other clips of the video."""

from __future__ import annotations

import torch
from torch import Tensor


def alignment_loss(logits: Tensor, saliency: Tensor, mask: Tensor) -> Tensor:
    """Contrast the clips of each moment, taken together, with all clips of the video.

    Args:
        logits: (B, L) of the alignment head.
        saliency: (B, L) labels; clips above 0 are those of the moment.
        mask: (B, L) bool valid clips.

    Returns:
        the mean of −log of the share of the softmax over clips that falls on the moment; videos without a salient clip
        do not count.

    Source: the multi-positive form of InfoNCE (MIL-NCE; Miech et al., CVPR 2020), over the clips of one video.
    """
    inside = (saliency > 0) & mask
    has = inside.any(dim=1)
    if not has.any():
        return 0 * logits.sum()
    lowest = torch.finfo(logits.dtype).min
    everywhere = logits.masked_fill(~mask, lowest).logsumexp(dim=1)
    there = logits.masked_fill(~inside, lowest).logsumexp(dim=1)
    return (everywhere - there)[has].mean()
