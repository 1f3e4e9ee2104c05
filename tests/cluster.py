"""Extraction on Ray clusters of this machine: what goes wrong, what it costs, and what stays in memory.

    python tests/cluster.py failures [--videos 40]
    python tests/cluster.py overhead [--videos 40] [--seconds 20] [--rounds 3]
    python tests/cluster.py memory [--videos 2000]

- failures: three nodes and a bucket of a local S3-compatible server. A node is removed and the command killed while all
  workers are at work; one video kills its workers, another crashes its decoder. Compares with a run on one machine.
- overhead: `vtg extract --features lite` without Ray, on a running cluster of this machine, and with --ray local, in
  turn. Wall seconds and CPU seconds of all processes.
- memory: many tiny videos on one node. Resident memory of the command and of Ray's own processes, and what is in the
  object store, over the run.

Exits with 1 if something is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.folders import working_folder
from extractors.benchmark.render import render_video
from tests.buckets import serving_buckets
from tests.cli.running import clean_environment
from tests.extractors.index_encoder import make_video
from tests.ray_nodes import (
    Run,
    deadly_environment,
    deadly_video,
    entries,
    litter,
    nodes_of,
    ray_workers,
    wait_until,
)


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("failures", "overhead", "memory"))
    parser.add_argument("--videos", type=int, help="number of videos")
    parser.add_argument("--seconds", type=float, default=20, help="length of each video, for overhead")
    parser.add_argument("--rounds", type=int, default=3, help="turns, for overhead")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    arguments = parser.parse_args()
    with working_folder(arguments.folder) as work:
        if arguments.part == "failures":
            faults = _failures(work, arguments.videos or 40)
        elif arguments.part == "overhead":
            faults = _overhead(work, arguments.videos or 40, arguments.seconds, arguments.rounds)
        else:
            faults = _memory(work, arguments.videos or 2000)
    for fault in faults:
        print(f"FAULT: {fault}")
    sys.exit(bool(faults))


def _copies(video: Path, count: int) -> None:
    """As many videos of other contents, which show the same: a box at the end of the file differs."""
    data = video.read_bytes()
    for number in range(1, count):
        box = (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
        (video.parent / f"{video.stem}-{number:05}{video.suffix}").write_bytes(data + box)


def _failures(work: Path, count: int) -> list[str]:
    faults = []
    for number in range(count):
        make_video(work / "videos" / f"v{number:02}.mp4", seconds=2 + number)
    (work / "videos" / "broken.mp4").write_bytes((work / "videos" / "v00.mp4").read_bytes()[:700])
    deadly_video(work / "videos" / "v20-deadly.mp4")
    with serving_buckets() as make:
        bucket = make("films")
        for path in (work / "videos").iterdir():
            bucket.put(f"videos/{path.name}", path.read_bytes())
        environment = deadly_environment(work) | bucket.environment()
        notes = work / "notes"
        (work / "videos" / "v20-deadly.mp4").unlink()
        Run(environment, work / "videos", "--cache", work / "alone", "--output", work / "published").end()
        alone = {path.name: path.read_bytes() for path in (work / "published").rglob("*.npz")}
        for note in notes.iterdir():
            note.unlink()
        with nodes_of(3, environment) as nodes:
            options = (
                "--ray",
                nodes.address,
                "--output",
                f"{bucket.url}/features/",
                "--cache",
                work / "cache",
            )
            spare = nodes.add()
            (notes / "wait").touch()
            start_s = time.monotonic()
            run = Run(environment, f"{bucket.url}/videos/", *options)
            run.wait_until(lambda: len(list(notes.glob("*.note"))) >= 6)
            nodes.remove(spare)
            (notes / "wait").unlink()
            run.wait_until(lambda: sum(key.endswith(".npz") for key in bucket.all_keys()) > count // 2)
            run.process.kill()
            run.end()
            wait_until(lambda: not ray_workers())
            done = sum(key.endswith(".npz") for key in bucket.all_keys())
            report = work / "report.jsonl"
            code, out, errors = Run(environment, f"{bucket.url}/videos/", *options, "--report", report).end()
            print(
                f"killed after {done} videos; then: {out.strip()}; {time.monotonic() - start_s:.0f} s in all"
            )
            wait_until(lambda: not ray_workers())
        keys = [key for key in bucket.all_keys() if key.endswith(".npz")]
        made = {key.rpartition("/")[2]: bucket.get(key) for key in keys}
    contents = Counter(note.name.partition("-")[0] for note in notes.glob("*.note"))
    twice = sum(times - 1 for times in contents.values())
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    failed = {Path(row["path"]).name: row["reason"] for row in rows if row["status"] == "failed"}
    equal = sum(made.get(name) == data for name, data in alone.items())
    print(
        f"{equal} of {len(alone)} results byte-equal, {twice} videos encoded twice, exit {code}; failed: {failed}"
    )
    faults += [f"{name} differs" for name in made.keys() | alone.keys() if made.get(name) != alone.get(name)]
    faults += [f"{twice} videos encoded twice"] * (twice > 2 * 4 + 1)
    faults += [f"exit code {code}: {errors}"] * (code != 1)
    faults += [f"left over: {path}" for path in litter(work / "cache")]
    return faults + [f"failed: {failed}"] * (failed.keys() != {"broken.mp4", "v20-deadly.mp4"})


def _overhead(work: Path, count: int, seconds: float, rounds: int) -> list[str]:
    video = work / "videos" / "v.mp4"
    video.parent.mkdir(parents=True, exist_ok=True)
    render_video(video, seconds=seconds, width=640, height=360, fps=25)
    _copies(video, count)
    environment = clean_environment(work)
    walls: dict[str, list[float]] = {}
    with nodes_of(1, environment, cpus=psutil.cpu_count() or 1) as nodes:
        ways = {"without": (), "running cluster": ("--ray", nodes.address), "local": ("--ray", "local")}
        for turn in range(rounds):
            for name, options in ways.items():
                command = [
                    sys.executable,
                    "-m",
                    "vtg_cli.main",
                    "extract",
                    str(video.parent),
                    "--features",
                    "lite",
                ]
                cache = work / f"{name}-{turn}"
                before, wall_s = _cpu_s(), time.monotonic()
                process = subprocess.Popen(
                    [*command, "--quiet", "--cache", str(cache), *options], env=environment
                )
                spent = {}
                while process.poll() is None:
                    spent |= _cpu_s()
                    time.sleep(0.1)
                wall_s = time.monotonic() - wall_s
                cpu_s = sum(seconds - before.get(pid, 0.0) for pid, seconds in spent.items())
                walls.setdefault(name, []).append(wall_s)
                print(f"{name}: {wall_s:.1f} s, {cpu_s:.1f} CPU s, load {os.getloadavg()[0]:.1f}", flush=True)
    ratios = {
        name: [with_ray / without for with_ray, without in zip(walls[name], walls["without"], strict=True)]
        for name in ("running cluster", "local")
    }
    for name, values in ratios.items():
        print(f"{name} / without: {statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})")
    same = all(entries(work / f"{name}-0") == entries(work / "without-0") for name in ways)
    return ["entries differ"] * (not same)


def _cpu_s() -> dict[int, float]:
    """CPU seconds of each process that this one has started, and of theirs."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = float(times.user + times.system)
    return found


