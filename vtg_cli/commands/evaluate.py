"""`vtg eval`: score predictions, or a trained model, with the papers' metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtg_cli.parsing import values
from vtg_cli.parsing.options import (
    Cache,
    Device,
    Offline,
    Precision,
    Quiet,
    SkipMissing,
    Verbose,
    Videos,
    Weights,
    weights_by_feature,
)
from vtg_cli.terminal.console import counted, note, out, printable

if TYPE_CHECKING:
    from extractors.encoders.base import EncoderOptions
    from model.checkpoints.checkpoint import Checkpoint
    from model.training.evaluation import Evaluation
    from model.training.experiments import Inputs

_FILES = "Score predictions"
_MODEL = "Score a model"


def evaluate(
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=values.existing("--predictions"),
            help="Predictions, one JSON object per line, in the format of the benchmarks.",
            show_default=False,
            rich_help_panel=_FILES,
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=values.existing("--annotations"),
            help="Annotations to score on, one JSON object per line.",
            show_default="those of the run of --predictions or --checkpoint",
            rich_help_panel=_FILES,
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|RUN|NAME",
            help="A checkpoint, a run's folder (its best checkpoint), or a model from `vtg weights list`.",
            show_default=False,
            rich_help_panel=_MODEL,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Dataset to score on.",
            show_default="the one it was trained on",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Published split (val, test), or an annotations file in the dataset's folder.",
            show_default="the configuration's",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "--features",
            metavar="FOLDER",
            parser=values.existing("--data"),
            help="Folder of the dataset, or with --annotations of its feature folders.",
            show_default=False,
            rich_help_panel=_MODEL,
        ),
    ] = None,
    videos: Videos = None,
    skip_missing: SkipMissing = False,
    nms: Annotated[
        bool,
        typer.Option(
            help="Use the moments after non-maximum suppression for --json and --output.",
            rich_help_panel=_MODEL,
        ),
    ] = True,
    batch_size: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=values.whole_number("--batch-size", least=1),
            help="Queries per batch.",
            rich_help_panel=_MODEL,
        ),
    ] = 64,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=values.path("--output"),
            help="Write the predictions in the format of the benchmarks, for submission.",
            show_default=False,
            rich_help_panel=_MODEL,
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object with the published key names instead of a table."),
    ] = False,
    device: Device = "auto",
    precision: Precision = "auto",
    weights: Weights = None,
    cache: Cache = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    offline: Offline = False,
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
    """
    del quiet, verbose
    from extractors.compute.device import resolve_device
    from extractors.encoders.base import EncoderOptions
    from extractors.errors import UsageError
    from model.checkpoints.store import require_models
    from model.training.experiments import Inputs

    if (predictions is None) == (checkpoint is None):
        raise UsageError("give either --predictions with --annotations, or --checkpoint")
    if predictions is not None:
        _score_files(predictions, annotations, json, skip_missing=skip_missing)
        return
    if split is not None and annotations is not None:
        raise UsageError("--annotations names the file to score on; leave out --split")

    resolve_device(device)  # before features are extracted, which may take hours
    chosen = annotations or (Path(split) if split is not None else None)
    inputs = _inputs(
        str(checkpoint),
        Inputs(data, None, chosen, videos, skip_missing),
        dataset,
        own=annotations is not None,
    )
    options = EncoderOptions(
        device=device, precision=precision, weights=weights_by_feature(weights), offline=offline
    )
    evaluations = {}
    for file in require_models(str(checkpoint)):
        model = _read(file, dataset, own=annotations is not None)
        evaluations[model.provenance.get("domain", "")] = (
            model,
            _evaluate(model, inputs, options, cache, device, batch_size),
        )
    if output is not None:
        rows = [
            row
            for _, evaluation in evaluations.values()
            for row in (evaluation.suppressed if nms else evaluation.decoded)
        ]
        _write_rows(rows, output)
    _print_evaluations(evaluations, inputs, nms, json)


