"""Extraction under stress: a mixed folder, random kills, several processes at once. Prints figures.

    python tests/endurance.py [--files 300] [--kills 20] [--extra FOLDER] [--folder WORK]

Renders good videos of many kinds, adds hostile files, and runs `vtg extract` on them with the `lite` features:
uninterrupted, killed again and again, and as two and four processes. Exits with 1 if a good file is not done, a bad one
has no reason, something is left over, or a cache differs from the uninterrupted run's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.folders import working_folder
from tests.extractors.rendering import render
from tests.hostile import write_hostile

_SIZES = ((64, 64), (160, 128), (176, 144), (320, 180), (98, 130))
_RATES = (10, 15, 24, 25, 30, 60)
_LATEST_KILL_S = 0.8  # after the first video of a run
_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".ts")


def main() -> None:
    """Run everything and print a line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--extra", type=Path, help="folder of more videos to copy in")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    arguments = parser.parse_args()
    with working_folder(arguments.folder) as work:
        good, bad = _fill(work / "videos", arguments.files, arguments.extra)
        print(f"{len(good)} good files, {len(bad)} hostile ones")
        faults = _unbroken(work, good, bad)
        whole = _contents(work / "unbroken")
        faults += _killed(work, arguments.kills, whole)
        for processes in (2, 4):
            faults += _together(work, processes, whole)
    for fault in faults:
        print(f"FAULT: {fault}")
    sys.exit(bool(faults))


def _fill(folder: Path, files: int, extra: Path | None) -> tuple[list[Path], list[Path]]:
    folder.mkdir(parents=True, exist_ok=True)
    good = [
        render(folder / f"seed{suffix}", frames=20, fps=10, width=160, height=128)
        for suffix in (".mp4", ".mkv", ".ts", ".avi")
    ]
    bad = write_hostile(folder / "hostile", good)
    if extra is not None:
        videos = [path for path in sorted(extra.rglob("*")) if path.suffix in (*_SUFFIXES, ".webm")]
        good += [Path(shutil.copy(path, folder / f"extra-{path.name}")) for path in videos]
    rng = random.Random(0)
    while len(good) + len(bad) < files:
        number = len(good)
        width, height = rng.choice(_SIZES)
        good.append(
            render(
                folder / f"{number}{rng.choice(_SUFFIXES)}",
                frames=rng.randrange(8, 90),
                fps=rng.choice(_RATES),
                width=width,
                height=height,
            )
        )
    return good, bad


def _command(work: Path, cache: str, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "vtg_cli", "extract", str(work / "videos"), "--features", "lite", "--device", "cpu",
        "--cache", str(work / cache), *more,
    ]  # fmt: skip


