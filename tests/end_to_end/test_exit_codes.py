"""One rule for all commands: a missing path is wrong usage (2), an unreadable file has failed (1)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import EXAMPLES, vtg

MISSING = [
    ("ground", "missing.mp4", "a cat"),
    ("ground", "good.mp4", "missing.mp4", "a cat"),
    ("ground", "good.mp4", "--queries", "missing.txt"),
    ("ground", "--watch", "missing", "a cat"),
    ("search", "missing.mp4", "a cat"),
    ("search", "a cat", "--in", "missing"),
    ("search", "a cat", "--library", "missing"),
    ("index", "add", "missing.mp4"),
    ("index", "info", "--library", "missing"),
    ("index", "update", "--library", "missing"),
    ("index", "remove", "missing.mp4", "--library", "missing"),
    ("index", "verify", "--library", "missing"),
    ("extract", "missing.mp4"),
    ("extract", "good.mp4", "missing.mp4"),
    ("serve", "missing.mp4"),
    ("mcp", "missing.mp4"),
    ("mcp", "--library", "missing"),
    ("train", "--dataset", "missing.jsonl"),
    ("train", "--dataset", "good.jsonl", "--videos", "missing"),
    ("train", "--dataset", "good.jsonl", "--eval", "missing.jsonl"),
    ("train", "--resume", "missing"),
    ("eval", "--predictions", "missing.jsonl", "--annotations", "good.jsonl"),
    ("eval", "--predictions", "good.jsonl", "--annotations", "missing.jsonl"),
    ("eval", "--checkpoint", "missing.safetensors"),
    ("datasets", "add", "qvhl", "missing.tar"),
    ("weights", "add", "clip-vit-b-32", "missing.pt"),
    ("weights", "add", "missing.safetensors"),
]
UNREADABLE = [
    ("ground", "bad.mp4", "a cat"),
    ("ground", "good.mp4", "--queries", "bad.txt"),
    ("search", "bad.mp4", "a cat"),
    ("index", "add", "bad.mp4"),
    ("extract", "bad.mp4"),
    ("train", "--dataset", "bad.jsonl"),
    ("eval", "--predictions", "bad.jsonl", "--annotations", "good.jsonl"),
    ("eval", "--checkpoint", "bad.safetensors"),
    ("datasets", "add", "qvhl", "bad.tar"),
    ("weights", "add", "bad.safetensors"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.mp4").write_bytes((EXAMPLES / "example.mp4").read_bytes())
    row = {"qid": 1, "vid": "good", "query": "a cat", "duration": 50, "relevant_windows": [[6, 14]]}
    (tmp_path / "good.jsonl").write_text(json.dumps(row))
    for suffix in (".mp4", ".txt", ".jsonl", ".safetensors", ".tar"):
        (tmp_path / f"bad{suffix}").write_bytes(b"\xff\xfe not what its name says")
    return tmp_path


@pytest.mark.parametrize("arguments", MISSING, ids=" ".join)
def test_what_does_not_exist_is_wrong_usage(arguments, folder):
    before = sorted(folder.iterdir())
    done = vtg(*arguments, home=folder / "home")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert "missing" in line
    assert sorted(path for path in folder.iterdir() if path.name != "home") == before


@pytest.mark.parametrize("arguments", UNREADABLE, ids=" ".join)
def test_what_cannot_be_read_has_failed(arguments, folder):
    done = vtg(*arguments, home=folder / "home")
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("vtg: ")]
    assert "bad." in line


def test_weights_need_a_file(folder):
    done = vtg("weights", "add", "clip-vit-b-32", home=folder / "home")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("vtg weights add clip-vit-b-32 FILE\n")
