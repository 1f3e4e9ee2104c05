"""Experiments: the configuration of a dataset, training with it, and scoring the trained model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extractors.compute.device import resolve_device
from extractors.encoders.base import EncoderOptions
from model.checkpoints.checkpoint import Checkpoint
from model.config import Config, load_config
from model.dataset_entry import OWN, dataset_info, require_dataset
from model.grounding.choice import plan_features
from model.metrics.existence import Asked, Existence, existence
from model.training.data.inputs import Inputs
from model.training.data.split_features import own_feature_folder
from model.training.data.splits import Split
from model.training.evaluation import Evaluation, evaluate_model
from model.training.events import Event, TrainingResult
from model.training.loop import continue_run, train
from model.training.run import Run, is_main_process


def config_for(dataset: str, overrides: Sequence[str] = ()) -> Config:
    """Load the default configuration of a published dataset, given by its name or its short name (`qvhl`).

    Raises:
        UsageError: if the dataset is unknown.
        ConfigError: if an override is not valid.
    """
    return load_config(dataset_info(dataset).configs[0], overrides)


def own_config(
    folder: Path, videos: Path | None, overrides: Sequence[str], options: EncoderOptions
) -> tuple[Config, str]:
    """Load the default configuration for the user's own annotations.

    Args:
        folder: a folder that may contain features.
        videos: a folder of videos, if features shall be extracted.
        overrides: changes to the configuration.
        options: weights given by path, and the offline switch.

    Returns:
        the configuration for SlowFast and CLIP if their features are in the folder or can be extracted, else
        the one for `lite`; and what the user should know about the choice, one sentence or empty.
    """
    strong, lite = require_dataset(OWN).configs
    wanted = [spec.name for spec in load_config(strong).data.video_features]
    if videos is None:
        there = all(own_feature_folder(name, folder) is not None for name in wanted)
        return load_config(strong if there else lite, overrides), ""
    plan = plan_features("auto", wanted, None, options)
    return load_config(strong if plan.names == tuple(wanted) else lite, overrides), " ".join(plan.notes)


def run_experiment(
    config: Config,
    inputs: Inputs,
    run: Run,
    splits: tuple[Split, Split],
    *,
    negatives: Split | None = None,
    unlabelled: Split | None = None,
    domains: Sequence[str] = (),
    device: str = "auto",
    on_begin: Callable[[str], None] | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> dict[str, TrainingResult]:
    """Train a model, or one model per domain, or resume training.

    Args:
        config: the experiment.
        inputs: where its data is; stored with the runs.
        run: its folder, created; a domain's run is a subfolder of that name, with the same first weights.
        splits: the training split and the evaluation split.
        negatives: from `training_negatives`.
        unlabelled: from `unlabelled_split`; used in the first epochs.
        domains: domains that get one model each; empty to train one model on all data.
        device: where the network trains.
        on_begin: called before training with each domain, or with an empty name if there is one model.
        on_event: called with the events of training.

    Returns:
        the result of each run by domain, or by an empty name.

    Raises:
        The errors of `model.training.loop.train`.
    """
    train_split, eval_split = splits
    results = {}
    if domains:
        continue_run(run, config)
    for domain in domains or ("",):
        part = Run(run.folder / domain) if domain else run
        if domain and is_main_process():
            _begin_part(run, part, config, {**inputs.to_json(), "domain": domain})
        learnt, scored = (
            (split.of_domain(domain) if domain else split) for split in (train_split, eval_split)
        )
        if on_begin is not None:
            on_begin(domain)
        results[domain] = train(
            config,
            learnt.dataset(config, labelled=True),
            scored.dataset(config, labelled=False),
            part,
            negatives=None if negatives is None else negatives.dataset(config, labelled=False),
            unlabelled=None
            if unlabelled is None
            else unlabelled.dataset(config, labelled=True, first_index=len(learnt.annotations)),
            specs=(train_split.video_specs, train_split.text_spec),
            device=device,
            on_event=on_event,
        )
    return results


def _begin_part(run: Run, part: Run, config: Config, inputs: Mapping[str, Any]) -> None:
    """Create a domain's run in the run of all domains, unless it exists, with the same first weights."""
    if not (part.folder / "config.toml").is_file():
        begun = run.fine_tuned()
        part.create(config, inputs if begun is None else {**inputs, "from": begun})
    if (first := run.read_state()) is not None:
        part.write_first(first)


def evaluate_checkpoint(
    checkpoint: Checkpoint,
    split: Split,
    *,
    device: str = "auto",
    batch_size: int = 64,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Ground a split with a trained model, and score the answers.

    Args:
        checkpoint: the model; a model of one domain is scored on that domain.
        split: from `evaluation_split` with its configuration.
        device: where the network runs.
        batch_size: queries per batch; the answers do not depend on it.
        on_progress: called with the number of queries done and the total.

    Raises:
        FeatureMismatch: if the model was trained on other features.
    """
    checkpoint.require_features(split.video_specs, split.text_spec)
    if domain := checkpoint.provenance.get("domain"):
        split = split.of_domain(domain)
    place = resolve_device(device)
    return evaluate_model(
        checkpoint.build_model().to(place),
        split.dataset(checkpoint.config, labelled=False),
        device=place,
        batch_size=batch_size,
        on_progress=on_progress,
    )


def evaluate_existence(
    checkpoint: Checkpoint,
    split: Split,
    evaluation: Evaluation,
    negatives: Split,
    *,
    device: str = "auto",
    batch_size: int = 64,
    on_progress: Callable[[int, int], None] | None = None,
) -> Existence:
    """Measure how well a trained model separates queries that a video answers from queries that it does not.

    Args:
        split: the split that was scored.
        evaluation: the result of `evaluate_checkpoint` for `split`.
        negatives: from `negative_split`.
        checkpoint, device, batch_size, on_progress: as for `evaluate_checkpoint`.

    Raises:
        FeatureMismatch: if the model was trained on other features.
    """
    refused = evaluate_checkpoint(
        checkpoint, negatives, device=device, batch_size=batch_size, on_progress=on_progress
    )
    return existence(_asked(split, evaluation), _asked(negatives, refused), checkpoint.clear_from)


def _asked(split: Split, evaluation: Evaluation) -> Asked:
    texts = [
        np.asarray(split.texts.load(annotation), dtype=np.float64).mean(axis=0)
        for annotation in split.annotations
    ]
    return Asked(
        np.array(evaluation.match_scores),
        np.array(texts),
        [annotation.vid for annotation in split.annotations],
    )


def mean_metrics(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return mAP in percent by domain, and the mean as `Avg`.

    The tables of TVSum and YouTube Highlights have the same form.
    """
    means = {domain: float(scores["mAP"]) for domain, scores in metrics.items()}
    return means | {"Avg": sum(means.values()) / len(means)}
