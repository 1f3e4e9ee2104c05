"""`vtg index` and `vtg search` on the example video, as a user runs them."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from tests.cli.running import EXAMPLES, vtg

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, home) -> Path:
    """The example under two names, in a library."""
    folder = tmp_path_factory.mktemp("user")
    for name in ("one/first.mp4", "two/second.mp4"):
        (folder / name).parent.mkdir()
        shutil.copy(EXAMPLES / "example.mp4", folder / name)
    with (folder / "two" / "second.mp4").open("ab") as file:
        file.write(b"\0" * 64)  # another content with the same pictures
    done = vtg("index", "add", folder, home=home)
    assert (done.returncode, "2 extracted" in done.stdout) == (0, True), done.stderr
    return folder


@pytest.fixture(autouse=True)
def at_home(folder, monkeypatch) -> None:
    monkeypatch.chdir(folder)


def test_table(home):
    done = vtg("search", "a cat", "-k", "2", home=home)
    assert done.returncode == 0, done.stderr
    query, heading, *rows = done.stdout.splitlines()
    assert query == "“a cat”"
    assert heading.split() == ["#", "start", "end", "score", "video"]
    assert [row.split()[:3] for row in rows[:2]] == [["1", "0:06.0", "0:14.0"], ["2", "0:06.0", "0:14.0"]]
    assert [row.split()[-2:] for row in rows[:2]] == [["clear", "one/first.mp4"], ["clear", "two/second.mp4"]]


def test_videos_one_after_another(home):
    done = vtg("search", "a cat", "--by-video", "--per-video", "2", home=home)
    lines = [line.split()[0] for line in done.stdout.splitlines() if line]
    assert lines == ["“a", "one/first.mp4", "#", "1", "3", "two/second.mp4", "#", "2", "4"]


def test_json_and_paths(home):
    done = vtg("search", "two", "a cat", "a coffee", "--json", "-k", "1", home=home)
    document = json.loads(done.stdout)
    assert document["schema"] == "vtg.search/1"
    assert [result["query"] for result in document["results"]] == ["a cat", "a coffee"]
    assert [result["videos"] for result in document["results"]] == [1, 1]
    assert {Path(r["hits"][0]["video"]).name for r in document["results"]} == {"second.mp4"}


def test_nothing_matches(home):
    done = vtg("search", "a goal", "--only-clear", home=home)
    assert done.returncode == 3
    assert "Nothing in 2 videos matches clearly." in done.stdout


def test_files_of_several_videos(home, folder):
    outputs = (
        "-o",
        "hits.csv",
        "-o",
        "hits.edl",
        "-o",
        "hits.jsonl",
        "--supercut",
        "hits.mp4",
        "--clips",
        "cuts",
    )
    done = vtg("search", "a cat", "-k", "2", "-q", *outputs, "--html", "{video}.html", home=home)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((folder / "hits.csv").open(newline="")))
    assert [Path(row["video"]).name for row in rows] == ["first.mp4", "second.mp4"]
    assert (folder / "hits.edl").read_text().count("FROM CLIP NAME") == 2
    assert len((folder / "hits.jsonl").read_text().splitlines()) == 2
    assert sorted(path.name for path in (folder / "cuts").iterdir()) == [
        "first_a-cat_01.mp4",
        "second_a-cat_01.mp4",
    ]
    assert (folder / "hits.mp4").stat().st_size > 0
    assert {path.name for path in folder.glob("*.html")} == {"first.html", "second.html"}


def test_files_that_hold_one_video(home, folder):
    done = vtg("search", "a cat", "--plot", "curves.png", home=home)
    assert (done.returncode, (folder / "curves.png").exists()) == (2, False)
    assert "--plot {video}-curves.png" in done.stderr
    assert vtg("search", "a cat", "--name", "first*", "--plot", "curves.png", home=home).returncode == 0


def test_page_of_all_hits(home, folder):
    done = vtg("search", "a cat", "a coffee", "-k", "2", "--html", "hits.html", home=home)
    assert done.returncode == 0, done.stderr
    page = (folder / "hits.html").read_text(encoding="utf-8")
    assert re.findall(r'data-source="(.*?)"', page) == ["./one/first.mp4", "./two/second.mp4"] * 2
    wrong = vtg("search", "a cat", "--html", "hits.html", "--embed", home=home)
    assert (wrong.returncode, "--embed: needs one page per video" in wrong.stderr) == (2, True)


def test_only_one_answer_on_standard_output(home):
    done = vtg("search", "a cat", "--json", "-o", "-", "--format", "csv", home=home)
    assert (done.returncode, done.stdout) == (2, "")


def test_filters(home):
    one = ("--in", "one")
    for option in (one, ("--name", "f*"), ("--newer", "1h", *one), ("--longer", "10", *one)):
        done = vtg("search", "a cat", "--json", *option, home=home)
        assert json.loads(done.stdout)["results"][0]["videos"] == 1, option
    assert (
        json.loads(vtg("search", "a cat", "--json", "--longer", "60", home=home).stdout)["results"][0]["hits"]
        == []
    )
    wrong = vtg("search", "a cat", "--newer", "yesterday", home=home)
    assert (wrong.returncode, "--newer yesterday: must be an age" in wrong.stderr) == (2, True)


def test_info(home, folder):
    told = json.loads(vtg("index", "info", "--json", home=home).stdout)
    assert (told["videos"], told["files"], told["roots"]) == (2, 2, [str(folder)])
    assert told["recipes"][0]["spec"]["name"] == "lite"
    assert "2 videos" in vtg("index", "info", home=home).stdout


def test_libraries_are_separate(home, folder):
    assert vtg("index", "add", "one", "--library", "./shelf", home=home).returncode == 0
    done = vtg("search", "a cat", "--json", "--library", "./shelf", home=home)
    assert json.loads(done.stdout)["results"][0]["videos"] == 1
    assert (folder / "shelf" / "catalogue.sqlite").exists()
    assert vtg("search", "a cat", "--library", "shelf", home=home).returncode == 2


def test_upkeep(home, tmp_path, monkeypatch):
    (tmp_path / "v").mkdir()
    for name in ("first.mp4", "second.mp4"):
        shutil.copy(EXAMPLES / "example.mp4", tmp_path / "v" / name)
    monkeypatch.chdir(tmp_path)
    here = ("--library", "./shelf")
    assert vtg("index", "add", "v", *here, home=home).returncode == 0
    (tmp_path / "v" / "second.mp4").rename(tmp_path / "v" / "third.mp4")
    done = vtg("index", "verify", *here, home=home)
    assert done.returncode == 1
    assert "v/second.mp4: has gone; vtg index update removes it" in done.stdout
    assert "v/third.mp4: is not in the library; vtg index update adds it" in done.stdout
    assert "1 video compared, 2 differences" in done.stdout
    done = vtg("index", "update", *here, home=home)
    assert "2 already there, 1 removed; 1 video in all" in done.stdout
    done = vtg("index", "verify", *here, home=home)
    assert (done.returncode, "0 differences" in done.stdout) == (0, True)
    done = vtg("index", "remove", "v/third.mp4", "first.mp4", *here, home=home)
    assert "2 removed; 0 videos in all" in done.stdout
    assert vtg("index", "remove", "third.mp4", *here, home=home).returncode == 2
