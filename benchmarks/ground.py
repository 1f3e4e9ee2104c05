"""Time queries on an encoded video, in one process: the first, a new one, a repeated one, and many at once.

    python benchmarks/ground.py [--seconds 150] [--repeats 20] [--batch 64] [--rounds 2] [--weights clip=FILE]

`zero-shot` compares `lite` features with MiniLM's. `flashvtg` reads CLIP and SlowFast features in the configuration of
QVHighlights with random weights, and uses CLIP's text encoder, also random unless its weights are on this machine. The
video's rows are random. A new query is encoded, stored and answered; a repeated one is read from the cache and
answered. The first query also loads the text encoder; libraries are imported before.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

# Read once, when torch is loaded; `vtg` sets the same.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import onnxruntime  # noqa: F401 - so that importing it is no part of the first query
import torch

import extractors.encoders.clip.text_tower  # noqa: F401
from extractors.benchmark.machine import machine
from extractors.benchmark.measure import prepare_weights
from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions
from model.grounding.benchmark import GroundingCost, benchmark_trained, benchmark_zero_shot, random_checkpoint

_COLUMNS = ("first", "new", "repeated", "batched")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=150.0, help="length of the video")
    parser.add_argument("--repeats", type=int, default=20, help="queries timed one by one")
    parser.add_argument("--batch", type=int, default=64, help="queries asked together")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--weights", metavar="clip=FILE", help="CLIP's weights")
    arguments = parser.parse_args()
    given = {"clip": Path(arguments.weights.partition("=")[2])} if arguments.weights else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options, origins = prepare_weights(
            ["clip"], folder, EncoderOptions(weights=given, device=arguments.device)
        )
        sizes = {
            "video_s": arguments.seconds,
            "repeats": arguments.repeats,
            "batch": arguments.batch,
        }
        checkpoint = random_checkpoint()
        costs: dict[str, list[GroundingCost]] = {}
        for turn in range(arguments.rounds):
            for cost in (
                benchmark_zero_shot("lite", FeatureCache(folder / f"lite-{turn}"), options, **sizes),
                benchmark_trained(checkpoint, FeatureCache(folder / f"clip-{turn}"), options, **sizes),
            ):
                costs.setdefault(cost.model, []).append(cost)
    found = machine()
    print(
        f"{found['cpu']}, {found['cores']} cores, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{arguments.device}; CLIP's weights are {origins['clip']}"
    )
    print(f"{arguments.seconds:g} s of video; wall ms a query (CPU ms), medians of {arguments.rounds} rounds")
    print(f"{'':12}{'clips':>6}" + "".join(f"{column:>18}" for column in _COLUMNS[:3]), end="")
    print(f"{f'{arguments.batch} together':>18}")
    for model, turns in costs.items():
        print(f"{model:12}{turns[0].clips:6}" + "".join(_cell(turns, column) for column in _COLUMNS))


def _cell(turns: list[GroundingCost], column: str) -> str:
    wall, cpu = (
        1e3 * statistics.median(getattr(getattr(turn, column), key) for turn in turns)
        for key in ("wall_s", "cpu_s")
    )
    return f"{f'{wall:.1f} ({cpu:.1f})':>18}"


if __name__ == "__main__":
    main()