def _memory(work: Path, count: int) -> list[str]:
    import ray

    _copies(make_video(work / "videos" / "v.mp4", seconds=1), count)
    environment = deadly_environment(work)
    rows = []
    with nodes_of(1, environment) as nodes:
        ray.init(nodes.address, log_to_driver=False)
        store = ray.cluster_resources()["object_store_memory"]
        run = Run(environment, work / "videos", "--ray", nodes.address, "--cache", work / "cache", "--quiet")
        command = psutil.Process(run.process.pid)
        raylets = [
            one for one in psutil.Process().children(recursive=True) if one.name() in ("raylet", "gcs_server")
        ]
        step, done = max(count // 10, 1), 0
        while run.process.poll() is None:
            if len(list((work / "notes").iterdir())) >= done + step:
                done += step
                used = store - ray.available_resources()["object_store_memory"]
                sizes = [command.memory_info().rss, sum(one.memory_info().rss for one in raylets), used]
                rows.append(sizes)
                print(
                    f"{done} videos: command {sizes[0] / 1e6:.0f} MB, Ray {sizes[1] / 1e6:.0f} MB, objects {used:.0f} B"
                )
            time.sleep(0.2)
        code, out, errors = run.end()
        ray.shutdown()
    print(out.strip())
    faults = [f"exit code {code}: {errors}"] * (code != 0)
    faults += ["something is in the object store"] * any(row[2] for row in rows)
    third = rows[len(rows) // 3]
    return faults + ["the command grows"] * (rows[-1][0] > 1.1 * third[0])


if __name__ == "__main__":
    main()
