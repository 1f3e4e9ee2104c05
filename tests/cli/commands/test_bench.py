"""`vtg bench`: what it measures, not how fast it is."""

from __future__ import annotations

import json

import pytest

from tests.cli.running import vtg

SPEED = {"wall_s", "cpu_s", "times_real_time", "real_time_factor"}


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    done = vtg(
        "bench", "--seconds", "4", "--features", "lite", "--json", home=tmp_path_factory.mktemp("home")
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_says_what_was_measured_on_what(document):
    assert document["machine"]["cores"] >= 1
    assert document["machine"]["cpu"]
    assert {"python", "vtg", "torch"} <= document["versions"].keys()
    assert document["video"]["seconds"] == pytest.approx(4, abs=0.1)
    assert (document["video"]["width"], document["video"]["height"]) == (640, 360)
    assert document["peak_memory_mb"] > 50


def test_every_step_is_measured(document):
    (lite,) = document["encoders"]
    assert (lite["name"], lite["weights"], lite["clips"]) == ("lite", "packaged", 4)
    assert document["extraction"]["features"] == ["lite"]
    for step in (document["decoding"], lite, document["extraction"]):
        assert step.keys() >= SPEED
        assert step["wall_s"] > 0
        assert step["cpu_s"] > 0
        assert step["times_real_time"] == pytest.approx(document["video"]["seconds"] / step["wall_s"])
        assert step["times_real_time"] * step["real_time_factor"] == pytest.approx(1)


def test_queries_are_measured(document):
    (answering,) = document["grounding"]
    assert (answering["model"], answering["clips"]) == ("zero-shot", 150)
    assert all(value > 0 for key, value in answering.items() if key.endswith("_ms"))


def test_unknown_features_are_a_usage_error(tmp_path):
    done = vtg("bench", "--features", "sound", home=tmp_path)
    assert done.returncode == 2
    assert "sound" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_missing_weights_are_random(tmp_path):
    done = vtg("bench", "--seconds", "2", "--features", "clip,slowfast", "--json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {row["name"]: row["weights"] for row in document["encoders"]} == {
        "clip": "random",
        "slowfast": "random",
    }
    assert [row["model"] for row in document["grounding"]] == ["zero-shot", "flashvtg"]


@pytest.mark.slow
def test_the_tables_fit_a_screen(tmp_path):
    done = vtg("bench", "--seconds", "2", "--features", "lite", home=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert any("packaged" in line and "lite" in line for line in lines)
