"""The main job through the installed command, on the example anyone can check."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.metrics.moment_retrieval import temporal_iou
from tests.cli.running import EXAMPLES, vtg
from tests.extractors.index_encoder import make_video

TRUTH = json.loads((EXAMPLES / "truth.json").read_text())
QUERIES = [entry["query"] for entry in TRUTH]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def first(home):
    return vtg("ground", EXAMPLES / "example.mp4", *QUERIES, "--json", home=home)


def test_top_moments(first):
    assert first.returncode == 0, first.stderr
    document = json.loads(first.stdout)
    assert document["schema"] == "vtg.grounding/1"
    assert [result["query"] for result in document["results"]] == QUERIES
    for result, truth in zip(document["results"], TRUTH, strict=True):
        best = result["moments"][0]
        iou = temporal_iou(np.array([best["start_s"], best["end_s"]]), np.array(truth["windows"]))
        assert iou.max() >= 0.6, (result["query"], best)


def test_document_names_model_and_duration(first):
    for result in json.loads(first.stdout)["results"]:
        assert result["model"] == "zero-shot"
        assert result["features"] == ["lite"]
        assert result["duration_s"] == pytest.approx(50, abs=0.1)
        assert result["saliency"]["clip_length_s"] == 1
        assert len(result["saliency"]["scores"]) == 50
        scores = [moment["score"] for moment in result["moments"]]
        assert scores == sorted(scores, reverse=True)


def test_note_on_lite_features(first):
    assert "lite" in first.stderr
    assert "actions" in first.stderr
    assert "vtg weights pull clip-vit-b-32" in first.stderr


def test_second_query_skips_decoding_and_torch(first, home):
    del first  # the cache is warm once it has run
    done = vtg(
        "ground", EXAMPLES / "example.mp4", "an espresso", "--json", home=home, PYTHONPROFILEIMPORTTIME="1"
    )
    assert json.loads(done.stdout)["results"][0]["moments"][0]["start_s"] == pytest.approx(21, abs=1)
    imported = {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line
    }
    assert "onnxruntime" in imported
    assert not imported & {"torch", "decord", "av", "open_clip"}


def test_repeated_query_skips_the_text_encoder(first, home):
    done = vtg(
        "ground", EXAMPLES / "example.mp4", QUERIES[0], "--json", home=home, PYTHONPROFILEIMPORTTIME="1"
    )
    assert json.loads(done.stdout)["results"][0] == json.loads(first.stdout)["results"][0]
    imported = {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line
    }
    assert not imported & {"torch", "decord", "av", "onnxruntime", "tokenizers"}


def test_absent_query_matches_nothing(first, home):
    del first
    done = vtg("ground", EXAMPLES / "example.mp4", "a football match", "a cat", home=home)
    assert done.returncode == 0
    football, cat = done.stdout.split("“a cat”")
    assert "Nothing here matches clearly" in football
    assert "Nothing here matches clearly" not in cat
    assert "━" in cat


def test_unclear_moments_are_no_findings(first, home, tmp_path):
    del first
    ground = ("ground", EXAMPLES / "example.mp4", "a football match", "--json")
    files = ("-o", tmp_path / "a.edl", "-o", tmp_path / "a.csv", "--clips", tmp_path / "clips")
    done = vtg(*ground, *files, "--supercut", tmp_path / "a.mp4", home=home)
    assert done.returncode == 0
    (result,) = json.loads(done.stdout)["results"]
    assert result["clear_match"] is False
    assert [moment["clear_match"] for moment in result["moments"]] == [False] * 5
    assert "football" not in (tmp_path / "a.edl").read_text()
    assert (tmp_path / "a.csv").read_text().count(",false\n") == 5
    assert not (tmp_path / "clips").exists()
    assert not (tmp_path / "a.mp4").exists()
    assert "a.mp4: not written, because nothing matches clearly" in done.stderr
    assert "5 moments without a clear match" in done.stderr
    done = vtg(*ground, *files, "--all", home=home)
    assert (tmp_path / "a.edl").read_text().count("* COMMENT: a football match") == 5
    assert len(list((tmp_path / "clips").iterdir())) == 5
    assert "without a clear match" not in done.stderr


def test_only_clear(first, home):
    del first
    ground = ("ground", EXAMPLES / "example.mp4", "--only-clear", "--json")
    done = vtg(*ground, "a football match", home=home)
    assert done.returncode == 3
    assert json.loads(done.stdout)["results"][0]["moments"] == []
    done = vtg(*ground, "a football match", "a cat", home=home)
    assert done.returncode == 0
    assert [len(result["moments"]) for result in json.loads(done.stdout)["results"]] == [0, 1]
    done = vtg("ground", EXAMPLES / "example.mp4", "a football match", "--only-clear", home=home)
    assert "Nothing here matches clearly." in done.stdout


def test_blind_spots(first, home):
    del first
    done = vtg("ground", EXAMPLES / "example.mp4", "a man running", "--json", home=home)
    assert json.loads(done.stdout)["results"][0]["blind_spot"] == "actions"
    done = vtg("ground", EXAMPLES / "example.mp4", "a man running", home=home)
    assert "The lite features cannot see actions" in done.stdout


def test_threshold_and_top_k(first, home):
    del first
    done = vtg("ground", EXAMPLES / "example.mp4", "a cat", "--json", "--top-k", "2", home=home)
    assert len(json.loads(done.stdout)["results"][0]["moments"]) == 2
    done = vtg("ground", EXAMPLES / "example.mp4", "a cat", "--json", "--threshold", "0.5", home=home)
    assert len(json.loads(done.stdout)["results"][0]["moments"]) == 1


def test_quiet_leaves_the_answer_alone(first, home):
    del first
    done = vtg("--quiet", "ground", EXAMPLES / "example.mp4", "a cat", home=home)
    assert done.stderr == ""
    assert "“a cat”" in done.stdout


def test_extract_continues_after_a_broken_file(home, tmp_path):
    (tmp_path / "good.mp4").write_bytes((EXAMPLES / "example.mp4").read_bytes())
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    done = vtg("extract", tmp_path, "--features", "lite", "--output", tmp_path / "out", home=home)
    assert done.returncode == 1
    assert "bad.mp4" in done.stderr
    assert "0 extracted" in done.stdout  # a copy of a video is found by its content
    assert "1 already there, 1 failed" in done.stdout
    with np.load(tmp_path / "out" / "lite_features" / "good.npz") as published:
        assert published["features"].shape == (50, 384)


def test_cache_info_and_clear(first, home):
    del first
    held = json.loads(vtg("cache", "info", "--json", home=home).stdout)
    assert any(usage["spec"]["name"] == "lite" and usage["files"] >= 1 for usage in held["specs"])
    assert vtg("cache", "clear", "--yes", home=home).returncode == 0
    assert json.loads(vtg("cache", "info", "--json", home=home).stdout)["specs"] == []


def test_same_names_do_not_stop_export(home, tmp_path):
    for number, name in enumerate(("a/x.mp4", "b/x.mp4", "c/y.mp4")):
        make_video(tmp_path / name, seconds=2.0, variant=number)
    done = vtg("extract", tmp_path, "--features", "lite", "-o", tmp_path / "out", home=home)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("vtg: ")]
    assert f"x.npz holds features of another video or recipe than {tmp_path / 'b' / 'x.mp4'}" in line
    assert sorted(path.name for path in (tmp_path / "out" / "lite_features").iterdir()) == ["x.npz", "y.npz"]
    again = vtg(
        "extract", tmp_path / "a", tmp_path / "c", "--features", "lite", "-o", tmp_path / "out", home=home
    )
    assert again.returncode == 0
