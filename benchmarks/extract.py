"""Time extraction against the plain pipeline and against the machine's limit.

    python benchmarks/extract.py [--video FILE]... [--features clip,slowfast] [--rounds 2] [--short N]

Three methods, each in a separate process, in turn (A B C A B C), so that a busy machine slows all of them:

- `vtg`: the pipeline of `vtg extract`, from the file to the cached features.
- `plain`: what the published scripts do, written for this benchmark. FFmpeg runs once per feature, the whole video is
  in memory as floats, and the networks run in fp32, as their libraries build them, one clip after another. It uses the
  same frames. Features agree except for filters and rounding, and the agreement is printed.
- `limit`: the CPU seconds of decoding every frame, with the frames discarded, and of the bare networks on prepared
  inputs, at their best batch size, on one thread; spread evenly over the cores.

Before the clock starts, libraries are imported, and encoders are loaded and have seen a batch. All three run with
OpenMP threads that sleep when idle, as `vtg` sets it; without this, `plain` would be even slower on a busy machine.
Memory is the peak that a process and its subprocesses hold at once, weights included.

Without --video two videos are rendered: 60 s of 640x360 at 25 FPS, and 150 s of 1280x720 at 30 FPS. Weights are random
unless they are on this machine; the speed is the same. `plain` needs FFmpeg.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.folders import working_folder
from extractors.benchmark.machine import machine
from extractors.benchmark.measure import Cost, load_encoders, prepare_weights, timed
from extractors.benchmark.render import render_video
from extractors.cache.store import FeatureCache
from extractors.decoding.clip_reader import ClipReader, DecodingOptions, probe
from extractors.decoding.frames import FRAME_SIZE
from extractors.decoding.grid import Sampling
from extractors.encoders.base import EncoderOptions, VideoEncoder
from extractors.encoders.registry import clip_length_s
from extractors.extraction.pipeline import extract_features
from extractors.subprocesses.cores import usable_cores
from vtg_cli.process import prepare_process

FEATURES = ("clip", "slowfast", "lite")
_RENDERED = ((60, 640, 360, 25), (150, 1280, 720, 30))
_HEADING = f"{'':8}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'× real time':>13}   turns, wall/CPU s"
_SLOWFAST_FPS = 30.0
_FRAMES_OF_CLIP = 60  # two seconds at that rate
_POLL_S = 0.05
_BATCHES = {"slowfast": (1, 2, 4), "clip": (1, 4, 8, 16, 32), "lite": (1, 4, 8, 16, 32)}
_LEAST_S = 1.0  # of encoding that a batch size is judged by


@dataclass(frozen=True)
class Job:
    """What a process is to measure; features and weights are those of all three ways."""

    videos: tuple[Path, ...]
    features: tuple[str, ...]
    weights: Mapping[str, Path]
    ffmpeg: str = ""


@dataclass(frozen=True)
class Measured:
    """What a process took.

    Attributes:
        cost: of the work itself; CPU seconds with those of child processes.
        peak_bytes: memory of the process and its children.
        rows: features by name of the first video, where there are any.
        parts: CPU seconds by name, where they are told apart.
    """

    cost: Cost
    peak_bytes: int = 0
    rows: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)


def main() -> None:
    """Measure and print."""
    prepare_process()  # as `vtg` does
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--video", type=Path, action="append", help="can be given several times")
    parser.add_argument("--features", default="clip,slowfast", help=f"names of {', '.join(FEATURES)}")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--short", type=int, metavar="N", help="instead: N short videos against a long one")
    parser.add_argument(
        "--seconds",
        type=float,
        default=80.0,
        help="length of the long one (default 80: 20 short ones are two clips each)",
    )
    parser.add_argument("--folder", type=Path, help="keep rendered videos and random weights there")
    arguments = parser.parse_args()
    features = tuple(arguments.features.split(","))
    if unknown := set(features) - set(FEATURES):
        parser.error(f"unknown features {', '.join(unknown)}; known are {', '.join(FEATURES)}")
    ffmpeg = "" if arguments.short else _find_ffmpeg()
    with working_folder(arguments.folder) as folder:
        weights = _weights(features, folder)
        _print_machine(features)
        if arguments.short:
            _compare_lengths(folder, features, weights, arguments)
            return
        for video in arguments.video or _rendered(folder):
            _compare_ways(Job((video,), features, weights, ffmpeg), arguments.rounds)


def _compare_ways(job: Job, rounds: int) -> None:
    ways: dict[str, Callable[[Job], Measured]] = {"vtg": run_vtg, "plain": run_plain, "limit": run_limit}
    turns: dict[str, list[Measured]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            turns[name].append(in_own_process(way, job))
    info = probe(job.videos[0])
    rate = 8e-6 * job.videos[0].stat().st_size / info.duration_s
    print(
        f"\n{info.path.name}: {info.duration_s:.1f} s of {info.width}×{info.height} at {info.fps:.4g} FPS, "
        f"{info.codec}, {rate:.2f} Mbit/s, read with {info.decoder}"
    )
    print(_HEADING)
    for name, measured in turns.items():
        _print_row(name, measured, info.duration_s)
    print(f"plain / vtg:  {_ratios(turns['plain'], turns['vtg'])}")
    print(f"limit / vtg:  {_ratios(turns['limit'], turns['vtg'])}")
    parts = turns["limit"][-1].parts
    print("limit, CPU s: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items()))
    for name, ours in turns["vtg"][0].rows.items():
        print(f"{name}, cosine of rows to plain's: {_agreement(ours, turns['plain'][0].rows[name])}")


def _compare_lengths(
    folder: Path, features: tuple[str, ...], weights: Mapping[str, Path], arguments: argparse.Namespace
) -> None:
    count, seconds = arguments.short, arguments.seconds
    long = render_video(folder / "long.mp4", seconds=seconds)
    short = tuple(
        render_video(folder / f"short-{index}.mp4", seconds=seconds / count, seed=index)
        for index in range(count)
    )
    jobs = {"one": Job((long,), features, weights), f"{count}": Job(short, features, weights)}
    turns: dict[str, list[Measured]] = {name: [] for name in jobs}
    for _ in range(arguments.rounds):
        for name, job in jobs.items():
            turns[name].append(in_own_process(run_vtg, job))
    print(f"\n{seconds:.0f} s of 640×360 in one video, and in {count} of {seconds / count:.1f} s")
    print(_HEADING)
    for name, measured in turns.items():
        _print_row(name, measured, seconds)
    print(f"{count} / one:  {_ratios(turns[str(count)], turns['one'])}")


def run_vtg(job: Job) -> Measured:
    """The pipeline of `vtg extract`."""
    encoders = _encoders(job)
    for encoder in encoders:
        encoder.encode(_blank(encoder))
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(folder)
        cost, report = timed(lambda: extract_features(job.videos, encoders, cache))
        if report.failed:
            sys.exit("; ".join(f"{result.path}: {result.reason}" for result in report.results))
        stored = {encoder.spec.name: cache.load_video(job.videos[0], encoder.spec) for encoder in encoders}
    return Measured(cost, rows={name: entry.features for name, entry in stored.items() if entry})


def run_plain(job: Job) -> Measured:
    """FFmpeg's output as floats, one clip after another through networks as their libraries build them."""
    networks = {name: _PLAIN[name](job) for name in job.features}
    for name, network in networks.items():
        network(
            np.zeros((_FRAMES_OF_CLIP if name == "slowfast" else 1, FRAME_SIZE, FRAME_SIZE, 3), np.uint8),
            30.0,
        )
    cost, rows = timed(lambda: [_plain_features(video, job, networks) for video in job.videos])
    return Measured(cost, rows=rows[0])


