"""`vtg transcript --speech` and `vtg ground --said --speech`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import vtg
from tests.extractors.cues.rendering import Line, srt
from tests.extractors.cues.speech.talking import Talk, render_talk
from tests.extractors.cues.speech.tiny_whisper import make_whisper
from vtg_cli.commands import doctor


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    make_whisper(home / "tiny")
    render_talk(home / "talk.mp4", [Talk(2, 6, "u"), Talk(9.5, 13.5, "i")], 16)
    render_talk(home / "mute.mp4", [], 2, codec="")
    return home


@pytest.mark.slow
def test_what_people_type(home: Path, tmp_path: Path) -> None:
    talk = home / "talk.mp4"
    # Nothing is there yet: one line says what to get.
    done = vtg("transcript", talk, "--speech", home=home)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "vtg: no weights that transcribe speech are on this machine: vtg weights pull whisper-small (484 MB)"
    ]
    done = vtg("transcript", talk, "--speech-model", home / "tiny", "-o", tmp_path / "talk.srt", home=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert "We discuss the budget." in (tmp_path / "talk.srt").read_text()

    # From now on it is known, without weights and without an option.
    done = vtg("transcript", talk, "--speech", home=home)
    assert [line.split("  ")[1] for line in done.stdout.splitlines()] == [
        "We discuss the budget.",
        "Wir sehen den Garten.",
    ]
    done = vtg("ground", talk, "--said", "the budget", "-k", "1", "-o", tmp_path / "out.json", home=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert "words of the speech" in done.stdout
    (result,) = json.loads((tmp_path / "out.json").read_bytes())["results"]
    assert (result["model"], result["features"], result["clear_match"]) == ("cues", ["speech"], True)
    (moment,) = result["moments"]
    assert (moment["source"], moment["stream"], moment["text"]) == (
        "speech",
        "speech",
        "We discuss the budget.",
    )
    assert moment["start_s"] == pytest.approx(2, abs=0.4)
    done = vtg("search", "--said", "den Garten", home, "-o", tmp_path / "hits.json", home=home)
    assert done.returncode == 0
    hit = json.loads((tmp_path / "hits.json").read_bytes())["results"][0]["moments"][0]
    assert (hit["source"], hit["text"]) == ("speech", "Wir sehen den Garten.")


def test_beside_subtitles(home: Path, tmp_path: Path) -> None:
    talk = tmp_path / "other.mp4"
    talk.write_bytes((home / "talk.mp4").read_bytes() + b"\0")
    talk.with_suffix(".srt").write_text(srt([Line(9, 12, "We see the garden.")]))
    ground = ("ground", talk, "--said", "the budget", "--said", "see the garden", "-k", "1", "--json")
    done = vtg(*ground, "--speech", home=home, VTG_SPEECH_MODEL=str(home / "tiny"))
    assert (done.returncode, done.stderr) == (0, "")
    budget, garden = json.loads(done.stdout)["results"]
    assert budget["features"] == ["subtitles", "speech"]
    assert (budget["moments"][0]["source"], garden["moments"][0]["source"]) == ("speech", "subtitles")
    assert garden["moments"][0]["stream"] == "other.srt"


def test_in_many_videos(home: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "talk.mp4").write_bytes((home / "talk.mp4").read_bytes() + b"\0\0")
    asking = ("search", "--said", "the budget", tmp_path / "videos", "--json", "--cache", tmp_path / "cache")
    silent = vtg(*asking, home=home)
    assert '"text"' not in silent.stdout
    assert "--said WORDS --speech for all" in " ".join(silent.stderr.split())
    refused = vtg(*asking, "--speech", home=home)
    assert (refused.returncode, "vtg weights pull whisper-small" in refused.stderr) == (1, True)
    done = vtg(*asking, "--speech", home=home, VTG_SPEECH_MODEL=str(home / "tiny"))
    assert done.returncode == 0, done.stderr
    hit = json.loads(done.stdout)["results"][0]["hits"][0]
    assert (hit["source"], hit["text"]) == ("speech", "We discuss the budget.")


def test_doctor_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    version = doctor._version
    found = {finding.name: finding for finding in doctor.examine_packages()}
    assert found["faster-whisper"].state == "ok"
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "faster-whisper" else version(name))
    found = {finding.name: finding for finding in doctor.examine_packages()}
    assert found["faster-whisper"].state == "missing"
    assert found["faster-whisper"].text.endswith("'vtg[speech]'")


def test_without_sound(home: Path) -> None:
    model = ("--speech-model", home / "tiny")
    done = vtg("transcript", home / "mute.mp4", *model, home=home)
    assert (done.returncode, done.stderr) == (1, f"vtg: {home}/mute.mp4: has no audio track\n")
    done = vtg("ground", home / "mute.mp4", "--said", "the budget", *model, home=home)
    assert done.returncode == 0
    assert done.stderr == (
        f"note: {home}/mute.mp4: has no subtitles, and has no audio track, so --said finds nothing\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("transcript", "--speech", "--screen"), "--screen and --speech: name one of them"),
        (("transcript", "--speech-model", "whisper"), "neither a folder nor one of whisper-small"),
        (("ground", "--speech", "a cat"), "--speech: goes with --said"),
        (("ground", "--said", "x", "--speech-model", "whisper"), "neither a folder nor one of whisper-small"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], message: str, home: Path) -> None:
    done = vtg(*arguments, home / "talk.mp4", home=home)
    assert done.returncode == 2
    assert message in done.stderr
