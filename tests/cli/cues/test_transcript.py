"""`vtg transcript`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import av
import pysubs2
import pytest
import webvtt

from extractors.cues.cue import Cue, CueStream, Transcript
from extractors.errors import UsageError
from tests.cli.running import vtg
from tests.extractors.cues.rendering import LINES, Line, render_video, srt
from vtg_cli.app import app
from vtg_cli.writers.formats import formats
from vtg_cli.writers.transcript import FORMATS, require_form, write_transcript


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("talks")
    render_video(made / "talk.mkv", tracks=[("srt", LINES, "eng"), ("ass", LINES[:1], "fre")])
    return made


def run(*arguments: str | Path, home: Path) -> None:
    app([*map(str, arguments), "--cache", str(home)], standalone_mode=False)


def test_formats_are_read_by_others(folder: Path, tmp_path: Path) -> None:
    for ending in FORMATS:
        run("transcript", folder / "talk.mkv", "-o", tmp_path / f"out.{ending}", home=folder / "cache")
    texts = [line.text for line in LINES]
    events = pysubs2.load(str(tmp_path / "out.srt")).events
    assert [event.plaintext for event in events] == texts
    assert [(event.start, event.end) for event in events] == [
        (round(1000 * line.start_s), round(1000 * line.end_s)) for line in LINES
    ]
    assert [caption.text for caption in webvtt.read(str(tmp_path / "out.vtt"))] == texts
    document = json.loads((tmp_path / "out.json").read_bytes())
    assert document["schema"] == "vtg.transcript/1"
    assert [stream["name"] for stream in document["streams"]] == ["track 1", "track 2"]
    assert [Line(cue["start_s"], cue["end_s"], cue["text"]) for cue in document["cues"]] == list(LINES)
    assert {(cue["source"], cue["stream"]) for cue in document["cues"]} == {("subtitles", "track 1")}
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").splitlines() == [
        "0:00.5  Good morning, and welcome. Please sit down.",
        "0:02.5  Le café coûte 4 € à Genève.",
        "0:05.2  Next year we will spend four million.",
    ]


def test_as_a_user(folder: Path, tmp_path: Path) -> None:
    done = vtg("transcript", folder / "talk.mkv", "--stream", "fre", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "0:00.5  Good morning, and welcome. Please sit down.\n")
    assert done.stderr == f"note: {folder}/talk.mkv also has track 1 (eng); --stream chooses\n"
    done = vtg("transcript", render_video(tmp_path / "mute.mp4", duration_s=1), home=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"vtg: {tmp_path}/mute.mp4: has no subtitles, neither inside nor beside it\n"


def test_usage(folder: Path) -> None:
    home, talk = folder / "cache", folder / "talk.mkv"
    with pytest.raises(UsageError, match=r"name or language; it has: track 1 \(eng\), track 2 \(fre\)"):
        run("transcript", talk, "--stream", "de", home=home)
    with pytest.raises(UsageError, match="its ending selects no format"):
        run("transcript", talk, "-o", "talk.doc", home=home)
    with pytest.raises(UsageError, match="unknown format"):
        run("transcript", talk, "--format", "doc", home=home)
    with pytest.raises(UsageError, match="does not exist"):
        run("transcript", folder / "none.mp4", home=home)
    assert require_form("a.SRT", None) == "srt"
    assert require_form("-", None) == "txt"


def test_what_was_read_is_not_written_over(tmp_path: Path) -> None:
    video = render_video(tmp_path / "talk.mp4", duration_s=3)
    beside = tmp_path / "talk.srt"
    beside.write_text(srt([Line(1, 2, "<i>one</i>")]))
    (tmp_path / "link.srt").symlink_to(beside)
    for name in ("talk.srt", "link.srt"):
        with pytest.raises(UsageError, match="is what the subtitles are read from"):
            run("transcript", video, "-o", tmp_path / name, home=tmp_path / "cache")
    assert "<i>" in beside.read_text()


def test_hostile_text_begins_no_cue(capsys: pytest.CaptureFixture[str]) -> None:
    text = "00:00:05.000 --> 00:00:06.000\n2\n<b>&"
    cue = Cue(1, 2, text, stream="a.srt")
    stream = CueStream("a.srt", cues=(cue,))
    written: dict[str, Any] = {}
    for form in FORMATS:
        write_transcript(Transcript("a.mp4", 9, (stream,)), [stream], "-", form)
        written[form] = capsys.readouterr().out
    assert len(webvtt.from_string(written["vtt"])) == 1
    assert "<b>" not in written["vtt"]
    with av.open(io.BytesIO(written["srt"].encode()), format="srt") as opened:
        assert len([packet for packet in opened.demux() if packet.size]) == 1
    assert json.load(io.StringIO(written["json"]))["cues"][0]["text"] == text


def test_formats_of_answers_are_others() -> None:
    assert "transcript" not in {form.name for form in formats()}
