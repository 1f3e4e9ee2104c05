"""How fast this machine decodes and encodes: a rendered video through the readers and encoders that `vtg extract` uses.

Wall seconds depend on what else the machine does; CPU seconds, of all threads together, hardly do.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from extractors.base import EncoderOptions, VideoEncoder
from extractors.cache import FeatureCache
from extractors.clips import Sampling
from extractors.errors import VideoError
from extractors.pipeline import extract_features
from extractors.random_weights import write_random_weights
from extractors.registry import WEIGHTS, clip_length_s, load_video_encoder
from extractors.video import ClipReader, VideoInfo, probe
from extractors.weights import find

Weights = Literal["here", "random", "packaged"]
"""Found on this machine; made up, of the same architecture; inside an installed package."""

_GRAINS = 8
_GRAIN_SIZE = 8.0
_SCENE_S = 4.0
_WORK = TypeVar("_WORK")


@dataclass(frozen=True)
class Cost:
    """Seconds of wall time, and of CPU time of all threads together."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class EncoderCost:
    """What an encoder takes for the clips of a video.

    Attributes:
        name: its feature.
        clips: number of clips.
        loading: reading its weights and encoding a first batch.
        encoding: all clips, in batches of its own size.
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
    """Do something in this process and say what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu), result


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
    for name in names:
        clip_length_s(name, None)
    files, origins = dict(options.weights or {}), dict[str, Weights]()
    for name in names:
        here = files.get(name) or (find(WEIGHTS[name]) if name in WEIGHTS else None)
        origins[name] = "here" if here else "random" if name in WEIGHTS else "packaged"
        if name in WEIGHTS:
            files[name] = here or write_random_weights(name, folder)
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
    """Decode a video once; of each sampling all clips, (N, F, 224, 224, 3)."""
    parts: list[list[NDArray[np.uint8]]] = [[] for _ in samplings]
    with ClipReader(video, samplings) as reader:
        for chunk in reader:
            for own, rows in zip(parts, chunk.rows, strict=True):
                own.append(chunk.frames[rows])
    return reader.info, [np.concatenate(own) for own in parts]


def render_video(
    path: Path, *, seconds: float, width: int = 640, height: int = 360, fps: int = 30, seed: int = 0
) -> Path:
    """Render a video as hard to decode as a filmed one: moving shades, a moving box, grain, a cut every 4 s; H.264.

    Args:
        path: where to; the suffix chooses the container.
        seconds: length.
        width, height: pixels, both even.
        fps: frames a second.
        seed: another one gives other scenes.
    """
    import av

    random = np.random.default_rng(seed)
    grain = random.normal(0, _GRAIN_SIZE, (_GRAINS, height, width)).astype(np.int16)
    shades = np.rint(126 + 90 * np.sin(np.arange(256) * 2 * np.pi / 256)).astype(np.int16)
    columns, rows = np.arange(width), np.arange(height)[:, None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "26"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(max(round(seconds * fps), 1)):
            scene = np.random.default_rng((seed, int(index / fps / _SCENE_S)))
            across, down, speed = scene.uniform(0.05, 0.4), scene.uniform(0.05, 0.4), scene.uniform(20, 80)
            phase = speed * index / fps
            ramp = (across * columns + phase).astype(np.uint8) + (down * rows).astype(np.uint8)  # wraps round
            luma = shades[ramp] + grain[index % _GRAINS]
            left = int(2 * phase) % (width - width // 6)
            luma[height // 3 : height // 2, left : left + width // 6] += 40
            planes = np.empty((height * 3 // 2, width), np.uint8)
            planes[:height] = np.clip(luma, 16, 235)
            planes[height:] = scene.integers(90, 166, (height // 2, 1))
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@contextmanager
def working_folder(kept: Path | None) -> Iterator[Path]:
    """A folder for rendered videos and the like: the given one, made if missing and kept, or a temporary one."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
    else:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)


def usable_cores() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory_bytes() -> int:
    """The most memory this process has held at a time."""
    try:
        # Not `getrusage`, to which Linux adds what the parent held when it started this process.
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def machine() -> Mapping[str, str | int]:
    """The machine, as `cpu`, `cores` and `system`."""
    return {
        "cpu": _cpu_name(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
