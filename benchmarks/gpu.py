"""Time encoders on a GPU: precisions, ways of feeding them, and whole extractions.

    python benchmarks/gpu.py [--device cuda] [--features clip,slowfast] [--precisions fp32,bf16,fp16] [--rounds 3]
    python benchmarks/gpu.py --videos 8 [--workers 1,2]

Without --videos, each network gets the same random clips, in batches of the size `vtg extract` uses, in these ways:

- `eager`: clips are on the GPU already; fp32 does not use TF32, here and in the others.
- `chosen`: the same, with cuDNN choosing its kernels by trial, as in `vtg extract`.
- `compiled`: the same, through `torch.compile`; not with --no-compile. The time of the first batch is given separately.
- `in turn`: clips are on the host; each batch is copied, computed and read before the next.
- `overlapped`: the next batch is collected and copied while one is computed, as in `vtg extract`.

The ways run in turn (A B C A B C). A row gives clips per second, the spread over the turns, and how close the features
are to those of fp32, as cosines. If `overlapped` is close to `chosen`, copies cost nothing.

With --videos, that many videos of 60 s are rendered (1280x720, 30 FPS) and extracted from files to cache, by one
process on the GPU, then by two. If the second process helps, decoding is the limit. The start of the processes counts.

Without a CUDA device the exit code is 2. `--device cpu` still runs, to try the script. Weights are random unless they
are on this machine. With TORCH_CUDA_SANITIZER=1 torch looks for races between copies and kernels; times mean nothing
then.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

# Read once, when torch is loaded; `vtg` sets the same.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from extractors.benchmark.machine import machine
from extractors.benchmark.measure import prepare_weights
from extractors.benchmark.render import render_video
from extractors.cache.store import FeatureCache
from extractors.compute.device import resolve_device
from extractors.decoding.frames import FRAME_SIZE
from extractors.encoders.base import EncoderOptions
from extractors.encoders.registry import clip_length_s, load_video_encoder
from extractors.errors import UsageError
from extractors.extraction.multi_device import extract_on_devices
from extractors.subprocesses.cores import usable_cores

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FRAMES = {"clip": 1, "slowfast": 32}
DIMS = {"clip": 512, "slowfast": 2304}
PRECISIONS = ("fp32", "bf16", "fp16")
_VIDEO_S = 60.0
_CLIPS = {"clip": 2048, "slowfast": 128}  # a turn; rounded to whole batches


@dataclass
class Way:
    """A way to compute the features of clips.

    Attributes:
        run: from the clips, (N, F, 224, 224, 3), to their rows, (N, dim).
        first_s: seconds of the first batch.
        turns: clips a second, one a turn.
        rows: what came out.
    """

    run: Callable[[], NDArray[np.float32]]
    first_s: float = 0.0
    turns: list[float] = field(default_factory=list)
    rows: NDArray[np.float32] | None = None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--features", default="clip,slowfast", help=f"names of {', '.join(FRAMES)}")
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, help="clips a turn")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--videos", type=int, metavar="N", help="instead: extract N videos")
    parser.add_argument("--workers", default="1,2", help="with --videos: numbers of processes (default 1,2)")
    arguments = parser.parse_args()
    features, precisions = arguments.features.split(","), arguments.precisions.split(",")
    if unknown := {*features, *precisions} - {*FRAMES, *PRECISIONS}:
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join([*FRAMES, *PRECISIONS])}")
    try:
        device = resolve_device(arguments.device)
    except UsageError as error:
        sys.exit(_complain("no CUDA device" if arguments.device == "cuda" else str(error)))
    _print_machine(device)
    with tempfile.TemporaryDirectory() as folder:
        options, _ = prepare_weights(features, Path(folder), EncoderOptions(device=str(device)))
        if arguments.videos:
            counts = [int(count) for count in arguments.workers.split(",")]
            _compare_workers(Path(folder), features, options, counts, arguments)
            return
        for feature in features:
            _compare_ways(feature, options, device, precisions, arguments)


def _complain(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


def _compare_ways(
    feature: str,
    options: EncoderOptions,
    device: torch.device,
    precisions: Sequence[str],
    arguments: argparse.Namespace,
) -> None:
    import torch

    batch = load_video_encoder(feature, options).batch_size
    count = max((arguments.clips or _CLIPS[feature]) // batch, 1) * batch
    shape = (count, FRAMES[feature], FRAME_SIZE, FRAME_SIZE, 3)
    clips = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    print(f"\n{feature}: {count} clips a turn in batches of {batch}")
    print(f"{'':18}{'clips/s':>9}{'spread':>19}{'first s':>9}{'cosine, mean':>14}{'least':>11}")
    weights = options.weights_path(feature)
    assert weights is not None, "they were prepared"
    reference = None
    torch.backends.cudnn.allow_tf32 = False  # as `choosing_kernels` has it
    for precision in precisions if precisions[0] == "fp32" else ["fp32", *precisions]:
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        ways = _ways(feature, _network(feature, weights, device, dtype), clips, batch, device, arguments)
        for way in ways.values():
            start_s = time.perf_counter()
            way.run()  # kernels are chosen and compiled, memory is taken
            way.first_s = time.perf_counter() - start_s
        for _ in range(arguments.rounds):
            for way in ways.values():
                start_s = time.perf_counter()
                way.rows = way.run()
                way.turns.append(count / (time.perf_counter() - start_s))
        reference = ways["eager"].rows if reference is None else reference
        if precision in precisions:
            _print_ways(precision, ways, reference)
    if device.type == "cuda":
        print(f"most memory held: {torch.cuda.max_memory_allocated(device) / 1e6:.0f} MB")


def _ways(
    feature: str,
    network: nn.Module,
    clips: NDArray[np.uint8],
    batch: int,
    device: torch.device,
    arguments: argparse.Namespace,
) -> dict[str, Way]:
    import torch

    from extractors.compute.gpu_batches import OverlappedNetwork
    from extractors.encoders.torch_encoder import choosing_kernels

    count = len(clips)
    here = torch.from_numpy(clips).to(device)

    def resident(network: Callable[[Tensor], Tensor]) -> Way:
        run = _of_clips(feature, network)

        def all_clips() -> NDArray[np.float32]:
            with torch.no_grad():  # tensors of the inference mode cannot be compiled
                parts = [run(here[first : first + batch]) for first in range(0, count, batch)]
                return torch.cat(parts).cpu().numpy()

        return Way(all_clips)

    def fed(slots: int) -> Way:
        overlapped = OverlappedNetwork(
            choosing_kernels(_of_clips(feature, network)),
            device,
            clip_shape=clips.shape[1:],
            dim=DIMS[feature],
            batch_size=batch,
            slots=slots,
        )

        def all_clips() -> NDArray[np.float32]:
            sent = []
            for first in range(0, count, batch):
                sent.append(overlapped.submit([clips[first : first + batch]]))
                if slots == 1:
                    sent[-1].rows()
            return np.concatenate([pending.rows() for pending in sent])

        return Way(all_clips)

    ways = {"eager": resident(network), "chosen": resident(choosing_kernels(network))}
    if not arguments.no_compile:
        ways["compiled"] = resident(choosing_kernels(_compiled(network)))
    return {**ways, "in turn": fed(1), "overlapped": fed(2)}


def _network(feature: str, weights: Path, device: torch.device, dtype: torch.dtype) -> nn.Module:
    if feature == "slowfast":
        from extractors.encoders.slowfast.network import SlowFastTrunk

        return SlowFastTrunk(weights, device, dtype)
    from extractors.encoders.clip.image_tower import ImageTower

    return ImageTower(weights, device, dtype)


def _of_clips(feature: str, network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """What takes clips, of a network that takes frames where a clip has but one."""
    return network if feature == "slowfast" else lambda clips: network(clips[:, 0])


def _compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    import torch

    forward: Any = type(network).forward
    plain = forward.__wrapped__  # without the inference mode, whose tensors cannot be compiled
    return torch.compile(lambda frames: plain(network, frames))


def _compare_workers(
    folder: Path,
    features: Sequence[str],
    options: EncoderOptions,
    counts: Sequence[int],
    arguments: argparse.Namespace,
) -> None:
    from dataclasses import replace

    render = partial(render_video, seconds=_VIDEO_S, width=1280, height=720)
    with ProcessPoolExecutor(usable_cores(), get_context("spawn")) as pool:
        rendering = [
            pool.submit(render, folder / f"{seed}.mp4", seed=seed) for seed in range(arguments.videos)
        ]
        videos = [video.result() for video in rendering]
    recipes = {name: replace(options, clip_length_s=clip_length_s(name, None)) for name in features}
    length_s = len(videos) * _VIDEO_S
    print(f"\n{len(videos)} videos of {_VIDEO_S:.0f} s, 1280×720 at 30 FPS, {' + '.join(features)}")
    print(f"{'turn':>5}{'processes':>11}{'wall s':>9}{'× real time':>13}", flush=True)
    turns: dict[int, list[float]] = {count: [] for count in counts}
    for turn in range(arguments.rounds):
        for count in counts:
            cache = FeatureCache(folder / f"cache-{turn}-{count}")
            report = extract_on_devices(videos, [options.device] * count, recipes, cache)
            if report.failed:
                sys.exit("; ".join(f"{result.path}: {result.reason}" for result in report.results))
            turns[count].append(report.seconds)
            speed = length_s / report.seconds
            print(f"{turn + 1:5}{count:11}{report.seconds:9.1f}{speed:13.1f}", flush=True)
    for count, walls in turns.items():
        wall = statistics.median(walls)
        print(f"{'median':>6}{count:10}{wall:9.1f}{length_s / wall:13.1f}")


def _print_ways(precision: str, ways: dict[str, Way], reference: NDArray[np.float32] | None) -> None:
    for name, way in ways.items():
        assert way.rows is not None, "it has run"
        assert reference is not None, "fp32 runs first"
        cosines = (way.rows * reference).sum(1)
        cosines /= np.linalg.norm(way.rows, axis=1) * np.linalg.norm(reference, axis=1)
        spread = f"{min(way.turns):.1f} to {max(way.turns):.1f}"
        print(
            f"{precision:6}{name:12}{statistics.median(way.turns):9.1f}{spread:>19}{way.first_s:9.1f}"
            f"{cosines.mean():14.6f}{cosines.min():11.6f}"
        )


def _print_machine(device: torch.device) -> None:
    import torch

    here = machine()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"{name} · {here['cpu']} · {here['cores']} cores · {here['system']} · torch {torch.__version__}")


if __name__ == "__main__":
    main()
