"""`vtg extract --ray` as a user runs it, on a cluster of three nodes of this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.buckets import Bucket, serving_buckets
from tests.cli.running import vtg
from tests.extractors.index_encoder import make_video
from tests.ray_nodes import (
    Nodes,
    Run,
    deadly_environment,
    deadly_video,
    entries,
    litter,
    nodes_of,
    ray_workers,
    wait_until,
)

COUNT = 12
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with serving_buckets() as make:
        yield make("films")


@pytest.fixture(scope="module")
def environment(home: Path, bucket: Bucket) -> dict[str, str]:
    return deadly_environment(home) | bucket.environment()


@pytest.fixture(scope="module")
def nodes(environment: dict[str, str]) -> Iterator[Nodes]:
    with nodes_of(3, environment) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def videos(home: Path) -> Path:
    """Videos of different lengths."""
    for number in range(COUNT):
        make_video(home / "videos" / f"v{number:02}.mp4", seconds=2 + number)
    return home / "videos"


@pytest.fixture
def notes(home: Path) -> Iterator[Path]:
    """The encoder's folder, with nothing but the order to wait."""
    folder = home / "notes"
    (folder / "wait").touch()
    yield folder
    for file in folder.iterdir():
        file.unlink()


@pytest.fixture(scope="module")
def alone(home: Path, videos: Path, environment: dict[str, str]) -> dict[str, bytes]:
    """The features that one process makes without a cluster."""
    options = ("--cache", home / "alone", "--output", home / "published")
    code, _, errors = Run(environment, videos, *options).end()
    assert code == 0, errors
    for file in (home / "notes").iterdir():
        file.unlink()
    return entries(home / "alone")


@pytest.fixture(scope="module")
def published(home: Path, alone: dict[str, bytes]) -> dict[str, bytes]:
    """What it writes into a folder."""
    return {path.name: path.read_bytes() for path in (home / "published" / "deadly_features").iterdir()}


def is_at_work(cache: Path, notes: Path) -> bool:
    """Whether two videos are done, and all three workers are at one."""
    return len(entries(cache)) == 2 and len(list(notes.glob("*.note"))) >= 5


def results(bucket: Bucket) -> dict[str, bytes]:
    """What is published in a bucket, by the names of the objects."""
    return {key.rpartition("/")[2]: bucket.get(key) for key in bucket.all_keys() if key.endswith(".npz")}


