"""Whether annotations fit their videos: moments inside, durations and labels of matching length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from model.config import DataConfig
from model.datasets.annotations import Annotation, AnnotationError
from model.datasets.sources import VideoSource

_SLACK_CLIPS = 2  # a duration may differ from that of a video by so many clips …
_TOLERANCE = 0.05  # … or by this share of it


def require_fit(annotations: Sequence[Annotation], videos: VideoSource, data: DataConfig) -> None:
    """Refuse annotations that do not fit their videos.

    A window may end up to a clip after its video, as rounded times do. One's own annotations are compared with the
    videos, whose features are all opened; published ones with the duration that they give.

    Args:
        annotations: the queries.
        videos: where their rows come from, none missing.
        data: how long a clip is, and which dataset's rules apply.

    Raises:
        AnnotationError: if a window, a duration or labels do not fit; the message names the line, and counts the rest.
        FeatureFileError: if the features of a video cannot be read.
    """
    wrong = list(_misfits(annotations, videos, data))
    if wrong:
        more = f"; {wrong[1].place} does not fit either" if len(wrong) > 1 else ""
        more += f", nor do {len(wrong) - 2} more" if len(wrong) > 2 else ""
        raise AnnotationError(f"{wrong[0].place}: {wrong[0].reason}{more}")


def duration_differs(duration_s: float, length_s: float, clip_length_s: float) -> bool:
    """Whether a duration clearly is not that of a video of this length."""
    return abs(duration_s - length_s) > max(_SLACK_CLIPS * clip_length_s, _TOLERANCE * duration_s)


@dataclass(frozen=True)
class _Misfit:
    place: str
    reason: str


def _misfits(annotations: Sequence[Annotation], videos: VideoSource, data: DataConfig) -> Iterator[_Misfit]:
    known: dict[str, _Extent] = {}
    for annotation in annotations:
        extent = _Extent(None, annotation.duration_s)
        if data.info.is_own:
            if annotation.vid not in known:
                known[annotation.vid] = _extent(videos, annotation.vid, data)
            extent = known[annotation.vid]
        reason = _misfit(annotation, extent, data.clip_length_s)
        if reason:
            yield _Misfit(annotation.place or f"query {annotation.qid}", reason)


@dataclass(frozen=True)
class _Extent:
    """How long a video is: its rows, if they count, and seconds."""

    rows: int | None
    length_s: float


def _extent(videos: VideoSource, vid: str, data: DataConfig) -> _Extent:
    rows = min(map(len, videos.load(vid)))
    return _Extent(rows, videos.length_s(vid) or rows * data.clip_length_s)


def _misfit(annotation: Annotation, extent: _Extent, clip_s: float) -> str:
    """What does not fit; empty if everything fits."""
    vid, duration_s, length_s = annotation.vid, annotation.duration_s, extent.length_s
    if duration_differs(duration_s, length_s, clip_s):
        clips = f" ({extent.rows} clips, of data.clip_length_s = {clip_s:g} s)"
        return f"duration is {duration_s:g} s, but '{vid}' is {length_s:.1f} s long{clips}"
    if extent.rows is not None and annotation.saliency is not None:
        labels = len(annotation.saliency)
        if labels > extent.rows + 1:
            clips = f"{extent.rows} of {clip_s:g} s (data.clip_length_s)"
            return f"it labels {labels} clips, but '{vid}' has {clips}"
    end_s = length_s if math.isnan(duration_s) else max(length_s, duration_s)
    for window in annotation.windows_s:
        if window[0] >= end_s or window[1] > end_s + clip_s:
            return f"relevant_windows holds {list(window)}, but '{vid}' is {end_s:.1f} s long"
    return ""
