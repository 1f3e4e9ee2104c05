"""`vtg train`: train FlashVTG on a published dataset or on your own data."""

from __future__ import annotations

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
from vtg_cli.terminal.console import counted, error_line, note, out, printable, verbosity

if TYPE_CHECKING:
    from model.config import Config
    from model.training.experiments import Inputs
    from model.training.run import Run

_DATA = "Data"
_RECIPE = "Recipe"
_OWN_SUFFIX = ".jsonl"
_OWN_EXAMPLE = '{"vid": "kitchen", "query": "man opens fridge", "relevant_windows": [[12.0, 17.5]]}'


def train(
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="A dataset from `vtg datasets list`, or your own .jsonl file.",
            show_default=False,
            rich_help_panel=_DATA,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=values.existing("--data"),
            help="Folder of the dataset's annotations and features.",
            show_default="VTG_DATA, else the user's cache folder",
            rich_help_panel=_DATA,
        ),
    ] = None,
    videos: Videos = None,
    eval_: Annotated[
        Path | None,
        typer.Option(
            "--eval",
            metavar="FILE",
            parser=values.existing("--eval"),
            help="Annotations to score on, with --dataset FILE.",
            show_default="every tenth video is held out",
            rich_help_panel=_DATA,
        ),
    ] = None,
    skip_missing: SkipMissing = False,
    domain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Train only this domain's model (TVSum, YouTube Highlights); can be given several times.",
            show_default=False,
            rich_help_panel=_DATA,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Configuration, by name or a TOML file.",
            show_default="the dataset's first",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a field, for instance training.epochs=30; can be given several times.",
            show_default=False,
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=values.whole_number("--seed", least=0),
            help="Short for --set training.seed=N.",
            show_default=False,
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=values.path("--output"),
            help="Folder of the run; it must be new.",
            show_default="runs/CONFIG-DATE-TIME",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=values.existing("--resume"),
            help="Continue the run in this folder.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the configuration, check the data, and stop.")
    ] = False,
    device: Device = "auto",
    precision: Precision = "auto",
    weights: Weights = None,
    cache: Cache = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    offline: Offline = False,
) -> None:
    """Train FlashVTG with the released recipe, or your own.

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
    del quiet, verbose
    from extractors.compute.device import resolve_device
    from extractors.encoders.base import EncoderOptions
    from extractors.errors import UsageError
    from model.training.loop import agreed_folder
    from model.training.run import Run, is_main_process, new_folder

    if not is_main_process():
        verbosity.quiet = True  # one of them speaks
    overrides = [*(set_ or []), *([] if seed is None else [f"training.seed={seed}"])]
    options = EncoderOptions(
        device=device, precision=precision, weights=weights_by_feature(weights), offline=offline
    )
    resolve_device(device)  # before anything else is done, which may take hours
    if resume is not None:
        if dataset or config or output or data or videos or eval_ or domain or skip_missing:
            raise UsageError(
                "--resume continues a run with its own settings; it allows only --set and --device"
            )
        _resume(Run(resume), overrides, device, options, cache)
        return
    if dataset is None and config is None:
        raise UsageError(
            "say what to train on: --dataset NAME (see `vtg datasets list`), or --dataset FILE.jsonl"
        )
    chosen, inputs = _choose(dataset, config, overrides, data, videos, eval_, skip_missing, options)
    domains = _domains(chosen, domain or [])
    if output is not None:
        Run(output).require_new()
    if dry_run:
        _print_config(chosen)
    splits = _splits(chosen, inputs, cache, options)
    if dry_run:
        note(f"{chosen.name}: {_counts(splits)}; with --dry-run nothing is trained")
        return
    if output is None:
        # One process makes it, so that of two that begin in the same second each has its own.
        made = new_folder(_default_folder(chosen)) if is_main_process() else Path()
        output = agreed_folder(made, chosen, device)
    run = Run(output)
    run.create(chosen, {**inputs.to_json(), "domains": list(domains)})
    _run(chosen, inputs, run, splits, domains, device)


def _resume(run: Run, overrides: list[str], device: str, options: Any, cache: Path | None) -> None:
    from model.training.experiments import Inputs

    config, values = run.config(overrides), run.inputs()
    inputs = Inputs.from_json(values)
    inputs.require_there(str(run.folder / "inputs.json"))
    splits = _splits(config, inputs, cache, options)
    domains = tuple(str(name) for name in values.get("domains") or ())
    if not domains and values.get("domain"):
        domain = str(values["domain"])
        splits = (splits[0].of_domain(domain), splits[1].of_domain(domain))
    _run(config, inputs, run, splits, domains, device)


def _choose(
    dataset: str | None,
    config: str | None,
    overrides: list[str],
    data: Path | None,
    videos: Path | None,
    evaluate: Path | None,
    skip_missing: bool,
    options: Any,
) -> tuple[Config, Inputs]:
    from extractors.errors import UsageError
    from model.config import load_config
    from model.training.experiments import Inputs, config_for, own_config

    own = None if dataset is None else _own_annotations(dataset)
    if evaluate is not None and own is None:
        raise UsageError("--eval goes with --dataset FILE.jsonl; a published dataset has its own split")
    if config is not None:
        chosen = load_config(config, overrides)
    elif own is not None:
        chosen, sentence = own_config(own.parent if data is None else data, videos, overrides, options)
        if sentence:
            note(sentence)
    else:
        chosen = config_for(str(dataset), overrides)
    if own is None and chosen.data.dataset == "custom" and not chosen.data.train_annotations:
        raise UsageError(f"{chosen.name} is trained on your own data: give --dataset FILE{_OWN_SUFFIX}")
    if own is None and dataset is not None and config is not None:
        from model.datasets.library.catalogue import dataset_info

        if dataset_info(dataset).name != chosen.data.dataset:
            raise UsageError(f"--config {config} is for {chosen.data.dataset}, not for {dataset}")
    return chosen, Inputs(data, own, evaluate, videos, skip_missing)


def _own_annotations(dataset: str) -> Path | None:
    """The user's file that --dataset names; None if it names a published dataset."""
    from extractors.errors import UsageError
    from model.datasets.library.catalogue import dataset_info

    if Path(dataset).suffix.lower() == _OWN_SUFFIX:
        return values.existing("--dataset")(dataset)
    try:
        dataset_info(dataset)
    except UsageError as error:
        form = f"your own is a {_OWN_SUFFIX} file with one JSON object per line, such as {_OWN_EXAMPLE}"
        if values.exists(Path(dataset)):
            raise UsageError(f"--dataset {dataset}: cannot be read as annotations; {form}") from None
        raise UsageError(f"{error}; {form}") from None
    return None


