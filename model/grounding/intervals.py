"""Temporal IoU and non-maximum suppression of windows, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Windows = NDArray[np.floating[Any]]


def temporal_iou(a: Windows, b: Windows) -> NDArray[np.float64]:
    """Intersection over union of every window of one set with every window of another.

    Args:
        a: (M, 2) start and end.
        b: (N, 2) start and end, in the same unit.

    Returns:
        (M, N) values in [0, 1]; 0 where both windows are empty.
    """
    intersection = _intersection(a, b)
    union = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def shared_part(a: Windows, b: Windows) -> NDArray[np.float64]:
    """Intersection over the length of the shorter of two windows: 1 where one lies inside the other.

    Args, Returns: as `temporal_iou`.
    """
    intersection = _intersection(a, b)
    shorter = np.minimum((a[:, 1] - a[:, 0])[:, None], (b[:, 1] - b[:, 0])[None, :])
    part: NDArray[np.float64] = np.divide(
        intersection, shorter, out=np.zeros_like(intersection), where=shorter > 0
    )
    return part


def suppress(
    windows: Windows,
    scores: NDArray[np.floating[Any]],
    *,
    threshold: float,
    overlap: Callable[[Windows, Windows], NDArray[np.float64]] = temporal_iou,
) -> NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Args:
        windows: (N, 2) start and end.
        scores: (N,) confidence.
        threshold: windows that overlap a better one by this much or more are dropped.
        overlap: how overlap is measured.

    Returns:
        indices of the windows kept, best first; ties keep the earlier window.
    """
    standing = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(standing):
        best, others = standing[0], standing[1:]
        kept.append(int(best))
        standing = others[overlap(windows[[best]], windows[others])[0] < threshold]
    return np.array(kept, dtype=np.intp)


def _intersection(a: Windows, b: Windows) -> NDArray[np.float64]:
    left = np.maximum(a[:, None, 0], b[None, :, 0])
    right = np.minimum(a[:, None, 1], b[None, :, 1])
    shared: NDArray[np.float64] = np.clip(right - left, 0, None).astype(np.float64)
    return shared
