"""Selective against full decoding: CPU seconds in turn on one thread, equality of the frames, and what is left out.

    python benchmarks/decode.py VIDEO… [--json]

For each file and each choice of frames, PyAV decodes everything, then only what the wanted frames need, and decord
decodes where it may. A ratio above 1 means that selective decoding takes less. Scaling, which takes as long either way,
is measured too, unless `--unscaled` is given; decord always scales.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.decoding import decord_reader, pyav_reader
from extractors.decoding.container.timeline import Timeline, read_timeline
from extractors.decoding.frames import Framing, Geometry
from extractors.decoding.grid import Sampling, frame_indices, sample_times
from extractors.decoding.selection import Need, needs
from extractors.errors import VideoError

_CHOICES = {
    "0.5 fps": [Sampling("center_frame", 2.0)],
    "1 fps": [Sampling("center_frame", 1.0)],
    "2 fps": [Sampling("center_frame", 0.5)],
    "slowfast+clip": [Sampling("slowfast", 2.0), Sampling("center_frame", 2.0)],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO")
    parser.add_argument("--frames", choices=_CHOICES, default="0.5 fps", help="which frames are wanted")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each way; the least counts")
    parser.add_argument("--unscaled", action="store_true", help="leave scaling out of the measured time")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for path in arguments.videos:
        try:
            rows.append(compare(path, arguments.frames, arguments.rounds, scaled=not arguments.unscaled))
        except VideoError as error:
            print(f"left out: {error}")
            continue
        except pyav_reader.FrameMissing:
            print(f"left out: {path}: is damaged, so that all of it is decoded")
            continue
        if not arguments.json:
            print(_line(rows[-1]), flush=True)
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    for codec in sorted({row["codec"] for row in rows}):
        ratios = [_ratio(row) for row in rows if row["codec"] == codec]
        print(
            f"{codec}: median {statistics.median(ratios):.2f}, least {min(ratios):.2f}, {len(ratios)} files"
        )


def compare(path: Path, frames: str, rounds: int, *, scaled: bool) -> dict[str, Any]:
    """Measure one file.

    Args:
        path: the video.
        frames: which frames are wanted, a key of `_CHOICES`.
        rounds: turns of each way.
        scaled: whether the time of scaling counts.

    Raises:
        VideoError: if it cannot be read.
    """
    timeline = read_timeline(path)
    turns = pyav_reader.first_frame_quarter_turns(timeline.file)
    geometry = Geometry.fit(timeline.width, timeline.height, quarter_turns=turns, framing=Framing())
    wanted = _wanted(timeline, frames)
    needed = needs(wanted, timeline)

    def frames_by(
        picture_of: Geometry | Callable[[Any], NDArray[np.uint8]], *, selective: bool
    ) -> Iterator[NDArray[np.uint8]]:
        return pyav_reader.read_frames(wanted, timeline, picture_of, num_threads=1, selective=selective)

    measured = geometry if scaled else _nothing
    full: list[float] = []
    selective: list[float] = []
    decord: list[float] = []
    for _ in range(rounds):
        full.append(_timed(lambda: frames_by(measured, selective=False)))
        selective.append(_timed(lambda: frames_by(measured, selective=True)))
        if not decord_reader.unsuitable(timeline, turns):
            decord.append(_timed(lambda: _decord(timeline, geometry, wanted)))
    return {
        "file": path.name,
        "codec": timeline.codec,
        "frames": len(timeline.timestamps_s),
        "wanted": len(wanted),
        "passed_over": int((needed == Need.NONE).sum()),
        "left_out_if_unreferenced": int((needed == Need.REFERENCE).sum()),
        "full_cpu_s": min(full),
        "selective_cpu_s": min(selective),
        "decord_cpu_s": min(decord) if decord else None,
        "equal": all(
            np.array_equal(*pair)
            for pair in zip(
                frames_by(geometry, selective=False), frames_by(geometry, selective=True), strict=True
            )
        ),
    }


def _wanted(timeline: Timeline, frames: str) -> NDArray[np.int64]:
    indices = [
        frame_indices(sample_times(sampling, end_s=timeline.end_s, fps=timeline.fps), timeline.timestamps_s)
        for sampling in _CHOICES[frames]
    ]
    return np.unique(np.concatenate([found.ravel() for found in indices]))


def _decord(timeline: Timeline, geometry: Geometry, wanted: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    reader = decord_reader.open_reader(timeline, geometry, num_threads=1)
    return decord_reader.read_segment(reader, wanted, timeline, geometry)


def _nothing(_frame: Any) -> NDArray[np.uint8]:
    return np.empty(0, np.uint8)


def _timed(read: Callable[[], Iterable[NDArray[np.uint8]]]) -> float:
    start_s = time.process_time()
    for _ in read():
        pass
    return time.process_time() - start_s


def _ratio(row: dict[str, Any]) -> float:
    return float(row["full_cpu_s"] / row["selective_cpu_s"])


def _line(row: dict[str, Any]) -> str:
    decord = "" if row["decord_cpu_s"] is None else f", decord {row['decord_cpu_s']:.2f} s"
    return (
        f"{row['file']}: {row['codec']}, {row['wanted']} of {row['frames']} frames wanted, "
        f"full {row['full_cpu_s']:.2f} s, selective {row['selective_cpu_s']:.2f} s{decord}, "
        f"ratio {_ratio(row):.2f}, frames {'equal' if row['equal'] else 'DIFFER'}"
    )


if __name__ == "__main__":
    main()
