"""Split videos longer than the training videos into overlapping windows, and join the windows' answers.

Windows overlap by half, so a span shorter than half a window lies completely inside some window, away from
its borders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """A range of clips that the model reads at once.

    Attributes:
        start: first clip.
        end: the clip after the last.
    """

    start: int
    end: int


@dataclass(frozen=True)
class _Cut:
    """A moment, and which borders of its window it reaches."""

    start_s: float
    end_s: float
    score: float
    left: bool
    right: bool


def split_windows(clip_count: int, window_clips: int) -> list[Window]:
    """Cover a video with windows.

    Args:
        clip_count: clips of the video.
        window_clips: clips of a window, at least 2.

    Returns:
        Windows in order, each `window_clips` long and starting half a window after the previous one; the last
        one ends with the video. A video that is not longer than `window_clips` is one window.
    """
    if clip_count <= window_clips:
        return [Window(0, clip_count)]
    hop = window_clips // 2
    starts = [*range(0, clip_count - window_clips, hop), clip_count - window_clips]
    return [Window(start, start + window_clips) for start in starts]


def blend_curves(curves: Sequence[Array], windows: Sequence[Window]) -> Array:
    """Join the saliency curves of windows.

    Where windows overlap, each is weighted by the clip's distance from its border, so the curve has no steps.

    Args:
        curves: (L_w,) for each window.
        windows: their positions.

    Returns:
        (L,) saliency of the video.
    """
    total = np.zeros(windows[-1].end, dtype=np.float64)
    weights = np.zeros_like(total)
    for curve, window in zip(curves, windows, strict=True):
        place = np.arange(len(curve))
        weight = np.minimum(place + 1, len(curve) - place)
        total[window.start : window.end] += curve * weight
        weights[window.start : window.end] += weight
    return (total / weights).astype(np.float32)


def merge_moments(moments: Sequence[Array], windows: Sequence[Window], *, clip_length_s: float) -> Array:
    """Join the moments of windows.

    A moment that ends at the border of its window was cut off there, and the next window covers what follows.
    If the next window covers the whole moment, its answer is kept and the cut one is dropped. If the moment
    is longer than the overlap, the two parts are joined.

    Args:
        moments: for each window, (N_w, 3) start and end in seconds from its start, score; best first.
        windows: their positions.
        clip_length_s: seconds per clip.

    Returns:
        (N, 3) in seconds of the video, best first; overlaps are not suppressed.
    """
    kept: list[_Cut] = []
    open_cuts: list[_Cut] = []  # moments cut off at the right border of the previous window
    for index, (rows, window) in enumerate(zip(moments, windows, strict=True)):
        before = windows[index - 1] if index else None
        after = windows[index + 1] if index + 1 < len(windows) else None
        found = _in_video(rows, window, before, after, clip_length_s)
        whole = [cut for cut in found if not cut.left]
        if before is not None:
            joined, rest = _join(open_cuts, [cut for cut in found if cut.left])
            seen_s = before.end * clip_length_s - clip_length_s
            # The previous window covers the whole of a moment that ends well inside it, so its answer counts.
            whole += joined + [cut for cut in rest if cut.end_s > seen_s]
        open_cuts = [cut for cut in whole if cut.right]
        kept += [cut for cut in whole if not cut.right]
    kept += open_cuts
    rows = np.array([(cut.start_s, cut.end_s, cut.score) for cut in kept], dtype=np.float32).reshape(-1, 3)
    return rows[np.argsort(-rows[:, 2], kind="stable")]


def _in_video(
    rows: Array, window: Window, before: Window | None, after: Window | None, clip_length_s: float
) -> list[_Cut]:
    """Convert moments to seconds of the video; drop those that the next window covers completely."""
    start_s, end_s = window.start * clip_length_s, window.end * clip_length_s
    cuts = []
    for start, end, score in rows.tolist():
        cut = _Cut(
            start + start_s,
            end + start_s,
            score,
            left=before is not None and start < clip_length_s,
            right=after is not None and end + start_s > end_s - clip_length_s,
        )
        if after is not None and cut.right and cut.start_s >= (after.start + 1) * clip_length_s:
            continue
        cuts.append(cut)
    return cuts


def _join(lefts: Sequence[_Cut], rights: Sequence[_Cut]) -> tuple[list[_Cut], list[_Cut]]:
    """Join parts, best with best; return the joined left parts and the right parts that are left over."""
    rest = sorted(rights, key=lambda cut: -cut.score)
    joined = []
    for left in sorted(lefts, key=lambda cut: -cut.score):
        if not rest:
            joined.append(replace(left, right=False))
            continue
        right = rest.pop(0)
        score = (left.score + right.score) / 2
        joined.append(_Cut(left.start_s, max(left.end_s, right.end_s), score, left.left, right.right))
    return joined, rest
