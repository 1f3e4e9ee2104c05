"""Existence loss: a video shows what its own query asks for, and not what others ask for."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def existence_loss(own: Tensor, foreign: Tensor, absent: Tensor | None = None) -> Tensor:
    """Binary cross-entropy: own queries count half, and each kind of negatives the same, however many there are.

    Args:
        own: (B,) logits of videos under their own queries.
        foreign: (R,) logits of videos under queries of other videos.
        absent: (N,) logits of pairs from a file of negatives. At least one of `foreign` and `absent` must not be empty.
    """
    negatives = [logits for logits in (foreign, absent) if logits is not None and len(logits)]
    wrong = sum(F.softplus(logits).mean() for logits in negatives) / len(negatives)
    return (F.softplus(-own).mean() + wrong) / 2