def _inputs(checkpoint: str, given: Inputs, dataset: str | None, *, own: bool) -> Inputs:
    """The inputs from the command line, and otherwise those of the checkpoint's run."""
    from dataclasses import replace

    from model.training.experiments import Inputs
    from model.training.run import run_of

    run = run_of(Path(checkpoint))
    if run is None or dataset is not None:
        return given
    begun = Inputs.from_json(run.inputs())
    if own and begun.train is None:
        begun = replace(begun, data=None)  # the folder of a published dataset, which this file is not of
    inputs = Inputs(
        data=given.data or begun.data,
        train=begun.train,
        evaluate=given.evaluate or begun.evaluate,
        # Features of a folder that is named are meant before those of the run's videos.
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


def _score_files(predictions: Path, annotations: Path | None, json: bool, *, skip_missing: bool) -> None:
    from model.metrics.files import read_annotation_rows, read_rows
    from model.metrics.report import evaluate as score
    from vtg_cli.terminal.scores import print_scores

    found = read_rows(predictions)
    if annotations is None:
        scores = _score_of_run(predictions, found)
    else:
        truth = read_annotation_rows(annotations, found)
        if skip_missing:
            predicted = {row["qid"] for row in found}
            count = len(truth)
            truth = [row for row in truth if row["qid"] in predicted]
            note(f"left out, without a prediction: {counted(count - len(truth), 'query', 'queries')}")
        scores = dict(score(found, truth).brief)
    if json:
        _print_json(scores)
    else:
        print_scores({"": scores})


def _score_of_run(predictions: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Score predictions in a run's folder like the run did, with its annotations."""
    from dataclasses import replace

    from extractors.errors import UsageError
    from model.datasets.annotations import select_domain
    from model.training.evaluation import score_rows
    from model.training.experiments import Inputs, evaluation_annotations
    from model.training.run import run_of

    run = run_of(predictions)
    if run is None:
        raise UsageError("--predictions goes with --annotations FILE, unless it lies in the folder of a run")
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
    note(f"scored on {counted(len(annotations), 'query', 'queries')}: {origin}")
    return score_rows([dict(row) for row in rows], annotations, config)


def _read(file: Path, dataset: str | None, *, own: bool) -> Checkpoint:
    """Read a checkpoint, to be scored on another dataset or on your own file if given."""
    from dataclasses import replace

    from model.checkpoints.store import read_model
    from model.config import override_config
    from model.datasets.library.catalogue import dataset_info
    from model.training.experiments import config_for

    model = read_model(file)
    name = model.config.data.dataset
    if dataset is not None:
        name = dataset_info(dataset).name  # type: ignore[assignment]
    elif own and model.config.data.annotates_moments:
        name = "custom"
    if name == model.config.data.dataset:
        return model
    changes = [f"data.dataset={name}", "training.negative_identity=video"]
    if dataset is not None:
        changes.append(f"data.eval_annotations={config_for(dataset).data.eval_annotations}")
    return replace(model, config=override_config(model.config, changes))


def _evaluate(
    model: Checkpoint,
    inputs: Inputs,
    options: EncoderOptions,
    cache: Path | None,
    device: str,
    batch_size: int,
) -> Evaluation:
    from extractors.cache.store import FeatureCache
    from model.training.experiments import evaluate_checkpoint, evaluation_split
    from vtg_cli.terminal.data_missing import explain_missing_data, note_left_out
    from vtg_cli.terminal.progress import CountProgress, ExtractionProgress

    with explain_missing_data(), ExtractionProgress() as on_event:
        part = evaluation_split(
            model.config, inputs, cache=FeatureCache(cache), options=options, on_event=on_event
        )
    note_left_out(part.left_out)
    note(f"scored on {counted(len(part.annotations), 'query', 'queries')}: {part.origin}")
    with CountProgress("queries") as on_progress:
        return evaluate_checkpoint(model, part, device=device, batch_size=batch_size, on_progress=on_progress)


def _print_evaluations(
    evaluations: dict[str, tuple[Checkpoint, Evaluation]], inputs: Inputs, nms: bool, json: bool
) -> None:
    from model.training.experiments import mean_metrics
    from model.training.published import published_row
    from vtg_cli.terminal.scores import print_scores

    model, evaluation = next(iter(evaluations.values()))
    columns = {"as decoded": evaluation.metrics}
    if evaluation.suppressed is not evaluation.decoded:
        columns["after NMS"] = evaluation.suppressed_metrics
    chosen = columns.get("after NMS", evaluation.metrics) if nms else evaluation.metrics
    if any(evaluations):  # one model per domain
        chosen = mean_metrics({domain: entry.metrics for domain, (_, entry) in evaluations.items()})
        columns = {"measured": chosen}
    if json:
        _print_json(chosen)
    elif not chosen:
        out().print("the annotations of this split are not public: nothing to score")
    else:
        split = model.config.data.eval_annotations if inputs.evaluate is None else inputs.evaluate.name
        print_scores(columns, published_row(model.config.name, split))


def _write_rows(rows: list[dict[str, object]], path: Path) -> None:
    import json

    from extractors.errors import VtgError
    from extractors.files.atomic import atomic_write

    try:
        with atomic_write(path) as file:
            file.write(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))
    except OSError as error:
        raise VtgError(f"{path}: cannot be written ({error.strerror or error})") from error
    note(f"{counted(len(rows), 'prediction')} written to {printable(str(path))}")


def _print_json(scores: object) -> None:
    import json

    typer.echo(json.dumps(scores, indent=2))
