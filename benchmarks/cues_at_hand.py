"""What the words of a video cost a plain query, in milliseconds of wall-clock time: medians of many looks.

    python benchmarks/cues_at_hand.py [VIDEO…]

Without videos, the example of the package is copied into a folder with 1,000 other files.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from extractors.cache.store import FeatureCache
from model.cues.grounder import CueGrounder

_LOOKS = 200
_EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(Path(folder) / "cache")
        for video in arguments.videos or [_example(Path(folder) / "videos")]:
            cues = CueGrounder(cache)
            cache.identify(video).content()  # as whoever extracted the features did
            look = partial(cues.at_hand, video)
            first_ms, later_ms = _median_ms(look, 1), _median_ms(look, _LOOKS)
            words = look()
            count = sum(len(transcript.cues) for transcript in words)
            print(f"{video}: {count} cues, first look {first_ms:.2f} ms, later ones {later_ms:.2f} ms")


def _example(folder: Path) -> Path:
    """A video without subtitles in a large folder."""
    folder.mkdir()
    for number in range(1000):
        (folder / f"other-{number}.txt").touch()
    video = folder / "example.mp4"
    shutil.copy(_EXAMPLES / "example.mp4", video)
    time.sleep(3)  # until its hash is remembered
    return video


def _median_ms(look: Callable[[], object], looks: int) -> float:
    times_ms = []
    for _ in range(looks):
        begun_s = time.perf_counter()
        look()
        times_ms.append(1000 * (time.perf_counter() - begun_s))
    return statistics.median(times_ms)


if __name__ == "__main__":
    main()
