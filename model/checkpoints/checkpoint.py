"""Checkpoints: one safetensors file that also describes, in JSON, the model and the features it reads.

The description is in the header of the file, so weights and description cannot be separated or half-written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from extractors.errors import FeatureMismatch, WeightsInvalid, WeightsMissing
from extractors.features import FeatureSpec
from extractors.files.atomic import atomic_write
from model.checkpoints.released import config_from_options, our_weights
from model.checkpoints.released_file import read_options, read_released
from model.config import Config, ConfigError, ModelConfig
from model.network.averaged import build_network
from model.network.flashvtg import FlashVTG

_FORMAT = 1
_HEADER = "vtg"


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and everything needed to use it.

    Attributes:
        config: the experiment.
        video_features: the streams of a clip, in the order they are concatenated.
        text_features: the tokens of a query.
        weights: parameter names to tensors.
        provenance: where it comes from, as free text by topic.
        metrics: what it scored, by metric.
        clear_from: match score from which a video clearly shows what a query asks for; None if that was not learnt.
    """

    config: Config
    video_features: tuple[FeatureSpec, ...]
    text_features: FeatureSpec
    weights: Mapping[str, Tensor]
    provenance: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    clear_from: float | None = None

    def build_model(self) -> FlashVTG:
        """The network, in evaluation mode.

        Raises:
            WeightsInvalid: if the weights are not those of the configured network; the message names some.
        """
        model = _empty_network(self.config.model, self.weights)
        model.load_state_dict(self.weights, assign=True)
        return model.requires_grad_(True).eval()

    def require_features(self, video_features: Sequence[FeatureSpec], text_features: FeatureSpec) -> None:
        """Refuse features that the model was not trained on.

        Weights, parts and recipe are compared where both sides know them: the makers of published features
        do not all say.

        Raises:
            FeatureMismatch: naming both sides.
        """
        _require_same(self.video_features, video_features, "clip")
        _require_same([self.text_features], [text_features], "token")


def save_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write a checkpoint; readers see the old file or the new one, never a part.

    Args:
        checkpoint: what to write.
        path: path to write, usually `*.safetensors`; parent folders are created.
    """
    header = {
        "format": _FORMAT,
        "config": checkpoint.config.to_dict(),
        "video_features": [spec.to_json() for spec in checkpoint.video_features],
        "text_features": checkpoint.text_features.to_json(),
        "provenance": dict(checkpoint.provenance),
        "metrics": dict(checkpoint.metrics),
    }
    if checkpoint.clear_from is not None:
        header["clear_from"] = checkpoint.clear_from
    weights = {name: value.detach().cpu().contiguous() for name, value in checkpoint.weights.items()}
    with atomic_write(path) as file:
        file.write(serialize(weights, metadata={_HEADER: json.dumps(header)}))


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: a file of `save_checkpoint`.

    Raises:
        WeightsMissing: if there is no such file.
        WeightsInvalid: if it is damaged, or not of this format.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsMissing(f"{path}: there is no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            header = _parse_header(file.metadata(), path)
            # Copied out of the file's mapping: the file may be replaced while the model lives.
            weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsInvalid(f"{path}: truncated, or not a safetensors file ({error})") from error
    try:
        checkpoint = Checkpoint(
            Config.from_dict(header["config"]),
            tuple(FeatureSpec.from_json(spec) for spec in header["video_features"]),
            FeatureSpec.from_json(header["text_features"]),
            weights,
            _read_provenance(header["provenance"]),
            _read_metrics(header["metrics"]),
            _read_clear_from(header.get("clear_from")),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise WeightsInvalid(f"{path}: its description cannot be read: {error}") from error
    try:
        _require_size(checkpoint.config.model, weights)
        _empty_network(checkpoint.config.model, weights)
        _require_numbers(weights)
    except WeightsInvalid as error:
        raise WeightsInvalid(f"{path}: {error}") from None
    return checkpoint


def import_released(checkpoint_path: str | Path, options_path: str | Path | None = None) -> Checkpoint:
    """Read a checkpoint of the released code, running no code it carries.

    Args:
        checkpoint_path: its `model_best.ckpt`.
        options_path: its `opt.json`; None takes the options stored in the checkpoint.

    Raises:
        WeightsInvalid: if a file is damaged, would run code, or is not a FlashVTG release.
    """
    released = read_released(checkpoint_path)
    options = released.options if options_path is None else read_options(options_path)
    shapes = {name: value.shape for name, value in released.weights.items()}
    try:
        config = config_from_options(options, shapes)
        weights = {
            name: value.float() if value.is_floating_point() else value
            for name, value in our_weights(released.weights).items()
        }
        _empty_network(config.model, weights)
        _require_numbers(weights)
    except WeightsInvalid as error:
        raise WeightsInvalid(f"{checkpoint_path}: {error}") from None
    video_features, text_features = feature_specs(config)
    provenance = {"imported_from": Path(checkpoint_path).name}
    if released.epoch is not None:
        provenance["epoch"] = str(released.epoch)
    return Checkpoint(config, video_features, text_features, weights, provenance)


def feature_specs(config: Config) -> tuple[tuple[FeatureSpec, ...], FeatureSpec]:
    """What a configuration says of its features: the video streams in order, and the text."""
    specs = tuple(
        FeatureSpec(feature.name, feature.dim, config.data.clip_length_s, normalization=feature.normalization)
        for feature in config.data.video_features
    )
    text = config.data.text_features
    return specs, FeatureSpec(text.name, text.dim, 0.0, normalization=text.normalization)


def _parse_header(metadata: Mapping[str, str] | None, path: Path) -> dict[str, Any]:
    if not metadata or _HEADER not in metadata:
        raise WeightsInvalid(
            f"{path}: a safetensors file, but not a checkpoint of vtg: its header has no '{_HEADER}'"
        )
    try:
        header = json.loads(metadata[_HEADER])
    except (ValueError, RecursionError) as error:
        raise WeightsInvalid(f"{path}: its description cannot be read: {error}") from error
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        found = header.get("format") if isinstance(header, dict) else None
        raise WeightsInvalid(f"{path}: has format {found}; this version of vtg reads format {_FORMAT}")
    return header


def _read_provenance(value: Any) -> dict[str, str]:
    """Free text by topic; raises ValueError if it is anything else."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError("provenance must be texts by topic")
    longest = value.get("longest_clips", "1")
    if not longest.isdecimal() or len(longest) > 9:
        raise ValueError("provenance.longest_clips must be a number of clips")
    return value


