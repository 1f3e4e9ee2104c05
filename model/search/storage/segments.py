"""The vectors that find a video: one for each run of clips that look alike.

Stage one of a search compares a query with these alone. A run is short, because the mean of many seconds loses the one
that a query asks for. On 896 videos of Charades with real CLIP rows, the first ten videos by their best run are as
precise as by their best row, with a third as many vectors; docs/search.md has the figures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.grounding.zeroshot.background import unit_rows

VERSION = 1
"""Raised whenever the same rows would give other vectors; an index of another version is built again."""

_LONGEST_S = 4.0
_ALIKE = 0.9  # cosine of a clip and the mean of the run so far


def segment_vectors(rows: NDArray[np.floating[Any]], clip_length_s: float) -> NDArray[np.float32]:
    """Join successive clips that look alike.

    Args:
        rows: (N, E), one for each clip.
        clip_length_s: seconds per clip.

    Returns:
        (S, E) of length 1, in order of time, S <= N; clips whose rows are zero are left out.
    """
    unit = unit_rows(rows)
    unit = unit[np.linalg.norm(unit, axis=1) > 0.5]
    most = max(int(_LONGEST_S / clip_length_s), 1)
    sums: list[NDArray[np.float64]] = []
    length = 0
    for row in unit:
        if 0 < length < most and row @ sums[-1] >= _ALIKE * np.linalg.norm(sums[-1]):
            sums[-1] = sums[-1] + row
            length += 1
        else:
            sums.append(row)
            length = 1
    return unit_rows(np.array(sums).reshape(-1, rows.shape[1])).astype(np.float32)
