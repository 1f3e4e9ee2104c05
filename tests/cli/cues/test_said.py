"""`vtg ground --said`."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import jsonschema
import pysubs2
import pytest
import webvtt

from extractors.errors import UsageError
from tests.cli.running import vtg
from tests.extractors.cues.rendering import Line, render_video
from vtg_cli.app import app

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = "=1+1 &lt;img src=x onerror=alert(1)&gt; the \x1b[31mbudget"
QUOTE = "=1+1 <img src=x onerror=alert(1)> the budget"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("said")
    lines = [Line(1, 2, "Hello, everyone."), Line(4, 6, "The budget is four million.")]
    render_video(made / "talk.mp4", tracks=[("mov_text", lines, "eng")])
    render_video(made / "bad.mp4", duration_s=8)
    (made / "bad.vtt").write_text(f"WEBVTT\n\n00:02.000 --> 00:03.500\n{HOSTILE}\n")
    render_video(made / "mute.mp4", duration_s=2)
    return made


def run(folder: Path, *arguments: str | Path) -> int:
    """Run `vtg ground` in this process; returns the exit code."""
    cache = folder / "cache"
    return app(["ground", *map(str, arguments), "--cache", str(cache)], standalone_mode=False) or 0


def test_as_a_user(folder: Path, tmp_path: Path) -> None:
    done = vtg("ground", folder / "talk.mp4", "--said", "the budget", "-k", "1", home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    head, _, query, headings, best, *_ = done.stdout.splitlines()
    assert head == f"{folder}/talk.mp4 · 0:08.0 · words of the subtitles"
    assert (query, headings.split()) == ("“the budget”", ["#", "start", "end", "score", "in", "words"])
    assert best.split() == [
        "1",
        "0:04.0",
        "0:06.0",
        "1.00",
        "track",
        "1",
        *["“The", "budget", "is", "four", "million.”"],
    ]
    assert not list(tmp_path.rglob("lite_features"))


def test_every_output_quotes(folder: Path, tmp_path: Path) -> None:
    names = ["out.json", "out.csv", "out.srt", "out.vtt", "out.txt", "out.edl"]
    outputs = [part for name in names for part in ("-o", tmp_path / name)]
    pictures = [
        "--html",
        tmp_path / "out.html",
        "--plot",
        tmp_path / "out.png",
        "--clips",
        tmp_path / "clips",
    ]
    assert run(folder, folder / "bad.mp4", "--said", "the budget", "-k", "1", *outputs, *pictures) == 0
    document = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    schema = re.findall(
        r"```json\n(.*?)```", (ROOT / "docs" / "json.md").read_text(encoding="utf-8"), re.DOTALL
    )[-1]
    jsonschema.validate(document, json.loads(schema))
    (moment,) = document["results"][0]["moments"]
    assert moment == {
        "start_s": 2.0,
        "end_s": 3.5,
        "score": 1.0,
        "clear_match": True,
        "source": "subtitles",
        "stream": "bad.vtt",
        "text": QUOTE,
    }
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["source"], row["stream"], row["text"]) == ("subtitles", "bad.vtt", f"'{QUOTE}")
    assert pysubs2.load(str(tmp_path / "out.srt")).events[0].plaintext.endswith("the budget”")
    (caption,) = webvtt.read(str(tmp_path / "out.vtt"))
    assert "&lt;img src=x" in caption.raw_text
    assert f"“{QUOTE}”" in (tmp_path / "out.txt").read_text(encoding="utf-8")
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "onerror=alert(1)" in page
    assert "<img src=x" not in page
    assert (tmp_path / "out.png").exists()
    assert len(list((tmp_path / "clips").iterdir())) == 1


def test_pictures_and_words_together(folder: Path, tmp_path: Path) -> None:
    videos = [folder / "talk.mp4", folder / "mute.mp4"]
    asked = ["a cat", "--said", "the budget", "--said", "everyone", "--features", "lite"]
    assert run(folder, *videos, *asked, "-o", tmp_path / "out.json") == 0
    results = json.loads((tmp_path / "out.json").read_bytes())["results"]
    assert [(Path(result["video"]).name, result["query"], result["model"]) for result in results] == [
        (name, query, model)
        for name in ("talk.mp4", "mute.mp4")
        for query, model in (("a cat", "zero-shot"), ("the budget", "cues"), ("everyone", "cues"))
    ]
    assert not any("text" in moment for result in results[::3] for moment in result["moments"])
    assert [len(result["moments"]) for result in results[4:]] == [0, 0]


def test_exit_codes(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(folder, folder / "talk.mp4", "--said", "giraffes", "--only-clear") == 3
    assert run(folder, folder / "mute.mp4", "--said", "giraffes") == 0
    assert "mute.mp4: has no subtitles, neither inside nor beside it" in capfd.readouterr().err
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert run(folder, tmp_path / "broken.mp4", folder / "talk.mp4", "--said", "budget") == 1
    said = capfd.readouterr()
    assert "broken.mp4: not a video" in said.err
    assert "The budget is four million." in said.out


def test_usage(folder: Path) -> None:
    with pytest.raises(UsageError, match="a query is empty"):
        run(folder, folder / "talk.mp4", "--said", " ")
    with pytest.raises(UsageError, match="does not go with --watch"):
        run(folder, "--watch", folder, "--said", "budget")
    with pytest.raises(UsageError, match="download it"):
        run(folder, "memory://bucket/talk.mp4", "--said", "budget")
    with pytest.raises(UsageError, match="name a video"):
        run(folder, "--said", "budget")


def test_own_answers_are_no_subtitles(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "talk.mp4"
    video.write_bytes((folder / "talk.mp4").read_bytes())
    for kind in ("srt", "vtt"):
        assert run(folder, video, "--said", "the budget", "-o", tmp_path / f"talk.{kind}") == 0
    capfd.readouterr()
    assert run(folder, video, "--said", "the budget", "-k", "1", "-o", "-", "--format", "json") == 0
    said = capfd.readouterr()
    assert json.loads(said.out)["results"][0]["moments"][0]["stream"] == "track 1"
    assert said.err.count("holds moments that vtg found") == 2
