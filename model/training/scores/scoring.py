"""Scoring for `vtg eval`: prediction files, and trained models on their own or another dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from extractors.errors import UsageError
from model.checkpoints.checkpoint import Checkpoint
from model.checkpoints.store import read_model
from model.config import override_config
from model.dataset_entry import OWN, dataset_info
from model.datasets.annotations import select_domain
from model.metrics.files import read_annotation_rows, read_rows
from model.metrics.report import evaluate
from model.training.data.inputs import Inputs
from model.training.data.splits import evaluation_annotations
from model.training.evaluation import score_rows
from model.training.experiments import config_for
from model.training.run import run_of


@dataclass(frozen=True)
class FileScores:
    """Scores of a prediction file.

    Attributes:
        metrics: percentages by the metrics' published names.
        scored: number of queries that were scored.
        left_out: number of queries that were left out because they have no prediction.
        origin: where the annotations come from, as text for the user; empty if the user named a file.
    """

    metrics: Mapping[str, float]
    scored: int
    left_out: int = 0
    origin: str = ""


def score_predictions(
    predictions: Path, annotations: Path | None = None, *, skip_missing: bool = False
) -> FileScores:
    """Score a file of predictions in the benchmarks' form.

    Args:
        predictions: the file.
        annotations: annotations to score on; None for those of the run whose folder contains the predictions.
        skip_missing: leave out queries without a prediction; for a run, the setting that the run was started
            with is used instead.

    Raises:
        UsageError: if no annotations are named, and the predictions are not in the folder of a run.
        DataMissing: if the annotations of the run no longer exist.
        VtgError: if a file cannot be read.
    """
    rows = read_rows(predictions)
    if annotations is None:
        return _score_in_run(predictions, rows)
    truth = read_annotation_rows(annotations, rows)
    predicted = {row["qid"] for row in rows}
    kept = [row for row in truth if row["qid"] in predicted] if skip_missing else truth
    return FileScores(dict(evaluate(rows, kept).brief), len(kept), len(truth) - len(kept))


def _score_in_run(predictions: Path, rows: Sequence[Mapping[str, Any]]) -> FileScores:
    """Score predictions in a run's folder as the run did, on its annotations."""
    run = run_of(predictions)
    if run is None:
        raise UsageError(
            "--predictions goes with --annotations FILE, unless the file is in the folder of a run"
        )
    config, begun = run.config(), run.inputs()
    inputs = replace(Inputs.from_json(begun), videos=None)
    if inputs.train is not None:
        inputs = replace(inputs, data=None)  # no features are read
    inputs.require_there(
        str(run.folder / "inputs.json"), scoring=True, but=", or name other annotations with --annotations"
    )
    annotations, origin = evaluation_annotations(config, inputs)
    if domain := begun.get("domain"):
        annotations = select_domain(annotations, str(domain))
    if inputs.skip_missing:
        predicted = {row["qid"] for row in rows}
        annotations = [annotation for annotation in annotations if annotation.qid in predicted]
    scores = score_rows([dict(row) for row in rows], annotations, config)
    return FileScores(scores, len(annotations), origin=origin)


def scoring_inputs(
    checkpoint: str, given: Inputs, dataset: str | None = None, *, own: bool = False
) -> Inputs:
    """Complete the given inputs with those of the checkpoint's run.

    Args:
        checkpoint: a file or folder of a run, or another model, whose data is not known.
        given: where the data is; `evaluate` is the data to score on.
        dataset: the published dataset to score on, if it is not the run's.
        own: whether `given.evaluate` is a file of the user's own annotations.

    Raises:
        DataMissing: if the data of the run no longer exists.
    """
    run = run_of(Path(checkpoint))
    if run is None or dataset is not None:
        return given
    begun = Inputs.from_json(run.inputs())
    if own and begun.train is None:
        begun = replace(begun, data=None)  # a published dataset, to which the user's file does not belong
    inputs = Inputs(
        data=given.data or begun.data,
        train=begun.train,
        evaluate=given.evaluate or begun.evaluate,
        # Features in a folder that is named take precedence over those of the run's videos.
        videos=given.videos or (begun.videos if given.data is None else None),
        skip_missing=given.skip_missing or begun.skip_missing,
    )
    kept = inputs if given.evaluate is None else replace(inputs, train=None, evaluate=None)
    kept.require_there(
        str(run.folder / "inputs.json"),
        scoring=True,
        but=", or name another with --annotations, --videos or --data",
    )
    return inputs


def read_for_scoring(file: Path, dataset: str | None = None, *, own: bool = False) -> Checkpoint:
    """Read a checkpoint for scoring, on another dataset or the user's own file if given.

    Args:
        file: the checkpoint.
        dataset: a published dataset; None for the one it was trained on.
        own: whether it is scored on the user's own annotations.

    Raises:
        UsageError: if the dataset is unknown.
        WeightsInvalid: if the file is damaged.
    """
    model = read_model(file)
    name = model.config.data.dataset
    if dataset is not None:
        name = dataset_info(dataset).name
    elif own and model.config.data.annotates_moments:
        name = OWN
    if name == model.config.data.dataset:
        return model
    changes = [f"data.dataset={name}", "training.negative_identity=video"]
    if dataset is not None:
        changes.append(f"data.eval_annotations={config_for(dataset).data.eval_annotations}")
    return replace(model, config=override_config(model.config, changes))
