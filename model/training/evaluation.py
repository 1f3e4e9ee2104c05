"""Predictions for a whole split in the format of the benchmarks, and their scores.

Two sets of moments are scored, as in the released code: those before non-maximum suppression, which choose
the checkpoint, and those after it, which are what a user gets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from extractors.errors import VtgError
from model.config import Config
from model.datasets.annotations import Annotation
from model.datasets.grounding import Batch, GroundingDataset, Sample, collate
from model.decoding import Prediction, predict, suppress_overlaps
from model.losses import foreign_pairs
from model.metrics.report import evaluate, evaluate_domains
from model.network.flashvtg import FlashVTG

Row = dict[str, Any]

_DIGITS = 4  # of every number in the benchmarks' files
_SCORED_CLIP_S = 2.0  # annotators of QVHighlights scored clips of this length


@dataclass(frozen=True)
class Evaluation:
    """A model's predictions for a split, and their scores.

    Attributes:
        decoded: one row per query in the benchmarks' form (`qid`, `query`, `vid`, `pred_relevant_windows`,
            `pred_saliency_scores`), as decoded; no windows where the dataset has no moments.
        suppressed: the same after non-maximum suppression.
        metrics: scores of `decoded` by published key; empty if the split's annotations are not public.
        suppressed_metrics: the same for `suppressed`.
        match_scores: (Q,) match of each video with its query: the probability from the existence head if the
            network has one, else the score of the best moment.
        foreign_scores: the same for videos paired with queries about other videos, if requested and if the
            network has an existence head.
    """

    decoded: list[Row]
    suppressed: list[Row]
    metrics: dict[str, float]
    suppressed_metrics: dict[str, float]
    match_scores: tuple[float, ...]
    foreign_scores: tuple[float, ...] = ()


def evaluate_model(
    network: FlashVTG,
    dataset: GroundingDataset,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 64,
    foreign: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Ground every query of a split and score the answers.

    Args:
        network: in any mode; evaluated without dropout, and left in its mode.
        dataset: the split; its configuration defines the decoding.
        device: where the network is.
        batch_size: queries per batch; the answers do not depend on it.
        foreign: also score videos with queries about other videos, if the network has an existence head.
        on_progress: called with the number of queries done and the total.
    """
    predictions, foreign_scores = _predictions(
        network, dataset, torch.device(device), batch_size, foreign, on_progress
    )
    evaluation = evaluate_predictions(predictions, dataset.annotations, dataset.config)
    return replace(evaluation, foreign_scores=tuple(foreign_scores))


def evaluate_predictions(
    predictions: Sequence[Prediction], annotations: Sequence[Annotation], config: Config
) -> Evaluation:
    """Score predictions that were decoded without suppression, one per annotation."""
    decoded = [_row(*pair, config) for pair in zip(predictions, annotations, strict=True)]
    suppressed = decoded
    if config.data.annotates_moments and config.decoding.nms != "none":
        suppressed = [_suppress(row, config) for row in decoded]
    metrics = score_rows(decoded, annotations, config)
    scores = tuple(_match_score(prediction) for prediction in predictions)
    if suppressed is decoded:
        return Evaluation(decoded, suppressed, metrics, metrics, scores)
    return Evaluation(decoded, suppressed, metrics, score_rows(suppressed, annotations, config), scores)


def score_rows(rows: Sequence[Row], annotations: Sequence[Annotation], config: Config) -> dict[str, float]:
    """Score rows in the benchmarks' form.

    Returns:
        percentages by published key; for TVSum and YouTube Highlights, mAP in percent by domain, and the mean
        of the domains as `Avg` and `mAP`. Empty if the annotations contain no ground truth.

    Raises:
        EvaluationError: if rows and annotations do not belong together.
    """
    if not config.data.annotates_moments:
        curves = {str(row.get("vid")): row.get("pred_saliency_scores", ()) for row in rows}
        truth = [annotation.row for annotation in annotations]
        scores = evaluate_domains(curves, truth, dataset=config.data.dataset)
        percents = {domain: round(100 * score, 3) for domain, score in scores.items()}
        return percents | {"mAP": percents["Avg"]}
    if not all(annotation.windows_s for annotation in annotations):
        return {}
    truth = [_truth(annotation, config) for annotation in annotations]
    if not all("saliency_scores" in row for row in truth):
        rows = [{key: value for key, value in row.items() if key != "pred_saliency_scores"} for row in rows]
    return dict(evaluate(rows, truth).brief)


