"""How fast this machine decodes and encodes: a rendered video through the readers and encoders of `vtg extract`.

Wall seconds depend on what else the machine does. CPU seconds of all threads together hardly do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from extractors.benchmark.random_weights import write_random_weights
from extractors.cache.store import FeatureCache
from extractors.decoding.clip_reader import probe
from extractors.decoding.decode import DecodeRequest
from extractors.decoding.decode import decode as decode_video
from extractors.decoding.grid import Sampling
from extractors.encoders.base import EncoderOptions, VideoEncoder
from extractors.encoders.registry import clip_length_s, load_video_encoder, video_feature
from extractors.errors import VideoError
from extractors.extraction.pipeline import extract_features
from extractors.videos.events import ClipsDecoded, VideoStarted
from extractors.videos.facts import VideoInfo
from extractors.weights.store import find

Weights = Literal["here", "random", "packaged"]
"""Found on this machine; made up, of the same architecture; inside an installed package."""

_WORK = TypeVar("_WORK")


@dataclass(frozen=True)
class Cost:
    """Seconds of wall time, and of CPU time of all threads and ended subprocesses together."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class EncoderCost:
    """What an encoder takes for the clips of a video.

    Attributes:
        name: its feature.
        clips: number of clips.
        loading: reading its weights and encoding a first batch.
        encoding: all clips, in the encoder's batches.
    """

    name: str
    clips: int
    loading: Cost
    encoding: Cost


@dataclass(frozen=True)
class ExtractionCost:
    """What a video costs, step by step and together.

    Attributes:
        info: the video, and the reader that decodes it.
        decoding: once, every frame that any encoder wants.
        encoders: each alone, on frames that are decoded.
        together: from the file to the cached features, as `extract_features` does it, with encoders that are loaded.
    """

    info: VideoInfo
    decoding: Cost
    encoders: tuple[EncoderCost, ...]
    together: Cost


def timed(work: Callable[[], _WORK]) -> tuple[Cost, _WORK]:
    """Run something in this process and measure it."""
    wall, cpu = time.perf_counter(), _cpu_s()
    result = work()
    return Cost(time.perf_counter() - wall, _cpu_s() - cpu), result


def _cpu_s() -> float:
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def prepare_weights(
    names: Sequence[str], folder: Path, options: EncoderOptions
) -> tuple[EncoderOptions, dict[str, Weights]]:
    """Find the weights of features, or make random ones.

    Args:
        names: of features.
        folder: where random weights are written to.
        options: files given as weights come first, then those on this machine.

    Returns:
        The options with a file for every feature that needs one, and where each feature's weights come from.

    Raises:
        UsageError: if a name is unknown.
    """
    wanted = [video_feature(name) for name in names]
    files, origins = dict(options.weights or {}), dict[str, Weights]()
    for feature in wanted:
        origins[feature.name] = "packaged"
        if feature.weights:
            here = files.get(feature.name) or find(feature.weights)
            origins[feature.name] = "here" if here else "random"
            files[feature.name] = here or write_random_weights(feature.name, folder)
    return replace(options, weights=files, offline=True), origins


def load_encoders(names: Sequence[str], options: EncoderOptions) -> list[VideoEncoder]:
    """Encoders at their own rates; arguments and errors as for `load_video_encoder`."""
    return [
        load_video_encoder(name, replace(options, clip_length_s=clip_length_s(name, None))) for name in names
    ]


def benchmark_extraction(
    video: Path, encoders: Sequence[VideoEncoder], cache: FeatureCache
) -> ExtractionCost:
    """Measure what the features of a video cost.

    Args:
        video: the video; its frames are held in memory, 2.4 MB a second with SlowFast.
        encoders: of different features, none of them used yet.
        cache: an empty one, to be thrown away.

    Raises:
        VideoError: if the video cannot be read.
    """
    probe(video)  # imports the decoders
    decoding, (info, clips) = timed(lambda: decode(video, [encoder.sampling for encoder in encoders]))
    costs = [_time_encoder(encoder, own) for encoder, own in zip(encoders, clips, strict=True)]
    del clips
    together, report = timed(lambda: extract_features([video], encoders, cache))
    if report.failed:
        raise VideoError(video, report.results[0].reason)
    return ExtractionCost(info, decoding, tuple(costs), together)


def _time_encoder(encoder: VideoEncoder, clips: NDArray[np.uint8]) -> EncoderCost:
    def encode_all() -> None:
        for first in range(0, len(clips), encoder.batch_size):
            encoder.encode(clips[first : first + encoder.batch_size])

    # The first batch reads the weights, and has the libraries choose their kernels.
    loading, _ = timed(lambda: encoder.encode(clips[: encoder.batch_size]))
    encoding, _ = timed(encode_all)
    return EncoderCost(encoder.spec.name, len(clips), loading, encoding)


def decode(video: Path, samplings: Sequence[Sampling]) -> tuple[VideoInfo, list[NDArray[np.uint8]]]:
    """Decode a video as an extraction does; of each sampling all clips, (N, F, S, S, 3)."""
    parts: list[list[NDArray[np.uint8]]] = [[] for _ in samplings]
    info: VideoInfo | None = None
    for event in decode_video(DecodeRequest(0, video, {str(i): one for i, one in enumerate(samplings)})):
        if isinstance(event, VideoStarted):
            info = event.info
        elif isinstance(event, ClipsDecoded):
            for own, rows in zip(parts, event.chunk.rows, strict=True):
                if len(rows):
                    own.append(event.chunk.frames[rows])
    assert info is not None, "it is the first event"
    return info, [np.concatenate(own) for own in parts]
