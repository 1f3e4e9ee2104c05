"""Plans training: from the name of a dataset, or your own file, to an experiment and the folder of its run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions
from extractors.errors import UsageError
from extractors.videos.events import Event
from model.config import Config, load_config
from model.dataset_entry import dataset_info
from model.training.experiments import config_for, own_config
from model.training.inputs import Inputs, negatives_file
from model.training.loop import agreed_folder
from model.training.run import Run, is_main_process, new_folder
from model.training.splits import Split, training_negatives, training_splits

_OWN_SUFFIX = ".jsonl"
_OWN_EXAMPLE = '{"vid": "kitchen", "query": "man opens fridge", "relevant_windows": [[12.0, 17.5]]}'


@dataclass(frozen=True)
class Experiment:
    """What is trained, and on what.

    Attributes:
        config: the recipe.
        inputs: where the data lies.
        domains: one model is trained for each; empty trains one model.
        part: the domain that one model is trained for; empty for all data.
        note: what the user should know of the choice of features, a sentence or nothing.
    """

    config: Config
    inputs: Inputs
    domains: tuple[str, ...] = ()
    part: str = ""
    note: str = ""

    def splits(
        self, *, cache: FeatureCache, options: EncoderOptions, on_event: Callable[[Event], None] | None = None
    ) -> tuple[Split, Split]:
        """What is learnt from, and what is scored; arguments and errors as of `training_splits`."""
        splits = training_splits(self.config, self.inputs, cache=cache, options=options, on_event=on_event)
        return (splits[0].of_domain(self.part), splits[1].of_domain(self.part)) if self.part else splits

    def negatives(
        self,
        scored: Split,
        *,
        cache: FeatureCache,
        options: EncoderOptions,
        on_event: Callable[[Event], None] | None = None,
    ) -> Split | None:
        """Further negatives to learn from; arguments and errors as of `training_negatives`."""
        return training_negatives(
            self.config, self.inputs, scored, cache=cache, options=options, on_event=on_event
        )

    def begin(self, folder: Path | None, device: str) -> Run:
        """Create the run.

        Args:
            folder: where it is kept; None for a new folder `runs/CONFIG-DATE-TIME`.
            device: where the network will train; processes on several agree on one folder.

        Raises:
            UsageError, RunError: as `Run.create`.
        """
        if folder is None:
            name = f"{self.config.name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
            # One process makes it, so that of two that begin in the same second each has its own.
            made = new_folder(Path("runs") / name) if is_main_process() else Path()
            folder = agreed_folder(made, self.config, device)
        run = Run(folder)
        run.create(self.config, {**self.inputs.to_json(), "domains": list(self.domains)})
        return run


def plan_experiment(
    dataset: str | None,
    *,
    config: str | None = None,
    overrides: Sequence[str] = (),
    inputs: Inputs | None = None,
    domains: Sequence[str] = (),
    options: EncoderOptions | None = None,
) -> Experiment:
    """Choose what to train.

    Args:
        dataset: a published dataset, or a `.jsonl` file of one's own annotations; None for that of `config`.
        config: a configuration by name or file; None for the dataset's first.
        overrides: changes to it, `KEY=VALUE`.
        inputs: where the data lies; its `train` follows from `dataset`.
        domains: train the models of these only.
        options: of encoders, where features have to be extracted.

    Raises:
        UsageError: if names are unknown or exclude each other.
        ConfigError: if the configuration is not valid.
    """
    inputs = inputs or Inputs()
    if dataset is None and config is None:
        raise UsageError(
            "say what to train on: --dataset NAME (see `vtg datasets list`), or --dataset FILE.jsonl"
        )
    own = None if dataset is None else _own_annotations(dataset)
    if inputs.evaluate is not None and own is None:
        raise UsageError("--eval goes with --dataset FILE.jsonl; a published dataset has its own split")
    note = ""
    if config is not None:
        chosen = load_config(config, overrides)
    elif own is not None:
        folder = inputs.data or own.parent
        chosen, note = own_config(folder, inputs.videos, overrides, options or EncoderOptions())
    else:
        chosen = config_for(str(dataset), overrides)
    if own is None and chosen.data.info.is_own and not chosen.data.train_annotations:
        raise UsageError(f"{chosen.name} is trained on your own data: give --dataset FILE{_OWN_SUFFIX}")
    known_here = own is None and dataset is not None and config is not None
    if known_here and dataset_info(str(dataset)).name != chosen.data.dataset:
        raise UsageError(f"--config {config} is for {chosen.data.dataset}, not for {dataset}")
    unknown = [name for name in domains if name not in chosen.data.domains]
    if unknown:
        known = ", ".join(chosen.data.domains) or "none"
        raise UsageError(f"--domain {unknown[0]}: {chosen.name} has the domains: {known}")
    inputs = replace(inputs, train=own)
    inputs = replace(inputs, negatives=negatives_file(chosen, inputs))
    return Experiment(chosen, inputs, tuple(domains) or chosen.data.domains, note=note)


def resumed_experiment(run: Run, overrides: Sequence[str] = ()) -> Experiment:
    """What a run was begun with, its configuration changed as asked.

    Raises:
        RunError: if this is no run's folder.
        ConfigError: if a change is not valid.
        DataMissing: if its data is not there any more.
    """
    config, begun = run.config(overrides), run.inputs()
    inputs = Inputs.from_json(begun)
    inputs.require_there(str(run.folder / "inputs.json"))
    domains = tuple(str(name) for name in begun.get("domains") or ())
    return Experiment(config, inputs, domains, part="" if domains else str(begun.get("domain") or ""))


def _own_annotations(dataset: str) -> Path | None:
    """The user's file that --dataset names; None if it names a published dataset."""
    path = Path(dataset)
    if path.suffix.lower() == _OWN_SUFFIX:
        if not os.path.lexists(path):
            raise UsageError(f"--dataset {path}: does not exist")
        return path
    try:
        dataset_info(dataset)
    except UsageError as error:
        form = f"your own is a {_OWN_SUFFIX} file with one JSON object per line, such as {_OWN_EXAMPLE}"
        if os.path.lexists(path):
            raise UsageError(f"--dataset {dataset}: cannot be read as annotations; {form}") from None
        raise UsageError(f"{error}; {form}") from None
    return None
