"""Every command and every line of Python in the README and in the tutorial runs as written."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import EXAMPLES, Running, clean_environment, new_vtg

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```console\n(.*?)```", README + TUTORIAL, re.DOTALL)
    for line in block.splitlines()
]
# These set the tests up, so the tests do not run them.
RUN_BY_HAND = [["make", "demo"], ["make", "test"], ["pip", "install", "."]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("user")
    (folder / "videos").mkdir()
    for name in ("video.mp4", "videos/one.mp4", "talk.mp4"):
        (folder / name).write_bytes((EXAMPLES / "example.mp4").read_bytes())
    (folder / "talk.srt").write_text("1\n00:00:02,000 --> 00:00:05,000\nThe budget is four million.\n\n")
    moments = {"qid": 1, "query": "a cat", "vid": "video", "duration": 48, "relevant_windows": [[6, 14]]}
    (folder / "gt.jsonl").write_text(json.dumps(moments))
    (folder / "preds.jsonl").write_text(json.dumps({"qid": 1, "pred_relevant_windows": [[6, 14, 0.9]]}))
    return folder


@pytest.mark.parametrize(
    "command",
    [
        command
        for number, command in enumerate(COMMANDS)
        if command not in RUN_BY_HAND and command not in COMMANDS[:number]
    ],
    ids=" ".join,
)
def test_command_of_the_readme(command, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert command[0] == "vtg"
    if "--watch" in command:
        # It runs until it is stopped.
        with Running(*command[1:], home=folder) as watching:
            watching.wait_for("out", "one.mp4")
            assert watching.end() == 0
        return
    if command[1] == "serve":
        # Another server may be at the address that it has by default.
        port, options = ("", ["--port", "0"]) if is_taken(8642) else ("8642/", [])
        with Running(*command[1:], *options, home=folder) as serving:
            serving.wait_for("out", f"1 video at http://127.0.0.1:{port}")
            assert serving.end() == 0
        return
    # By itself it measures a video of 20 s.
    shorter = ["--seconds", "2"] if command == ["vtg", "bench"] else []
    # Nothing listens there; without an address, Ray looks for a cluster on this machine.
    done = new_vtg(*command[1:], *shorter, home=folder, RAY_ADDRESS="127.0.0.1:9")
    if "--ray" in command:
        # There is no cluster: the option is known, and the message names what to do.
        assert done.returncode == 2
        assert "start one with 'ray start --head'" in done.stderr
    elif command[1:3] == ["weights", "pull"]:
        # There is no network in tests: the name is known, and the message names the way out.
        assert done.returncode == 1
        assert "vtg weights add clip-vit-b-32" in done.stderr
    elif "--speech" in command:
        # Nor are there weights that transcribe speech.
        assert done.returncode == 1
        assert "vtg weights pull whisper-small" in done.stderr
    elif command[1] == "train":
        # Nor is there a dataset: the message lists what is needed, on one screen.
        assert done.returncode == 1
        assert "vtg datasets pull qvhighlights" in done.stderr
        assert len(done.stderr.splitlines()) < 24
    else:
        assert done.returncode == 0, done.stderr


def is_taken(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def test_python_of_the_readme(folder):
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=clean_environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("a cat Moment(start_s=6.0, end_s=14.0")


def test_make_targets_of_the_readme_exist():
    makefile = (Path(__file__).resolve().parents[2] / "Makefile").read_text()
    for command in RUN_BY_HAND:
        if command[0] == "make":
            assert f"\n{command[1]}: " in makefile


def test_links_of_the_readme_lead_somewhere():
    root = Path(__file__).resolve().parents[2]
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (root / target).exists(), target
