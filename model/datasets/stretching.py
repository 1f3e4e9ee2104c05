"""Time stretching: a video is played faster or slower, and its moments with it.

People do the same thing at different speeds. A network that has seen few examples of it should not learn how long they
took.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from model.config import DataConfig
from model.datasets.annotations import Annotation
from model.rows import normalized_again

_MOST = 0.35  # natural logarithm of the factor: lengths from 70 to 142 %
_FEWEST_CLIPS = 4


def stretch_time(
    video: Tensor, annotation: Annotation, data: DataConfig, rng: np.random.Generator
) -> tuple[Tensor, Annotation]:
    """Change the length of a video.

    Args:
        video: (L, D) rows, normalised as configured.
        annotation: its moments and its duration, which is known.
        data: the streams of a row, and how many rows are kept at most.
        rng: draws the factor, uniform in its logarithm.

    Returns:
        (L', D) rows, interpolated linearly and normalised again; and the annotation in the new time. A video whose
        clips have labels of their own stays as it is.
    """
    if annotation.saliency is not None:
        return video, annotation
    count = max(round(len(video) * math.exp(rng.uniform(-_MOST, _MOST))), _FEWEST_CLIPS)
    count = min(count, data.max_clips or count)
    rows = F.interpolate(video.T[None], size=count, mode="linear", align_corners=False)[0].T
    factor = count / len(video)
    stretched = replace(
        annotation,
        duration_s=annotation.duration_s * factor,
        windows_s=tuple((start_s * factor, end_s * factor) for start_s, end_s in annotation.windows_s),
    )
    return normalized_again(rows, data), stretched