@pytest.mark.slow
def test_dead_node_and_deadly_video(
    nodes: Nodes,
    videos: Path,
    alone: dict[str, bytes],
    notes: Path,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    cache, report = tmp_path / "cache", tmp_path / "report.jsonl"
    deadly = deadly_video(tmp_path / "deadly.mp4")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes((videos / "v00.mp4").read_bytes()[:700])
    options = ("--ray", nodes.address, "--cache", cache, "--report", report)
    spare = nodes.add()
    run = Run(environment, broken, videos, deadly, *options)
    run.wait_until(lambda: is_at_work(cache, notes))
    nodes.remove(spare)
    (notes / "wait").unlink()
    code, out, errors = run.end()

    assert code == 1, errors
    # The one process of the removed node may have ended between an entry and its report.
    assert re.search(rf"{COUNT} extracted|{COUNT - 1} extracted.*, 1 already there", out)
    assert "2 failed" in out
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    failed = {Path(row["path"]).name: row["reason"] for row in rows if row["status"] == "failed"}
    assert failed.keys() == {"deadly.mp4", "broken.mp4"}
    assert "3 workers ended while they had it" in failed["deadly.mp4"]
    assert len(rows) == COUNT + 2
    assert errors.count("deadly.mp4") == errors.count("broken.mp4") == 1
    assert all(line.startswith("vtg: ") for line in errors.splitlines())
    assert len(out.splitlines()) == 1
    assert entries(cache) == alone
    contents = Counter(note.name.partition("-")[0] for note in notes.glob("*.note"))
    # Twice: at most two on the node, and one beside the deadly video, before that was known to be deadly.
    assert sum(count - 1 for count in contents.values()) <= 3
    wait_until(lambda: not ray_workers())
    assert not litter(cache)


@pytest.mark.slow
def test_killed_run_goes_on_in_a_bucket(
    nodes: Nodes,
    bucket: Bucket,
    videos: Path,
    published: dict[str, bytes],
    notes: Path,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    for video in videos.iterdir():
        bucket.put(f"videos/{video.name}", video.read_bytes())
    # A worker that has a video and its copy at the same time has to put one off.
    bucket.put("videos/v11-copy.mp4", (videos / "v11.mp4").read_bytes())
    options = ("--ray", nodes.address, "--output", f"{bucket.url}/features/", "--cache", tmp_path / "cache")
    run = Run(environment, f"{bucket.url}/videos/", *options)
    run.wait_until(lambda: len(results(bucket)) == 2 and is_at_work(tmp_path / "cache", notes))
    run.process.kill()
    run.end()
    wait_until(lambda: not ray_workers())
    (notes / "wait").unlink()
    shutil.rmtree(tmp_path / "cache")  # as on other nodes: what is in the bucket counts

    code, out, errors = Run(environment, f"{bucket.url}/videos/", *options).end()
    assert code == 0, errors
    assert re.search(
        rf"{COUNT - 1} extracted.*, 2 already there|{COUNT - 2} extracted.*, 3 already there", out
    )
    made = results(bucket)
    assert made.keys() == {*published, "v11-copy.npz"}
    # The record of the two that hold the same names the one that was extracted.
    assert {name: data for name, data in made.items() if not name.startswith("v11")} == {
        name: data for name, data in published.items() if name != "v11.npz"
    }
    contents = Counter(note.name.partition("-")[0] for note in notes.glob("*.note"))
    assert sum(count - 1 for count in contents.values()) <= 3 + 1  # in flight; the copy
    wait_until(lambda: not ray_workers())


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_ends_all_workers(
    nodes: Nodes,
    videos: Path,
    notes: Path,
    environment: dict[str, str],
    tmp_path: Path,
    number: int,
    code: int,
) -> None:
    cache = tmp_path / "cache"
    run = Run(environment, videos, "--ray", nodes.address, "--cache", cache)
    run.wait_until(lambda: is_at_work(cache, notes))
    (notes / "wait").unlink()
    os.killpg(run.process.pid, number)
    ended, _, errors = run.end()
    assert ended == code
    assert errors.splitlines()[-1:] == [
        "vtg: interrupted; what was finished is kept, and the same command continues from there"
    ]
    wait_until(lambda: not ray_workers())
    assert not litter(cache)


@pytest.mark.slow
def test_cluster_fills_a_library(
    nodes: Nodes, home: Path, videos: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("v00.mp4", "v01.mp4"):
        shutil.copy(videos / name, folder)
    (folder / "broken.mp4").write_bytes((videos / "v02.mp4").read_bytes()[:700])
    here = ("--library", f"{tmp_path}/shelf", "--cache", tmp_path / "cache")
    options = ("--features", "lite", "--ray", nodes.address)
    done = vtg("index", "add", folder, *here, *options, home=home, **environment)
    assert done.returncode == 1
    assert done.stderr.count("broken.mp4") == 1
    assert len(entries(tmp_path / "cache")) == 2
    again = vtg("index", "verify", *here, home=home)
    assert again.returncode == 0, again.stdout + again.stderr
    again = vtg("index", "add", folder / "v00.mp4", folder / "v01.mp4", *here, home=home)
    assert "2 already there" in again.stdout
    wait_until(lambda: not ray_workers())


@pytest.mark.slow
def test_what_is_wrong_for_all_ends_the_run(
    nodes: Nodes, videos: Path, notes: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    (notes / "damaged").touch()
    code, _, errors = Run(environment, videos, "--ray", nodes.address, "--cache", tmp_path / "cache").end()
    assert code == 1
    assert errors.splitlines()[-1] == "vtg: toy.safetensors: is damaged"
    assert "Traceback" not in errors
    wait_until(lambda: not ray_workers())
    assert not [path for path in litter(tmp_path / "cache") if path.suffix == ".tmp"]


@pytest.mark.slow
def test_waits_until_a_node_has_room(
    nodes: Nodes, videos: Path, notes: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    (notes / "wait").unlink()
    options = ("--ray", nodes.address, "--cache", tmp_path / "cache", "--cpus-per-worker", "2")
    run = Run(environment, videos / "v00.mp4", *options)
    assert run.process.stderr is not None
    assert run.process.stderr.readline() == (
        "note: no node of the cluster has room for a worker (2 CPUs, 0 GPUs); waiting for one\n"
    )
    node = nodes.add(cpus=2)
    code, out, errors = run.end()
    assert code == 0, errors
    assert "1 extracted" in out
    nodes.remove(node)


@pytest.mark.slow
def test_cache_that_nodes_do_not_share_is_refused(
    nodes: Nodes, videos: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    # A folder of the process's own, as a local disk is a node's own.
    folder = os.open(tmp_path, os.O_RDONLY)
    cache = f"/proc/self/fd/{folder}/cache"
    options = ("--features", "deadly", "--cache", cache, "--ray", nodes.address)
    done = subprocess.run(
        [sys.executable, "-m", "vtg_cli.main", "extract", str(videos), *options],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        pass_fds=(folder,),
    )
    os.close(folder)
    assert done.returncode == 2
    assert "is not the same folder on all nodes of the cluster" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ray", "local", "--devices", "cpu,cpu"), "give --devices or --ray, not both"),
        (("--ray", "ray://localhost:10001"), "run the command on a node of the cluster"),
        (("--ray", "local", "--gpus-per-worker", "-1"), "--gpus-per-worker -1: must be a number from 0"),
        (("--ray", "local", "--cpus-per-worker", "0"), "--cpus-per-worker 0: must be a number from 0.01"),
        (("--ray", "local", "--retries", "-1"), "--retries -1: must be a whole number from 0"),
    ],
)
def test_wrong_options_are_usage_errors(
    arguments: tuple[str, ...], said: str, home: Path, videos: Path
) -> None:
    done = vtg("extract", videos, *arguments, home=home)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def dead_address() -> Iterator[str]:
    """A port that is taken, on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("named", [False, True])
def test_cluster_that_is_gone_is_a_usage_error(
    named: bool, dead_address: str, home: Path, videos: Path
) -> None:
    option = dead_address if named else "auto"
    environment = {} if named else {"RAY_ADDRESS": dead_address}
    done = vtg("extract", videos, "--ray", option, home=home, **environment)
    assert done.returncode == 2
    where = "" if named else f" at {dead_address}"
    assert f"--ray {option}: no Ray cluster answers{where}; start one with 'ray start --head'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_ray_it_says_what_to_install(home: Path, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError")
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")
    done = vtg("extract", videos, "--ray", "local", home=home, PYTHONPATH=path)
    assert done.returncode == 2
    assert "pip install 'vtg[ray]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
