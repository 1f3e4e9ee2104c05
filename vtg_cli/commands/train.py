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
    from model.datasets.annotations import Annotation
    from model.training.data.splits import Split
    from model.training.events import TrainingResult
    from model.training.plan import Experiment
    from model.training.pretraining.alignment import AlignmentStart
    from model.training.run import Run


_BUILT_IN = "builtin"


@dataclass(frozen=True)
class DataArguments:
    """What is learnt from."""

    PANEL: ClassVar[str] = "Data"

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
    pretrain: Annotated[
        Path | None,
        path_option(
            "--pretrain",
            metavar="FOLDER",
            help="Unlabelled videos, or their feature files, to learn from first; alone, all there is to learn from.",
            existing=True,
        ),
    ] = None
    concepts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|builtin",
            help="What to look for in --pretrain, and what the alignment head begins with: one name per line, or an "
            ".npz file of names and their vectors.",
            show_default="builtin",
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

    PANEL: ClassVar[str] = "Recipe"

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
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL|FILE|FOLDER",
            autocompletion=completion.models,
            help="Begin with this trained model: its name, its file or its run's folder.",
            show_default="random weights",
        ),
    ] = None
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="best",
            help="Change the configuration to what is most accurate, as far as it was measured; --set wins.",
            show_default="the configuration as it is",
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

      vtg train --dataset mine.jsonl --videos videos/ --preset best

      vtg train --pretrain videos/

      vtg train --from runs/NAME --dataset mine.jsonl --videos videos/

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
    parts = _parts(experiment, encoders, begins=target.resume is None)
    if target.dry_run:
        counts = _counts(parts)
        note(f"{experiment.config.name}: {counts}; with --dry-run nothing is trained")
        return
    if target.resume is None:
        run = experiment.begin(
            target.output, encoders.device, parts.pseudo_labels(experiment), parts.alignment
        )
    else:
        run = Run(target.resume)
    results = _run(experiment, run, parts, encoders.device)
    if is_main_process():
        _print_results(experiment, run, results)


def _experiment(
    data: DataArguments, recipe: RecipeArguments, target: RunArguments, encoders: EncoderArguments
) -> Experiment:
    from model.training.data.inputs import Inputs
    from model.training.fine_tuning import read_start
    from model.training.plan import plan_experiment, resumed_experiment
    from model.training.run import Run

    options = encoders.options()
    if target.resume is not None:
        if data != DataArguments() or recipe.config or recipe.from_ or recipe.preset or target.output:
            raise UsageError(
                "--resume continues a run with its own settings; it allows only --set and --device"
            )
        return resumed_experiment(Run(target.resume), recipe.overrides())
    experiment = plan_experiment(
        data.dataset,
        config=recipe.config,
        overrides=recipe.overrides(),
        inputs=Inputs(
            data.data,
            None,
            data.eval_,
            data.videos,
            data.skip_missing,
            pretrain=data.pretrain,
            concepts=_concepts_file(data),
        ),
        domains=data.domain or (),
        options=options,
        start=None if recipe.from_ is None else read_start(recipe.from_),
        preset=recipe.preset,
    )
    if data.concepts and not (data.pretrain or experiment.config.model.alignment_dim):
        raise UsageError(
            "--concepts goes with --pretrain FOLDER, where they are looked for, or a configuration with "
            "model.alignment_dim"
        )
    if experiment.note:
        note(experiment.note)
    if experiment.start is not None:
        note(str(experiment.beginning))
    return experiment


def _concepts_file(data: DataArguments) -> Path | None:
    if data.concepts is None:
        return None
    if data.concepts == _BUILT_IN:
        return None
    if not Path(data.concepts).is_file():
        raise UsageError(
            f"--concepts {data.concepts}: there is no such file; or leave it out for {_BUILT_IN}"
        )
    return Path(data.concepts)


@dataclass(frozen=True)
class _Parts:
    """What is learnt from, and what is scored.

    Attributes:
        splits: to train on, and to score on.
        negatives: further queries about what videos do not show.
        unlabelled: pseudo-labels for the first epochs.
        alignment: what the alignment head begins with; None for random or loaded weights.
    """

    splits: tuple[Split, Split]
    negatives: Split | None
    unlabelled: Split | None
    alignment: AlignmentStart | None

    def pseudo_labels(self, experiment: Experiment) -> list[Annotation]:
        """All that were found, in the order they are learnt from."""
        if experiment.unlabelled_only:
            return [annotation for split in self.splits for annotation in split.annotations]
        return [] if self.unlabelled is None else list(self.unlabelled.annotations)


def _parts(experiment: Experiment, encoders: EncoderArguments, *, begins: bool) -> _Parts:
    from extractors.cache.store import FeatureCache
    from vtg_cli.terminal.data_missing import explain_missing_data, note_left_out
    from vtg_cli.terminal.progress import ExtractionProgress

    cache = FeatureCache(encoders.cache)
    with explain_missing_data(), ExtractionProgress() as on_event:
        options = encoders.options()
        splits = experiment.splits(cache=cache, options=options, on_event=on_event)
        negatives = experiment.negatives(splits[1], cache=cache, options=options, on_event=on_event)
        unlabelled = experiment.unlabelled(splits[1], cache=cache, options=options, on_event=on_event)
        alignment = experiment.alignment(splits[0], cache=cache, options=options) if begins else None
    parts = [split for split in (*splits, negatives, unlabelled) if split is not None]
    note_left_out(name for split in parts for name in split.left_out)
    if alignment is not None:
        note(str(alignment))
    return _Parts(splits, negatives, unlabelled, alignment)


def _run(
    experiment: Experiment,
    run: Run,
    parts: _Parts,
    device: str,
) -> Mapping[str, TrainingResult]:
    from model.training.experiments import run_experiment
    from vtg_cli.terminal.training_progress import TrainingProgress

    note(f"{experiment.config.name}: {_counts(parts)}; the run is kept in {run.folder}")
    try:
        with TrainingProgress() as progress:
            return run_experiment(
                experiment.config,
                experiment.inputs,
                run,
                parts.splits,
                negatives=parts.negatives,
                unlabelled=parts.unlabelled,
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
    from model.training.scores.published import published_row
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


def _counts(parts: _Parts) -> str:
    train, score = (counted(len(split.annotations), "query", "queries") for split in parts.splits)
    if parts.negatives is not None:
        train += f" and {counted(len(parts.negatives.annotations), 'negative')}"
    if parts.unlabelled is not None:
        train += f" and {counted(len(parts.unlabelled.annotations), 'pseudo-label')}"
    return f"{train} to train on and {score} to score on"


def _print_config(experiment: Experiment) -> None:
    import tomli_w

    typer.echo(tomli_w.dumps(experiment.config.to_dict()))
