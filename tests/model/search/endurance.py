"""A library under stress: files come, go, change and move while its processes are killed. Prints figures.

    python tests/model/search/endurance.py [--files 1000] [--kills 20] [--folder WORK]

Renders small videos and keeps a library of them: four processes add at once, then a fifth of the files is deleted, a
fifth changed and a tenth renamed, and updates are killed at random moments. Exits with 1 if `verify` finds a difference
from a new library, a video is missing, or removed ones keep their space.
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
from tests.model.search.colours import RGB, colour_library, colour_video

_ROOT = Path(__file__).resolve().parents[3]
_PROCESSES = 4
_LATEST_KILL_S = 3.0
_CODE = """
import sys
from tests.model.search.colours import colour_library
print("ready", flush=True)
with colour_library(*map(__import__("pathlib").Path, sys.argv[1:3])) as library:
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


def run(work: Path, files: int, kills: int, seed: int = 0) -> Figures:
    """Do it all in a folder."""
    chance = random.Random(seed)
    videos = work / "videos"
    paths = [videos / f"{number % 7}" / f"{number}.mp4" for number in range(files)]
    for number, path in enumerate(paths):
        _render(path, number, chance)
    phases = []
    killed = sum(_killed(work, ["add", str(videos)], chance) for _ in range(kills // 2))
    with ExitStack() as stack:
        together = [stack.enter_context(_process(work, ["add", str(videos)])) for _ in range(_PROCESSES)]
        codes = [process.wait() for process in together]
    assert codes == [0] * _PROCESSES, codes
    phases.append(_compare(work, paths))
    full_bytes = _vector_bytes(work)
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
    killed += sum(_killed(work, ["update"], chance) for _ in range(kills - kills // 2))
    with _process(work, ["update"]) as process:
        assert process.wait() == 0
    phases.append(_compare(work, kept))
    differences, missing = zip(*phases, strict=True)
    return Figures(files, killed, full_bytes, _vector_bytes(work), differences, missing)


def _render(path: Path, number: int, chance: random.Random) -> None:
    colours = chance.choices(sorted(RGB), k=2)
    colour_video(path, [(colour, chance.randint(1, 2)) for colour in colours], variant=number)


def _process(work: Path, arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _CODE, str(work / "index"), str(work / "cache"), *arguments],
        env={**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _killed(work: Path, arguments: list[str], chance: random.Random) -> bool:
    """Start a process and kill it at a random moment; returns whether it was still at work."""
    with _process(work, arguments) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0, _LATEST_KILL_S))
        at_work = process.poll() is None
        os.killpg(process.pid, signal.SIGKILL) if at_work else None
        process.wait()
    return at_work


def _compare(work: Path, expected: list[Path]) -> tuple[int, int]:
    """Differences from a new library, and videos that are missing or too many."""
    with colour_library(work / "index", work / "cache") as library:
        findings = library.verify()
        for finding in findings[:5]:
            print(f"difference: {finding.path}: {finding.what}")
        held = {path for video in library.videos() for path in (video.path, *video.copies)}
        found = {hit.video for result in library.search(["red", "blue"], top_k=5) for hit in result.hits}
        assert found <= held
    return len(findings), len(held ^ set(expected))


def _vector_bytes(work: Path) -> int:
    return sum(path.stat().st_size for path in _files(work / "index" / "vectors"))


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
    arguments = parser.parse_args()
    with working_folder(arguments.folder) as work:
        start_s = time.monotonic()
        figures = run(work, arguments.files, arguments.kills)
        print(figures, f"{time.monotonic() - start_s:.0f} s", sep="\n")
    sys.exit(not figures.is_good)


if __name__ == "__main__":
    main()
