"""Trained models of different seeds in one checkpoint, which answers with the mean of what each of them answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from extractors.errors import FeatureMismatch, UsageError
from model.checkpoints.checkpoint import Checkpoint


def combine(models: Sequence[tuple[Path, Checkpoint]]) -> Checkpoint:
    """One checkpoint of several.

    Args:
        models: at least two, with the files they are from; the configuration is that of the first.

    Returns:
        a checkpoint that costs as much as its models together. It has no threshold of existence, because none was
        chosen for it.

    Raises:
        UsageError: if there are fewer than two, or they differ in their networks, their features or their decoding.
    """
    if len(models) < 2:
        raise UsageError("combine takes at least two trained models")
    (first_path, first), *others = models
    for path, checkpoint in models:
        if checkpoint.config.model.networks > 1:
            raise UsageError(f"{path}: is a combined model already; name the models it was made of")
    for path, checkpoint in others:
        for table in ("model", "decoding"):
            if getattr(checkpoint.config, table) != getattr(first.config, table):
                raise UsageError(
                    f"{path}: its [{table}] is not that of {first_path}; only equal ones can be combined"
                )
        try:
            first.require_features(checkpoint.video_features, checkpoint.text_features)
        except FeatureMismatch as error:
            raise UsageError(f"{path}: {error}") from None
    weights = {
        f"networks.{index}.{name}": value
        for index, (_, checkpoint) in enumerate(models)
        for name, value in checkpoint.weights.items()
    }
    longest = [checkpoint.provenance.get("longest_clips") for _, checkpoint in models]
    provenance = {"combined": ", ".join(_described(path, checkpoint) for path, checkpoint in models)}
    known = [int(clips) for clips in longest if clips is not None]
    if len(known) == len(models):
        provenance["longest_clips"] = str(min(known))
    if domain := first.provenance.get("domain"):
        if any(checkpoint.provenance.get("domain") != domain for _, checkpoint in others):
            raise UsageError(f"{first_path}: is of the domain {domain}, and another model is not")
        provenance["domain"] = domain
    config = replace(first.config, model=replace(first.config.model, networks=len(models)))
    return replace(first, config=config, weights=weights, provenance=provenance, metrics={}, clear_from=None)


def _described(path: Path, checkpoint: Checkpoint) -> str:
    named = {name: checkpoint.provenance[name] for name in ("seed", "epoch") if name in checkpoint.provenance}
    return " ".join(
        [checkpoint.provenance.get("run", path.stem), *(f"{name} {value}" for name, value in named.items())]
    )
