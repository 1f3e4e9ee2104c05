"""`vtg eval`: score predictions, or a trained model, with the papers' metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from extractors.errors import UsageError, reason_of
from vtg_cli.parsing import completion, values
from vtg_cli.parsing.options import EncoderArguments, SkipMissing, Videos, path_option
from vtg_cli.terminal.console import counted, note, out, print_json, printable

if TYPE_CHECKING:
    from model.checkpoints.checkpoint import Checkpoint
    from model.metrics.existence import Existence
    from model.training.data.inputs import Inputs
    from model.training.evaluation import Evaluation
    from model.training.scores.published import PublishedRow


@dataclass(frozen=True)
class FileArguments:
    """Files of predictions and annotations."""

    PANEL: ClassVar[str] = "Score predictions"

    predictions: Annotated[
        Path | None,
        path_option(
            "--predictions",
            metavar="FILE",
            help="Predictions, one JSON object per line, in the format of the benchmarks.",
            existing=True,
        ),
    ] = None
    annotations: Annotated[
        Path | None,
        path_option(
            "--annotations",
            metavar="FILE",
            help="Annotations to score on, one JSON object per line.",
            existing=True,
            show_default="those of the run of --predictions or --checkpoint",
        ),
    ] = None


@dataclass(frozen=True)
class ScoringArguments:
    """A trained model, and what it is scored on."""

    PANEL: ClassVar[str] = "Score a model"

    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|RUN|NAME",
            help="A checkpoint, a run's folder (its best checkpoint), a model from `vtg weights list`, or zero-shot.",
        ),
    ] = None
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.datasets,
            help="Dataset to score on.",
            show_default="the one it was trained on",
        ),
    ] = None
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Published split (val, test), or an annotations file in the dataset's folder.",
            show_default="the configuration's",
        ),
    ] = None
    data: Annotated[
        Path | None,
        path_option(
            "--data",
            "--features",
            metavar="FOLDER",
            help="Folder of the dataset, or with --annotations of its feature folders.",
            existing=True,
        ),
    ] = None
    videos: Videos = None
    fps: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            parser=values.number("--fps"),
            help="Clips per second that zero-shot reads.",
            show_default="{default_rates}",
        ),
    ] = None
    negatives: Annotated[
        Path | None,
        path_option(
            "--negatives",
            metavar="FILE",
            help="Also score how well the model knows what is not there: annotations with empty relevant_windows.",
            existing=True,
        ),
    ] = None
    skip_missing: SkipMissing = False
    nms: Annotated[
        bool, typer.Option(help="Use the moments after non-maximum suppression for --json and --output.")
    ] = True
    batch_size: Annotated[
        int,
        typer.Option(
            metavar="N", parser=values.whole_number("--batch-size", least=1), help="Queries per batch."
        ),
    ] = 64
    output: Annotated[
        Path | None,
        path_option(
            "--output",
            metavar="FILE",
            help="Write the predictions in the format of the benchmarks, for submission.",
        ),
    ] = None


def evaluate(
    files: FileArguments,
    model: ScoringArguments,
    encoders: EncoderArguments,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object with the published key names instead of a table."),
    ] = False,
) -> None:
    """Score moments (R1, mAP, mIoU) and highlights (mAP, Hit1) with the published metrics.

    A line of predictions holds `qid`, and `pred_relevant_windows` \\[\\[start, end, score], ...] or
    `pred_saliency_scores` \\[score, ...], or both. A trained model is scored before and after non-maximum suppression,
    next to the paper's scores for its configuration.

    [bold]Examples[/]

      vtg eval --predictions preds.jsonl --annotations gt.jsonl --json

      vtg eval --checkpoint runs/mine --output submission.jsonl

      vtg eval --checkpoint best.safetensors --dataset qvhl --split test

      vtg eval --checkpoint runs/mine --annotations mine.jsonl --data features/

      vtg eval --checkpoint zero-shot --annotations gt.jsonl --negatives no.jsonl
    """
    if (files.predictions is None) == (model.checkpoint is None):
        raise UsageError("give either --predictions with --annotations, or --checkpoint")
    if files.predictions is not None and model.negatives is not None:
        raise UsageError("--negatives goes with --checkpoint: the predictions do not answer these queries")
    if files.predictions is not None:
        _score_files(files.predictions, files.annotations, json, skip_missing=model.skip_missing)
    else:
        _score_model(str(model.checkpoint), files.annotations, model, encoders, json)


def _score_files(predictions: Path, annotations: Path | None, json: bool, *, skip_missing: bool) -> None:
    from model.training.scores.scoring import score_predictions
    from vtg_cli.terminal.scores import print_scores

    scores = score_predictions(predictions, annotations, skip_missing=skip_missing)
    if scores.origin:
        note(f"scored on {counted(scores.scored, 'query', 'queries')}: {scores.origin}")
    elif skip_missing:
        note(f"left out, without a prediction: {counted(scores.left_out, 'query', 'queries')}")
    if json:
        print_json(scores.metrics)
    else:
        print_scores({"": scores.metrics})


def _score_model(
    checkpoint: str, annotations: Path | None, asked: ScoringArguments, encoders: EncoderArguments, json: bool
) -> None:
    from extractors.compute.device import resolve_device
    from model.checkpoints.store import require_models
    from model.grounding.zeroshot.method import NAME
    from model.training.data.inputs import Inputs
    from model.training.scores.scoring import read_for_scoring, scoring_inputs

    if asked.split is not None and annotations is not None:
        raise UsageError("--annotations names the file to score on; leave out --split")
    resolve_device(encoders.device)  # before features are extracted, which may take hours
    if checkpoint == NAME:
        _score_zero_shot(annotations, asked, encoders, json)
        return
    if asked.fps is not None:
        raise UsageError(f"--fps goes with --checkpoint {NAME}: a trained model has its own rate")
    own = annotations is not None
    chosen = annotations or (Path(asked.split) if asked.split is not None else None)
    given = Inputs(asked.data, None, chosen, asked.videos, asked.skip_missing)
    inputs = scoring_inputs(checkpoint, given, asked.dataset, own=own)
    evaluations = {}
    existence = None
    for file in require_models(checkpoint):
        model = read_for_scoring(file, asked.dataset, own=own)
        evaluation, existence = _evaluate(model, inputs, encoders, asked)
        evaluations[model.provenance.get("domain", "")] = (model, evaluation)
    if asked.output is not None:
        rows = [
            row
            for _, evaluation in evaluations.values()
            for row in (evaluation.suppressed if asked.nms else evaluation.decoded)
        ]
        _write_rows(rows, asked.output)
    _print_evaluations(evaluations, existence, inputs, asked.nms, json)


def _score_zero_shot(
    annotations: Path | None, asked: ScoringArguments, encoders: EncoderArguments, json: bool
) -> None:
    from extractors.cache.store import FeatureCache
    from model.training.data.inputs import Inputs
    from model.training.scores.untrained import evaluate_zero_shot
    from vtg_cli.terminal.data_missing import explain_missing_data, note_left_out
    from vtg_cli.terminal.progress import ExtractionProgress

    if asked.dataset is not None or asked.split is not None:
        raise UsageError(
            "--checkpoint zero-shot is scored on --annotations FILE; leave out --dataset and --split"
        )
    with explain_missing_data(), ExtractionProgress() as on_event:
        scores = evaluate_zero_shot(
            Inputs(asked.data, None, annotations, asked.videos, asked.skip_missing),
            negatives=asked.negatives,
            fps=asked.fps,
            cache=FeatureCache(encoders.cache),
            options=encoders.options(),
            on_event=on_event,
        )
    note_left_out(scores.left_out)
    note(f"scored on {counted(len(scores.rows), 'query', 'queries')} with {scores.features}: {annotations}")
    if asked.output is not None:
        _write_rows(scores.rows, asked.output)
    _print(scores.metrics, {"": scores.metrics}, None, scores.existence, json)


def _evaluate(
    model: Checkpoint, inputs: Inputs, encoders: EncoderArguments, asked: ScoringArguments
) -> tuple[Evaluation, Existence | None]:
    from extractors.cache.store import FeatureCache
    from model.training.data.splits import evaluation_split, negative_split
    from model.training.experiments import evaluate_checkpoint, evaluate_existence
    from vtg_cli.terminal.data_missing import explain_missing_data, note_left_out
    from vtg_cli.terminal.progress import CountProgress, ExtractionProgress

    cache = FeatureCache(encoders.cache)
    with explain_missing_data(), ExtractionProgress() as on_event:
        read: dict[str, Any] = {"cache": cache, "options": encoders.options(), "on_event": on_event}
        part = evaluation_split(model.config, inputs, **read)
        absent = None
        if asked.negatives is not None:
            absent = negative_split(model.config, inputs, asked.negatives, **read)
    note_left_out([*part.left_out, *(absent.left_out if absent is not None else ())])
    note(f"scored on {counted(len(part.annotations), 'query', 'queries')}: {part.origin}")
    with CountProgress("queries") as on_progress:
        run: dict[str, Any] = {
            "device": encoders.device,
            "batch_size": asked.batch_size,
            "on_progress": on_progress,
        }
        evaluation = evaluate_checkpoint(model, part, **run)
        if absent is None:
            return evaluation, None
        return evaluation, evaluate_existence(model, part, evaluation, absent, **run)


def _print_evaluations(
    evaluations: dict[str, tuple[Checkpoint, Evaluation]],
    existence: Existence | None,
    inputs: Inputs,
    nms: bool,
    json: bool,
) -> None:
    from model.training.experiments import mean_metrics
    from model.training.scores.published import published_row

    model, evaluation = next(iter(evaluations.values()))
    columns = {"as decoded": evaluation.metrics}
    if evaluation.suppressed is not evaluation.decoded:
        columns["after NMS"] = evaluation.suppressed_metrics
    chosen = columns.get("after NMS", evaluation.metrics) if nms else evaluation.metrics
    if any(evaluations):  # one model per domain
        chosen = mean_metrics({domain: entry.metrics for domain, (_, entry) in evaluations.items()})
        columns = {"measured": chosen}
    split = model.config.data.eval_annotations if inputs.evaluate is None else inputs.evaluate.name
    _print(chosen, columns, published_row(model.config.name, split), existence, json)


def _print(
    metrics: Mapping[str, float],
    columns: Mapping[str, Mapping[str, float]],
    paper: PublishedRow | None,
    existence: Existence | None,
    json: bool,
) -> None:
    from vtg_cli.terminal.scores import print_existence, print_scores

    if json:
        print_json(metrics if existence is None else {**metrics, "existence": existence.to_json()})
        return
    if metrics:
        print_scores(columns, paper)
    else:
        out().print("the annotations of this split are not public: nothing to score")
    if existence is not None:
        print_existence(existence)


def _write_rows(rows: list[dict[str, object]], path: Path) -> None:
    import json

    from extractors.errors import VtgError
    from extractors.files.atomic import atomic_write

    try:
        with atomic_write(path) as file:
            file.write(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))
    except OSError as error:
        raise VtgError(f"{path}: cannot be written ({reason_of(error)})") from error
    note(f"{counted(len(rows), 'prediction')} written to {printable(str(path))}")
