"""Scores under their published names, rounded as published.

Two habits of the published evaluators are kept, because every published number includes them. A prediction of zero
length counts as correct for a moment of zero length at the same place. Recall uses the prediction that is listed first,
not the one with the highest score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from extractors.plugins import imported
from model.dataset_entry import require_dataset
from model.metrics.domains import by_domain
from model.metrics.files import EvaluationError, Row, match_queries, ragged
from model.metrics.highlight_detection import highlight_detection
from model.metrics.moment_retrieval import (
    AP_THRESHOLDS,
    RECALL_THRESHOLDS,
    RetrievalScores,
    moment_retrieval,
)
from model.metrics.ragged import Ragged

_CLIP_LENGTH_S = 2
_LONGEST_S = 24 * 3600  # labels take memory by what a line says of its video
_PUBLISHED_RECALLS = (0.3, 0.5, 0.7)


@dataclass(frozen=True)
class Report:
    """What predictions score.

    Attributes:
        brief: published key to percent, for instance `MR-full-mAP` or `HL-min-VeryGood-Hit1`.
        detail: every threshold and length, nested as the published evaluators write it.
    """

    brief: Mapping[str, float]
    detail: Mapping[str, Any]


def evaluate(predictions: Sequence[Row], annotations: Sequence[Row]) -> Report:
    """Score moments and highlights, depending on the fields of the first prediction.

    Highlights are skipped if no annotation has `saliency_scores` and `duration`.

    Args:
        predictions: `qid`, and `pred_relevant_windows` [[start_s, end_s, score], …], `pred_saliency_scores` [score, …]
            or both. Of several rows of a query the windows are pooled for precision, and the last one counts else.
        annotations: `qid`, `relevant_windows` [[start_s, end_s], …]; for highlights `duration`, `relevant_clip_ids` and
            `saliency_scores` [[a, b, c], …] too.

    Raises:
        EvaluationError: if the queries differ, or a row has another form.
    """
    queries = match_queries(predictions, annotations)
    brief: dict[str, float] = {}
    detail: dict[str, Any] = {}
    if "pred_relevant_windows" in predictions[0]:
        scores = moment_retrieval(
            ragged(predictions, "pred_relevant_windows", 3, what="the prediction"),
            _moments(annotations),
            queries=queries,
            undefined_iou=np.inf,
        )
        detail |= {name: _retrieval_detail(score) for name, score in scores.items()}
        brief |= _retrieval_brief(detail)
    labelled = any("saliency_scores" in row and "duration" in row for row in annotations)
    if "pred_saliency_scores" in predictions[0] and labelled:
        last = dict(zip(queries.tolist(), predictions, strict=True))
        curves = ragged(
            [last[index] for index in range(len(annotations))], "pred_saliency_scores", None, what="the curve"
        )
        for name, score in highlight_detection(curves, _labels(annotations)).items():
            percents = {"HL-mAP": _percent(score.average_precision), "HL-Hit1": _percent(score.hit_at_1)}
            detail[f"HL-min-{name}"] = percents
            brief |= {f"HL-min-{name}-{key.removeprefix('HL-')}": value for key, value in percents.items()}
    if not brief:
        if "pred_saliency_scores" in predictions[0]:
            raise EvaluationError(
                "the annotations hold no saliency_scores to compare pred_saliency_scores with"
            )
        raise EvaluationError("the predictions hold neither pred_relevant_windows nor pred_saliency_scores")
    return Report(brief, {"brief": brief, **detail})


def evaluate_domains(
    scores: Mapping[str, Sequence[float]], annotations: Sequence[Row], *, dataset: str
) -> dict[str, float]:
    """Score highlight curves per domain, as TVSum and YouTube Highlights are.

    Args:
        scores: video id to its curve.
        annotations: `vid`, `domain` and `label` [[annotator, …] per clip].
        dataset: one without moments: `tvsum` or `youtube_highlights`.

    Returns:
        Domain to mean average precision in [0, 1], and their mean as `Avg`.

    Raises:
        EvaluationError: if a video has no curve, or a curve or a label has another form.
    """
    for field in ("vid", "domain"):
        if not all(isinstance(row.get(field), str) for row in annotations):
            raise EvaluationError(f"an annotation has no '{field}'")
    missing = [row["vid"] for row in annotations if row["vid"] not in scores]
    if missing:
        raise EvaluationError(f"{len(missing)} videos have no curve, among them {missing[0]}")
    curves = [{"qid": row["vid"], "curve": scores[row["vid"]]} for row in annotations]
    precision = imported(require_dataset(dataset).precision)(
        ragged(curves, "curve", None, what="the prediction"), _clip_labels(annotations)
    )
    domains = by_domain(precision, tuple(row["domain"] for row in annotations))
    means = {name: score.average_precision for name, score in domains.items()}
    return means | {"Avg": float(np.mean(list(means.values())))}


def _clip_labels(annotations: Sequence[Row]) -> Ragged:
    """Rows of (L, A) labels; every clip of every video has those of as many annotators."""
    rows = [{**row, "qid": row["vid"]} for row in annotations]
    try:
        annotators = len(rows[0]["label"][0])
    except (KeyError, IndexError, TypeError):
        annotators = 1  # whatever is there instead, it is refused
    labels = ragged(rows, "label", annotators, what="the annotation")
    if (labels.lengths == 0).any():
        unlabelled = rows[int(np.flatnonzero(labels.lengths == 0)[0])]
        raise EvaluationError(f"the annotation of query {unlabelled['qid']} has no clip with a label")
    return labels


def _moments(annotations: Sequence[Row]) -> Ragged:
    moments = ragged(annotations, "relevant_windows", 2, what="the annotation")
    if (moments.lengths == 0).any():
        empty = annotations[int(np.flatnonzero(moments.lengths == 0)[0])]
        raise EvaluationError(f"the annotation of query {empty['qid']} has no moment to find")
    return moments


def _labels(annotations: Sequence[Row]) -> Ragged:
    """Rows of (L, 3) labels, zero outside the annotated clips."""
    rows = []
    for row in annotations:
        try:
            if not 0 <= row["duration"] <= _LONGEST_S:
                raise ValueError(f"a video of {row['duration']} s")
            labels = np.zeros((int(row["duration"] / _CLIP_LENGTH_S), 3))
            labels[np.asarray(row["relevant_clip_ids"], dtype=np.intp)] = row["saliency_scores"]
        except KeyError as error:
            raise EvaluationError(f"the annotation of query {row['qid']} has no {error}") from None
        except (IndexError, OverflowError, ValueError, TypeError) as error:
            raise EvaluationError(
                f"the annotation of query {row['qid']}: labels do not fit its clips ({error})"
            ) from None
        rows.append(labels)
    return Ragged(np.concatenate(rows), np.array([len(labels) for labels in rows], dtype=np.intp))


def _retrieval_detail(score: RetrievalScores) -> dict[str, Any]:
    precision = {
        str(t): _percent(value) for t, value in zip(AP_THRESHOLDS, score.average_precision, strict=True)
    }
    recall = {str(t): _percent(value) for t, value in zip(RECALL_THRESHOLDS, score.recall_at_1, strict=True)}
    return {
        "MR-mIoU": _percent(score.mean_iou),
        "MR-mAP": precision | {"average": _percent(float(score.average_precision.mean()))},
        "MR-R1": recall,
    }


def _retrieval_brief(detail: Mapping[str, Any]) -> dict[str, float]:
    full = detail["full"]
    brief = {f"MR-full-R1@{threshold}": full["MR-R1"][str(threshold)] for threshold in _PUBLISHED_RECALLS}
    brief |= {
        "MR-full-mAP": full["MR-mAP"]["average"],
        "MR-full-mAP@0.5": full["MR-mAP"]["0.5"],
        "MR-full-mAP@0.75": full["MR-mAP"]["0.75"],
        "MR-full-mIoU": full["MR-mIoU"],
    }
    return brief | {
        f"MR-{name}-mAP": detail[name]["MR-mAP"]["average"] for name in ("long", "middle", "short")
    }


def _percent(share: float) -> float:
    return float(f"{100 * share:.2f}")