def run_limit(job: Job) -> Measured:
    """What no arrangement of the same decoder and networks can do without."""
    import torch

    samplings = [encoder.sampling for encoder in _encoders(job)]
    cost, counts = timed(lambda: [_throw_away(video, samplings) for video in job.videos])
    parts = {"decoding": cost.cpu_s}
    torch.set_num_threads(1)
    with torch.inference_mode():
        for name, clips in zip(job.features, np.sum(counts, axis=0), strict=True):
            per_clip_s, batch = _least_per_clip(_BARE[name](job), _BATCHES[name])
            parts[f"{name} in batches of {batch}"] = float(clips) * per_clip_s
    total_s = sum(parts.values())
    return Measured(Cost(total_s / usable_cores(), total_s), parts=parts)


def in_own_process(way: Callable[[Job], Measured], job: Job) -> Measured:
    """Run one way in a new process, and watch the memory of it and its children."""
    import psutil

    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(there, way, job))
    process.start()
    there.close()
    peak = 0
    watched = psutil.Process(process.pid)
    while not here.poll(_POLL_S):
        try:
            family = [watched, *watched.children(recursive=True)]
            peak = max(peak, sum(member.memory_info().rss for member in family))
        except psutil.Error:
            continue  # a child has ended meanwhile
    try:
        measured: Measured = here.recv()
    except EOFError:
        sys.exit(f"{way.__name__} failed; see above")
    process.join()
    return Measured(measured.cost, max(peak, measured.peak_bytes), measured.rows, measured.parts)


