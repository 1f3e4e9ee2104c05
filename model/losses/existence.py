"""Existence loss: a video shows what its own query asks for, and not what another video's does."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def existence_loss(own: Tensor, foreign: Tensor) -> Tensor:
    """Binary cross-entropy, in which both kinds count half however many there are.

    Args:
        own: (B,) logits of videos under their own queries.
        foreign: (R,) logits of videos under queries of others, R > 0.
    """
    return (F.softplus(-own).mean() + F.softplus(foreign).mean()) / 2
