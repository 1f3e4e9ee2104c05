"""Plan training: from a dataset's name or the user's own file to an experiment and the folder of its run."""

from __future__ import annotations

import math
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
from model.dataset_entry import OWN, dataset_info, require_dataset
from model.datasets.annotations import Annotation
from model.datasets.library.catalogue import find_annotations
from model.training.data.inputs import Inputs, data_folder, negatives_file
from model.training.data.split_features import holds_features
from model.training.data.splits import Split, held_out_splits, training_negatives, training_splits
from model.training.experiments import config_for, own_config
from model.training.fine_tuning import Beginning, Start, drawn_weights
from model.training.loop import agreed_folder
from model.training.presets import with_preset
from model.training.pretraining.alignment import AlignmentStart, alignment_start
from model.training.pretraining.unlabelled import unlabelled_split
from model.training.run import Progress, ResumeState, Run, RunError, is_main_process, new_folder

_OWN_SUFFIX = ".jsonl"
_EARLY = 0.6  # default share of the epochs that mix in pseudo-labels; docs/results.md has measurements
_OWN_EXAMPLE = '{"vid": "kitchen", "query": "man opens fridge", "relevant_windows": [[12.0, 17.5]]}'


@dataclass(frozen=True)
class Experiment:
    """A configuration to train, and the data to train it on.

    Attributes:
        config: the recipe.
        inputs: where the data is.
        domains: domains that get one model each; empty to train a single model.
        part: the domain that a single model is trained for; empty for all data.
        note: what the user should know about the choice of features, one sentence or empty.
        start: the trained model that training begins with; None for random weights, or those of a resumed run.
    """

    config: Config
    inputs: Inputs
    domains: tuple[str, ...] = ()
    part: str = ""
    note: str = ""
    start: Start | None = None

    @property
    def unlabelled_only(self) -> bool:
        """Whether unlabelled videos are the only training data."""
        return self.inputs.pretrain is not None and self.inputs.train is None and _needs_own(self.config)

    def splits(
        self, *, cache: FeatureCache, options: EncoderOptions, on_event: Callable[[Event], None] | None = None
    ) -> tuple[Split, Split]:
        """Return the training split and the evaluation split; arguments and errors as for `training_splits`.

        Raises:
            UsageError: also if the features are not those of the model that training begins with.
        """
        splits = self._splits(cache, options, on_event)
        if self.start is not None:
            self.start.require_features(splits[0].video_specs, splits[0].text_spec)
        return splits

    def _splits(
        self, cache: FeatureCache, options: EncoderOptions, on_event: Callable[[Event], None] | None
    ) -> tuple[Split, Split]:
        if self.unlabelled_only and self.inputs.pretrain is not None:
            found = unlabelled_split(
                self.config, self.inputs, cache=cache, options=options, on_event=on_event
            )
            return held_out_splits(found, self.inputs.pretrain)
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
        """Return additional negatives to train on; arguments and errors as for `training_negatives`."""
        return training_negatives(
            self.config, self.inputs, scored, cache=cache, options=options, on_event=on_event
        )

    def unlabelled(
        self,
        scored: Split,
        *,
        cache: FeatureCache,
        options: EncoderOptions,
        on_event: Callable[[Event], None] | None = None,
    ) -> Split | None:
        """Return additional pseudo-labels to train on, except of videos that are scored.

        Arguments and errors as for `unlabelled_split`.
        """
        if self.config.pretraining.epochs == 0:
            return None
        vids = {annotation.vid for annotation in scored.annotations}
        return unlabelled_split(
            self.config, self.inputs, scored=vids, cache=cache, options=options, on_event=on_event
        )

    def alignment(
        self, learnt: Split, *, cache: FeatureCache, options: EncoderOptions
    ) -> AlignmentStart | None:
        """Return fitted first weights of the alignment head; None if it is loaded, random or absent.

        Arguments and errors as for `alignment_start`.
        """
        loaded = self.start is not None and self.start.checkpoint.config.model.alignment_dim
        if loaded or not self.config.model.alignment_dim:
            return None
        return alignment_start(self.config, self.inputs, learnt, cache=cache, options=options)

    @property
    def beginning(self) -> Beginning | None:
        """The weights from the model that training begins with; None without one."""
        return None if self.start is None else self.start.begin(self.config)

    def begin(
        self,
        folder: Path | None,
        device: str,
        pseudo_labels: Sequence[Annotation] = (),
        alignment: AlignmentStart | None = None,
    ) -> Run:
        """Create the run.

        Args:
            folder: its folder; None for a new folder `runs/CONFIG-DATE-TIME`.
            device: where the network will train; processes on several devices agree on one folder.
            pseudo_labels: pseudo-labels of unlabelled videos, which are stored with the run.
            alignment: first weights of the alignment head.

        Raises:
            UsageError, RunError: as for `Run.create`.
        """
        if folder is None:
            name = f"{self.config.name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
            # One process creates it, so that two runs that start in the same second get different folders.
            made = new_folder(Path("runs") / name) if is_main_process() else Path()
            folder = agreed_folder(made, self.config, device)
        run = Run(folder)
        inputs = self.inputs
        if self.unlabelled_only and inputs.pretrain is not None:
            # From here on the pseudo-labels are annotations like any others.
            raw = not holds_features(inputs.pretrain, self.config.data.video_features)
            inputs = replace(
                inputs,
                train=run.pseudo_labels,
                videos=inputs.pretrain if raw else None,
                data=None if raw else inputs.pretrain,
            )
        first = self.beginning
        begun: dict[str, object] = {} if first is None else {"from": first.to_json()}
        if alignment is not None:
            begun["alignment"] = alignment.origin
        run.create(self.config, {**inputs.to_json(), "domains": list(self.domains), **begun})
        if begun:
            weights = dict(drawn_weights(self.config) if first is None else first.state.weights)
            weights |= {} if alignment is None else alignment.weights
            run.write_first(ResumeState(Progress(), weights, {}))
        if pseudo_labels:
            run.write_pseudo_labels([annotation.row for annotation in pseudo_labels])
        return run


