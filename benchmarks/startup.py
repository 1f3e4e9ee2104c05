"""Time whole `vtg` processes and their parts: help, completion, and a query on a video with cached features.

    python benchmarks/startup.py [--repeats 5]

A process's time is split into `python` (an interpreter that does nothing), `imports` (the third-party modules that the
command loads, found by running it under `-X importtime`, imported by a process that does nothing else), `loading`
(reading the weights of the model, in a process that has imported everything), and `ours`, the rest. Medians of wall
seconds, with CPU seconds in brackets. The video has 150 s; the weights of FlashVTG and CLIP are random.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from extractors.benchmark.machine import machine
from extractors.benchmark.measure import Cost
from extractors.benchmark.random_weights import write_random_weights
from extractors.benchmark.render import render_video
from extractors.cache.store import FeatureCache
from extractors.decoding.clip_reader import probe
from extractors.encoders.base import EncoderOptions
from extractors.encoders.registry import clip_length_s, load_video_encoder
from model.checkpoints.checkpoint import save_checkpoint
from model.grounding.benchmark import queries, random_checkpoint

_ROOT = Path(__file__).resolve().parents[1]
_VIDEO_S = 150.0
_OURS = ("vtg_cli", "extractors", "model")
_NAMED = ("numpy", "torch", "open_clip", "pytorchvideo", "onnxruntime", "av", "decord")
# Some names are parts that cannot be imported by themselves; what they belong to is in the list as well.
_IMPORT = """
import contextlib, sys
for name in sys.stdin.read().split():
    with contextlib.suppress(Exception):
        __import__(name)
