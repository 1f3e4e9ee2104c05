"""What transcribing speech costs: CPU seconds per second of video, and memory.

    python benchmarks/speech.py [--size small] [--weights FOLDER] [--minutes 1] [VIDEO…]

Each video is read as `vtg transcript VIDEO --speech` reads it, in a subprocess, without a cache. Without a name it
reads two rendered ones: one in which somebody talks all the time, and a silent one. Without a folder of real weights,
weights of the same sizes are made that say 84 words in half a minute: they cost what real ones cost.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from extractors.cues.subprocess_reader import read_apart
from tests.extractors.cues.speech.talking import long_talk, render_talk
from tests.extractors.cues.speech.tiny_whisper import Shape, make_whisper

_TOKENS = 51_865
SHAPES = {
    "tiny": Shape(384, 6, 4, 4, tokens=_TOKENS),
    "base": Shape(512, 8, 6, 6, tokens=_TOKENS),
    "small": Shape(768, 12, 12, 12, tokens=_TOKENS),
    "large-v3-turbo": Shape(1280, 20, 32, 4, mels=128, tokens=_TOKENS + 1),
}
_WORD_S = 0.3
_WORDS = 84  # in 25 s, which a stretch of talk holds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="*", type=Path, metavar="VIDEO")
    parser.add_argument("--size", choices=SHAPES, default="small")
    parser.add_argument("--weights", type=Path, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        weights = arguments.weights or _apart(made, Path(folder), arguments.size)
        rows = []
        for path in arguments.videos or _apart(rendered, Path(folder), 60 * arguments.minutes):
            rows.append(_apart(measure, path, weights))
            if not arguments.json:
                row = rows[-1]
                print(
                    f"{row['video']}: {row['duration_s']:.0f} s, {row['cpu_s']:.1f} CPU s "
                    f"({row['cpu_s'] / row['duration_s']:.3f} per second), {row['wall_s']:.1f} s by the clock, "
                    f"{row['words']} words, {row['peak_mb']} MB",
                    flush=True,
                )
    if arguments.json:
        print(json.dumps(rows, indent=2))


def _apart(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function in a new process: the memory of a process counts that of its parent at its start."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def made(folder: Path, size: str) -> Path:
    """Weights that say 84 words in half a minute."""
    # Words that are alike would be taken for a mistake of the network, and be read again.
    letters = np.random.default_rng(0).choice(list("abcdefghijklmnopqrstuvwxyz"), (_WORDS, 5))
    words = tuple(f" {''.join(word)}" for word in letters)
    return make_whisper(folder / "weights", SHAPES[size], words={"u": words, "i": words}, word_s=_WORD_S)


def rendered(folder: Path, duration_s: float) -> list[Path]:
    """The two videos."""
    return [
        render_talk(folder / "talk.mp4", long_talk(0, duration_s), duration_s),
        render_talk(folder / "silence.mp4", [], duration_s),
    ]


def measure(path: Path, weights: Path) -> dict[str, Any]:
    """Transcribe one video.

    Raises:
        VideoError: if it cannot be read.
    """
    before_s, began_s = _cpu_s(), time.monotonic()
    duration_s, streams = read_apart(path, "speech", weights=weights)
    return {
        "video": path.name,
        "duration_s": duration_s,
        "cpu_s": _cpu_s() - before_s,
        "wall_s": time.monotonic() - began_s,
        "words": sum(len(cue.text.split()) for stream in streams for cue in stream.cues),
        "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    }


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