def _domains(config: Config, wanted: list[str]) -> tuple[str, ...]:
    from extractors.errors import UsageError

    unknown = [name for name in wanted if name not in config.data.domains]
    if unknown:
        known = ", ".join(config.data.domains) or "none"
        raise UsageError(f"--domain {unknown[0]}: {config.name} has the domains: {known}")
    return tuple(wanted) or config.data.domains


def _splits(config: Config, inputs: Inputs, cache: Path | None, options: Any) -> Any:
    from extractors.cache.store import FeatureCache
    from model.training.experiments import training_splits
    from vtg_cli.terminal.data_missing import explain_missing_data, note_left_out
    from vtg_cli.terminal.progress import ExtractionProgress

    with explain_missing_data(), ExtractionProgress() as on_event:
        splits = training_splits(
            config, inputs, cache=FeatureCache(cache), options=options, on_event=on_event
        )
    note_left_out(name for split in splits for name in split.left_out)
    return splits


def _run(
    config: Config, inputs: Inputs, run: Run, splits: Any, domains: tuple[str, ...], device: str
) -> None:
    from model.training.experiments import mean_metrics, run_experiment
    from model.training.published import published_row
    from model.training.run import is_main_process
    from vtg_cli.terminal.scores import print_scores
    from vtg_cli.terminal.training_progress import TrainingProgress

    note(f"{config.name}: {_counts(splits)}; the run is kept in {run.folder}")
    try:
        with TrainingProgress() as progress:
            results = run_experiment(
                config,
                inputs,
                run,
                splits,
                domains=domains,
                device=device,
                on_begin=progress.begin,
                on_event=progress,
            )
    except KeyboardInterrupt:
        error_line(
            f"interrupted; every complete epoch is kept, and `vtg train --resume {run.folder}` continues from there"
        )
        raise typer.Exit(130) from None
    if not is_main_process():
        return
    paper = published_row(config.name, config.data.eval_annotations)
    if domains:
        scores = mean_metrics({name: result.metrics for name, result in results.items()})
        print_scores({"best": scores}, paper)
        out().print(f"best checkpoints: {printable(str(run.folder))}/DOMAIN/best.safetensors", soft_wrap=True)
        return
    result = next(iter(results.values()))
    columns = {"as decoded": result.metrics}
    if result.suppressed_metrics != result.metrics:
        columns["after NMS"] = result.suppressed_metrics
    print_scores(columns, paper)
    out().print(
        f"best checkpoint: epoch {result.best_epoch}, {printable(str(run.best))}",
        soft_wrap=True,
        markup=False,
    )


def _counts(splits: Any) -> str:
    return " and ".join(
        f"{counted(len(split.annotations), 'query', 'queries')} to {verb}"
        for split, verb in zip(splits, ("train on", "score on"), strict=True)
    )


def _print_config(config: Config) -> None:
    import tomli_w

    typer.echo(tomli_w.dumps(config.to_dict()))


def _default_folder(config: Config) -> Path:
    from datetime import datetime

    return Path("runs") / f"{config.name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
