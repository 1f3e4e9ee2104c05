"""Labels of a video's clips for a query: how salient each is, and which pairs the contrastive losses compare.

Source: the label rules of the released code. It draws the random choices once, when it reads a dataset; here they can
be drawn again each epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.config import DataConfig
from model.datasets.annotations import Annotation


@dataclass(frozen=True)
class ClipLabels:
    """What the clips of one video should say.

    Attributes:
        saliency: (L,) float32 in 0 … 12.
        positive: (N,) clips that should be more salient …
        negative: (N,) … than these, pair by pair.
    """

    saliency: NDArray[np.float32]
    positive: NDArray[np.int64]
    negative: NDArray[np.int64]


def clip_labels(
    annotation: Annotation, config: DataConfig, clip_count: int, rng: np.random.Generator
) -> ClipLabels:
    """Label the clips of a video.

    Args:
        annotation: what is known of it.
        config: which dataset's rules apply.
        clip_count: L, the clips the video has; labels beyond them are cut.
        rng: draws clips where a rule leaves a choice.
    """
    if not config.annotates_moments:
        return _most_and_least(annotation, clip_count)
    if annotation.saliency is not None and annotation.relevant_clips:
        return _scored(annotation, clip_count, rng)
    return _inside(annotation, clip_count, rng)


def _scored(annotation: Annotation, clip_count: int, rng: np.random.Generator) -> ClipLabels:
    """QVHighlights: the best scored clip above the worst, and any clip of a moment above any outside."""
    saliency = _fitted(annotation, clip_count)
    relevant = np.array([clip for clip in annotation.relevant_clips if clip < clip_count], dtype=np.int64)
    if len(relevant) == 0:  # the moment lies behind the last row of the features
        relevant = np.array([clip_count - 1])
    order = np.argsort(saliency[relevant], kind="stable")
    best, worst = relevant[order[-1]], relevant[order[0]]
    outside = np.setdiff1d(np.arange(clip_count), relevant)
    if len(outside) == 0:
        return ClipLabels(saliency, np.array([best, best]), np.array([worst, worst]))
    return ClipLabels(
        saliency,
        np.array([best, rng.choice(relevant)]),
        np.array([worst, rng.choice(outside)]),
    )


def _inside(annotation: Annotation, clip_count: int, rng: np.random.Generator) -> ClipLabels:
    """Charades-STA, TACoS: two clips of the moments above two outside.

    A clip's length is that of the video over the number of clips, which is seldom the nominal one.
    """
    clip_length_s = annotation.duration_s / clip_count
    saliency = np.zeros(clip_count, dtype=np.float32)
    for start_s, end_s in annotation.windows_s:
        last = max(0, min(int(end_s / clip_length_s), clip_count) - 1)
        saliency[min(int(start_s / clip_length_s), last) : last + 1] = 1
    inside, outside = np.flatnonzero(saliency), np.flatnonzero(saliency == 0)
    positive = rng.choice(inside, 2, replace=False) if len(inside) > 1 else np.repeat(inside, 2)
    negative = rng.choice(outside, 2, replace=False) if len(outside) > 1 else positive
    return ClipLabels(saliency, positive, negative)


def _most_and_least(annotation: Annotation, clip_count: int) -> ClipLabels:
    """TVSum, YouTube Highlights: the most salient clip above the least."""
    saliency = _fitted(annotation, clip_count)
    order = np.argsort(saliency, kind="stable")
    return ClipLabels(saliency, order[-1:], order[:1])


def _fitted(annotation: Annotation, clip_count: int) -> NDArray[np.float32]:
    assert annotation.saliency is not None, "the rules of a dataset with saliency ask for it"
    saliency = np.zeros(clip_count, dtype=np.float32)
    known = annotation.saliency[:clip_count]
    saliency[: len(known)] = known
    return saliency
