"""What people install: the wheel, away from the checkout it was built from."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from benchmarks.synthetic_data import write_synthetic
from tests.cli.running import EXAMPLES, clean_environment
from tests.model.training.training_setup import TINY, tiny_config, write_config
from tests.serve.running import serving
from vtg_cli.writers.formats import formats

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("extractors", "model", "vtg_cli")
_MOST_BYTES = 8_000_000

pytestmark = pytest.mark.slow


def build(source: Path, target: Path) -> list[Path]:
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", target, source],
        check=True,
        capture_output=True,
        env=clean_environment(target.parent) | {"SOURCE_DATE_EPOCH": "1790000000"},
    )
    return sorted(target.iterdir())


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """The files that git has, as they are now, without whatever else lies around."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def built(checkout, tmp_path_factory) -> list[Path]:
    return build(checkout, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """A folder with the wheel's content alone; what vtg depends on comes from this environment."""
    folder = tmp_path_factory.mktemp("installed")
    wheel = next(path for path in built if path.suffix == ".whl")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", folder, wheel]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def run(installed, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run_python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=tmp_path,
            env=clean_environment(tmp_path) | {"PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return run_python


def test_a_build_can_be_repeated(built, checkout, tmp_path):
    again = build(checkout, tmp_path / "again")
    assert [path.name for path in again] == [path.name for path in built]
    for first, second in zip(built, again, strict=True):
        assert first.read_bytes() == second.read_bytes()
        assert first.stat().st_size < _MOST_BYTES


def test_the_wheel_holds_the_packages_and_nothing_else(built, checkout):
    wheel = next(path for path in built if path.suffix == ".whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {
        path.relative_to(checkout).as_posix()
        for package in PACKAGES
        for path in (checkout / package).rglob("*")
        if path.is_file()
    }
    assert held == wanted | {"vtg.py", "vtg_cli/demo/example.mp4"}


def test_the_main_job_and_every_writer_run_from_the_wheel(run, installed, tmp_path):
    outputs = [
        argument
        for form in formats()
        if form.suffix
        for argument in ("-o", str(tmp_path / f"{form.name}{form.suffix}"))
    ]
    page = ["--html", "page.html", "--plot", "plot.png", "--clips", "clips"]
    video = EXAMPLES / "example.mp4"
    done = run("-m", "vtg_cli", "ground", video, "a cat", "--features", "lite", *outputs, *page)
    assert done.returncode == 0, done.stderr
    assert "0:06.0  0:14.0" in done.stdout
    assert all((tmp_path / name).stat().st_size for name in [*outputs[1::2], "page.html", "plot.png"])
    where = run("-c", "import vtg, vtg_cli, model, extractors; print(vtg_cli.__file__, vtg.Grounder)")
    assert where.stdout.startswith(str(installed)), where.stderr


def test_the_demo_runs_from_the_wheel(run):
    done = run("-m", "vtg_cli", "demo", "--no-browser")
    assert done.returncode == 0, done.stderr
    assert "vtg_cli/demo/example.mp4" in done.stdout.replace("\n", "").replace("\\", "/")


def test_training_runs_from_the_wheel(run, tmp_path):
    write_synthetic(tmp_path / "tiny", TINY)
    config = write_config(tiny_config("training.epochs=1"), tmp_path / "tiny.toml")
    done = run("-m", "vtg_cli", "train", "--config", config, "--data", "tiny", "--output", "run")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "best.safetensors").exists()


def test_the_page_answers_from_the_wheel(installed, tmp_path):
    # The working folder comes first on Python's path.
    elsewhere = ("sh", "-c", 'cd "$0" && exec "$@"', str(tmp_path))
    with serving(
        EXAMPLES / "example.mp4", home=tmp_path / "home", wrapper=elsewhere, PYTHONPATH=str(installed)
    ) as server:
        assert "<title>" in httpx.get(server.url).text
        assert httpx.get(f"{server.url}/static/app.js").status_code == 200
