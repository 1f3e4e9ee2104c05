"""The parts of a `Grounder`: the model, and the encoders it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions, TextEncoder, VideoEncoder
from extractors.encoders.registry import features as known_features
from extractors.encoders.registry import has_text_encoder, load_text_encoder, video_feature
from extractors.errors import UsageError
from extractors.extraction.queries import pooled_phrases
from model.grounding.choice import (
    FeaturePlan,
    choose_model,
    feature_names,
    plan_features,
    preferred_aligned_features,
    text_encoder_name,
)
from model.grounding.encoded import GroundingModel
from model.grounding.zeroshot.method import ZeroShot


@dataclass(frozen=True)
class Parts:
    """A model and its encoders.

    Attributes:
        model: the grounding model.
        video_encoders: one per feature that it reads, in order.
        text_encoder: the encoder of the queries.
        notes: what the user should know about the choice, one sentence per note.
    """

    model: GroundingModel
    video_encoders: Sequence[VideoEncoder]
    text_encoder: TextEncoder
    notes: tuple[str, ...]


def load_parts(
    model: str, features: str, fps: float | None, options: EncoderOptions, cache: FeatureCache
) -> Parts:
    """Choose a model and its features; arguments and errors as for `Grounder.load`."""
    file = choose_model(model, features, fps, options)
    if file is None:
        return _zero_shot(plan_features(features, preferred_aligned_features(), fps, options), cache)
    return _trained(file, features, fps, options)


def _zero_shot(plan: FeaturePlan, cache: FeatureCache) -> Parts:
    feature = _aligned_feature(plan.names)
    text_encoder = load_text_encoder(feature, plan.options[feature])
    model = ZeroShot(
        feature,
        plan.options[feature].clip_length_s,
        lambda phrases: pooled_phrases(phrases, text_encoder, cache),
    )
    return Parts(model, plan.video_encoders(), text_encoder, plan.notes)


def _trained(file: Path, features: str, fps: float | None, options: EncoderOptions) -> Parts:
    from extractors.compute.device import resolve_device
    from model.checkpoints.store import model_name, read_model
    from model.grounding.trained import TrainedModel

    checkpoint = read_model(file)
    model = TrainedModel(
        checkpoint, name=model_name(file, checkpoint.config), device=resolve_device(options.device)
    )
    model_fps = 1 / model.clip_length_s if fps is None else fps
    # Streams are found by name, so the order in which they are named does not matter.
    same = features == "auto" or set(feature_names(features)) == set(model.features)
    plan = plan_features(",".join(model.features) if same else features, (), model_fps, options)
    video_encoders = plan.video_encoders()
    model.require_video_features([encoder.spec for encoder in video_encoders])
    text = text_encoder_name(model.text_features)
    if not has_text_encoder(text):
        raise UsageError(
            f"{model.name} reads '{model.text_features}' queries, which vtg cannot make from sentences; it can be "
            "evaluated on their published features only"
        )
    text_encoder = load_text_encoder(text, plan.options.get(text, options))
    model.require_text_features(text_encoder.spec)
    return Parts(model, video_encoders, text_encoder, plan.notes)


def _aligned_feature(names: Sequence[str]) -> str:
    for name in names:
        if video_feature(name).aligned_with_text:
            return name
    aligned = " or ".join(feature.name for feature in known_features() if feature.aligned_with_text)
    raise UsageError(
        f"features {','.join(names)} cannot be compared with text; zero-shot grounding needs {aligned} among them"
    )
