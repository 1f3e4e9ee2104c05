"""`vtg ground --written` and `vtg transcript --screen`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from extractors.errors import WeightsMissing
from tests.cli.running import vtg
from tests.extractors.cues.screen.rendering import Slide, render_slides
from vtg_cli.app import app
from vtg_cli.commands import doctor


@pytest.mark.slow
def test_written_on_the_screen(tmp_path: Path) -> None:
    slide = Slide(2, 4, (("Emergency exit", 60), ("The budget", 30)), is_dark=True)
    video = render_slides(tmp_path / "slides.mp4", [slide], duration_s=6)
    done = vtg("ground", video, "--written", "exit", "-k", "1", "-o", tmp_path / "out.json", home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "words on the screen" in done.stdout
    (result,) = json.loads((tmp_path / "out.json").read_bytes())["results"]
    assert (result["model"], result["features"], result["clear_match"]) == ("cues", ["screen"], True)
    (moment,) = result["moments"]
    assert (moment["start_s"], moment["end_s"], moment["score"]) == (2, 4, 1)
    assert (moment["source"], moment["stream"], moment["text"]) == ("screen", "screen", "Emergency exit")
    done = vtg("transcript", video, "--screen", home=tmp_path)
    assert sorted(done.stdout.splitlines()) == ["0:02.0  Emergency exit", "0:02.0  The budget"]


@pytest.mark.slow
def test_written_in_many_videos(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    slide = Slide(0, 2, (("Emergency exit", 60),), is_dark=True)
    render_slides(videos / "slides.mp4", [slide], duration_s=2)
    done = vtg("search", "--written", "exit", videos, home=tmp_path)
    assert (done.returncode, "matches clearly" in done.stdout) == (0, True)
    assert "vtg transcript VIDEO --screen reads it" in " ".join(done.stderr.split())
    done = vtg("index", "add", videos, "--screen", home=tmp_path)
    assert done.returncode == 0, done.stderr
    for query in (("--written", "exit"), ("emergency exit",)):
        done = vtg("search", *query, "--json", home=tmp_path)
        hit = json.loads(done.stdout)["results"][0]["hits"][0]
        assert (hit["source"], hit["text"], hit["start_s"]) == ("screen", "Emergency exit", 0)
    # A video that is new is read on request.
    render_slides(videos / "other.mp4", [Slide(0, 2, (("The budget", 60),))], duration_s=2)
    done = vtg("search", "--written", "budget", videos, "--cues", "--json", home=tmp_path)
    assert json.loads(done.stdout)["results"][0]["hits"][0]["text"] == "The budget"
    assert done.stderr == ""


def test_doctor_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {finding.name: finding for finding in doctor.examine_packages()}
    assert found["rapidocr"].state == "ok"
    assert found["pysubs2"].state == "ok"
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "rapidocr" else version(name))
    found = {finding.name: finding for finding in doctor.examine_packages()}
    assert found["rapidocr"].state == "missing"
    assert found["rapidocr"].text.endswith("'vtg[ocr]'")


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = render_slides(tmp_path / "slides.mp4", [], duration_s=1)
    # The subprocess finds another package of this name, which is as good as none.
    (tmp_path / "hidden" / "rapidocr").mkdir(parents=True)
    (tmp_path / "hidden" / "rapidocr" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "hidden")
    with pytest.raises(WeightsMissing, match=r"rapidocr"):
        app(["ground", str(video), "--written", "exit", "--cache", str(tmp_path)], standalone_mode=False)