def _send_result(pipe: Any, way: Callable[[Job], Measured], job: Job) -> None:
    from extractors.benchmark.machine import peak_memory_bytes

    prepare_process()

    probe(job.videos[0])  # imports the decoders
    measured = way(job)
    pipe.send(Measured(measured.cost, peak_memory_bytes(), measured.rows, measured.parts))


# The plain pipeline. PyAV reads the header in the place of ffprobe.

Plain = Callable[[NDArray[np.uint8], float], NDArray[np.float32]]
"""Frames of a whole video (M, 224, 224, 3) and its frame rate to rows (N, dim)."""


def _plain_features(video: Path, job: Job, networks: Mapping[str, Plain]) -> dict[str, NDArray[np.float32]]:
    import av

    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        width, height, source_fps = stream.width, stream.height, float(stream.average_rate or 30)
    rows = {}
    for name, network in networks.items():
        fps = _SLOWFAST_FPS if name == "slowfast" else 1 / clip_length_s(name, None)
        rows[name] = network(_ffmpeg(job.ffmpeg, video, fps, width, height), source_fps)
    return rows


def _ffmpeg(binary: str, video: Path, fps: float, width: int, height: int) -> NDArray[np.uint8]:
    if width > height:
        width, height = int(width * FRAME_SIZE / height), FRAME_SIZE
    else:
        width, height = FRAME_SIZE, int(height * FRAME_SIZE / width)
    left, top = (width - FRAME_SIZE) // 2, (height - FRAME_SIZE) // 2
    filters = f"fps={fps},scale={width}:{height},crop={FRAME_SIZE}:{FRAME_SIZE}:{left}:{top}"
    command = [
        binary,
        "-v",
        "error",
        "-i",
        str(video),
        "-vf",
        filters,
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "pipe:",
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, FRAME_SIZE, FRAME_SIZE, 3)


