"""Which features answer when the user leaves the choice open: the best that can be had, and it is said which."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from extractors.base import EncoderOptions, VideoEncoder
from extractors.errors import UsageError
from extractors.registry import WEIGHTS, clip_length_s, load_video_encoder

LITE_NOTE = (
    "answered with the 'lite' features: they know scenes and objects, but no actions, attributes or people. "
    "For the strong ones: vtg weights pull clip-vit-b-32"
)

_UNREACHABLE_FOR_S = 600.0


@dataclass(frozen=True)
class FeaturePlan:
    """Which features are used, and how their encoders are built.

    Attributes:
        names: the features, in order.
        options: by name.
        notes: what the user should know about the choice, a sentence each.
    """

    names: tuple[str, ...]
    options: Mapping[str, EncoderOptions]
    notes: tuple[str, ...] = ()

    def video_encoders(self) -> list[VideoEncoder]:
        """An encoder a feature, in order.

        Raises:
            UsageError: if a name is unknown.
            WeightsMissing: if weights are neither here nor reachable.
        """
        return [load_video_encoder(name, self.options[name]) for name in self.names]


def plan_features(
    features: str,
    *,
    wanted: Sequence[str],
    fps: float | None = None,
    device: str = "auto",
    precision: str = "auto",
    weights: Mapping[str, str | Path] | None = None,
    offline: bool = False,
    on_download: Callable[[int, int | None], None] | None = None,
) -> FeaturePlan:
    """Read a choice of features.

    Args:
        features: names with commas between, for instance `clip,slowfast`; or `auto`: those `wanted` if all of
            them can be had, else `lite`, which needs no download.
        wanted: names that are of use only together.
        fps: clips per second, 0.5 to 2; None for each feature's own rate.
        device, precision, weights, offline, on_download: as for `EncoderOptions`.

    Raises:
        UsageError: if a name is unknown or given twice, or a rate is out of range.
    """
    options = EncoderOptions(
        device=device,
        precision=precision,
        weights={name: Path(path) for name, path in (weights or {}).items()},
        offline=offline,
        on_download=on_download,
    )
    if features == "auto":
        names = tuple(wanted) if all(_obtainable(name, options) for name in wanted) else ("lite",)
    else:
        names = tuple(name.strip() for name in features.split(","))
        if len(set(names)) != len(names):
            raise UsageError(f"--features {features}: give each name once")
    return FeaturePlan(
        names,
        {name: replace(options, clip_length_s=clip_length_s(name, fps)) for name in names},
        (LITE_NOTE,) if names == ("lite",) else (),
    )


def _obtainable(feature: str, options: EncoderOptions) -> bool:
    """Whether a feature's weights are given, here, or can be fetched.

    A host that did not answer is not asked again for ten minutes, so that working without a network is not slowed
    down by every call.
    """
    from extractors.weights import artefact, find, is_offline, reachable, weights_dir

    if (
        feature not in WEIGHTS
        or options.weights_path(feature) is not None
        or find(WEIGHTS[feature]) is not None
    ):
        return True
    if options.offline or is_offline():
        return False
    marker = weights_dir() / f".{feature}-unreachable"
    if _age_s(marker) < _UNREACHABLE_FOR_S:
        return False
    if reachable(artefact(WEIGHTS[feature])):
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