def _read_metrics(value: Any) -> dict[str, float]:
    """Numbers by metric; raises ValueError if it is anything else."""
    if not isinstance(value, dict) or not all(type(number) in (int, float) for number in value.values()):
        raise ValueError("metrics must be numbers by name")
    return value


def _read_clear_from(value: Any) -> float | None:
    """A score or None, as in checkpoints without one; raises ValueError if it is anything else."""
    if value is not None and (type(value) not in (int, float) or not math.isfinite(value)):
        raise ValueError("clear_from must be a score")
    return None if value is None else float(value)


def _require_size(config: ModelConfig, weights: Mapping[str, Tensor]) -> None:
    """Refuse a description of a network far larger than its weights, before the network is built."""
    deep = config.networks * sum(
        (
            config.input_layers,
            config.dummy_layers,
            config.cross_attention_layers,
            config.encoder_layers,
            config.score_layers,
            config.score_convolutions,
            len(config.strides),
        )
    )
    wide = max(config.video_dim, config.text_dim, config.hidden_dim, config.feedforward_dim, config.dummies)
    widest = max((length for value in weights.values() for length in value.shape), default=0)
    if deep > len(weights) or max(wide, config.score_kernel) > widest:
        raise WeightsInvalid(
            f"weights of another network: {len(weights)} tensors of at most {widest} rows are none of {deep} layers "
            f"of up to {wide} numbers"
        )


def _empty_network(config: ModelConfig, weights: Mapping[str, Tensor]) -> FlashVTG:
    """The configured network without numbers; raises WeightsInvalid if the weights are not those of it."""
    with torch.device("meta"):
        model = build_network(config)
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    faults = [f"{name} is missing" for name in wanted.keys() - found.keys()]
    faults += [f"{name} is unknown" for name in found.keys() - wanted.keys()]
    faults += [
        f"{name} has shape {list(found[name])}, the configuration asks for {list(wanted[name])}"
        for name in wanted.keys() & found.keys()
        if wanted[name] != found[name]
    ]
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise WeightsInvalid("weights of another network: " + "; ".join(sorted(faults)[:3]) + more)
    return model


def _require_numbers(weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not float32, or not finite."""
    for name, value in sorted(weights.items()):
        if value.dtype != torch.float32:
            kind = str(value.dtype).removeprefix("torch.")
            raise WeightsInvalid(f"{name} is of type {kind}, where weights are float32; save them as that")
        if not value.isfinite().all():
            raise WeightsInvalid(
                f"{name} holds numbers that are not finite: the file is damaged, or its training diverged; "
                "take an earlier checkpoint"
            )


def _require_same(ours: Sequence[FeatureSpec], theirs: Sequence[FeatureSpec], row: str) -> None:
    if len(ours) == len(theirs) and not any(map(_differences, ours, theirs)):
        return
    labels, given = ([_label(spec) for spec in specs] for specs in (ours, theirs))
    order = ": the order differs" if labels != given and sorted(labels) == sorted(given) else ""
    raise FeatureMismatch(
        f"this model reads {_describe(ours)} per {row}, but was given {_describe(theirs)}{order}"
        + _explain(ours, theirs)
    )


def _differences(ours: FeatureSpec, theirs: FeatureSpec) -> list[str]:
    """Fields in which two specs contradict each other."""
    names = ["name", "dim", "normalization"]
    # The released code writes a sixth of a second as 0.166666.
    if not math.isclose(ours.clip_length_s, theirs.clip_length_s, rel_tol=1e-4):
        names.append("clip_length_s")
    if ours.order and theirs.order:
        names.append("order")
    if "unknown" not in (ours.weights_id, theirs.weights_id):
        names += ["weights_id", "recipe"]
    return [name for name in names if getattr(ours, name) != getattr(theirs, name)]


def _explain(ours: Sequence[FeatureSpec], theirs: Sequence[FeatureSpec]) -> str:
    if len(ours) != len(theirs):
        return ""
    reasons = [
        f"{a.name}: {name} is {getattr(b, name)!r}, the model's is {getattr(a, name)!r}"
        for a, b in zip(ours, theirs, strict=True)
        if a.name == b.name
        for name in _differences(a, b)
        if name not in ("name", "dim")
    ]
    return "".join(f"; {reason}" for reason in reasons)


def _label(spec: FeatureSpec) -> str:
    return f"{spec.name} ({spec.dim})"


def _describe(specs: Sequence[FeatureSpec]) -> str:
    parts = " + ".join(map(_label, specs))
    return f"{parts} = {sum(spec.dim for spec in specs)} numbers" if len(specs) > 1 else f"{parts} numbers"
