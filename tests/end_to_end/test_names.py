"""Names in every script and of every kind through every output, and things that are only named like videos."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.end_to_end.places import leftovers, one_line, run
from tests.extractors.index_encoder import make_video
from tests.hostile import NAMES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs names that are any bytes"),
]

LITE = ("--features", "lite", "--device", "cpu")
RAW = os.fsdecode(b"\xff\xfe caf\xe9")
"""Not UTF-8, and not text in any one encoding."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A video of each name; all of the same content, which is extracted once."""
    folder = tmp_path_factory.mktemp("videos")
    first = make_video(folder / "first.mp4", seconds=2.0)
    made = {}
    for name in (*NAMES, RAW):
        made[name] = folder / f"{name}.mp4"
        shutil.copy(first, made[name])
    return made


def test_a_folder_of_names(videos: dict[str, Path], home: Path, tmp_path: Path) -> None:
    folder = next(iter(videos.values())).parent
    report, output = tmp_path / "report.jsonl", tmp_path / f"out {RAW}"
    done = run("extract", folder, *LITE, "--report", report, "--output", output, home=home)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in report.read_text("ascii").splitlines()]
    assert {row["path"] for row in rows} == {str(path) for path in folder.iterdir()}
    assert {path.stem for path in output.rglob("*.npz")} == {"first", *videos}
    assert all(line.isprintable() for line in done.stderr.splitlines())


@pytest.mark.parametrize("name", [*NAMES, RAW], ids=ascii)
def test_a_name_comes_back_from_every_output(
    name: str, videos: dict[str, Path], home: Path, tmp_path: Path
) -> None:
    path = videos[name]
    files = {
        kind: tmp_path / f"{name[:50]}.{kind}"
        for kind in ("json", "csv", "srt", "edl", "otio", "fcpxml", "html")
    }
    outputs = [
        part for kind in ("json", "csv", "srt", "edl", "otio", "fcpxml") for part in ("-o", files[kind])
    ]
    done = run(
        "ground", path, "a cup", *LITE, "--json", *outputs, "--html", files["html"], "--clips", tmp_path / "clips",
        "--top-k", "1", "--all", home=home,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"][0]["video"] == str(path)
    assert json.loads(files["json"].read_text())["results"][0]["video"] == str(path)
    with files["csv"].open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    shown = str(path).encode("utf-8", "backslashreplace").decode()
    assert row["video"] == shown.replace("\n", "\\n")  # a row is a line
    for file in files.values():
        assert file.read_bytes().decode("utf-8")
    assert len(list((tmp_path / "clips").iterdir())) == 1
    assert not leftovers(tmp_path)
    table = run("ground", path, "a cup", *LITE, home=home)
    assert table.returncode == 0, table.stderr
    assert all(line.isprintable() for line in table.stdout.splitlines())


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """Things that are no videos, under names that say so."""
    folder = tmp_path / "strange"
    folder.mkdir()
    os.mkfifo(folder / "pipe.mp4")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "dangling.mp4").symlink_to("nowhere.mp4")
    (folder / "device.mp4").symlink_to("/dev/zero")
    make_video(folder / "closed.mp4", seconds=2.0).chmod(0)
    make_video(folder / "shut" / "inside.mp4", seconds=2.0)
    (folder / "shut").chmod(0)
    make_video(folder / "folder.mp4" / "inside.mp4", seconds=2.0)
    (folder / "itself").symlink_to(folder, target_is_directory=True)
    yield folder
    (folder / "shut").chmod(0o755)


REASONS = {
    "pipe.mp4": "is not a file",
    "loop.mp4": "cannot be read: ",
    "dangling.mp4": "No such file",
    "device.mp4": "is not a file",
    "closed.mp4": "Permission denied",
    "shut": "is a folder that cannot be read",
}


def test_non_videos_are_named_with_a_reason(strange: Path, home: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    done = run("extract", strange, *LITE, "--report", report, home=home, privileged=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    rows = {row["path"]: row for row in map(json.loads, report.read_text().splitlines())}
    assert rows.pop(str(strange / "folder.mp4" / "inside.mp4"))["status"] in ("ok", "skipped")
    assert {Path(path).name for path in rows} == set(REASONS)
    for name, reason in REASONS.items():
        assert reason in rows[str(strange / name)]["reason"]
        assert sum(str(strange / name) in line and reason in line for line in done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "code"), [*((name, 2 if name == "shut" else 1) for name in sorted(REASONS)), ("folder.mp4", 2)]
)
def test_no_video_is_no_reason_to_hang(strange: Path, home: Path, name: str, code: int) -> None:
    line = one_line(run("ground", strange / name, "a cup", *LITE, home=home, privileged=False), code)
    assert str(strange / name) in line


def test_a_report_is_not_written_over_a_video(home: Path, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", seconds=2.0)
    content = path.read_bytes()
    (tmp_path / "link.mp4").symlink_to(path)
    for report in (path, tmp_path / "link.mp4"):
        line = one_line(run("extract", path, *LITE, "--report", report, home=home), 2)
        assert "is one of the videos" in line
        assert path.read_bytes() == content


def test_results_go_through_links_and_devices(videos: dict[str, Path], home: Path, tmp_path: Path) -> None:
    """They take the place of what a link leads to, not of the link, and of no device."""
    real, link, pipe = tmp_path / "real.json", tmp_path / "link.json", tmp_path / "null.json"
    real.write_text("old")
    link.symlink_to(real)
    pipe.symlink_to("/dev/null")
    done = run("ground", videos["plain"], "a cup", *LITE, "-o", link, "-o", pipe, home=home)
    assert done.returncode == 0, done.stderr
    assert link.is_symlink()
    assert json.loads(real.read_text())["results"]
    assert Path("/dev/null").is_char_device()
    done = run(
        "ground",
        videos["plain"],
        "a cup",
        *LITE,
        "-o",
        "/dev/stdout",
        "--format",
        "json",
        "--quiet",
        home=home,
    )
    assert done.returncode == 0, done.stderr
    assert '"results"' in done.stdout
    assert not leftovers(tmp_path)
