"""`vtg train`: train FlashVTG on a published dataset or on your own data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from extractors.errors import UsageError
from vtg_cli.parsing import completion, values
from vtg_cli.parsing.options import EncoderArguments, SkipMissing, Videos, path_option
from vtg_cli.terminal.console import counted, error_line, note, out, printable, verbosity

if TYPE_CHECKING:
    from model.training.events import TrainingResult
    from model.training.plan import Experiment
    from model.training.run import Run
    from model.training.splits import Split


@dataclass(frozen=True)
class DataArguments:
    """What is learnt from."""

    PANEL: ClassVar = "Data"

    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            autocompletion=completion.datasets,
            help="A dataset from `vtg datasets list`, or your own .jsonl file.",
        ),
    ] = None
    data: Annotated[
        Path | None,
        path_option(
            "--data",
            metavar="FOLDER",
            help="Folder of the dataset's annotations and features.",
            existing=True,
            show_default="VTG_DATA, else the user's cache folder",
        ),
    ] = None
    videos: Videos = None
    eval_: Annotated[
        Path | None,
        path_option(
            "--eval",
            metavar="FILE",
            help="Annotations to score on, with --dataset FILE.",
            existing=True,
            show_default="every tenth video is held out",
        ),
    ] = None
    skip_missing: SkipMissing = False
    domain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Train only this domain's model (TVSum, YouTube Highlights); can be given several times.",
        ),
    ] = None


@dataclass(frozen=True)
class RecipeArguments:
    """How it is learnt."""

    PANEL: ClassVar = "Recipe"

    config: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            autocompletion=completion.configs,
            help="Configuration, by name or a TOML file.",
            show_default="the dataset's first",
        ),
    ] = None
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a field, for instance training.epochs=30; can be given several times.",
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=values.whole_number("--seed", least=0),
            help="Short for --set training.seed=N.",
        ),
    ] = None

    def overrides(self) -> list[str]:
        """Changes to the configuration, `KEY=VALUE`."""
        return [*(self.set_ or []), *([] if self.seed is None else [f"training.seed={self.seed}"])]


@dataclass(frozen=True)
class RunArguments:
    """Where the run is kept."""

    output: Annotated[
        Path | None,
        path_option(
            "--output",
            metavar="FOLDER",
            help="Folder of the run; it must be new.",
            show_default="runs/CONFIG-DATE-TIME",
        ),
    ] = None
    resume: Annotated[
        Path | None,
        path_option("--resume", metavar="FOLDER", help="Continue the run in this folder.", existing=True),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the configuration, check the data, and stop.")
    ] = False


def train(
    data: DataArguments, recipe: RecipeArguments, target: RunArguments, encoders: EncoderArguments
) -> None:
    """Train FlashVTG on a published dataset or on your own data.

    A run's folder holds the configuration, the log, the best and the last checkpoint, and TensorBoard curves. --resume
    continues an interrupted run with the same result. For several GPUs, use `torchrun --no-python --nproc-per-node 4
    vtg train …`.

    Your own file has one JSON object per line: `vid` (a video's file name without suffix), `query`, `relevant_windows`
    \\[\\[start, end], …] in seconds, and optionally `saliency`, a number from 0 to 1 for each clip.

    [bold]Examples[/]

      vtg train --dataset qvhl

      vtg train --dataset charades --set training.epochs=30 --seed 7

      vtg train --dataset mine.jsonl --videos videos/

      vtg train --resume runs/qvhighlights-slowfast-clip-20261125-120000
    """
    from extractors.compute.device import resolve_device
    from model.training.run import Run, is_main_process

    if not is_main_process():
        verbosity.quiet = True  # one of them speaks
    resolve_device(encoders.device)  # before anything else is done, which may take hours
    experiment = _experiment(data, recipe, target, encoders)
    if target.output is not None:
        Run(target.output).require_new()
    if target.dry_run:
        _print_config(experiment)
    splits, negatives = _splits(experiment, encoders)
    if target.dry_run:
        counts = _counts(splits, negatives)
        note(f"{experiment.config.name}: {counts}; with --dry-run nothing is trained")
        return
    run = experiment.begin(target.output, encoders.device) if target.resume is None else Run(target.resume)
    results = _run(experiment, run, splits, negatives, encoders.device)
    if is_main_process():
        _print_results(experiment, run, results)


def _experiment(
    data: DataArguments, recipe: RecipeArguments, target: RunArguments, encoders: EncoderArguments
) -> Experiment:
    from model.training.inputs import Inputs
    from model.training.plan import plan_experiment, resumed_experiment
    from model.training.run import Run

    options = encoders.options()
    if target.resume is not None:
        if data != DataArguments() or recipe.config or target.output:
            raise UsageError(
                "--resume continues a run with its own settings; it allows only --set and --device"
            )
        return resumed_experiment(Run(target.resume), recipe.overrides())
    experiment = plan_experiment(
        data.dataset,
        config=recipe.config,
        overrides=recipe.overrides(),
        inputs=Inputs(data.data, None, data.eval_, data.videos, data.skip_missing),
        domains=data.domain or (),
        options=options,
    )
    if experiment.note:
        note(experiment.note)
    return experiment


def _splits(experiment: Experiment, encoders: EncoderArguments) -> tuple[tuple[Split, Split], Split | None]:
    from extractors.cache.store import FeatureCache
    from vtg_cli.terminal.data_missing import explain_missing_data, note_left_out
    from vtg_cli.terminal.progress import ExtractionProgress

    cache = FeatureCache(encoders.cache)
    with explain_missing_data(), ExtractionProgress() as on_event:
        options = encoders.options()
        splits = experiment.splits(cache=cache, options=options, on_event=on_event)
        negatives = experiment.negatives(splits[1], cache=cache, options=options, on_event=on_event)
    parts = splits if negatives is None else (*splits, negatives)
    note_left_out(name for split in parts for name in split.left_out)
    return splits, negatives


def _run(
    experiment: Experiment,
    run: Run,
    splits: tuple[Split, Split],
    negatives: Split | None,
    device: str,
) -> Mapping[str, TrainingResult]:
    from model.training.experiments import run_experiment
    from vtg_cli.terminal.training_progress import TrainingProgress

    note(f"{experiment.config.name}: {_counts(splits, negatives)}; the run is kept in {run.folder}")
    try:
        with TrainingProgress() as progress:
            return run_experiment(
                experiment.config,
                experiment.inputs,
                run,
                splits,
                negatives=negatives,
                domains=experiment.domains,
                device=device,
                on_begin=progress.begin,
                on_event=progress,
            )
    except KeyboardInterrupt:
        error_line(
            f"interrupted; every complete epoch is kept, and `vtg train --resume {run.folder}` continues from there"
        )
        raise typer.Exit(130) from None


def _print_results(experiment: Experiment, run: Run, results: Mapping[str, TrainingResult]) -> None:
    from model.training.experiments import mean_metrics
    from model.training.published import published_row
    from vtg_cli.terminal.scores import print_scores

    config = experiment.config
    paper = published_row(config.name, config.data.eval_annotations)
    if experiment.domains:
        scores = mean_metrics({name: result.metrics for name, result in results.items()})
        print_scores({"best": scores}, paper)
        out().print(f"best checkpoints: {printable(str(run.folder))}/DOMAIN/best.safetensors", soft_wrap=True)
        return
    (result,) = results.values()
    columns = {"as decoded": result.metrics}
    if result.suppressed_metrics != result.metrics:
        columns["after NMS"] = result.suppressed_metrics
    print_scores(columns, paper)
    out().print(
        f"best checkpoint: epoch {result.best_epoch}, {printable(str(run.best))}",
        soft_wrap=True,
        markup=False,
    )


def _counts(splits: tuple[Split, Split], negatives: Split | None) -> str:
    train, score = (counted(len(split.annotations), "query", "queries") for split in splits)
    if negatives is not None:
        train += f" and {counted(len(negatives.annotations), 'negative')}"
    return f"{train} to train on and {score} to score on"


def _print_config(experiment: Experiment) -> None:
    import tomli_w

    typer.echo(tomli_w.dumps(experiment.config.to_dict()))
