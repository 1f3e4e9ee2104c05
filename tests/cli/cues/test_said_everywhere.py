"""`vtg search --said`: what is said in many videos."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import jsonschema
import pytest

from extractors.errors import UsageError
from extractors.storage import filesystems
from tests.buckets import serving_buckets
from tests.extractors.cues.rendering import Line, render_video, srt
from vtg_cli.app import app

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three talks with subtitles, a video without, and a broken one."""
    made = tmp_path_factory.mktemp("talks")
    exact = [Line(1, 2, "Hello, everyone."), Line(4, 6, "The budget is four million.")]
    render_video(made / "exact.mp4", tracks=[("mov_text", exact, "eng")])
    render_video(made / "meaning.mp4", duration_s=4)
    (made / "meaning.srt").write_text(srt([Line(1, 3, "How much money we can spend next year.")]))
    (made / "sub").mkdir()
    render_video(made / "sub" / "other.mp4", duration_s=4)
    hostile = "<script>x</script> Cats \x1b[31msleep in the sun."
    (made / "sub" / "other.en.srt").write_text(
        srt([Line(0.5, 2, "A budget for cats."), Line(2.5, 4, hostile)])
    )
    render_video(made / "mute.mp4", duration_s=2)
    (made / "broken.mp4").write_bytes(b"no video")
    return made


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Run `vtg search` in this process, in a user's empty home; returns the exit code."""
    monkeypatch.setenv("VTG_HOME", str(folder.parent / "home"))
    monkeypatch.setenv("VTG_OFFLINE", "1")
    monkeypatch.chdir(folder)

    def search(*arguments: str | Path) -> int:
        return app(
            ["search", *map(str, arguments), "--cache", str(folder.parent / "cache")], standalone_mode=False
        )

    return search


def test_ranked_across_videos(run, folder, capfd) -> None:
    assert run(".", "--said", "the budget") == 1
    said = capfd.readouterr()
    query, headings, *rows = said.out.splitlines()
    assert query == "“the budget”"
    assert headings.split() == ["#", "start", "end", "score", "video", "in", "words"]
    assert rows[0].split()[:8] == ["1", "0:04.0", "0:06.0", "1.00", "clear", "exact.mp4", "track", "1"]
    assert rows[0].endswith("“The budget is four million.”")
    found = [row.split()[5] for row in rows if "clear" in row]
    assert set(found) == {"exact.mp4", "meaning.mp4", "sub/other.mp4"}
    assert [row.split()[3] for row in rows if row] == sorted(
        (row.split()[3] for row in rows if row), reverse=True
    )
    errors = [line for line in said.err.splitlines() if "broken.mp4" in line]
    assert len(errors) == 1
    assert "no subtitles inside or beside 1 of 4 videos" in said.err
    assert not list(folder.parent.glob("home/libraries/*"))
    assert not list(folder.parent.glob("cache/**/lite_features"))


def test_document(run, folder, tmp_path, capfd) -> None:
    good = [folder / "exact.mp4", folder / "sub"]
    outputs = [
        "-o",
        tmp_path / "out.csv",
        "-o",
        tmp_path / "out-{video}.srt",
        "--html",
        tmp_path / "out.html",
    ]
    assert run(*good, "--said", "the budget", "--said", "cats", "-k", "2", "--json", *outputs) is None
    document = json.loads(capfd.readouterr().out)
    page = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
    jsonschema.validate(document, json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[-1]))
    budget, cats = document["results"]
    assert budget["videos"] == 2
    assert budget["hits"][0] == {
        "video": str(folder / "exact.mp4"),
        "start_s": 4.0,
        "end_s": 6.0,
        "score": 1.0,
        "clear_match": True,
        "evidence": 1.0,
        "duration_s": 8.0,
        "source": "subtitles",
        "stream": "track 1",
        "text": "The budget is four million.",
    }
    assert {hit["text"] for hit in cats["hits"]} == {"A budget for cats.", "x Cats sleep in the sun."}
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(Path(row["video"]).name, row["text"]) for row in rows} >= {
        ("exact.mp4", "The budget is four million."),
        ("other.mp4", "x Cats sleep in the sun."),
    }
    assert "“The budget is four million.”" in (tmp_path / "out-exact.srt").read_text(encoding="utf-8")
    assert "“x Cats sleep in the sun.”" in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_choice_of_hits(run, folder, capfd) -> None:
    def videos(*options: str) -> list[str]:
        run("exact.mp4", "meaning.mp4", "sub", "mute.mp4", "--said", "cats", "--json", *options)
        result = json.loads(capfd.readouterr().out)["results"][0]
        return [Path(hit["video"]).name for hit in result["hits"]]

    assert videos()[:2] == ["other.mp4", "other.mp4"]
    assert videos("--per-video", "1").count("other.mp4") == 1
    assert videos("-k", "1") == ["other.mp4"]
    assert videos("--threshold", "0.9") == ["other.mp4", "other.mp4"]
    assert "other.mp4" not in videos("--longer", "6")
    assert set(videos("--name", "other*")) == set(videos("--in", str(folder / "sub"))) == {"other.mp4"}
    assert videos("--newer", "2999-01-01") == []
    run("exact.mp4", "sub", "--said", "budget", "--by-video")
    lines = [line.split()[0] for line in capfd.readouterr().out.splitlines() if line]
    assert [line for line in lines if line.endswith(".mp4")] == ["exact.mp4", "sub/other.mp4"]


