"""The command line: help, exit codes, one line per error, and the right stream for each output."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.cli.running import EXAMPLES, clean_environment, vtg

VIDEO = EXAMPLES / "example.mp4"


@pytest.fixture
def home(tmp_path):
    return tmp_path


COMMANDS = [
    (),
    ("ground",),
    ("extract",),
    ("train",),
    ("eval",),
    ("serve",),
    ("mcp",),
    ("datasets",),
    ("datasets", "list"),
    ("datasets", "check"),
    ("datasets", "pull"),
    ("datasets", "add"),
    ("doctor",),
    ("transcript",),
    ("bench",),
    ("weights",),
    ("weights", "list"),
    ("weights", "pull"),
    ("weights", "add"),
    ("weights", "path"),
    ("cache",),
    ("cache", "info"),
    ("cache", "clear"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(command, home):
    done = vtg(*command, "-h", home=home)
    assert done.returncode == 0
    if command not in (("weights",), ("cache",), ("datasets",)):
        assert "Example" in done.stdout
        assert f"vtg {' '.join(command)}".strip() in done.stdout


def test_help_imports_nothing_heavy(home):
    code = f"""
import sys
from vtg_cli.app import app
for command in {COMMANDS}:
    try:
        app([*command, "-h"])
    except SystemExit:
        pass
    if heavy := {{"torch", "numpy", "decord", "av", "open_clip", "onnxruntime"}} & set(sys.modules):
        sys.exit(f"{{command}} imports {{heavy}}")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(home), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: ") == len(COMMANDS)


def fails_with_one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("vtg: ")
    return lines[0]


def test_a_missing_video_is_named(home):
    line = fails_with_one_line(vtg("ground", home / "nothing.mp4", "a cat", home=home), 2)
    assert line == f"vtg: {home / 'nothing.mp4'}: does not exist"


def test_a_file_that_is_no_video_is_named(home):
    path = home / "notes\n.mp4"
    path.write_text("these are notes")
    line = fails_with_one_line(vtg("ground", path, "a cat", home=home), 1)
    assert "notes\\n.mp4" in line


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--features", "sound"), "sound"),
        (("--features", "slowfast", "--weights", "slowfast=pyproject.toml"), "zero-shot"),
        (("--features", "lite,lite"), "once"),
        (("--fps", "9"), "--fps"),
        (("--model", "wonder"), "wonder"),
        (("--weights", "clip"), "NAME=FILE"),
    ],
)
def test_wrong_options_are_usage_errors(arguments, word, home):
    line = fails_with_one_line(vtg("ground", VIDEO, "a cat", *arguments, home=home), 2)
    assert word in line


def test_an_empty_query_is_a_usage_error(home):
    assert "query" in fails_with_one_line(vtg("ground", VIDEO, " ", home=home), 2)


def test_an_unknown_command_is_a_usage_error(home):
    assert vtg("fly", home=home).returncode == 2


def test_missing_weights_are_explained(home):
    line = fails_with_one_line(vtg("ground", VIDEO, "a cat", "--features", "clip", home=home), 1)
    assert "vtg weights add clip-vit-b-32" in line
    assert "605 MB" in line


def test_weights_list_as_json(home):
    done = vtg("weights", "list", "--json", home=home)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["clip-vit-b-32"]["path"] is None
    assert sum(row["kind"] == "model" for row in rows.values()) == 6


def test_weights_that_are_added_are_found(home):
    # Its size is not known to anyone, so any file passes until the encoder reads it.
    file = home / "SLOWFAST_8x8_R50.pkl"
    file.write_bytes(b"weights" * 1000)
    added = vtg("weights", "add", "slowfast-r50-8x8", file, home=home)
    assert added.returncode == 0, added.stderr
    found = vtg("weights", "path", "slowfast-r50-8x8", home=home)
    assert found.stdout == added.stdout
    assert str(home / "vtg") in found.stdout


def test_missing_weights_have_no_path(home):
    for name, how in (("clip-vit-b-32", "vtg weights pull clip-vit-b-32"), ("flashvtg-qvhl", "weights add")):
        missing = vtg("weights", "path", name, home=home, VTG_OFFLINE="")
        fails_with_one_line(missing, 1)
        assert "is not on this machine" in missing.stderr
        assert how in missing.stderr
        assert "switched off" not in missing.stderr
    fails_with_one_line(vtg("weights", "path", "nothing", home=home), 2)


def test_doctor_shows_how_to_get_weights(home):
    done = vtg("doctor", "--json", home=home)
    assert done.returncode == 0, done.stdout
    findings = {(f["topic"], f["name"]): f for f in json.loads(done.stdout)}
    assert findings["features", "lite"]["state"] == "ok"
    assert findings["system", "decoding"]["state"] == "ok"
    assert "PyAV with FFmpeg" in findings["system", "decoding"]["text"]
    assert [name for topic, name in findings if topic == "features"] == [
        "clip",
        "glove",
        "lite",
        "slowfast",
        "vgg",
    ]
    assert findings["weights", "clip-vit-b-32"]["state"] == "missing"
    assert "vtg weights pull clip-vit-b-32" in findings["weights", "clip-vit-b-32"]["text"]


def test_doctor_accepts_equivalent_weights(home):
    file = home / "hub/models--openai--clip-vit-base-patch32/snapshots/3d74/pytorch_model.bin"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    done = vtg("doctor", "--json", home=home, HF_HUB_CACHE=str(home / "hub"))
    findings = {f["name"]: f for f in json.loads(done.stdout) if f["topic"] in ("weights", "features")}
    assert findings["clip"]["state"] == "ok"
    assert findings["clip-vit-b-32-transformers"]["text"] == str(file)
    for name in ("clip-vit-b-32", "clip-vit-b-32-openai"):
        assert (findings[name]["state"], str(file) in findings[name]["text"]) == ("info", True)
    assert findings["slowfast-r50-8x8"]["state"] == "missing"


def test_version(home):
    assert vtg("--version", home=home).stdout.startswith("vtg ")