def _whole_video(frames: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(M, 3, 224, 224) floats, normalised in place; the published scripts make a copy more."""
    import torch

    pixels = torch.from_numpy(frames.astype(np.float32)).permute(0, 3, 1, 2)
    mean_t, std_t = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    return pixels.div_(255).sub_(mean_t).div_(std_t)


def _plain_clip(job: Job) -> Plain:
    import open_clip
    import torch

    from extractors.encoders.clip.image_tower import ARCHITECTURE
    from extractors.encoders.clip.weights import read_state

    network = open_clip.CLIP(**open_clip.get_model_config(ARCHITECTURE))
    visual = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("visual.")}
    network.load_state_dict(read_state(job.weights["clip"], visual), strict=False)
    network.eval()

    @torch.no_grad()
    def encode(frames: NDArray[np.uint8], source_fps: float) -> NDArray[np.float32]:
        del source_fps
        pixels = _whole_video(frames, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
        return np.concatenate([network.encode_image(frame[None]).numpy() for frame in pixels])

    return encode


def _plain_slowfast(job: Job) -> Plain:
    import torch

    from extractors.encoders.slowfast.weights import read_slowfast
    from extractors.encoders.torch_encoder import without_deprecations

    with without_deprecations():
        from pytorchvideo.models.hub.slowfast import slowfast_r50

    network = slowfast_r50(pretrained=False)
    network.load_state_dict(read_slowfast(job.weights["slowfast"])[1], strict=False)
    blocks = network.eval().blocks[:6]  # the seventh is the classifier
    slow = torch.linspace(0, 31, 8).long()

    @torch.no_grad()
    def encode(frames: NDArray[np.uint8], source_fps: float) -> NDArray[np.float32]:
        count = -(-len(frames) // _FRAMES_OF_CLIP)
        pixels = _whole_video(frames, [0.45] * 3, [0.225] * 3)
        missing = count * _FRAMES_OF_CLIP - len(frames)
        if missing:
            pixels = torch.cat([pixels, pixels[-1:].expand(missing, -1, -1, -1)])
        # The published scripts take other rates at their word; see docs/features.md.
        rate = int(source_fps + 1e-6) if 23 <= source_fps <= 30 else 30
        chosen = np.linspace(0, 64 * rate / _SLOWFAST_FPS - 1, 32).clip(0, _FRAMES_OF_CLIP - 1).astype(int)
        rows = []
        for clip in pixels.split(_FRAMES_OF_CLIP):
            fast = clip[chosen].permute(1, 0, 2, 3)[None]  # (1, 3, 32, H, W)
            pathways: Any = [fast[:, :, slow], fast]
            for block in blocks:
                pathways = block(pathways)
            rows.append(pathways.flatten(1).numpy())
        return np.concatenate(rows)

    return encode


def _plain_lite(job: Job) -> Plain:
    del job
    (encoder,) = load_encoders(["lite"], EncoderOptions(device="cpu"))

    def encode(frames: NDArray[np.uint8], source_fps: float) -> NDArray[np.float32]:
        del source_fps
        return np.concatenate([encoder.encode(frame[None, None]) for frame in frames])

    return encode


_PLAIN: Mapping[str, Callable[[Job], Plain]] = {
    "clip": _plain_clip,
    "slowfast": _plain_slowfast,
    "lite": _plain_lite,
}


# The limit.

Bare = Callable[[int], Callable[[], object]]
"""Batch size to a forward pass of it on inputs that are ready."""


def _bare_clip(job: Job) -> Bare:
    import torch

    from extractors.encoders.clip.image_tower import ImageTower

    tower = ImageTower(job.weights["clip"], *_device())

    def prepare(batch: int) -> Callable[[], object]:
        pixels = torch.randn(batch, 3, FRAME_SIZE, FRAME_SIZE).to(tower.dtype)
        return lambda: tower.visual(pixels)

    return prepare


def _bare_slowfast(job: Job) -> Bare:
    import torch

    from extractors.encoders.slowfast.network import SLOW_FRAMES, SlowFastTrunk

    trunk = SlowFastTrunk(job.weights["slowfast"], *_device())

    def prepare(batch: int) -> Callable[[], object]:
        ready = [
            torch.randn(batch, 3, count, FRAME_SIZE, FRAME_SIZE)
            .to(trunk.dtype)
            .contiguous(memory_format=trunk.memory_format)
            for count in (len(SLOW_FRAMES), 32)
        ]

        def forward() -> object:
            pathways = ready
            for block in trunk.blocks:
                pathways = block(list(pathways))
            return pathways

        return forward

    return prepare


def _bare_lite(job: Job) -> Bare:
    del job
    (encoder,) = load_encoders(["lite"], EncoderOptions(device="cpu"))

    def prepare(batch: int) -> Callable[[], object]:
        clips = np.zeros((batch, 1, FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
        return lambda: encoder.encode(clips)

    return prepare


_BARE: Mapping[str, Callable[[Job], Bare]] = {
    "clip": _bare_clip,
    "slowfast": _bare_slowfast,
    "lite": _bare_lite,
}


def _least_per_clip(prepare: Bare, batches: Sequence[int]) -> tuple[float, int]:
    """CPU seconds a clip at the batch size that takes least, and that size."""
    found = []
    for batch in batches:
        forward = prepare(batch)
        forward()
        costs: list[float] = []
        while sum(costs) < _LEAST_S or len(costs) < 2:
            costs.append(timed(forward)[0].cpu_s)
        found.append((statistics.median(costs) / batch, batch))
    return min(found)


def _throw_away(video: Path, samplings: Sequence[Sampling]) -> tuple[int, ...]:
    # Decord decodes every frame, so selective decoding may pass this limit.
    with ClipReader(video, samplings, DecodingOptions("decord")) as reader:
        for _ in reader:
            pass
        return reader.clip_counts


# What all share.


def _encoders(job: Job) -> list[VideoEncoder]:
    return load_encoders(job.features, EncoderOptions(weights=job.weights, device="cpu", offline=True))


def _device() -> tuple[torch.device, torch.dtype]:
    from extractors.compute.device import resolve_device, resolve_precision

    device = resolve_device("cpu")
    return device, resolve_precision("auto", device)


def _blank(encoder: VideoEncoder) -> NDArray[np.uint8]:
    frames = 32 if encoder.sampling.kind == "slowfast" else 1
    return np.zeros((encoder.batch_size, frames, FRAME_SIZE, FRAME_SIZE, 3), np.uint8)


def _rendered(folder: Path) -> list[Path]:
    videos = []
    for seconds, width, height, fps in _RENDERED:
        path = folder / f"{seconds}s-{height}p.mp4"
        if not path.exists():
            render_video(path, seconds=seconds, width=width, height=height, fps=fps)
        videos.append(path)
    return videos


def _weights(features: Sequence[str], folder: Path) -> dict[str, Path]:
    kept = {name: path for name in features for path in folder.glob(f"{name}.*")}
    return dict(prepare_weights(features, folder, EncoderOptions(weights=kept))[0].weights or {})


def _find_ffmpeg() -> str:
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg
    except ImportError:
        sys.exit(
            "the plain pipeline needs FFmpeg, which vtg does not: install the program (apt-get install ffmpeg; "
            f"brew install ffmpeg), or a package that carries it: {sys.executable} -m pip install imageio-ffmpeg"
        )
    binary: str = imageio_ffmpeg.get_ffmpeg_exe()
    return binary


def _print_machine(features: Sequence[str]) -> None:
    import torch

    found = machine()
    print(
        f"{found['cpu']}, {found['cores']} cores, torch {torch.__version__}, {torch.get_num_threads()} threads; "
        f"{' + '.join(features)}; clip and slowfast in {str(_device()[1]).removeprefix('torch.')}, lite in float32"
    )


def _print_row(name: str, measured: Sequence[Measured], video_s: float) -> None:
    wall, cpu = (
        statistics.median(getattr(turn.cost, key) for turn in measured) for key in ("wall_s", "cpu_s")
    )
    peak = max(turn.peak_bytes for turn in measured) / 1e6
    each = "  ".join(f"{turn.cost.wall_s:.1f}/{turn.cost.cpu_s:.1f}" for turn in measured)
    print(f"{name:8}{wall:9.1f}{cpu:9.1f}{peak:9.0f}{video_s / wall:13.2f}   {each}")


def _ratios(ones: Sequence[Measured], others: Sequence[Measured]) -> str:
    """Of wall and CPU seconds, turn by turn: median, least and most."""
    texts = []
    for label, key in (("wall", "wall_s"), ("CPU", "cpu_s")):
        ratios = [
            getattr(one.cost, key) / getattr(other.cost, key) for one, other in zip(ones, others, strict=True)
        ]
        texts.append(f"{label} {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    return ", ".join(texts)


def _agreement(ours: NDArray[np.float32], plain: NDArray[np.float32]) -> str:
    if len(ours) != len(plain):
        return f"{len(ours)} rows against {len(plain)}"
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(plain, axis=1)
    cosines = (ours * plain).sum(axis=1) / norms
    return f"mean {cosines.mean():.4f}, least {cosines.min():.4f}"


if __name__ == "__main__":
    main()