def test_nothing_is_said_clearly(run, capfd) -> None:
    videos = ["exact.mp4", "meaning.mp4", "mute.mp4"]
    assert run(*videos, "--said", "giraffes") is None
    assert "Nothing said in 3 videos matches clearly" in capfd.readouterr().out
    assert run(*videos, "--said", "giraffes", "--only-clear") == 3
    assert run(*videos, "--said", "giraffes", "--said", "budget", "--only-clear") is None


@pytest.mark.slow
def test_of_a_library(run, folder, capfd, monkeypatch) -> None:
    cache = str(folder.parent / "cache")
    with pytest.raises(UsageError, match="no library here; name videos or folders"):
        run("--said", "budget", "--library", "talks")
    adding = ["index", "add", "exact.mp4", "sub", "--library", "talks", "--cache", cache]
    assert app(adding, standalone_mode=False) is None
    capfd.readouterr()
    assert run("--said", "cats", "--library", "talks", "-k", "1", "--json") is None
    (hit,) = json.loads(capfd.readouterr().out)["results"][0]["hits"]
    assert Path(hit["video"]) == folder / "sub" / "other.mp4"

    # Pictures and words together: each query has its own answer.
    assert list(folder.parent.glob("cache/**/lite_features"))
    assert run("grey", "--said", "cats", "--library", "talks", "--json") is None
    pictures, words = json.loads(capfd.readouterr().out)["results"]
    assert (pictures["query"], words["query"]) == ("grey", "cats")
    assert not any("text" in one for one in pictures["hits"])
    assert all("text" in one for one in words["hits"])

    # A video that cannot be read is reported once, though both ask it.
    assert run("grey", "sub", "broken.mp4", "--said", "cats", "--library", "talks") == 1
    assert capfd.readouterr().err.count("broken.mp4") == 1

    moved = folder.parent / "moved.mp4"
    (folder / "exact.mp4").rename(moved)
    try:
        assert run("--said", "cats", "--library", "talks") is None
        assert "left out 1 video of the library" in capfd.readouterr().err
        with pytest.raises(UsageError, match="none of its videos is on this machine"):
            run("--said", "budget", "--library", "talks", "--name", "exact*")
    finally:
        moved.rename(folder / "exact.mp4")


@pytest.mark.slow
def test_of_a_library_in_object_storage(run, folder, tmp_path, capfd, monkeypatch) -> None:
    video = Path(shutil.copy(folder / "exact.mp4", tmp_path / "talk.mp4"))
    with serving_buckets() as make:
        # Servers of one process share their buckets.
        for name, value in make("talks-in-a-bucket").environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(filesystems, "_opened", {})
        library = ["--library", "s3://talks-in-a-bucket/library"]
        adding = ["index", "add", str(video), *library, "--cache", str(folder.parent / "cache")]
        assert app(adding, standalone_mode=False) is None
        capfd.readouterr()
        assert run("--said", "budget", *library, "--json") is None
        assert json.loads(capfd.readouterr().out)["results"][0]["hits"][0]["video"] == str(video)
        video.unlink()
        with pytest.raises(UsageError, match="none of its videos is on this machine"):
            run("--said", "budget", *library)


def test_usage(run) -> None:
    with pytest.raises(UsageError, match="a query is empty"):
        run(".", "--said", " ")
    with pytest.raises(UsageError, match="add a query that describes what to look for"):
        run(".")
