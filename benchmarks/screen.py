"""What reading the text on a screen costs: CPU seconds per second of video, memory, and cues found.

    python benchmarks/screen.py [VIDEO…] [--json]

Each video is read as `vtg transcript VIDEO --screen` reads it, in a subprocess, without a cache. Without a name it
reads two rendered ones of 1280x720: a minute with a new slide every ten seconds, and ten minutes of one picture.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from extractors.cues.subprocess_reader import read_apart
from extractors.errors import VideoError
from tests.extractors.cues.screen.rendering import Slide, render_slides

_TITLES = ("Budget", "Salaries", "Heating", "Books and papers", "Volunteers", "Thank you")
_HEIGHTS = (60, 36, 36, 24, 24, 24)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="*", type=Path, metavar="VIDEO")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for path in arguments.videos or rendered(Path(folder)):
            try:
                rows.append(measure(path))
            except VideoError as error:
                print(f"left out: {error}")
                continue
            if not arguments.json:
                row = rows[-1]
                print(
                    f"{row['video']}: {row['duration_s']:.0f} s, {row['cpu_s']:.1f} CPU s "
                    f"({row['cpu_s'] / row['duration_s']:.3f} per second), {row['cues']} cues; "
                    f"at most {row['peak_mb']} MB so far",
                    flush=True,
                )
    if arguments.json:
        print(json.dumps(rows, indent=2))


def rendered(folder: Path) -> list[Path]:
    """The two videos."""
    slides = [
        Slide(
            10 * n,
            10 * n + 10,
            tuple((f"{title} {n} line {line}", size) for line, size in enumerate(_HEIGHTS)),
        )
        for n, title in enumerate(_TITLES)
    ]
    still = [Slide(0, 600, (("One page", 60), ("for ten minutes", 36)))]
    return [
        render_slides(folder / "slides.mp4", slides, duration_s=60),
        render_slides(folder / "still.mp4", still, duration_s=600),
    ]


def measure(path: Path) -> dict[str, Any]:
    """Read one video.

    Raises:
        VideoError: if it cannot be read.
    """
    before_s = _cpu_s()
    duration_s, streams = read_apart(path, "screen")
    return {
        "video": path.name,
        "duration_s": duration_s,
        "cpu_s": _cpu_s() - before_s,
        "cues": sum(len(stream.cues) for stream in streams),
        "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    }


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
