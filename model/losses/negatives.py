"""Which samples of a batch are about different videos, so that their queries can be each other's negatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Identity = Literal["video", "source"]


def negative_index(video_ids: Sequence[str], identity: Identity) -> Tensor | None:
    """Find samples whose successor in the batch, the first following the last, is about another video.

    Args:
        video_ids: (B,).
        identity: `video` compares whole ids; `source` compares ids of the form `<source>_<start>_<end>`
            without their last two parts, so that two cuts of one source are not negatives.

    Returns:
        (R,) int64 indices, or None if there are none.
    """
    keys = _keys(video_ids, identity)
    index = [i for i, key in enumerate(keys) if key != keys[(i + 1) % len(keys)]]
    return torch.tensor(index, dtype=torch.int64) if index else None


def foreign_pairs(video_ids: Sequence[str], identity: Identity) -> Tensor:
    """(B, B) bool: whether the video of a row and the query of a column are of different videos.

    Arguments are those of `negative_index`.
    """
    keys = _keys(video_ids, identity)
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    index = torch.tensor([numbers[key] for key in keys])
    return index[:, None] != index[None]


def _keys(video_ids: Sequence[str], identity: Identity) -> list[str]:
    if identity == "video":
        return list(video_ids)
    return [key.rsplit("_", 2)[0] for key in video_ids]
