"""Features by name: the module that makes each, and the rate it is made at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from extractors.encoders.base import EncoderOptions, TextEncoder, VideoEncoder
from extractors.errors import UsageError

# Imported only when the feature is used.
_VIDEO_MODULES = {
    "clip": "extractors.encoders.clip.encoder",
    "slowfast": "extractors.encoders.slowfast.encoder",
    "lite": "extractors.encoders.lite.encoder",
    "vgg": "extractors.encoders.vgg",
}
_TEXT_MODULES = {
    "clip": "extractors.encoders.clip.encoder",
    "lite": "extractors.encoders.lite.minilm",
    "glove": "extractors.encoders.glove",
}

DEFAULT_FPS: Mapping[str, float] = {"clip": 0.5, "slowfast": 0.5, "lite": 1.0, "vgg": 6.0}
"""Clips per second a feature is extracted at unless told otherwise: 0.5 in the published `clip` and `slowfast`, six
in the published `vgg`."""

WEIGHTS: Mapping[str, str] = {
    "clip": "clip-vit-b-32",
    "slowfast": "slowfast-r50-8x8",
    "vgg": "vgg16",
    "glove": "glove-6b-300d",
}
"""The named weights a feature is made with; features that carry their own have none."""

MIN_FPS, MAX_FPS = 0.5, 2.0

_SAME_RATE = 1e-4  # the released code writes a sixth of a second as 0.166666


def load_video_encoder(name: str, options: EncoderOptions) -> VideoEncoder:
    """Make a frozen video encoder; it reads its weights only when it gets its first clip.

    Args:
        name: one of `video_feature_names()`.
        options: how it is to be built.

    Raises:
        UsageError: if the name is unknown.
        WeightsMissing: if its weights are neither here nor reachable.
    """
    encoder: VideoEncoder = _module(_VIDEO_MODULES, name).load_video_encoder(options)
    return encoder


def load_text_encoder(name: str, options: EncoderOptions) -> TextEncoder:
    """Make a frozen text encoder, one of `text_feature_names()`; errors as for `load_video_encoder`."""
    encoder: TextEncoder = _module(_TEXT_MODULES, name).load_text_encoder(options)
    return encoder


def video_feature_names() -> tuple[str, ...]:
    """Names that `load_video_encoder` knows."""
    return tuple(_VIDEO_MODULES)


def text_feature_names() -> tuple[str, ...]:
    """Names that `load_text_encoder` knows."""
    return tuple(_TEXT_MODULES)


def clip_length_s(name: str, fps: float | None) -> float:
    """Seconds a clip of a feature.

    Args:
        name: one of `video_feature_names()`.
        fps: clips per second; None for the feature's own rate, which is allowed wherever it lies.

    Raises:
        UsageError: if the name is unknown, or the rate is another one outside 0.5 to 2.
    """
    if name not in DEFAULT_FPS:
        raise _unknown(_VIDEO_MODULES, name)
    own_fps = DEFAULT_FPS[name]
    if fps is None or math.isclose(fps, own_fps, rel_tol=_SAME_RATE):
        return 1 / own_fps
    if not MIN_FPS <= fps <= MAX_FPS:
        also = "" if MIN_FPS <= own_fps <= MAX_FPS else f", for {name} also at {own_fps:g}"
        raise UsageError(
            f"--fps {fps:g} is out of range; clips are sampled at {MIN_FPS:g} to {MAX_FPS:g} per second{also}"
        )
    return 1 / fps


def _module(modules: Mapping[str, str], name: str) -> Any:
    if name not in modules:
        raise _unknown(modules, name)
    return import_module(modules[name])


def _unknown(modules: Mapping[str, str], name: str) -> UsageError:
    return UsageError(f"unknown features '{name}'; known are {', '.join(modules)}")