"""
_LITE = (
    "from extractors.encoders.lite.minilm import MiniLMTextEncoder",
    "MiniLMTextEncoder().encode(['a cat'])",
)
_FLASHVTG = (
    "from model.checkpoints.store import read_model; from model.grounding.trained import TrainedModel; import torch",
    "TrainedModel(read_model(Path({model!r})), name='', device=torch.device('cpu'))",
)
_CLIP_TEXT = (
    "from extractors.encoders.clip.text_tower import TextTower",
    "TextTower(Path({clip!r}), torch.device('cpu'), torch.float32)",
)


@dataclass(frozen=True)
class Command:
    """A command to be timed.

    Attributes:
        label: what the table calls it.
        arguments: gives the arguments of the next run.
        environment: beside that of all.
        loading: pairs of statements: what to import, and what to time.
    """

    label: str
    arguments: Callable[[], Sequence[str]]
    environment: Mapping[str, str]
    loading: Sequence[tuple[str, str]] = ()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = _prepare(folder)
        environment = {
            **os.environ,
            "VTG_HOME": str(folder / "home"),
            "VTG_OFFLINE": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "GOMP_SPINCOUNT": "0",
        }
        found = machine()
        print(f"{found['cpu']}, {found['cores']} cores, Python {sys.version.split()[0]}, {repeats} runs")
        print(
            f"{'':28}"
            + "".join(f"{heading:>15}" for heading in ("total", "python", "imports", "loading", "ours"))
        )
        python = _cost([sys.executable, "-c", ""], environment, repeats)
        for command in commands:
            _measure(command, environment, python, repeats)


def _measure(command: Command, environment: dict[str, str], python: Cost, repeats: int) -> None:
    own = environment | dict(command.environment)
    # The first run fills what is kept between runs.
    _cost([*_vtg(), *command.arguments()], own, 1)
    total = _median([_cost([*_vtg(), *command.arguments()], own, 1) for _ in range(repeats)])
    modules = _imported(command, own)
    imports = _cost(
        [sys.executable, "-W", "ignore", "-c", _IMPORT], environment, repeats, stdin="\n".join(modules)
    )
    loading = _median([_loading(command, modules, environment) for _ in range(repeats)])
    rest = [
        getattr(total, key) - getattr(imports, key) - getattr(loading, key) for key in ("wall_s", "cpu_s")
    ]
    alone = Cost(imports.wall_s - python.wall_s, imports.cpu_s - python.cpu_s)
    cells = "".join(
        f"{f'{cost.wall_s:.2f} ({cost.cpu_s:.2f})':>15}"
        for cost in (total, python, alone, loading, Cost(*rest))
    )
    print(f"{command.label:28}{cells}   {' '.join(name for name in _NAMED if name in modules)}")


def _prepare(folder: Path) -> list[Command]:
    """Weights, a model, a video and its cached features, and the commands that use them."""
    weights = {name: write_random_weights(name, folder) for name in ("clip", "slowfast")}
    model = folder / "flashvtg.safetensors"
    save_checkpoint(random_checkpoint(), model)
    video = render_video(folder / "video.mp4", seconds=2, width=320, height=240)
    info = replace(probe(video), duration_s=_VIDEO_S)
    cache = FeatureCache(folder / "home" / "features")
    random = np.random.default_rng(0)
    for name in ("lite", "clip", "slowfast"):
        options = EncoderOptions(weights=weights, clip_length_s=clip_length_s(name, None), offline=True)
        spec = load_video_encoder(name, options).spec
        clips = round(_VIDEO_S / spec.clip_length_s)
        cache.store_video(video, spec, random.normal(size=(clips, spec.dim)), info)

    sentences = queries()
    asked = next(sentences)
    lite = ["ground", str(video), "--features", "lite"]
    trained = ["ground", str(video), "--model", str(model)]
    for name, path in weights.items():
        trained += ["--weights", f"{name}={path}"]
    files = {"model": str(model), "clip": str(weights["clip"])}
    flashvtg, clip_text = ((setup, work.format(**files)) for setup, work in (_FLASHVTG, _CLIP_TEXT))
    completion = {"_VTG_COMPLETE": "complete_bash", "COMP_WORDS": "vtg gro", "COMP_CWORD": "1"}
    return [
        Command("vtg --help", _always(["--help"]), {}),
        Command("vtg doctor --help", _always(["doctor", "--help"]), {}),
        Command("completion of `vtg gro`", _always([]), completion),
        Command("ground, lite, asked before", _always([*lite, asked]), {}),
        Command("ground, lite, new", _with_new_query(lite, sentences), {}, [_LITE]),
        Command("ground, FlashVTG, asked", _always([*trained, asked]), {}, [flashvtg]),
        Command("ground, FlashVTG, new", _with_new_query(trained, sentences), {}, [flashvtg, clip_text]),
    ]


def _always(arguments: Sequence[str]) -> Callable[[], Sequence[str]]:
    return lambda: arguments


def _with_new_query(arguments: Sequence[str], sentences: Iterator[str]) -> Callable[[], Sequence[str]]:
    return lambda: [*arguments, next(sentences)]


def _vtg(*python_options: str) -> list[str]:
    return [sys.executable, *python_options, "-m", "vtg_cli.main"]


def _imported(command: Command, environment: dict[str, str]) -> list[str]:
    """The modules that a command imports and that are not ours, in order."""
    arguments = [*_vtg("-X", "importtime"), *command.arguments()]
    done = subprocess.run(arguments, env=environment, check=True, capture_output=True, text=True, cwd=_ROOT)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    names = [line.rpartition("|")[2].strip() for line in lines[1:]]
    return [name for name in names if name.partition(".")[0] not in _OURS]


def _loading(command: Command, modules: Sequence[str], environment: dict[str, str]) -> Cost:
    if not command.loading:
        return Cost(0.0, 0.0)
    imports = "; ".join(setup for setup, _ in command.loading)
    work = "; ".join(statement for _, statement in command.loading)
    program = (
        f"{_IMPORT}\nimport json; from pathlib import Path; from extractors.benchmark.measure import timed\n{imports}\n"
        f"def load():\n    {work}\n"
        "cost, _ = timed(load)\nprint(json.dumps([cost.wall_s, cost.cpu_s]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        cwd=_ROOT,
        input="\n".join(modules),
    )
    return Cost(*json.loads(done.stdout))


def _cost(arguments: Sequence[str], environment: dict[str, str], repeats: int, *, stdin: str = "") -> Cost:
    costs = []
    for _ in range(repeats):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            arguments, env=environment, check=True, capture_output=True, cwd=_ROOT, text=True, input=stdin
        )
        wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        costs.append(Cost(wall_s, cpu_s))
    return _median(costs)


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        statistics.median(cost.wall_s for cost in costs), statistics.median(cost.cpu_s for cost in costs)
    )


if __name__ == "__main__":
    main()
