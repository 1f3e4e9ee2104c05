"""Features by name, and how their encoders are loaded. Each entry stands beside its encoders, as `FEATURE`."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from extractors.encoders.entry import Feature, FeatureFamily
from extractors.errors import UsageError
from extractors.plugins import Registry, entries_of, imported, known

if TYPE_CHECKING:
    from extractors.encoders.base import EncoderOptions, TextEncoder, VideoEncoder

MIN_FPS, MAX_FPS = 0.5, 2.0

_SAME_RATE = 1e-4  # the released code writes a sixth of a second as 0.166666

_FEATURES = Registry[Feature](lambda: entries_of(__package__, "FEATURE", folders=True))

register = _FEATURES.register
features = _FEATURES.all
own_features = _FEATURES.own


@cache
def families() -> tuple[FeatureFamily, ...]:
    """The families of features, in order of their prefixes; their members are not among `features()`."""
    found: list[FeatureFamily] = entries_of(__package__, "FAMILY", folders=True)
    return tuple(sorted(found, key=lambda family: family.prefix))


def find_feature(name: str) -> Feature | None:
    """The entry of a name; None if there is none.

    Raises:
        UsageError: if the name is of a family that has no such member.
    """
    prefix, colon, _ = name.partition(":")
    family = next((one for one in families() if colon and one.prefix == prefix), None)
    if family is None:
        return _FEATURES.find(name)
    entry: Feature = imported(family.feature)(name)
    return entry


def load_video_encoder(name: str, options: EncoderOptions) -> VideoEncoder:
    """Make a frozen video encoder; it reads its weights only when it gets its first clip.

    Args:
        name: one of `video_feature_names()`.
        options: how it is to be built.

    Raises:
        UsageError: if the name is unknown.
        WeightsMissing: if its weights are neither here nor reachable.
        WeightsInvalid: if a download is damaged.
    """
    feature = video_feature(name)
    encoder: VideoEncoder = _load(feature, feature.video_encoder, options)
    return encoder


def load_text_encoder(name: str, options: EncoderOptions) -> TextEncoder:
    """Make a frozen text encoder, one of `text_feature_names()`; errors as for `load_video_encoder`."""
    feature = find_feature(name)
    if feature is None or feature.text_encoder is None:
        raise _unknown(name, text_feature_names())
    encoder: TextEncoder = _load(feature, feature.text_encoder, options)
    return encoder


def _load(feature: Feature, encoder: Any, options: EncoderOptions) -> Any:
    if not feature.weights:
        return imported(encoder)(options)
    from extractors.weights.store import resolve

    weights = resolve(
        feature.weights,
        path=options.weights_path(feature.name),
        offline=options.offline,
        progress=options.on_download,
    )
    return imported(encoder)(weights, options)


def video_feature(name: str) -> Feature:
    """The entry of a feature of videos.

    Raises:
        UsageError: if there is none of this name; the message lists those there are.
    """
    feature = find_feature(name)
    if feature is None or feature.video_encoder is None:
        raise _unknown(name, video_feature_names())
    return feature


def has_video_encoder(name: str) -> bool:
    """Whether `load_video_encoder` knows a name."""
    feature = _feature_or_none(name)
    return feature is not None and feature.video_encoder is not None


def has_text_encoder(name: str) -> bool:
    """Whether `load_text_encoder` knows a name."""
    feature = _feature_or_none(name)
    return feature is not None and feature.text_encoder is not None


def _feature_or_none(name: str) -> Feature | None:
    try:
        return find_feature(name)
    except UsageError:
        return None


def video_feature_names() -> tuple[str, ...]:
    """Names that `load_video_encoder` knows."""
    return tuple(feature.name for feature in features() if feature.video_encoder is not None)


def text_feature_names() -> tuple[str, ...]:
    """Names that `load_text_encoder` knows."""
    return tuple(feature.name for feature in features() if feature.text_encoder is not None)


def clip_length_s(name: str, fps: float | None) -> float:
    """Seconds a clip of a feature.

    Args:
        name: one of `video_feature_names()`.
        fps: clips per second; None for the feature's own rate, which is allowed wherever it lies.

    Raises:
        UsageError: if the name is unknown, or the rate is another one outside 0.5 to 2.
    """
    own_fps = video_feature(name).fps
    if fps is None or math.isclose(fps, own_fps, rel_tol=_SAME_RATE):
        return 1 / own_fps
    if not MIN_FPS <= fps <= MAX_FPS:
        also = "" if MIN_FPS <= own_fps <= MAX_FPS else f", for {name} also at {own_fps:g}"
        raise UsageError(
            f"--fps {fps:g} is out of range; clips are sampled at {MIN_FPS:g} to {MAX_FPS:g} per second{also}"
        )
    return 1 / fps


def _unknown(name: str, names: tuple[str, ...]) -> UsageError:
    forms = [family.form for family in families()]
    return UsageError(f"unknown features '{name}'; known are {known([*names, *forms])}")
