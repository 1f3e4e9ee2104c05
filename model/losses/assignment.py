"""Which points are responsible for which moment."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Assignment(NamedTuple):
    """What each point should say.

    Attributes:
        positive: (B, P) whether a moment is the point's to find.
        offsets: (B, P, 2) distances to its start and end in strides of the point; of the first moment where
            the point is not positive.
    """

    positive: Tensor
    offsets: Tensor


def assign_points(points: Tensor, windows: Tensor, *, radius: float) -> Assignment:
    """Assign the shortest fitting moment to each point.

    A moment fits a point that lies inside it and near its centre, if the distance to its farther end is
    within the range of the point's level.

    Args:
        points: (P, 4) position, range low, range high, stride; in clips.
        windows: (B, W, 2) start and end in clips, padded with infinity.
        radius: strides around the centre that count as near.

    Source: section 3.6; FCOS centre sampling.
    """
    position, low, high, stride = points[:, None].unbind(dim=-1)  # (P, 1) each
    start, end = windows[:, None].unbind(dim=-1)  # (B, 1, W) each
    to_start, to_end = position - start, end - position  # (B, P, W)
    centre = (start + end) / 2
    reach = radius * stride
    near = torch.minimum(
        position - torch.maximum(centre - reach, start), torch.minimum(centre + reach, end) - position
    )
    farther = torch.maximum(to_start, to_end)
    fits = (near >= 0) & (farther >= low) & (farther <= high) & start.isfinite()
    length = torch.where(fits, end - start, torch.inf)  # (B, P, W)
    chosen = length.argmin(dim=-1, keepdim=True)
    offsets = torch.stack([to_start, to_end], dim=-1) / stride[..., None]  # (B, P, W, 2)
    return Assignment(fits.any(dim=-1), offsets.gather(2, chosen[..., None].expand(-1, -1, -1, 2)).squeeze(2))
