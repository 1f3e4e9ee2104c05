"""Which samples of a batch can borrow the next one's query as a negative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor


def negative_index(video_ids: Sequence[str], identity: Literal["video", "source"]) -> Tensor | None:
    """Find samples whose successor in the batch, the first following the last, is about another video.

    Args:
        video_ids: (B,).
        identity: `video` compares whole ids; `source` compares ids of the form `<source>_<start>_<end>`
            without their last two parts, so that two cuts of one source are not negatives.

    Returns:
        (R,) int64 indices, or None if there are none.
    """
    keys = list(video_ids)
    if identity == "source":
        keys = [key.rsplit("_", 2)[0] for key in keys]
    index = [i for i, key in enumerate(keys) if key != keys[(i + 1) % len(keys)]]
    return torch.tensor(index, dtype=torch.int64) if index else None
