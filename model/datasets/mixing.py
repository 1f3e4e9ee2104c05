"""Content mixing: a moment keeps its clips, and what is around it comes from another video.

A network that sees a moment in one video only can learn the video by heart. In another's company, the moment has to be
found by what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_BORDER = 1  # clips kept on both sides of a moment, so that its boundaries look as they were


def mix_content(
    video: Tensor,
    windows_s: Sequence[tuple[float, float]],
    other: Tensor,
    *,
    clip_length_s: float,
    rng: np.random.Generator,
) -> Tensor:
    """Replace the clips around moments.

    Args:
        video: (L, D) rows of a video.
        windows_s: all its annotated moments in seconds.
        other: (L', D) rows of another video.
        clip_length_s: seconds per clip.
        rng: chooses where the stretches of the other video begin.

    Returns:
        (L, D) a copy. Each stretch of clips around the moments is a stretch of the other video, whose last clip is
        repeated where it is too short.

    Source: content mixing as in TD-DETR, where the other video is drawn regardless of the query; CVA (CVPR 2026)
        draws it by similarity instead.
    """
    kept = np.zeros(len(video), dtype=bool)
    for start_s, end_s in windows_s:
        first = math.floor(start_s / clip_length_s) - _BORDER
        last = math.ceil(end_s / clip_length_s) + _BORDER
        kept[max(first, 0) : max(last, 0)] = True
    mixed = video.clone()
    edges = np.flatnonzero(np.diff(np.concatenate([[True], kept, [True]]).astype(np.int8)))
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        begin = int(rng.integers(max(1, len(other) - (end - start) + 1)))
        places = torch.arange(begin, begin + end - start).clamp(max=len(other) - 1)
        mixed[start:end] = other[places]
    return mixed
