"""The documentation: its pages are all in the site, agree with the program, and name commands that exist."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from vtg_cli.app import app

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
# Redirections and what comes after another command belong to the shell.
SHELL = re.compile(r"[<>|&;].*$")


def test_every_page_is_in_the_site_once():
    listed = [page for part in SITE["nav"] for pages in part.values() for page in pages]
    assert sorted(listed) == [page.name for page in PAGES]


def test_pages_for_programs_are_there():
    text = (DOCS / "llms.txt").read_text(encoding="utf-8")
    assert all((DOCS / name).exists() for name in re.findall(r"\]\((.+?)\)", text))


def test_the_reference_of_the_commands_is_that_of_the_program():
    reference = runpy.run_path(str(DOCS / "cli.py"))["reference"]
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == reference(), "run: python docs/cli.py"


def test_every_environment_variable_is_described():
    sources = [
        path for package in ("extractors", "model", "vtg_cli") for path in (ROOT / package).rglob("*.py")
    ]
    used = {
        name for path in sources for name in re.findall(r'"(VTG_[A-Z]+)"', path.read_text(encoding="utf-8"))
    }
    rows = re.findall(r"^\| `(VTG_[A-Z]+)`", (DOCS / "environment.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(used)


def commands_of(page: Path) -> list[list[str]]:
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    words = [shlex.split(SHELL.sub("", line), comments=True) for line in lines if line.startswith("vtg ")]
    return [command[1:] for command in words]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_options_of_a_page_exist(page):
    for words in commands_of(page):
        command = typer.main.get_command(app)
        known = {name for param in command.params for name in param.opts}
        while words and hasattr(command, "commands") and not words[0].startswith("-"):
            assert words[0] in command.commands, (page.name, words)
            command = command.commands[words.pop(0)]
            known |= {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
        named = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert named - {"--help"} <= known, page.name


@pytest.mark.slow
def test_the_site_builds_without_a_broken_link(tmp_path):
    pytest.importorskip("zensical", reason="needs Python 3.11")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    for name in ("docs", "extractors", "model", "vtg_cli"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Grounder" in (tmp_path / "site" / "api" / "index.html").read_text(encoding="utf-8")