def _environment(work: Path) -> dict[str, str]:
    return os.environ | {"VTG_HOME": str(work / "home"), "VTG_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def _unbroken(work: Path, good: list[Path], bad: list[Path]) -> list[str]:
    start, peak = time.monotonic(), 0
    report = work / "report.jsonl"
    done = subprocess.Popen(
        _command(work, "unbroken", "--report", str(report)), env=_environment(work),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    early = 0
    while done.poll() is None:
        peak = max(peak, _memory(done.pid))
        if not early and report.exists() and report.read_bytes().count(b"\n") > (len(good) + len(bad)) // 3:
            early = peak
        time.sleep(0.2)
    rows: dict[str, Any] = {row["path"]: row for row in map(json.loads, report.read_text().splitlines())}
    failed = [row for row in rows.values() if row["status"] == "failed"]
    stderr = done.communicate()[1]
    print(
        f"unbroken: exit {done.returncode}, {len(rows) - len(failed)} done, {len(failed)} failed, "
        f"{time.monotonic() - start:.0f} s, peak {peak / 1e6:.0f} MB ({early / 1e6:.0f} MB after a third)"
    )
    faults = [
        f"not done: {path}: {rows.get(str(path))}" for path in good if not _is_done(rows.get(str(path)))
    ]
    faults += [f"no word of {path}" for path in bad if str(path) not in rows]
    faults += [f"no reason: {row}" for row in failed if not row["reason"]]
    faults += ["a traceback"] * ("Traceback" in stderr) + _litter(work / "unbroken")
    return faults + [f"exit code {done.returncode}"] * (done.returncode != 1)


def _killed(work: Path, kills: int, whole: dict[str, tuple[str, str]]) -> list[str]:
    rng = random.Random(1)
    before, twice, killed = set[str](), 0, 0
    for _ in range(kills):
        process = subprocess.Popen(
            _command(work, "killed", "--quiet"), env=_environment(work),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        while process.poll() is None and _stamps(work / "killed") <= before:
            time.sleep(0.05)
        try:
            process.wait(_LATEST_KILL_S * rng.random())
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
        after = _stamps(work / "killed")
        twice += sum(1 for stamp in before if stamp not in after)
        before = after
    subprocess.run(
        _command(work, "killed", "--quiet"), env=_environment(work), capture_output=True, check=False
    )
    words, faults = _compare(_contents(work / "killed"), whole)
    print(f"killed {killed} times: {words}, {twice} entries made twice")
    return faults + [f"{twice} entries made twice"] * bool(twice) + _litter(work / "killed")


def _together(work: Path, processes: int, whole: dict[str, tuple[str, str]]) -> list[str]:
    cache = f"together-{processes}"
    start = time.monotonic()
    running = [
        subprocess.Popen(
            _command(work, cache, "--report", str(work / f"{cache}-{i}.jsonl")), env=_environment(work),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for i in range(processes)
    ]  # fmt: skip
    for process in running:
        process.wait()
    made: list[str] = []
    for i in range(processes):
        rows = map(json.loads, (work / f"{cache}-{i}.jsonl").read_text().splitlines())
        made += [row["path"] for row in rows if row["status"] == "ok"]
    words, faults = _compare(_contents(work / cache), whole)
    twice = len(made) - len(set(made))
    print(
        f"{processes} processes: {words}, {len(made)} videos extracted, {twice} of them twice, "
        f"{time.monotonic() - start:.0f} s"
    )
    return faults + [f"{twice} videos extracted twice"] * bool(twice) + _litter(work / cache)


def _is_done(row: dict[str, Any] | None) -> bool:
    return row is not None and row["status"] in ("ok", "skipped")


def _memory(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        return int(sum(p.memory_info().rss for p in (process, *process.children(recursive=True))))
    except psutil.Error:
        return 0


def _contents(folder: Path) -> dict[str, tuple[str, str]]:
    """Entry to the hash of its bytes and the name of its video."""
    contents = {}
    for path in sorted(folder.rglob("*.npz")):
        with np.load(path) as arrays:
            name = json.loads(str(arrays["record"]))["video"]["name"]
        contents[str(path.relative_to(folder))] = (hashlib.blake2b(path.read_bytes()).hexdigest(), name)
    return contents


def _compare(
    contents: dict[str, tuple[str, str]], whole: dict[str, tuple[str, str]]
) -> tuple[str, list[str]]:
    """What is to be said of a cache, and what is wrong with it."""
    others = sorted(
        {
            whole.get(key, contents.get(key, ("", "")))[1]
            for key in whole.keys() | contents.keys()
            if whole.get(key) != contents.get(key)
        }
    )
    words = f"{len(whole) - len(others)} of {len(whole)} entries byte-equal"
    return words, [f"the entry of {name} differs" for name in others]


def _stamps(folder: Path) -> set[str]:
    return {f"{path}:{path.stat().st_mtime_ns}" for path in folder.rglob("*.npz")}


def _litter(folder: Path) -> list[str]:
    kept = (".npz", "spec.json")
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(kept)]
    # The hashes of files whose size and times have not changed are remembered on purpose.
    return [f"left over: {path}" for path in files if (path.parent.name, path.suffix) != (".files", ".json")]


if __name__ == "__main__":
    main()
