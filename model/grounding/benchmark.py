"""Benchmark of feature extraction and of grounding in an encoded video, zero-shot and with FlashVTG."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extractors.benchmark.machine import peak_memory_bytes
from extractors.benchmark.measure import (
    Cost,
    ExtractionCost,
    Weights,
    benchmark_extraction,
    load_encoders,
    prepare_weights,
    timed,
)
from extractors.benchmark.render import render_video
from extractors.cache.store import FeatureCache
from extractors.compute.device import resolve_device, resolve_precision
from extractors.encoders.base import EncoderOptions, TextEncoder
from extractors.encoders.registry import clip_length_s, load_text_encoder, video_feature
from extractors.extraction.queries import pooled_phrases
from model.checkpoints.checkpoint import Checkpoint, feature_specs
from model.config import load_config
from model.grounding.choice import text_encoder_name
from model.grounding.encoded import EncodedVideo, GroundingModel
from model.grounding.grounder import Grounder
from model.grounding.zeroshot.method import ZeroShot

RANDOM_MODEL = "qvhighlights-slowfast-clip"

_WHO = ("a man", "a woman", "a child", "two friends", "the player", "a dog", "an old couple", "the cook")
_DOES = ("opens", "carries", "looks at", "walks past", "points to", "cleans", "drops", "talks about")
_WHAT = ("a red car", "the fridge", "a cup of coffee", "a guitar", "the window", "a large map", "a phone")
_WHERE = ("in the kitchen", "on a busy street", "at the beach", "in front of a crowd", "at night")


@dataclass(frozen=True)
class GroundingCost:
    """Costs of queries on an encoded video.

    Attributes:
        model: name of the model.
        clips: number of clips in the video.
        first: the first query, which loads the text encoder.
        new: a later query that has not been asked before; median.
        repeated: a query that has been asked before, whose text features come from the cache; median.
        batched: one query of a batch of new ones.
    """

    model: str
    clips: int
    first: Cost
    new: Cost
    repeated: Cost
    batched: Cost


@dataclass(frozen=True)
class MachineReport:
    """Measurements of a machine.

    Attributes:
        weights: where the weights of each feature come from, by feature name.
        extraction: cost of extracting features from a rendered video.
        grounding: one cost per model that can use those features; FlashVTG has random weights.
        peak_memory_bytes: peak memory of this process.
    """

    weights: dict[str, Weights]
    extraction: ExtractionCost
    grounding: tuple[GroundingCost, ...]
    peak_memory_bytes: int


def benchmark_machine(
    names: Sequence[str], seconds: float, options: EncoderOptions, folder: Path
) -> MachineReport:
    """Measure extraction and grounding.

    Args:
        names: names of the features.
        seconds: length of the video that is rendered for the measurement.
        options: device, precision and weights of the encoders; weights that are not installed are made up.
        folder: an empty temporary folder.

    Raises:
        UsageError: if a feature is unknown, or the device or precision is not available.
        WeightsInvalid: if installed weights are damaged.
    """
    resolve_precision(options.precision, resolve_device(options.device))
    options, weights = prepare_weights(names, folder, options)
    video = render_video(folder / "video.mp4", seconds=seconds)
    encoders = load_encoders(names, options)
    extraction = benchmark_extraction(video, encoders, FeatureCache(folder / "features"))
    grounding = []
    aligned = [feature for feature in map(video_feature, names) if feature.aligned_with_text]
    if aligned:
        cache = FeatureCache(folder / "zero-shot")
        first = min(
            aligned, key=lambda feature: bool(feature.weights)
        )  # real weights rather than random ones
        grounding.append(benchmark_zero_shot(first.name, cache, options))
    if {spec.name for spec in load_config(RANDOM_MODEL).data.video_features} <= set(names):
        grounding.append(benchmark_trained(random_checkpoint(), FeatureCache(folder / "trained"), options))
    return MachineReport(weights, extraction, tuple(grounding), peak_memory_bytes())


def queries() -> Iterator[str]:
    """Generate an endless series of distinct sentences of about eight words."""
    for number in itertools.count():
        for what, where, does, who in itertools.product(_WHAT, _WHERE, _DOES, _WHO):
            yield f"{who} {does} {what} {where}" + (f" again, time {number}" if number else "")


def benchmark_zero_shot(
    feature: str,
    cache: FeatureCache,
    options: EncoderOptions,
    *,
    video_s: float = 150.0,
    repeats: int = 10,
    batch: int = 64,
) -> GroundingCost:
    """Time queries that are grounded without a trained model.

    Args:
        feature: name of a feature that is aligned with text.
        cache: an empty temporary cache.
        options: weights and device.
        video_s: length of the video, whose rows are random.
        repeats: number of queries that are timed one by one.
        batch: number of queries that are asked together.
    """
    length_s = clip_length_s(feature, None)
    encoder = load_text_encoder(feature, options)
    model = ZeroShot(feature, length_s, lambda phrases: pooled_phrases(phrases, encoder, cache))
    dims = {feature: video_feature(feature).dim}
    return _benchmark(model, encoder, dims, cache, video_s, repeats, batch)


def benchmark_trained(
    checkpoint: Checkpoint,
    cache: FeatureCache,
    options: EncoderOptions,
    *,
    video_s: float = 150.0,
    repeats: int = 10,
    batch: int = 64,
) -> GroundingCost:
    """Time queries that FlashVTG answers; arguments as for `benchmark_zero_shot`."""
    from model.grounding.trained import TrainedModel

    model = TrainedModel(checkpoint, name="flashvtg", device=resolve_device(options.device))
    dims = {spec.name: spec.dim for spec in checkpoint.video_features}
    encoder = load_text_encoder(text_encoder_name(model.text_features), options)
    return _benchmark(model, encoder, dims, cache, video_s, repeats, batch)


def random_checkpoint(config_name: str = RANDOM_MODEL, *, seed: int = 0) -> Checkpoint:
    """Return an untrained FlashVTG with a released configuration."""
    import torch

    from model.network.flashvtg import FlashVTG

    config = load_config(config_name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = FlashVTG(config.model).state_dict()
    return Checkpoint(config, *feature_specs(config), weights)


def _benchmark(
    model: GroundingModel,
    encoder: TextEncoder,
    dims: dict[str, int],
    cache: FeatureCache,
    video_s: float,
    repeats: int,
    batch: int,
) -> GroundingCost:
    random = np.random.default_rng(0)
    clips = math.ceil(video_s / model.clip_length_s)
    rows = {name: random.normal(size=(clips, dim)).astype(np.float32) for name, dim in dims.items()}
    video = EncodedVideo(Path("random.mp4"), video_s, rows)
    grounder = Grounder(model, (), encoder, cache)
    sentences = queries()
    asked = list(itertools.islice(sentences, repeats + 1))
    first, _ = timed(lambda: grounder.ground(video, asked[0]))
    new = [timed(lambda query=query: grounder.ground(video, query))[0] for query in asked[1:]]  # type: ignore[misc]
    repeated = [timed(lambda query=query: grounder.ground(video, query))[0] for query in asked[1:]]  # type: ignore[misc]
    many = list(itertools.islice(sentences, batch))
    batched, _ = timed(lambda: grounder.ground(video, many))
    return GroundingCost(
        model=model.name,
        clips=clips,
        first=first,
        new=_median(new),
        repeated=_median(repeated),
        batched=Cost(batched.wall_s / batch, batched.cpu_s / batch),
    )


def _median(costs: list[Cost]) -> Cost:
    return Cost(
        statistics.median(cost.wall_s for cost in costs), statistics.median(cost.cpu_s for cost in costs)
    )
