"""How the time and memory of `vtg ground` grow with the length of a video.

    python benchmarks/length.py [--minutes 10,20,120] [--folder FOLDER]

Renders videos of 640x360 at 30 FPS and runs one query on each with the `lite` features, in a new process with an empty
cache, then a second time with the features cached. Memory is the peak that the command and its decoder hold at once.
Growth is relative to the first length (memory) and to the second (CPU seconds per minute).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.folders import working_folder
from extractors.benchmark.machine import machine
from extractors.benchmark.render import render_video

_POLL_S = 0.1


@dataclass(frozen=True)
class Run:
    """What a command took, its child processes included."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", default="10,20,120", help="lengths, with commas between them")
    parser.add_argument("--folder", type=Path, help="keep the rendered videos there")
    arguments = parser.parse_args()
    minutes = [float(part) for part in arguments.minutes.split(",")]
    print(", ".join(str(value) for value in machine().values()))
    print(f"{'minutes':>8}{'wall s':>9}{'CPU s':>9}{'CPU s/min':>11}{'peak MB':>9}   asked again: s, peak MB")
    runs: list[Run] = []
    with working_folder(arguments.folder) as folder:
        for length in minutes:
            path = folder / f"{length:g}min-360p.mp4"
            if not path.exists():
                render_video(path, seconds=60 * length)
            with tempfile.TemporaryDirectory() as cache:
                run, again = _ground(path, Path(cache)), _ground(path, Path(cache))
            runs.append(run)
            print(
                f"{length:8g}{run.wall_s:9.1f}{run.cpu_s:9.1f}{run.cpu_s / length:11.2f}{run.peak_bytes / 1e6:9.0f}"
                f"   {again.wall_s:.2f}, {again.peak_bytes / 1e6:.0f}",
                flush=True,
            )
    if len(runs) > 1:
        memory = runs[-1].peak_bytes / runs[0].peak_bytes
        middle = min(1, len(runs) - 2)
        pace = runs[-1].cpu_s / minutes[-1] / (runs[middle].cpu_s / minutes[middle])
        print(
            f"memory of the last: {memory:.2f} × the first; CPU seconds a minute: {pace:.2f} × the one before"
        )


def _ground(video: Path, cache: Path) -> Run:
    command = [
        sys.executable, "-m", "vtg_cli", "ground", str(video), "a box that moves", "--features", "lite",
        "--device", "cpu", "--json",
    ]  # fmt: skip
    start_s = time.monotonic()
    process = subprocess.Popen(
        command,
        env=os.environ | {"VTG_CACHE": str(cache), "VTG_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    family: dict[int, float] = {}
    watched, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            members = [watched, *watched.children(recursive=True)]
            peak = max(peak, sum(member.memory_info().rss for member in members))
            family |= {member.pid: sum(member.cpu_times()[:2]) for member in members}
        time.sleep(_POLL_S)
    wall_s = time.monotonic() - start_s
    said = process.communicate()[1]
    if process.returncode:
        sys.exit(f"failed: {' '.join(command)}\n{said}")
    return Run(wall_s, sum(family.values()), peak)


if __name__ == "__main__":
    main()
