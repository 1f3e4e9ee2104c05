"""Annotations: what a line of a dataset's file says of one query in one video.

The published files agree on `qid`, `query`, `vid`, `duration` and `relevant_windows`, and differ in what stands for
saliency; TVSum gives its duration in clips.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.errors import VtgError

MAX_SALIENCY = 12.0
"""The largest saliency label: three annotators' 4 on QVHighlights, to which other scales are stretched."""

_TVSUM_CLIP_S = 2.0
_TVSUM_SCALE = 5 - 1  # annotators score 1 … 5, and a label is what lies above 1
_UNSAFE = re.compile(r"[\x00-\x1f/\\]")
_LONGEST_NAME = 240  # bytes; file systems allow 255, and a suffix follows


class AnnotationError(VtgError):
    """A file of annotations cannot be used; the message names the file and the line."""


@dataclass(frozen=True)
class Annotation:
    """One query in one video.

    Attributes:
        qid: identity of the query within its file.
        query: the sentence.
        vid: identity of the video; the stem of its feature files.
        duration_s: length of the video; NaN if the file does not say.
        windows_s: moments, start and end in seconds; empty where there are none, or they are not public.
        saliency: (N,) labels in 0 … 12 of the first N clips of the video; None where only moments are annotated.
        relevant_clips: indices of the clips that annotators scored; empty where all were, or none.
        domain: what kind of video it is, where models are trained for each.
        row: the line as it was read.
    """

    qid: int | str
    query: str
    vid: str
    duration_s: float
    windows_s: tuple[tuple[float, float], ...] = ()
    saliency: NDArray[np.float32] | None = None
    relevant_clips: tuple[int, ...] = ()
    domain: str = ""
    row: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def read_annotations(path: str | Path, dataset: str) -> list[Annotation]:
    """Read a file of annotations, a JSON object a line.

    Args:
        path: the file.
        dataset: one of the published datasets as in `DataConfig.dataset`, or `custom`: `vid`, `query`,
            `relevant_windows`, and if you have them `qid`, `duration`, and `saliency`: a number from 0 to 1 for each
            clip.

    Raises:
        AnnotationError: if the file cannot be read, holds nothing, or a line is not what the dataset has; the message
            names the line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise AnnotationError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from error
    annotations: list[Annotation] = []
    lines: dict[int | str, int] = {}
    # Not splitlines(): it would also break at the line separators that a sentence may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            annotation = parse_annotation(json.loads(line), dataset, position=len(annotations))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
            raise AnnotationError(f"{path}, line {number}: {reason}") from error
        if annotation.qid in lines:
            raise AnnotationError(
                f"{path}, line {number}: qid {annotation.qid} is that of line {lines[annotation.qid]} too"
            )
        lines[annotation.qid] = number
        annotations.append(annotation)
    if not annotations:
        raise AnnotationError(f"{path}: holds no annotations")
    return annotations


def parse_annotation(row: Any, dataset: str, *, position: int = 0) -> Annotation:
    """Read one line.

    Args:
        row: the JSON object.
        dataset: as for `read_annotations`.
        position: stands for a missing `qid` of a custom dataset.

    Raises:
        ValueError, TypeError, KeyError: if a field is missing or is not what the dataset has.
    """
    if not isinstance(row, dict):
        raise TypeError("not a JSON object")
    vid, query = row["vid"], row["query"]
    if not isinstance(vid, str) or not _can_be_file_name(vid):
        raise ValueError(f"vid {vid!r} cannot be the name of a file")
    if not isinstance(query, str) or not query.strip():
        raise ValueError("the query is empty")
    qid = row.get("qid", position) if dataset == "custom" else row["qid"]
    if not isinstance(qid, (int, str)) or isinstance(qid, bool) or not _can_be_file_name(str(qid)):
        raise ValueError(f"qid {qid!r} is neither a number nor a name")
    read = _SALIENCY.get(dataset, _no_saliency)
    saliency, relevant = read(row)
    domain = row.get("domain", "")
    return Annotation(
        qid=qid,
        query=query,
        vid=vid,
        duration_s=_duration_s(row, dataset),
        windows_s=_windows(row.get("relevant_windows") or (), required=dataset == "custom"),
        saliency=saliency,
        relevant_clips=relevant,
        domain=domain if isinstance(domain, str) else "",
        row=row,
    )


def select_domain(annotations: Sequence[Annotation], domain: str) -> list[Annotation]:
    """Those of one domain.

    Raises:
        AnnotationError: if there is none; the message lists the domains there are.
    """
    chosen = [annotation for annotation in annotations if annotation.domain == domain]
    if not chosen:
        known = sorted({annotation.domain for annotation in annotations})
        raise AnnotationError(f"no annotation is of domain '{domain}'; there are {', '.join(known)}")
    return chosen


def _can_be_file_name(name: str) -> bool:
    return name not in ("", ".", "..") and not _UNSAFE.search(name) and len(name.encode()) <= _LONGEST_NAME


def _duration_s(row: Mapping[str, Any], dataset: str) -> float:
    if dataset == "custom" and row.get("duration") is None:
        return math.nan
    duration_s = float(row["duration"])
    if not 0 < duration_s < math.inf:
        raise ValueError(f"duration {row['duration']} is not a length of time")
    return duration_s * _TVSUM_CLIP_S if dataset == "tvsum" else duration_s


def _windows(rows: Any, *, required: bool) -> tuple[tuple[float, float], ...]:
    windows = []
    for entry in rows:
        start, end = (float(value) for value in entry)
        if not 0 <= start <= end < math.inf:
            raise ValueError(f"relevant_windows holds {entry}, which is not [start, end] in seconds")
        windows.append((start, end))
    if required and not windows:
        raise ValueError("relevant_windows is empty or missing")
    return tuple(windows)


_Labels = tuple["NDArray[np.float32] | None", tuple[int, ...]]


def _no_saliency(row: Mapping[str, Any]) -> _Labels:
    del row
    return None, ()


def _scored_clips(row: Mapping[str, Any]) -> _Labels:
    """QVHighlights: three scores of 0 … 4 for each clip of a moment, and none outside."""
    if row.get("saliency_scores") is None:  # the public test split
        return None, ()
    clips = np.array(row["relevant_clip_ids"], dtype=np.int64)
    scores = np.array(row["saliency_scores"], dtype=np.float32)
    if clips.ndim != 1 or scores.shape != (len(clips), 3) or len(clips) == 0:
        raise ValueError("saliency_scores are not three numbers for each of relevant_clip_ids")
    if not ((scores >= 0) & (scores <= 4)).all():
        raise ValueError("saliency_scores are not all from 0 to 4")
    if clips.min() < 0 or clips.max() > 1_000_000:
        raise ValueError(f"relevant_clip_ids go from {clips.min()} to {clips.max()}")
    saliency = np.zeros(clips.max() + 1, dtype=np.float32)
    saliency[clips] = scores.sum(axis=1)
    return saliency, tuple(clips.tolist())


def _annotator_columns(row: Mapping[str, Any]) -> NDArray[np.float32]:
    label = np.array(row["label"], dtype=np.float32)
    if label.ndim != 2 or label.size == 0 or not np.isfinite(label).all():
        raise ValueError("label is not a list of numbers for each clip")
    return label


def _tvsum_scores(row: Mapping[str, Any]) -> _Labels:
    label = _annotator_columns(row)
    if label.min() < 1 or label.max() > 1 + _TVSUM_SCALE:
        raise ValueError(f"label goes from {label.min():g} to {label.max():g}, while annotators score 1 to 5")
    most = label.shape[1] * _TVSUM_SCALE
    return (label - 1).sum(axis=1) / most * MAX_SALIENCY, ()


def _youtube_matches(row: Mapping[str, Any]) -> _Labels:
    return _annotator_columns(row)[:, 0], ()


def _importance(row: Mapping[str, Any]) -> _Labels:
    if row.get("saliency") is None:
        return _scored_clips(row)
    saliency = np.array(row["saliency"], dtype=np.float32)
    if saliency.ndim != 1 or saliency.size == 0 or not ((saliency >= 0) & (saliency <= 1)).all():
        raise ValueError("saliency is not a list of numbers from 0 to 1, one a clip")
    return saliency * np.float32(MAX_SALIENCY), tuple(np.flatnonzero(saliency).tolist())


_SALIENCY: Mapping[str, Callable[[Mapping[str, Any]], _Labels]] = {
    "qvhighlights": _scored_clips,
    "tvsum": _tvsum_scores,
    "youtube_highlights": _youtube_matches,
    "custom": _importance,
}
