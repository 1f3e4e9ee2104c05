"""`vtg extract --devices` as a user runs it: two processes on the CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.cli.running import clean_environment, vtg
from tests.extractors.index_encoder import make_video


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder of three videos and a broken one."""
    folder = tmp_path / "videos"
    for variant in range(3):
        make_video(folder / f"v{variant}.mp4", variant=variant)
    (folder / "broken.mp4").write_bytes((folder / "v0.mp4").read_bytes()[:700])
    return folder


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--devices", "cpu,gpu"), "known are auto, cpu, cuda, cuda:N, mps"),
        (("--devices", "4096"), "cuda:4096"),
        (("--devices", ""), "unknown device"),
        (("--devices", "cpu", "--device", "cpu"), "not both"),
    ],
)
def test_wrong_devices_are_usage_errors(
    arguments: tuple[str, ...], said: str, home: Path, videos: Path, tmp_path: Path
) -> None:
    done = vtg(
        "extract", videos, "--features", "lite", "--report", tmp_path / "report", *arguments, home=home
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "report").exists()


@pytest.mark.slow
def test_two_processes_give_what_one_gives(home: Path, videos: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    options = ("--features", "lite", "--quiet")
    together = vtg(
        "extract",
        videos,
        *options,
        "--devices",
        "cpu,cpu",
        "--report",
        report,
        "-o",
        tmp_path / "two",
        home=home,
    )
    assert together.returncode == 1
    assert "3 extracted" in together.stdout
    assert "1 failed" in together.stdout
    assert together.stderr.count("broken.mp4") == 1
    assert len(together.stderr.splitlines()) == 1
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    assert {Path(row["path"]).name: row["status"] for row in rows} == {
        "broken.mp4": "failed",
        "v0.mp4": "ok",
        "v1.mp4": "ok",
        "v2.mp4": "ok",
    }
    again = vtg("extract", videos, *options, "--devices", "cpu,cpu", home=home)
    assert "0 extracted, 3 already there, 1 failed" in again.stdout

    alone = vtg("extract", videos, *options, "-o", tmp_path / "one", home=home / "other")
    assert alone.returncode == 1
    for name in ("v0", "v1", "v2"):
        file = Path("lite_features", f"{name}.npz")
        one, two = (np.load(tmp_path / way / file)["features"] for way in ("one", "two"))
        np.testing.assert_allclose(one, two, atol=2e-3)  # other numbers of threads round differently


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_ctrl_c_ends_all_in_order(home: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "v0.mp4", seconds=300)
    (tmp_path / "v1.mp4").write_bytes(video.read_bytes() + b"\0\0\0\x08free")
    run = subprocess.Popen(
        [
            sys.executable,
            "-c",
            # A runner in the background hands down an ignored SIGINT; a user's terminal does not.
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from vtg_cli.main import main; main()",
            *("extract", str(tmp_path), "--features", "lite", "--fps", "2", "--devices", "cpu,cpu"),
        ],
        env=clean_environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    claims = home / "vtg" / "features"
    deadline_s = time.monotonic() + 120
    while len(list(claims.rglob("*.lock"))) < 2:  # both processes have a video
        assert time.monotonic() < deadline_s
        assert run.poll() is None, run.communicate()
        time.sleep(0.02)
    family = psutil.Process(run.pid).children(recursive=True)
    os.killpg(run.pid, signal.SIGINT)
    said, complaint = run.communicate(timeout=60)
    assert run.returncode == 130, (said, complaint)
    assert "interrupted; what was finished is kept" in complaint
    assert "Traceback" not in complaint
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    assert not list(claims.rglob("*.lock"))
