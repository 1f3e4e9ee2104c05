"""`vtg ground` with a plain query on a video with subtitles: one list of what is seen and what is said."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import jsonschema
import pytest

from extractors.errors import UsageError
from tests.cli.running import vtg
from tests.extractors.cues.rendering import Line, render_video, srt
from vtg_cli.app import app

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("plain")
    lines = [Line(1, 2, "Hello, everyone."), Line(4, 6, "The budget is four million.")]
    render_video(made / "talk.mp4", tracks=[("mov_text", lines, "eng")])
    render_video(made / "mute.mp4", duration_s=6)
    return made


def run(folder: Path, *arguments: str | Path) -> int:
    """Run `vtg ground` in this process on lite features; returns the exit code."""
    options = ["--features", "lite", "--cache", str(folder / "cache")]
    return app(["ground", *map(str, arguments), *options], standalone_mode=False) or 0


def answers(folder: Path, target: Path, *arguments: str | Path) -> list[dict]:
    assert run(folder, *arguments, "-o", target) == 0
    return json.loads(target.read_bytes())["results"]


def test_as_a_user(folder: Path, tmp_path: Path) -> None:
    done = vtg("ground", folder / "talk.mp4", "the budget", "-k", "2", home=tmp_path)
    assert done.returncode == 0
    head, *lines = done.stdout.splitlines()
    assert head.endswith("zero-shot on lite features, words of the subtitles")
    assert lines[1] == "“the budget”"
    assert "matches clearly" not in done.stdout
    best, other = lines[3].split(maxsplit=4), lines[4].split(maxsplit=4)
    assert best[:4] == ["1", "0:04.0", "0:06.0", "1.00"]
    assert " ".join(best[4].split()) == "track 1 “The budget is four million.”"
    assert other[4].strip() == "pictures"


def test_every_output_says_what_was_found_where(folder: Path, tmp_path: Path) -> None:
    outputs = [part for kind in ("csv", "srt", "txt", "html") for part in ("-o", tmp_path / f"out.{kind}")]
    outputs[-2:] = ["--html", tmp_path / "out.html"]
    (result,) = answers(folder, tmp_path / "out.json", folder / "talk.mp4", "the budget", *outputs)
    schema = re.findall(
        r"```json\n(.*?)```", (ROOT / "docs" / "json.md").read_text(encoding="utf-8"), re.DOTALL
    )[-1]
    jsonschema.validate(json.loads((tmp_path / "out.json").read_bytes()), json.loads(schema))
    assert (result["model"], result["features"], result["sources"]) == ("zero-shot", ["lite"], ["subtitles"])
    best, *others = result["moments"]
    assert (best["source"], best["stream"], best["text"]) == (
        "subtitles",
        "track 1",
        "The budget is four million.",
    )
    assert (best["start_s"], best["end_s"], best["score"], best["clear_match"]) == (4.0, 6.0, 1.0, True)
    assert result["clear_match"] is True
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == [best["text"], *(one.get("text", "") for one in others)]
    assert f"“{best['text']}”" in (tmp_path / "out.txt").read_text(encoding="utf-8")
    assert best["text"] in (tmp_path / "out.srt").read_text(encoding="utf-8")


def test_videos_without_cues_are_answered_as_ever(folder: Path, tmp_path: Path) -> None:
    """And so are others with --no-cues; both byte for byte."""
    (tmp_path / "talk.mp4").write_bytes((folder / "mute.mp4").read_bytes())
    written = []
    for options in ([], ["--no-cues"], ["--no-cues"]):
        kinds = ("json", "csv", "srt", "txt")
        outputs = [part for kind in kinds for part in ("-o", tmp_path / "out" / f"out.{kind}")]
        assert run(folder, tmp_path / "talk.mp4", "a cat", "--all", *options, *outputs) == 0
        written.append({path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()})
        if options:
            (tmp_path / "talk.srt").write_text(srt([Line(0, 1, "a cat")]))
    assert written[0] == written[1] == written[2]
    assert written[0]["out.csv"].startswith(b"video,query,rank,start_s,end_s,score,model,clear_match\n")
    (result,) = answers(folder, tmp_path / "out.json", tmp_path / "talk.mp4", "a cat")
    assert result["moments"][0]["text"] == "a cat"


def test_what_is_not_said(folder: Path, tmp_path: Path) -> None:
    (joined,) = answers(folder, tmp_path / "a.json", folder / "talk.mp4", "a giraffe")
    (pictures,) = answers(folder, tmp_path / "b.json", folder / "talk.mp4", "a giraffe", "--no-cues")
    assert joined.pop("sources") == ["subtitles"]
    assert joined == pictures


def test_only_clear_and_threshold(folder: Path, tmp_path: Path) -> None:
    for options in (["--only-clear"], ["--threshold", "0.95"]):
        (result,) = answers(folder, tmp_path / "a.json", folder / "talk.mp4", "the budget", *options)
        assert [moment["text"] for moment in result["moments"]] == ["The budget is four million."]
    assert run(folder, folder / "talk.mp4", "a giraffe", "--only-clear") == 3


def test_words_that_cannot_be_read(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from extractors.errors import VideoError

    def fail(video: Path, *_: object, **__: object) -> None:
        raise VideoError(video, "the reader of its text made no progress")

    monkeypatch.setattr("model.cues.grounder.subtitles_at_hand", fail)
    (result,) = answers(folder, tmp_path / "a.json", folder / "talk.mp4", "the budget")
    assert "sources" not in result
    assert "only pictures are searched" in capfd.readouterr().err


def test_all_words_are_asked(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("rapidocr")
    (result,) = answers(folder, tmp_path / "a.json", folder / "talk.mp4", "the budget", "--cues", "-k", "1")
    assert result["moments"][0]["text"] == "The budget is four million."
    with pytest.raises(UsageError, match="--cues: does not go with --watch"):
        run(folder, "--watch", folder, "a cat", "--cues")
    with pytest.raises(UsageError, match="--cues needs the video's file"):
        run(folder, "memory://bucket/talk.mp4", "a cat", "--cues")
