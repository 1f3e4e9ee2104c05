"""Choose the model and the features: what the user names, or else the best that is available."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from extractors.encoders.base import EncoderOptions, VideoEncoder
from extractors.encoders.registry import (
    clip_length_s,
    find_feature,
    has_text_encoder,
    has_video_encoder,
    load_video_encoder,
    own_features,
)
from extractors.errors import UsageError
from extractors.features import folder_name
from model.dataset_entry import own_datasets
from model.grounding.zeroshot import method

_UNREACHABLE_FOR_S = 600.0


@dataclass(frozen=True)
class FeaturePlan:
    """The features to use, and the options of their encoders.

    Attributes:
        names: the features, in order.
        options: encoder options by feature name.
        notes: what the user should know about the choice, one sentence per note.
    """

    names: tuple[str, ...]
    options: Mapping[str, EncoderOptions]
    notes: tuple[str, ...] = ()

    def video_encoders(self) -> list[VideoEncoder]:
        """Load one encoder per feature, in order.

        Raises:
            UsageError: if a name is unknown.
            WeightsMissing: if weights are neither installed nor reachable.
        """
        return [load_video_encoder(name, self.options[name]) for name in self.names]


def feature_names(features: str) -> tuple[str, ...]:
    """Parse feature names separated by commas.

    Raises:
        UsageError: if a name is given twice.
    """
    names = tuple(name.strip() for name in features.split(","))
    if len(set(names)) != len(names):
        raise UsageError(f"--features {features}: give each name once")
    return names


def preferred_features() -> tuple[str, ...]:
    """Return the features that are extracted by default: those that trained models read."""
    return tuple(feature.name for feature in own_features() if feature.preferred)


def preferred_aligned_features() -> tuple[str, ...]:
    """Return those of `preferred_features` that can be compared with text, for zero-shot grounding."""
    return tuple(
        feature.name for feature in own_features() if feature.preferred and feature.aligned_with_text
    )


def automatic_features() -> tuple[str, ...]:
    """Return every feature that `auto` may choose, whether or not it can be obtained here."""
    return tuple(feature.name for feature in own_features() if feature.preferred or feature.fallback)


def plan_features(
    features: str, wanted: Sequence[str], fps: float | None, options: EncoderOptions
) -> FeaturePlan:
    """Turn a choice of features into a plan.

    Args:
        features: names separated by commas, for instance `clip,slowfast`; or `auto`: those `wanted` if all of
            them can be obtained, else the one that needs no download.
        wanted: features that are useful only together.
        fps: clips per second, 0.5 to 2; None for each feature's own rate.
        options: options that the encoders share; the clip length is set here.

    Raises:
        UsageError: if a name is unknown or given twice, or a rate is out of range.
    """
    if features == "auto":
        can_be_had = all(_obtainable(name, options) for name in wanted)
        names = tuple(wanted) if can_be_had else tuple(item.name for item in own_features() if item.fallback)
    else:
        names = feature_names(features)
    return FeaturePlan(
        names,
        {name: replace(options, clip_length_s=clip_length_s(name, fps)) for name in names},
        _notes(names),
    )


def _notes(names: tuple[str, ...]) -> tuple[str, ...]:
    feature = find_feature(names[0])
    if len(names) > 1 or feature is None or not feature.note:
        return ()
    strong = " ".join(item.weights for item in own_features() if item.preferred and item.aligned_with_text)
    return (
        f"using the '{feature.name}' features, {feature.note}. To get the stronger ones: vtg weights pull {strong}",
    )


def choose_model(model: str, features: str, fps: float | None, options: EncoderOptions) -> Path | None:
    """Return the file of the trained model to use; None for zero-shot.

    Args:
        model: a name, a path, the folder of a run, `zero-shot`, or `auto`: the first installed model whose
            features are all available (models of QVHighlights before others), unless other features or
            another rate are given.
        features, fps: as for `plan_features`.
        options: weights given by path, and the offline switch.

    Raises:
        UsageError: if there is no model of that name; the message lists the existing ones.
        WeightsMissing: if it is a published model that is not installed; the message explains how to get it.
    """
    from model.checkpoints.store import features_of, installed_models, require_model

    if model == method.NAME:
        return None
    if model != "auto":
        return require_model(model)
    if fps is not None:
        return None
    for _, file in sorted(installed_models().items(), key=lambda item: _preference(item[0])):
        names, text = features_of(file)
        # Streams are found by name, so the order in which they are named does not matter.
        asked_for = features == "auto" or set(feature_names(features)) == set(names)
        makable = all(map(has_video_encoder, names)) and has_text_encoder(text_encoder_name(text))
        if (
            names
            and asked_for
            and makable
            and all(_obtainable(name, options) for name in {*names, text_encoder_name(text)})
        ):
            return file
    return None


def _preference(model: str) -> tuple[bool, str]:
    """Sort key: models of general datasets first, then by name."""
    return not any(info.is_general and info.name in model for info in own_datasets()), model


def text_encoder_name(feature: str) -> str:
    """Return the encoder that makes a model's text features: `clip` for `clip_text`, `glove` for itself."""
    return feature.removesuffix("_text")


def _obtainable(feature: str, options: EncoderOptions) -> bool:
    """Check whether a feature's weights are given by path, installed, or downloadable.

    A host that did not answer is not tried again for ten minutes, so that working offline does not slow down
    every call.
    """
    from extractors.weights.store import artefact, find, is_offline, reachable, weights_dir

    entry = find_feature(feature)
    weights = "" if entry is None else entry.weights
    if not weights or options.weights_path(feature) is not None or find(weights) is not None:
        return True
    if options.offline or is_offline():
        return False
    marker = weights_dir() / f".{folder_name(feature)}-unreachable"
    if _age_s(marker) < _UNREACHABLE_FOR_S:
        return False
    if reachable(artefact(weights)):
        return True
    with suppress(OSError):  # the marker only saves time
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    return False


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")