def require_selection(annotations: Sequence[Annotation], config: Config) -> None:
    """Raise VtgError if a split lacks the metrics that choose a checkpoint, before training starts."""
    nothing = Prediction(torch.zeros(0, 3), torch.zeros(1), torch.zeros(1))
    rows = [_row(nothing, annotation, config) for annotation in annotations]
    selection_score(score_rows(rows, annotations, config), config)


def selection_score(metrics: dict[str, float], config: Config) -> float:
    """The mean of the metrics that choose a checkpoint.

    Raises:
        VtgError: if one of them is not among the scores.
    """
    names = config.training.selection_metrics
    lacking = [name for name in names if name not in metrics]
    if lacking:
        raise VtgError(
            f"training.selection_metrics: this split gives no {', '.join(lacking)}; it gives "
            f"{', '.join(metrics) or 'no scores: it has no ground truth'}"
        )
    return sum(metrics[name] for name in names) / len(names)


def _predictions(
    network: FlashVTG,
    dataset: GroundingDataset,
    device: torch.device,
    batch_size: int,
    foreign: bool,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[list[Prediction], list[float]]:
    """Return one prediction per query, and scores of videos with queries about other videos."""
    foreign = foreign and network.config.existence
    foreign_scores: list[float] = []
    config = replace(dataset.config, decoding=replace(dataset.config.decoding, nms="none"))
    answers: dict[int, Prediction] = {}
    training = network.training
    network.eval()
    try:
        for places in _alike(dataset, batch_size):
            samples: list[Sample] = [dataset[0, index] for index in places]
            batch = collate(samples).to(device)
            predictions = predict(
                network,
                batch.video,
                batch.video_mask,
                batch.text,
                batch.text_mask,
                config=config,
                durations_s=[annotation.duration_s for annotation in batch.annotations],
            )
            if foreign:
                foreign_scores += _foreign_scores(network, batch, config.training.negative_identity)
            answers |= dict(zip(places, predictions, strict=True))
            if on_progress is not None:
                on_progress(len(answers), len(dataset))
    finally:
        network.train(training)
    return [answers[index] for index in range(len(dataset))], foreign_scores


@torch.inference_mode()
def _foreign_scores(network: FlashVTG, batch: Batch, identity: Literal["video", "source"]) -> list[float]:
    """Return match probabilities of each video with all queries of the batch that are about other videos."""
    pairs = network.match(batch.video, batch.video_mask, batch.text, batch.text_mask).cpu()  # (B, B)
    foreign = foreign_pairs([annotation.vid for annotation in batch.annotations], identity)
    scores: list[float] = pairs[foreign].sigmoid().tolist()
    return scores


def _alike(dataset: GroundingDataset, batch_size: int) -> Iterator[list[int]]:
    """Yield batches of indices of videos of similar length, so that there is little padding."""
    annotations = dataset.annotations
    order = sorted(range(len(annotations)), key=lambda index: (annotations[index].duration_s, index))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _row(prediction: Prediction, annotation: Annotation, config: Config) -> Row:
    row: Row = {"qid": annotation.qid, "query": annotation.query, "vid": annotation.vid}
    if config.data.annotates_moments:
        row["pred_relevant_windows"] = _rounded(prediction.moments)
    if config.data.info.scores_saliency:
        row["pred_saliency_scores"] = _rounded(prediction.saliency)
    return row


def _match_score(prediction: Prediction) -> float:
    """Return the existence probability if there is one, else the best moment's score; 0 without moments."""
    if prediction.existence is not None:
        return prediction.existence
    return float(prediction.moments[0, 2]) if len(prediction.moments) else 0.0


def _suppress(row: Row, config: Config) -> Row:
    moments = torch.tensor(row["pred_relevant_windows"], dtype=torch.float32).reshape(1, -1, 3)
    kept = suppress_overlaps(moments, threshold=config.decoding.nms_threshold, kind=config.decoding.nms)
    return row | {"pred_relevant_windows": _rounded(kept[0])}


def _rounded(values: Tensor) -> list[Any]:
    rounded: list[Any] = values.double().round(decimals=_DIGITS).tolist()
    return rounded


def _truth(annotation: Annotation, config: Config) -> Row:
    """Return the row as the metrics read it; fields that a custom dataset leaves out are derived."""
    row = {
        **annotation.row,
        "qid": annotation.qid,
        "duration": annotation.duration_s,
        "relevant_windows": annotation.windows_s,
    }
    # The number of clips to rank follows from the duration and the benchmark's clip length.
    rankable = math.isfinite(annotation.duration_s) and config.data.clip_length_s == _SCORED_CLIP_S
    if row.get("saliency_scores") is None or not rankable:
        row.pop("saliency_scores", None)
    return row
