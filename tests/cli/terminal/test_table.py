"""Tables: names and addresses are never cut, and a pipe gets one line per row."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from tests.cli.running import clean_environment, pieces, vtg
from vtg_cli.terminal import table
from vtg_cli.terminal.scores import print_scores

NAMES = [
    "flashvtg-qvhighlights-internvideo2",
    "flashvtg-charades-internvideo2",
    "slowfast-r50-8x8-pytorchvideo",
]
ADDRESS = (
    "https://www.example.com/scl/fo/5p45sbdyw66dyd7uerqlu/ADa-udzNY7qINE72gU17ktQ?rlkey=x9vtaf6vseenja6yz4"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def printed(headings, rows, *, width: int, terminal: bool = True, **options) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "out", lambda: console)
        table.print_table(headings, rows, **options)
    return console.file.getvalue().splitlines()


def test_wide_terminals_get_columns():
    rows = [("a", "12", "one"), ("long-name", "3", "two words")]
    assert printed(("name", "n", "text"), rows, width=80, right=(1,)) == [
        "name        n  text",
        "a          12  one",
        "long-name   3  two words",
    ]
    assert printed(("", "", ""), rows, width=80, indent=2) == [
        "  a          12  one",
        "  long-name  3   two words",
    ]


def test_wrapping_of_sentences_and_addresses():
    rows = [("name", "to be got from somewhere"), ("other", f"from {ADDRESS} at once"), ("猫", "ok")]
    assert printed(("", ""), rows, width=25) == [
        "name   to be got from",
        "       somewhere",
        "other",
        "    from",
        f"    {ADDRESS}",
        "    at once",
        "猫     ok",
    ]


def test_narrow_terminals():
    rows = [(NAMES[0], "model", "", "no"), ("a", "encoder", "1 MB", "yes")]
    assert printed(("name", "kind", "size", "here"), rows, width=45) == [
        "name",
        NAMES[0],
        "    kind: model; here: no",
        "a",
        "    kind: encoder; size: 1 MB; here: yes",
    ]
    assert printed(("", "", "", ""), rows[:1], width=38, indent=1) == [f" {NAMES[0]}", "     model; no"]


WORD = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=30)
ROW = st.tuples(WORD, st.lists(WORD, max_size=3).map(" ".join), st.lists(WORD, max_size=9).map(" ".join))
HEADINGS = ("name", "what", "text")


@given(st.lists(ROW, min_size=1, max_size=4), st.integers(10, 120), st.booleans())
def test_no_word_is_ever_cut(rows, width, terminal):
    lines = printed(HEADINGS, rows, width=width, terminal=terminal)
    words = [word for line in lines for word in line.split()]
    expected = [word for row in [HEADINGS, *rows] for cell in row for word in cell.split()]
    if lines[0].startswith("name  "):
        assert words == expected
    else:  # no room for columns
        assert Counter(word.rstrip(";") for word in expected[3:]) <= Counter(
            word.rstrip(";") for word in words
        )
        assert max(map(cell_len, lines)) <= max(width, 5 + max(map(cell_len, words)))
    if not terminal:
        assert len(lines) == len(rows) + 1


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("command", [("weights", "list"), ("doctor",)], ids=" ".join)
def test_terminals_show_names_whole(command, width, home):
    text = on_terminal(*command, home=home, columns=width)
    assert "…" not in text
    for name in NAMES:
        assert re.search(rf"^\s*{name}\s", text, re.MULTILINE), name
    if command == ("doctor",):
        pages = {row["source"] for row in json.loads(vtg("weights", "list", "--json", home=home).stdout)} - {
            None
        }
        assert sum(page in text.replace("\n", "") for page in pages) >= 0
        addresses = re.findall(r"https://\S+", text)
        assert len(addresses) == len(set(addresses)) >= 6
        assert all(address in vtg("doctor", home=home).stdout.split() for address in addresses[:1])


@pytest.mark.parametrize("command", [("weights", "list"), ("doctor",), ("datasets", "list")], ids=" ".join)
def test_a_pipe_gets_a_line_for_each_row(command, home):
    done = vtg(*command, home=home, COLUMNS="60")
    rows = json.loads(vtg(*command, "--json", home=home).stdout)
    lines = done.stdout.splitlines()
    assert len(lines) == len(rows) + (command != ("doctor",))
    for row, line in zip(rows, lines[command != ("doctor",) :], strict=True):
        assert row["name"] in line.split() or " " in row["name"]


def on_terminal(*arguments: str, home, columns: int) -> str:
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    terminal, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, b"\x28\x00" + bytes([columns, 0, 0, 0, 0, 0]))
    environment = {name: value for name, value in clean_environment(home).items() if name != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "vtg_cli.main", *arguments],
        env=environment | {"TERM": "dumb"}, stdin=its_end, stdout=its_end, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(its_end)
    shown = b"".join(pieces(terminal)).decode()
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    return shown.replace("\r", "")


def test_scores_keep_their_names_whole():
    names = ["YouTube Highlights, mean of all domains (HL-mAP)", "MR-full-mAP"]
    columns = {heading: dict.fromkeys(names, 12.345) for heading in ("as decoded", "after NMS")}
    lines = "\n".join(scores_printed(columns, width=60))
    assert all(name in lines for name in names)
    assert lines.count("12.35") == lines.count("12.3") == 4
    assert "…" not in lines
    assert scores_printed({"": {"R1": 1.0}}, width=60) == ["R1  1.00"]


def scores_printed(columns, *, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "out", lambda: console)
        print_scores(columns)
    return console.file.getvalue().splitlines()
