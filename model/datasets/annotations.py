"""Annotations: one line of a dataset's file describes one query in one video.

The published files agree on `qid`, `query`, `vid`, `duration` and `relevant_windows`, and differ in their form of
saliency. TVSum gives its duration in clips.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.errors import VtgError
from extractors.plugins import imported
from model.dataset_entry import DatasetInfo, require_dataset
from model.json_lines import is_text, read_json_lines, shown

MAX_SALIENCY = 12.0
"""The largest saliency label: three annotators' 4 on QVHighlights, to which other scales are stretched."""

_TVSUM_SCALE = 5 - 1  # annotators score 1 … 5, and a label is what lies above 1
_UNSAFE = re.compile(r"[\x00-\x1f/\\]")
_LONGEST_NAME = 240  # bytes; file systems allow 255, and a suffix follows
_LONGEST_S = 1e7
_MOST_CLIPS = 1_000_000
_HUGE = 1e30


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
        place: the file and the line it was read from, for messages; empty if it was not.
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
    place: str = field(default="", compare=False)


def read_annotations(path: str | Path, dataset: str, *, negatives: bool = False) -> list[Annotation]:
    """Read a file of annotations, one JSON object per line.

    Args:
        path: the file.
        dataset: one of the published datasets as in `DataConfig.dataset`, or `custom`: `vid`, `query`,
            `relevant_windows`, and if you have them `qid`, `duration`, and `saliency`: a number from 0 to 1 for each
            clip.
        negatives: whether the queries are about what their videos do not show: `relevant_windows` is empty or left out
            on every line, and `qid` may be left out, or repeated with the same query.

    Raises:
        AnnotationError: if the file cannot be read, holds nothing, or a line is not what the dataset has; the message
            names the line.
    """
    annotations: list[Annotation] = []
    first: dict[str, Annotation] = {}  # by qid as text, which is what feature files are named by
    for place, row in read_json_lines(path, AnnotationError):
        try:
            annotation = parse_annotation(row, dataset, position=len(annotations), negative=negatives)
        except KeyError as error:
            raise AnnotationError(f"{place}: there is no {error}") from error
        except ValueError as error:
            raise AnnotationError(f"{place}: {error}") from error
        annotation = replace(annotation, place=place)
        other = first.setdefault(str(annotation.qid), annotation)
        # A query may be about what several videos do not show.
        if other is not annotation and not (negatives and other.query == annotation.query):
            number = other.place.rpartition(" ")[2]
            raise AnnotationError(f"{place}: qid {annotation.qid} is that of line {number} too")
        annotations.append(annotation)
    if not annotations:
        raise AnnotationError(f"{path}: holds no annotations")
    return annotations


