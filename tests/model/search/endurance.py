"""A library under stress: files come, go, change and move while its processes are killed. Prints figures.

    python tests/model/search/endurance.py [--files 1000] [--kills 20] [--folder WORK] [--storage]

Renders small videos and keeps a library of them: four processes add at once, then a fifth of the files is deleted, a
fifth changed and a tenth renamed, and updates are killed at random moments. Exits with 1 if `verify` finds a difference
from a new library, a video is missing, or removed ones keep their space. With --storage the library is in object
storage, on a local server, and the processes are on two machines, which have the videos and the cache in common.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from benchmarks.folders import working_folder
from extractors.places import Address, Place
from model.search.storage.generations import Generations
from tests.buckets import serving_buckets
from tests.model.search.colours import RGB, colour_library, colour_video

_ROOT = Path(__file__).resolve().parents[3]
_PROCESSES = 4
_LATEST_KILL_S = 3.0
_CODE = """
import sys
from extractors.places import place_of
from tests.model.search.colours import colour_library
print("ready", flush=True)
with colour_library(*map(place_of, sys.argv[1:3])) as library:
    changes = library.add(sys.argv[4:]) if sys.argv[3] == "add" else library.update()
sys.exit(bool(changes.failed))
"""


@dataclass(frozen=True)
class Figures:
    """What was measured.

    Attributes:
        files: at first.
        kills: that met a process at work.
        full_bytes, left_bytes: of the vectors, before files were deleted and after.
        differences: that `verify` found, after each phase.
        missing: videos that the library should hold, after each phase.
    """

    files: int
    kills: int
    full_bytes: int
    left_bytes: int
    differences: tuple[int, ...]
    missing: tuple[int, ...]

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, and space was given back."""
        return not any((*self.differences, *self.missing)) and self.left_bytes < self.full_bytes


def run(work: Path, files: int, kills: int, library: Place | None = None) -> Figures:
    """Do it all in a folder; the library is there, too, unless it is said to be elsewhere."""
    chance = random.Random(0)
    index = work / "index" if library is None else library
    videos = work / "videos"
    paths = [videos / f"{number % 7}" / f"{number}.mp4" for number in range(files)]
    for number, path in enumerate(paths):
        _render(path, number, chance)
    phases = []
    killed = sum(_killed(work, index, ["add", str(videos)], chance) for _ in range(kills // 2))
    with ExitStack() as stack:
        together = [
            stack.enter_context(_process(work, index, ["add", str(videos)], machine=number % 2))
            for number in range(_PROCESSES)
        ]
        codes = [process.wait() for process in together]
    assert codes == [0] * _PROCESSES, codes
    phases.append(_compare(work, index, paths))
    full_bytes = _vector_bytes(index)
    chance.shuffle(paths)
    fifth, tenth = files // 5, files // 10
    deleted, changed, renamed = paths[:fifth], paths[fifth : 2 * fifth], paths[2 * fifth : 2 * fifth + tenth]
    kept = paths[fifth : 2 * fifth] + paths[2 * fifth + tenth :]
    for path in deleted:
        path.unlink()
    for number, path in enumerate(changed):
        _render(path, files + number, chance)
    for number, path in enumerate(renamed):
        kept.append(path.rename(videos / f"renamed-{number}.mp4"))
    killed += sum(_killed(work, index, ["update"], chance) for _ in range(kills - kills // 2))
    with _process(work, index, ["update"]) as process:
        assert process.wait() == 0
    phases.append(_compare(work, index, kept))
    differences, missing = zip(*phases, strict=True)
    return Figures(files, killed, full_bytes, _vector_bytes(index), differences, missing)


def _render(path: Path, number: int, chance: random.Random) -> None:
    colours = chance.choices(sorted(RGB), k=2)
    colour_video(path, [(colour, chance.randint(1, 2)) for colour in colours], variant=number)


def _process(work: Path, index: Place, arguments: list[str], *, machine: int = 0) -> subprocess.Popen[str]:
    own = {"PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1", "VTG_HOME": str(work / f"machine-{machine}")}
    return subprocess.Popen(
        [sys.executable, "-c", _CODE, str(index), str(work / "cache"), *arguments],
        env=os.environ | own,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _killed(work: Path, index: Place, arguments: list[str], chance: random.Random) -> bool:
    """Start a process and kill it at a random moment; returns whether it was still at work."""
    with _process(work, index, arguments) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0, _LATEST_KILL_S))
        at_work = process.poll() is None
        os.killpg(process.pid, signal.SIGKILL) if at_work else None
        process.wait()
    return at_work


def _compare(work: Path, index: Place, expected: list[Path]) -> tuple[int, int]:
    """Differences from a new library, and videos that are missing or too many."""
    with colour_library(index, work / "cache") as library:
        findings = library.verify()
        for finding in findings[:5]:
            print(f"difference: {finding.path}: {finding.what}")
        held = {path for video in library.videos() for path in (video.path, *video.copies)}
        found = {hit.video for result in library.search(["red", "blue"], top_k=5) for hit in result.hits}
        assert found <= held
    return len(findings), len(held ^ set(expected))


def _vector_bytes(index: Place) -> int:
    if isinstance(index, Address):
        files = Generations(index).newest().files
        return sum(file.size for name, file in files.items() if name.startswith("vectors/"))
    return sum(path.stat().st_size for path in _files(index / "vectors"))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--storage", action="store_true", help="keep the library in object storage")
    arguments = parser.parse_args()
    with working_folder(arguments.folder) as work, ExitStack() as stack:
        start_s = time.monotonic()
        library = None
        if arguments.storage:
            bucket = stack.enter_context(serving_buckets())("endurance")
            os.environ.update(bucket.environment())
            library = Address("s3", bucket.name, "library")
        figures = run(work, arguments.files, arguments.kills, library)
        print(figures, f"{time.monotonic() - start_s:.0f} s", sep="\n")
    sys.exit(not figures.is_good)


if __name__ == "__main__":
    main()
