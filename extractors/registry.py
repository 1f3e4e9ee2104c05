"""Features by name: the module that makes each, and the rate it is made at."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from extractors.base import EncoderOptions, TextEncoder, VideoEncoder
from extractors.errors import UsageError

# Imported only when the feature is used.
_VIDEO_MODULES = {
    "clip": "extractors.clip",
    "slowfast": "extractors.slowfast",
    "lite": "extractors.lite",
}
_TEXT_MODULES = {
    "clip": "extractors.clip",
    "lite": "extractors.minilm",
}

DEFAULT_FPS: Mapping[str, float] = {"clip": 0.5, "slowfast": 0.5, "lite": 1.0}
"""Clips per second a feature is extracted at unless told otherwise; the published features have 0.5."""

WEIGHTS: Mapping[str, str] = {"clip": "clip-vit-b-32", "slowfast": "slowfast-r50-8x8"}
"""The named weights a feature is made with; features that carry their own have none."""

MIN_FPS, MAX_FPS = 0.5, 2.0


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
    """Make a frozen text encoder; arguments and errors as for `load_video_encoder`."""
    encoder: TextEncoder = _module(_TEXT_MODULES, name).load_text_encoder(options)
    return encoder


def video_feature_names() -> tuple[str, ...]:
    """Names that `load_video_encoder` knows."""
    return tuple(_VIDEO_MODULES)


def clip_length_s(name: str, fps: float | None) -> float:
    """Seconds a clip of a feature.

    Args:
        name: one of `video_feature_names()`.
        fps: clips per second; None for the feature's own rate.

    Raises:
        UsageError: if the name is unknown, or the rate lies outside 0.5 to 2.
    """
    if name not in DEFAULT_FPS:
        raise _unknown(name)
    fps = DEFAULT_FPS[name] if fps is None else fps
    if not MIN_FPS <= fps <= MAX_FPS:
        raise UsageError(
            f"--fps {fps:g} is out of range; clips are sampled at {MIN_FPS:g} to {MAX_FPS:g} per second"
        )
    return 1 / fps


def _module(modules: Mapping[str, str], name: str) -> Any:
    if name not in modules:
        raise _unknown(name)
    return import_module(modules[name])


def _unknown(name: str) -> UsageError:
    return UsageError(f"unknown features '{name}'; known are {', '.join(_VIDEO_MODULES)}")
