"""Several videos in one call: each is answered, and every output holds what its format allows."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import av
import pytest

from extractors.decoding.clip_reader import probe
from tests.cli.running import EXAMPLES, vtg
from tests.end_to_end.places import leftovers

pytestmark = pytest.mark.slow

EXAMPLE = EXAMPLES / "example.mp4"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Two copies of the example of one name, in two folders, and a file that is no video."""
    for name in ("one/v.mp4", "two/v.mp4"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(EXAMPLE, tmp_path / name)
    (tmp_path / "bad.mp4").write_text("these are notes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


VIDEOS = ("one/v.mp4", "two/v.mp4")


def test_failed_video_is_reported(folder, home):
    done = vtg(
        "ground", "one/v.mp4", "bad.mp4", "two/v.mp4", "a cat", "a dog", "--json", "-k", "1", home=home
    )
    assert done.returncode == 1
    assert done.stderr.count("vtg: bad.mp4: ") == 1
    results = json.loads(done.stdout)["results"]
    assert [(r["video"], r["query"]) for r in results] == [(v, q) for v in VIDEOS for q in ("a cat", "a dog")]
    assert [r["moments"][0]["start_s"] for r in results] == [6.0] * 4

    table = vtg("ground", "one/v.mp4", "bad.mp4", "two/v.mp4", "a cat", home=home)
    assert table.returncode == 1
    assert re.findall(r"^(\S+) · 0:50", table.stdout, re.MULTILINE) == list(VIDEOS)
    nothing = vtg("ground", "bad.mp4", "bad.mp4", "a cat", "--json", home=home)
    assert (nothing.returncode, nothing.stdout) == (1, "")


def test_files_that_can_hold_all_do(folder, home):
    files = ["a.json", "a.jsonl", "a.csv", "a.edl", "a.otio", "a.fcpxml", "a.txt"]
    outputs = [part for name in files for part in ("-o", name)]
    done = vtg(
        "ground",
        *VIDEOS,
        "a cat",
        "-k",
        "1",
        "-q",
        *outputs,
        "--supercut",
        "all.mp4",
        "--clips",
        "clips",
        home=home,
    )
    assert done.returncode == 0, done.stderr
    assert [row["video"] for row in csv.DictReader((folder / "a.csv").open(newline=""))] == list(VIDEOS)
    assert [json.loads(line)["video"] for line in (folder / "a.jsonl").open()] == list(VIDEOS)
    blocks = (folder / "a.txt").read_text().split("\n\n")
    assert blocks[::2] == list(VIDEOS)
    assert all(block.startswith("a cat\n00:00:06.000 - 00:00:14.000  1.00") for block in blocks[1::2])
    for name in ("a.otio", "a.fcpxml"):
        text = (folder / name).read_text()
        assert all(f"{video.split('/')[0]}/v.mp4" in text for video in VIDEOS)
    assert len(re.findall(r"^00\d ", (folder / "a.edl").read_text(), re.MULTILINE)) == 2
    assert probe(folder / "all.mp4").duration_s == pytest.approx(16, abs=0.2)
    assert sorted(path.name for path in (folder / "clips").iterdir()) == [
        "v.mp4_a-cat_01.mp4",
        "v_a-cat_01.mp4",
    ]
    assert not leftovers(folder)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("-o", "a.srt"), "--output {video}.srt"),
        (("-o", "-", "--format", "chapters"), "--output {video}.txt --format chapters"),
        (("--html", "sub/a.html"), "--html sub/{video}-a.html"),
        (("--plot", "a.png"), "--plot {video}-a.png"),
    ],
)
def test_single_video_formats_suggest_placeholder(options, word, folder, home):
    done = vtg("ground", *VIDEOS, "a cat", *options, home=home)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.rstrip().endswith(word)
    assert len(done.stderr.splitlines()) == 1


def test_video_placeholder(folder, home):
    done = vtg(
        "ground", *VIDEOS, "a cat", "-k", "1", "-o", "{video}.srt", "-o", "{video}.c", "--format", "chapters",
        "--html", "sub/{video}.html", "--plot", "{video}.svg", "--supercut", "{video}-cut.mp4", home=home,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for stem in ("v", "v.mp4"):
        assert "a cat" in (folder / f"{stem}.srt").read_text()
        assert (folder / f"{stem}.svg").exists()
        assert probe(folder / f"{stem}-cut.mp4").duration_s == pytest.approx(8, abs=0.1)
    pages = [(folder / "sub" / f"{stem}.html").read_text() for stem in ("v", "v.mp4")]
    assert ['src="./../one/v.mp4"' in page for page in pages] == [True, False]
    assert ['src="./../two/v.mp4"' in page for page in pages] == [False, True]


def test_failed_output_leaves_the_rest(folder, home):
    (folder / "file").write_text("")
    done = vtg(
        "ground",
        "one/v.mp4",
        "a cat",
        "-o",
        "file/a.csv",
        "-o",
        "a.csv",
        "--supercut",
        "file/a.mp4",
        "--plot",
        "a.svg",
        home=home,
    )
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("vtg: ")]
    assert [line.split(":")[1].strip() for line in told] == ["file/a.csv", "file/a.mp4"]
    assert (folder / "a.csv").exists()
    assert (folder / "a.svg").exists()


def test_cuts_never_replace_inputs(folder, home):
    shutil.copy(EXAMPLE, folder / "x.mp4")
    shutil.copy(folder / "two/v.mp4", folder / "x_a-cat_01.mp4")
    done = vtg("ground", "x.mp4", "x_a-cat_01.mp4", "a cat", "-k", "1", "--clips", ".", home=home)
    assert done.returncode == 1
    assert "x_a-cat_01.mp4: not written, because it is one of the videos" in done.stderr
    assert (folder / "x_a-cat_01.mp4").read_bytes() == EXAMPLE.read_bytes()
    assert (folder / "x_a-cat_01_a-cat_01.mp4").exists()


def test_queries_from_file_and_stdin(folder, home):
    (folder / "q.txt").write_text("a cat\n\na dog\n")
    done = vtg("ground", "one/v.mp4", "a cup", "--queries", "q.txt", "--json", home=home)
    assert [result["query"] for result in json.loads(done.stdout)["results"]] == ["a cup", "a cat", "a dog"]


def test_names_of_clips_are_counted_in_bytes(folder, home):
    video = folder / f"{'猫' * 80}.mp4"
    shutil.copy(EXAMPLE, video)
    done = vtg("ground", video, "犬" * 40, "-k", "1", "--clips", "clips", "--all", home=home)
    assert done.returncode == 0, done.stderr
    (clip,) = (folder / "clips").iterdir()
    assert len(clip.name.encode()) <= 255
    assert clip.name.startswith("猫" * 40)
    assert "犬" * 20 in clip.name
    with av.open(str(clip)) as container:
        assert container.duration
