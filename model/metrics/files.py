"""Predictions and annotations in the format of the benchmarks: one JSON object per line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.errors import VtgError
from model.json_lines import read_json_lines, shown
from model.metrics.ragged import Ragged

Row = Mapping[str, Any]


class EvaluationError(VtgError):
    """Predictions or annotations cannot be scored; the message names the file and the line."""


def read_rows(path: str | Path) -> list[Row]:
    """Read a file with one JSON object per line; empty lines are skipped.

    Raises:
        EvaluationError: if the file cannot be read, holds no rows, or a line is not an object with a `qid`.
    """
    rows: list[Row] = []
    for place, row in read_json_lines(path, EvaluationError):
        rows.append(_with_qid(row, place))
    if not rows:
        raise EvaluationError(f"{path}: holds no rows")
    return rows


def read_annotation_rows(path: str | Path, predictions: Sequence[Row]) -> list[Row]:
    """Read annotations; where a line has no `qid`, it is its place in the file, from 0, as it is for training.

    Args:
        path: the file.
        predictions: what is to be scored; a query counted by its place has to be theirs by its words as well.

    Raises:
        EvaluationError: as `read_rows`, and if lines were moved since the predictions were made.
    """
    predicted = {row["qid"]: row for row in predictions}
    rows: list[Row] = []
    for place, row in read_json_lines(path, EvaluationError):
        number = len(rows)
        if "qid" in row:
            rows.append(_with_qid(row, place))
            continue
        rows.append({**row, "qid": number})
        for field in ("vid", "query"):
            theirs = predicted.get(number, {}).get(field)
            if theirs is not None and theirs != row.get(field):
                raise EvaluationError(
                    f"{place}: its {field} is {shown(row.get(field))}, but prediction {number} has {shown(theirs)}: it "
                    "was made from another file, or from this one before its lines moved"
                )
    if not rows:
        raise EvaluationError(f"{path}: holds no rows")
    return rows


def ragged(rows: Sequence[Row], field: str, width: int | None, *, what: str) -> Ragged:
    """Lay the lists of a field end to end.

    Args:
        rows: one list each.
        field: name of the field.
        width: numbers an entry; None for plain numbers.
        what: what the rows are, for the message.

    Raises:
        EvaluationError: if a row lacks the field, or it has another form; the message names the query.
    """
    parts = []
    for row in rows:
        try:
            part = np.asarray(row[field], dtype=np.float64)
            if part.size == 0 and width is not None:
                part = np.zeros((0, width))
            fits = part.ndim == (1 if width is None else 2) and (width is None or part.shape[-1] == width)
        except KeyError:
            raise EvaluationError(f"{what} of query {row['qid']} has no '{field}'") from None
        except (TypeError, ValueError):
            fits = False
        if not fits:
            form = "a list of numbers" if width is None else f"a list of lists of {width} numbers"
            raise EvaluationError(f"{what} of query {row['qid']}: '{field}' is not {form}")
        if not np.isfinite(part).all():
            raise EvaluationError(
                f"{what} of query {row['qid']}: '{field}' holds a number that is not finite"
            )
        parts.append(part)
    return Ragged(np.concatenate(parts), np.array([len(part) for part in parts], dtype=np.intp))


def _with_qid(row: Row, place: str) -> Row:
    if "qid" not in row:
        raise EvaluationError(f"{place}: has no 'qid'")
    if not isinstance(row["qid"], (int, float, str)):
        raise EvaluationError(f"{place}: its 'qid' is neither a number nor a name")
    return row


def match_queries(predictions: Sequence[Row], annotations: Sequence[Row]) -> NDArray[np.intp]:
    """(R,) which annotation each prediction answers.

    Raises:
        EvaluationError: if the queries are not the same on both sides; the message names one.
    """
    place = {row["qid"]: index for index, row in enumerate(annotations)}
    if len(place) < len(annotations):
        raise EvaluationError("the annotations name a query twice")
    unknown = [row["qid"] for row in predictions if row["qid"] not in place]
    missing = set(place) - {row["qid"] for row in predictions}
    if unknown or missing:
        example = (
            f"query {unknown[0]} is predicted only"
            if unknown
            else f"query {min(missing, key=str)} is not predicted"
        )
        advice = "" if unknown else "; --skip-missing leaves queries without predictions out"
        raise EvaluationError(
            f"predictions and annotations have different queries: {len(unknown)} unknown, {len(missing)} missing "
            f"({example}){advice}"
        )
    return np.array([place[row["qid"]] for row in predictions], dtype=np.intp)
