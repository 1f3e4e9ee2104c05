"""`vtg search` with a plain query on videos with subtitles: one list of what is seen, said and written."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from extractors.cache.store import FeatureCache
from extractors.cues import screen_text
from tests.extractors.cues.rendering import Line, render_video, srt
from vtg_cli.app import app
from vtg_cli.writers.formats import formats

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow
Command = Callable[..., int]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A talk with a text track, one with a file beside it, and one without words; tests copy them."""
    made = tmp_path_factory.mktemp("videos") / "talks"
    made.mkdir()
    render_video(
        made / "track.mp4", tracks=[("mov_text", [Line(4, 6, "The budget is four million.")], "eng")]
    )
    render_video(made / "beside.mp4", duration_s=6)
    hostile = "<b>The</b> budget, \x1b[31m=1+1."
    (made / "beside.srt").write_text(srt([Line(1, 3, hostile)]))
    render_video(made / "mute.mp4", duration_s=4)
    return made


@pytest.fixture(scope="module")
def folder(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three videos, in a library."""
    copied = Path(shutil.copytree(videos, tmp_path_factory.mktemp("user") / "talks"))
    with pytest.MonkeyPatch.context() as patch:
        assert _command_in(copied, patch)("search", "the budget", copied) == 0
    return copied


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command where the three videos are in a library."""
    return _command_in(folder, monkeypatch)


def _command_in(folder: Path, patch: pytest.MonkeyPatch) -> Command:
    """Run commands on lite features in this process, with a home and a cache next to a folder."""
    patch.setenv("VTG_HOME", str(folder.parent / "home"))
    patch.setenv("VTG_OFFLINE", "1")
    patch.setenv("COLUMNS", "120")
    patch.chdir(folder)

    def command(*arguments: str | Path) -> int:
        options = ["--cache", str(folder.parent / "cache")]
        return app([*map(str, arguments), *options], standalone_mode=False) or 0

    return command


def test_words_of_new_videos_are_found(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(videos, tmp_path / "user" / "talks"))
    run = _command_in(folder, monkeypatch)
    files = [tmp_path / f"out-{{video}}{form.suffix}" for form in formats() if form.suffix]
    outputs = [part for file in files for part in ("-o", file)]
    assert run("search", "the budget", folder, "--json", "--html", tmp_path / "hits.html", *outputs) == 0
    captured = capfd.readouterr()
    document = json.loads(captured.out)
    page = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
    jsonschema.validate(document, json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[-1]))
    (result,) = document["results"]
    first, second, *others = result["hits"]
    assert {Path(hit["video"]).name: (hit["stream"], hit["text"]) for hit in (first, second)} == {
        "track.mp4": ("track 1", "The budget is four million."),
        "beside.mp4": ("beside.srt", "The budget, =1+1."),
    }
    assert (result["clear_match"], first["score"], second["score"]) == (True, 1.0, 1.0)
    assert others
    assert not any("text" in hit for hit in others)
    for form in (form for form in formats() if form.suffix):
        (written,) = tmp_path.glob(f"out-track*{form.suffix}")
        if form.suffix in (".csv", ".jsonl", ".srt", ".vtt", ".txt", ".json"):
            assert "The budget is four million." in written.read_text(encoding="utf-8"), form.name
    with next(tmp_path.glob("out-beside*.csv")).open(encoding="utf-8", newline="") as file:
        assert {row["text"] for row in csv.DictReader(file)} >= {"The budget, =1+1."}
    shown = (tmp_path / "hits.html").read_text(encoding="utf-8")
    assert "<bdi>track 1</bdi>: <bdi>“The budget is four million.”</bdi>" in shown


def test_table(run, capfd) -> None:
    assert run("search", "the budget", "-k", "3", "--per-video", "1") == 0
    query, headings, *rows = capfd.readouterr().out.splitlines()
    assert (query, headings.split()) == (
        "“the budget”",
        ["#", "start", "end", "score", "video", "in", "words"],
    )
    said = {" ".join(row.split()[4:]) for row in rows if row}
    assert said == {
        "clear beside.mp4 beside.srt “The budget, =1+1.”",
        "clear track.mp4 track 1 “The budget is four million.”",
        "mute.mp4 pictures",
    }


