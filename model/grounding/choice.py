"""Which model and which features answer if the user does not choose: the best available."""

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
    """Which features are used, and how their encoders are built.

    Attributes:
        names: the features, in order.
        options: by name.
        notes: what the user should know about the choice, one sentence per note.
    """

    names: tuple[str, ...]
    options: Mapping[str, EncoderOptions]
    notes: tuple[str, ...] = ()

    def video_encoders(self) -> list[VideoEncoder]:
        """One encoder per feature, in order.

        Raises:
            UsageError: if a name is unknown.
            WeightsMissing: if weights are neither here nor reachable.
        """
        return [load_video_encoder(name, self.options[name]) for name in self.names]


def feature_names(features: str) -> tuple[str, ...]:
    """Read names separated by commas.

    Raises:
        UsageError: if a name is given twice.
    """
    names = tuple(name.strip() for name in features.split(","))
    if len(set(names)) != len(names):
        raise UsageError(f"--features {features}: give each name once")
    return names


def preferred_features() -> tuple[str, ...]:
    """What is extracted where nobody names features: those that trained models read."""
    return tuple(feature.name for feature in own_features() if feature.preferred)


def preferred_aligned_features() -> tuple[str, ...]:
    """Those of `preferred_features` that can be compared with text, for zero-shot grounding."""
    return tuple(
        feature.name for feature in own_features() if feature.preferred and feature.aligned_with_text
    )


def automatic_features() -> tuple[str, ...]:
    """All that `auto` may take, whatever can be had."""
    return tuple(feature.name for feature in own_features() if feature.preferred or feature.fallback)


def plan_features(
    features: str, wanted: Sequence[str], fps: float | None, options: EncoderOptions
) -> FeaturePlan:
    """Read a choice of features.

    Args:
        features: names with commas between, for instance `clip,slowfast`; or `auto`: those `wanted` if all of
            them can be had, else the one that needs no download.
        wanted: names that are of use only together.
        fps: clips per second, 0.5 to 2; None for each feature's own rate.
        options: what the encoders share; the clip length is set here.

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
    """The file of the trained model that answers; None for zero-shot.

    Args:
        model: a name, a path, the folder of a run, `zero-shot`, or `auto`: the first trained model here whose features
            are all available (models of QVHighlights before others), unless other features or another rate are given.
        features, fps: as for `plan_features`.
        options: weights given by path, and the offline switch.

    Raises:
        UsageError: if there is no model of that name; the message lists those there are.
        WeightsMissing: if it is a published model that is not here; the message says how to get it.
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
        # Streams are found by name, so the order they are asked for in is free.
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
    """Models of general datasets come first, then the order of names."""
    return not any(info.is_general and info.name in model for info in own_datasets()), model


def text_encoder_name(feature: str) -> str:
    """The encoder that makes a model's text features: `clip` for `clip_text`, `glove` for itself."""
    return feature.removesuffix("_text")


def _obtainable(feature: str, options: EncoderOptions) -> bool:
    """Whether a feature's weights are given, here, or can be fetched.

    A host that did not answer is not asked again for ten minutes, so that working without a network is not slowed
    down by every call.
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
