"""What `vtg` alone suggests, and the example it shows."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import EXAMPLES, clean_environment, vtg
from tests.extractors.rendering import render
from vtg_cli.commands.start.next_steps import next_steps


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    for name, value in clean_environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def commands(folder: Path) -> list[list[str]]:
    return [shlex.split(step.command) for step in next_steps(folder)]


def test_without_videos_it_begins_with_the_example(here):
    (here / "notes.txt").write_text("no video")
    (here / ".hidden.mp4").write_text("no video")
    assert [command[:2] for command in commands(here)] == [
        ["vtg", "demo"], ["vtg", "weights"], ["vtg", "serve"]
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["talk.mp4", "it's a dog.MKV", "-k.mp4", "$(reboot).mov"])
def test_a_video_is_named_so_that_a_shell_finds_it(here, name):
    (here / name).touch()
    first = commands(here)[0]
    assert (first[:2], first[3:]) == (["vtg", "ground"], ["a dog"])
    assert (here / first[2]).samefile(here / name)
    assert not first[2].startswith("-")


def test_several_videos_are_searched(here):
    for name in ("a.mp4", "b.mp4"):
        (here / name).touch()
    assert commands(here)[1] == ["vtg", "search", "a dog", "."]


def test_weights_that_are_here_are_not_suggested(here, monkeypatch):
    assert ["vtg", "weights", "pull", "clip-vit-b-32"] in commands(here)
    monkeypatch.setattr("extractors.weights.store.find", lambda name: here)
    assert [command[1] for command in commands(here)] == ["demo", "serve", "doctor"]


def test_what_is_suggested_are_commands(here):
    from vtg_cli.app import app

    known = {command.name for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    for folder in (here, render(here / "a.mp4", frames=5).parent):
        assert {command[1] for command in commands(folder)} <= known


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
def test_vtg_alone_suggests_in_a_terminal_and_prints_help_elsewhere(here):
    import pty

    terminal, side = pty.openpty()
    command = [sys.executable, "-m", "vtg_cli.main"]
    done = subprocess.run(command, cwd=here, stdout=side, check=False, timeout=60)
    os.close(side)
    text = os.read(terminal, 10_000).decode()
    os.close(terminal)
    assert done.returncode == 0
    assert "vtg demo" in text
    assert "Usage" not in text
    elsewhere = vtg(home=here)
    assert elsewhere.returncode == 2
    assert "Usage: vtg" in elsewhere.stdout


@pytest.mark.slow
def test_the_demo_answers_and_writes_a_page(here):
    done = vtg("demo", "--no-browser", home=here)
    assert done.returncode == 0, done.stderr
    for query in ("a cat", "a cup of coffee", "a rocket on the launch pad"):
        assert f"“{query}”" in done.stdout
    page = here / "vtg" / "demo" / "example.html"
    assert str(page) in done.stderr
    assert page.stat().st_size > (EXAMPLES / "example.mp4").stat().st_size