def test_without_words_nothing_changes(run, tmp_path: Path, capfd) -> None:
    """Byte for byte, in the terminal and in files; so it is with --no-cues where there are words."""
    for paths in (["mute.mp4"], []):
        found = []
        for number, options in enumerate((["--no-cues"], [] if paths else ["--no-cues"])):
            target = tmp_path / str(number)
            outputs = [
                part
                for form in ("csv", "txt", "srt", "jsonl")
                for part in ("-o", target / f"{{video}}.{form}")
            ]
            assert run("search", "the budget", *paths, *options, *outputs) == 0
            assert run("search", "the budget", *paths, *options, "--json") == 0
            written = {path.name: path.read_bytes() for path in target.iterdir()}
            found.append((capfd.readouterr().out, written))
        assert found[0] == found[1]
        assert "budget is" not in found[0][0]


def test_what_is_read_later(run, folder: Path, capfd) -> None:
    def texts(*options: str) -> list[str]:
        assert run("search", *options, "--json") == 0
        captured = capfd.readouterr()
        return [hit["text"] for hit in json.loads(captured.out)["results"][0]["hits"] if "text" in hit]

    assert texts("--written", "exit") == []
    run("search", "--written", "exit")
    assert "of 3 of 3 videos was not read" in (said := capfd.readouterr()).err
    assert "vtg transcript VIDEO --screen" in said.err
    assert "Nothing written in 3 videos matches clearly" in said.out
    # As `vtg transcript --screen` keeps it.
    cache = FeatureCache(folder.parent / "cache")
    cues = [[0.0, 2.0, "EXIT to the garden", 0.9]]
    stream = {"name": "screen", "source": "screen", "language": "", "cues": cues, "notes": []}
    document = {"duration_s": 4.0, "made_by": "", "streams": [stream]}
    cache.documents("screen", screen_text._RECIPE).store(cache.identify(folder / "mute.mp4"), document)
    assert texts("--written", "exit") == ["EXIT to the garden"]
    assert texts("exit to the garden") == ["EXIT to the garden"]
    (folder / "mute.en.srt").write_text(srt([Line(1, 2, "Bonjour, giraffe.")]))
    assert texts("giraffe") == ["Bonjour, giraffe."]
    assert texts("giraffe", "--no-cues") == []


def test_words_that_are_not_ready_are_counted(run, folder: Path, capfd, monkeypatch) -> None:
    monkeypatch.setattr("model.search.words._FEW", 0)
    for name in ("mute", "beside"):
        (folder / f"{name}.fr.srt").write_text(srt([Line(1, 2, "Une autruche.")]))
    assert run("search", "autruche") == 0
    assert "the words of 2 videos are new and were not searched; vtg index update" in capfd.readouterr().err
    assert run("index", "update") == 0
    assert run("search", "autruche", "--json") == 0
    captured = capfd.readouterr()
    assert "not searched" not in captured.err
    assert captured.out.count("Une autruche.") == 2
    # So does vtg index add, which need not be asked to.
    (folder / "mute.de.srt").write_text(srt([Line(1, 2, "Ein Kranich.")]))
    assert run("index", "add", "mute.mp4", "--library", "other") == 0
    assert run("search", "kranich", "--library", "other", "--json") == 0
    captured = capfd.readouterr()
    assert "not searched" not in captured.err
    assert "Ein Kranich." in captured.out


def test_usage(run, folder: Path, capfd) -> None:
    from extractors.errors import UsageError

    with pytest.raises(UsageError, match="--speech: goes with --said or --cues"):
        run("search", "a cat", "--speech")
    (folder / "silent").mkdir()
    render_video(folder / "silent" / "one.mp4", duration_s=2)
    assert run("search", "silent", "--said", "the budget") == 0
    assert "so --said finds nothing; transcribe it first: vtg transcript VIDEO --speech" in (
        " ".join(capfd.readouterr().err.split())
    )