def plan_experiment(
    dataset: str | None,
    *,
    config: str | None = None,
    overrides: Sequence[str] = (),
    inputs: Inputs | None = None,
    domains: Sequence[str] = (),
    options: EncoderOptions | None = None,
    start: Start | None = None,
    preset: str | None = None,
) -> Experiment:
    """Choose what to train.

    Args:
        dataset: a published dataset, or a `.jsonl` file of the user's own annotations; None for the dataset
            of `config`, or for unlabelled videos alone.
        config: a configuration by name or file; None for the dataset's first, or the first that fits `start`.
        overrides: changes to it, `KEY=VALUE`.
        inputs: where the data is; its `train` follows from `dataset`.
        domains: train the models of these domains only.
        options: options of the encoders, if features have to be extracted.
        start: the trained model to begin with; its network is used instead of the configuration's.
        preset: a named set of further changes to the configuration; `overrides` take precedence.

    Raises:
        UsageError: if names are unknown or exclude each other, or `start` reads other features.
        ConfigError: if the configuration is not valid.
    """
    inputs = inputs or Inputs()
    if dataset is None and config is None and inputs.pretrain is None:
        raise UsageError(
            "choose what to train on: --dataset NAME (see `vtg datasets list`), or --dataset FILE.jsonl"
        )
    own = None if dataset is None else _own_annotations(dataset)
    if inputs.evaluate is not None and own is None:
        raise UsageError("--eval goes with --dataset FILE.jsonl; a published dataset has its own split")
    chosen, note = _choose(dataset, own, config, overrides, inputs, options or EncoderOptions(), start)
    if own is None and _needs_own(chosen) and inputs.pretrain is None:
        raise UsageError(f"{chosen.name} is trained on your own data: give --dataset FILE{_OWN_SUFFIX}")
    known_here = own is None and dataset is not None and config is not None
    if known_here and dataset_info(str(dataset)).name != chosen.data.dataset:
        raise UsageError(f"--config {config} is for {chosen.data.dataset}, not for {dataset}")
    unknown = [name for name in domains if name not in chosen.data.domains]
    if unknown:
        known = ", ".join(chosen.data.domains) or "none"
        raise UsageError(f"--domain {unknown[0]}: {chosen.name} has the domains: {known}")
    if preset is not None:
        chosen = with_preset(chosen, preset, _count_queries(chosen, inputs, own), overrides)
    if start is not None:
        chosen = start.adapt(chosen, overrides)
    if chosen.model.networks > 1:
        raise UsageError(
            "model.networks: one network is trained at a time; `vtg weights combine` makes one model of several"
        )
    chosen = _with_pretraining(chosen, inputs.pretrain, labelled=own is not None or not _needs_own(chosen))
    inputs = replace(inputs, train=own)
    inputs = replace(inputs, negatives=negatives_file(chosen, inputs))
    return Experiment(chosen, inputs, tuple(domains) or chosen.data.domains, note=note, start=start)