def parse_annotation(
    row: Mapping[str, Any], dataset: str, *, position: int = 0, negative: bool = False
) -> Annotation:
    """Read one line.

    Args:
        row: the JSON object.
        dataset: as for `read_annotations`.
        position: stands for a missing `qid` of a custom dataset or a negative.
        negative: whether it has to be about what its video does not show.

    Raises:
        KeyError: if a field is missing.
        ValueError: if one is not what the dataset has; the message says what it should be.
    """
    vid, query = row["vid"], row["query"]
    if not isinstance(vid, str) or not _can_be_file_name(vid):
        raise ValueError(f"vid {shown(vid)} cannot be the name of a file")
    info = require_dataset(dataset)
    qid = row.get("qid", position) if info.is_own or negative else row["qid"]
    if not isinstance(qid, (int, str)) or isinstance(qid, bool) or not _can_be_file_name(str(qid)):
        raise ValueError(f"qid {shown(qid)} is neither a number nor a name")
    saliency, relevant = (None, ()) if info.saliency is None else imported(info.saliency)(row)
    domain = row.get("domain", "")
    windows_s = _windows(row.get("relevant_windows"), required=info.is_own and not negative)
    if negative and windows_s:
        raise ValueError(
            "relevant_windows is not empty; negatives are queries about what a video does not show"
        )
    return Annotation(
        qid=qid,
        query=_sentence(query),
        vid=vid,
        duration_s=_duration_s(row, info),
        windows_s=windows_s,
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
    return (
        name not in ("", ".", "..")
        and not _UNSAFE.search(name)
        and is_text(name)
        and len(name.encode()) <= _LONGEST_NAME
    )


def _sentence(query: object) -> str:
    if not isinstance(query, str) or not query.strip():
        raise ValueError("the query is empty or is not text")
    if not is_text(query):
        raise ValueError(f"the query {shown(query)} holds half of a character (a lone surrogate)")
    return query


def _duration_s(row: Mapping[str, Any], info: DatasetInfo) -> float:
    if info.is_own and row.get("duration") is None:
        return math.nan
    duration_s = _number(row["duration"])
    if not 0 < duration_s <= _LONGEST_S:
        raise ValueError(f"duration {shown(row['duration'])} is not a length of time in seconds")
    return duration_s * info.duration_unit_s


def _windows(rows: object, *, required: bool) -> tuple[tuple[float, float], ...]:
    if rows is None or rows == []:
        if required:
            raise ValueError("relevant_windows is empty or missing")
        return ()
    if not isinstance(rows, list) or not all(isinstance(entry, list) for entry in rows):
        raise ValueError(
            f"relevant_windows is {shown(rows)}, but must be a list of [start, end] in seconds, such as [[12.0, 17.5]]"
        )
    windows = []
    for entry in rows:
        edges = [_number(value) for value in entry]
        if len(edges) != 2 or not 0 <= edges[0] <= edges[1] <= _LONGEST_S:
            raise ValueError(
                f"relevant_windows holds {shown(entry)}, which is not [start, end] in seconds, with 0 ≤ start ≤ end "
                f"≤ {_LONGEST_S:g}"
            )
        windows.append((edges[0], edges[1]))
    return tuple(windows)


def _number(value: object) -> float:
    """The value as a number, also if it is written as text; NaN if it is not one."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    return float(value) if abs(value) < _HUGE else math.inf


def _array(rows: object, dimensions: int, expected: str) -> NDArray[np.float64]:
    """A list of numbers, or of lists of them; raises ValueError with what was expected if it is none, or empty."""
    try:
        array = np.array(rows)
    except (ValueError, OverflowError):  # lists of different lengths
        raise ValueError(expected) from None
    if array.ndim != dimensions or array.size == 0 or array.dtype.kind not in "iuf":
        raise ValueError(expected)
    numbers = array.astype(np.float64)
    if not (np.abs(numbers) <= _HUGE).all():
        raise ValueError(expected)
    return numbers


_Labels = tuple["NDArray[np.float32] | None", tuple[int, ...]]


def scored_clips(row: Mapping[str, Any]) -> _Labels:
    """QVHighlights: three scores of 0 … 4 for each clip of a moment, and none outside."""
    if row.get("saliency_scores") is None:  # the public test split
        return None, ()
    places = _array(row["relevant_clip_ids"], 1, "relevant_clip_ids is not a list of whole numbers from 0 on")
    form = "saliency_scores are not three numbers for each of relevant_clip_ids"
    scores = _array(row["saliency_scores"], 2, form)
    if scores.shape != (len(places), 3):
        raise ValueError(form)
    if scores.min() < 0 or scores.max() > 4:
        raise ValueError("saliency_scores are not all from 0 to 4")
    if places.min() < 0 or places.max() > _MOST_CLIPS or (places % 1).any():
        raise ValueError(f"relevant_clip_ids go from {places.min():g} to {places.max():g}")
    clips = places.astype(np.int64)
    saliency = np.zeros(clips.max() + 1, dtype=np.float32)
    saliency[clips] = scores.sum(axis=1)
    return saliency, tuple(clips.tolist())


def _annotator_columns(row: Mapping[str, Any]) -> NDArray[np.float32]:
    return _array(row["label"], 2, "label is not a list of numbers for each clip").astype(np.float32)


def tvsum_scores(row: Mapping[str, Any]) -> _Labels:
    label = _annotator_columns(row)
    if label.min() < 1 or label.max() > 1 + _TVSUM_SCALE:
        raise ValueError(f"label goes from {label.min():g} to {label.max():g}, while annotators score 1 to 5")
    most = label.shape[1] * _TVSUM_SCALE
    return (label - 1).sum(axis=1) / most * MAX_SALIENCY, ()


def youtube_matches(row: Mapping[str, Any]) -> _Labels:
    return _annotator_columns(row)[:, 0], ()


def importance(row: Mapping[str, Any]) -> _Labels:
    if row.get("saliency") is None:
        return scored_clips(row)
    form = "saliency is not a list of numbers from 0 to 1, one for each clip"
    saliency = _array(row["saliency"], 1, form).astype(np.float32)
    if saliency.min() < 0 or saliency.max() > 1:
        raise ValueError(form)
    return saliency * np.float32(MAX_SALIENCY), tuple(np.flatnonzero(saliency).tolist())