def resumed_experiment(run: Run, overrides: Sequence[str] = ()) -> Experiment:
    """Return the experiment of an existing run, with overrides of its configuration.

    Raises:
        RunError: if this is not the folder of a run, or its first weights are lost.
        ConfigError: if a change is not valid.
        DataMissing: if its data no longer exists.
    """
    config, begun = run.config(overrides), run.inputs()
    if (run.fine_tuned() or begun.get("alignment")) and not run.has_state:
        raise RunError(
            f"{run.folder}: was stopped before its first weights were stored in it; begin again in another folder"
        )
    inputs = Inputs.from_json(begun)
    if run.pseudo_labels.is_file():
        inputs = replace(inputs, pseudo_labels=run.pseudo_labels)
    inputs.require_there(str(run.folder / "inputs.json"))
    domains = tuple(str(name) for name in begun.get("domains") or ())
    return Experiment(config, inputs, domains, part="" if domains else str(begun.get("domain") or ""))


def _choose(
    dataset: str | None,
    own: Path | None,
    config: str | None,
    overrides: Sequence[str],
    inputs: Inputs,
    options: EncoderOptions,
    start: Start | None,
) -> tuple[Config, str]:
    """Return the named configuration, or one that fits, and what the user should know about the choice."""
    if config is not None:
        return load_config(config, overrides), ""
    if start is not None:
        return _config_for_start(start, dataset if own is None else None, overrides), ""
    if own is not None:
        return own_config(inputs.data or own.parent, inputs.videos, overrides, options)
    if dataset is not None:
        return config_for(dataset, overrides), ""
    assert inputs.pretrain is not None
    streams = [
        stream for name in require_dataset(OWN).configs for stream in load_config(name).data.video_features
    ]
    videos = None if holds_features(inputs.pretrain, streams) else inputs.pretrain
    return own_config(inputs.pretrain, videos, overrides, options)


def _count_queries(config: Config, inputs: Inputs, own: Path | None) -> int | None:
    """Count the annotated queries to train on; None if their file does not exist."""
    file = own
    if file is None and not _needs_own(config):
        file = find_annotations(config.data.train_annotations, data_folder(config, inputs))
    if file is None:
        return None
    try:
        with file.open("rb") as lines:
            return sum(1 for line in lines if line.strip())
    except OSError:
        return None  # reported where it is read


def _needs_own(config: Config) -> bool:
    """Check whether a configuration needs the user's own annotations."""
    return config.data.info.is_own and not config.data.train_annotations


def _config_for_start(start: Start, dataset: str | None, overrides: Sequence[str]) -> Config:
    """Return the default configuration of a published dataset, or of own data (None), for a trained model."""
    if dataset is None:
        return start.own_config(overrides)
    fitting = start.first_of(dataset_info(dataset).configs, overrides)
    return config_for(dataset, overrides) if fitting is None else fitting


def _with_pretraining(config: Config, pretrain: Path | None, *, labelled: bool) -> Config:
    """Set the number of epochs that use pseudo-labels in a configuration.

    Raises:
        UsageError: if the configuration needs unlabelled videos and there are none.
        ConfigError: if the dataset has no moments.
    """
    epochs = config.pretraining.epochs
    if pretrain is None:
        if epochs > 0:
            raise UsageError(
                f"pretraining.epochs is {epochs}: name a folder of unlabelled videos with --pretrain, or set it to 0"
            )
        return config
    if not labelled:
        epochs = 0  # all epochs learn from pseudo-labels, as annotations
    elif epochs == 0:
        epochs = math.ceil(_EARLY * config.training.epochs)
    return replace(config, pretraining=replace(config.pretraining, epochs=epochs))


def _own_annotations(dataset: str) -> Path | None:
    """Return the user's file that --dataset names; None if it names a published dataset."""
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
