"""Terminal output: tables, curves and time codes."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from model.grounding.results import GroundingResult, Moment, Saliency
from vtg_cli.drawing.terminal_curve import ASCII, BLOCKS, glyphs_for, render_result
from vtg_cli.terminal.timecode import span, timecode


def shown(result: GroundingResult, *, width: int = 60, **options: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(render_result(result, width=width, **options))
    return console.file.getvalue().splitlines()


MOMENTS = (Moment(10, 20, 0.9), Moment(30, 35, 0.4))


def result(moments=MOMENTS, query="a cat") -> GroundingResult:
    scores = [0.9 if 10 <= second < 20 else 0.1 for second in range(40)]
    return GroundingResult(
        "v.mp4", query, "zero-shot", ("lite",), 40.0, tuple(moments), Saliency(1.0, tuple(scores))
    )


def test_the_table_ranks_moments_with_time_codes():
    lines = shown(result())
    assert lines[0] == "“a cat”"
    assert lines[2].split()[:6] == ["1", "0:10.0", "0:20.0", "10.0", "s", "0.90"]
    assert lines[3].split()[:6] == ["2", "0:30.0", "0:35.0", "5.0", "s", "0.40"]


def test_curve_and_moment_marks():
    lines = shown(result(), width=42)  # 40 columns: one a second
    peaks, top, axis, times, marks = lines[4], lines[5], lines[9], lines[10], lines[11]
    assert peaks.rstrip() == " " * 12 + "0.90"
    assert top.rstrip() == " " * 10 + "▅" * 10
    assert axis == "┬" + ("─" * 9 + "┬") * 3 + "─" * 8 + "┬"
    assert times.split() == ["0:00", "0:10", "0:20", "0:30", "0:40"]
    assert marks.rstrip() == " " * 10 + "1" + "━" * 9 + " " * 10 + "2" + "━" * 4
    assert lines[12:] == [""]


def test_peaks_are_labelled():
    lines = shown(result(), width=42)
    assert lines[7][30:36].strip() == "0.10"  # the second moment, two empty rows down
    assert lines[8][30:35] == "▃" * 5
    assert [line for line in shown(result(moments=())) if "0.90" in line]  # without moments, the highest


def test_overlapping_moments_get_rows():
    moments = (Moment(10, 20, 0.9), Moment(5, 15, 0.4), Moment(20, 30, 0.3))
    lines = shown(result(moments), width=42)
    assert lines[-3].rstrip() == " " * 10 + "1" + "━" * 9 + "3" + "━" * 9
    assert lines[-2].rstrip() == " " * 5 + "2" + "━" * 9


def test_last_clip_past_the_end():
    answer = GroundingResult("v", "q", "m", ("f",), 30.0, (), Saliency(20.0, (0.1, 1.0)))
    assert next(line for line in shown(answer, width=32) if "█" in line).rstrip() == " " * 20 + "█" * 10


def test_sixty_columns_hold_everything():
    moments = tuple(Moment(3600 + 10 * k, 7200 + 10 * k, 1.0) for k in range(12))
    answer = GroundingResult("v", "q", "m", ("f",), 7300.0, moments, Saliency(2.0, (-0.5, 9.25) * 1825))
    lines = shown(answer)
    assert max(map(len, lines)) <= 60
    assert not any("…" in line for line in lines)
    assert lines[2].split()[:6] == ["1", "1:00:00.0", "2:00:00.0", "3600.0", "s", "1.00"]


def test_ascii_says_the_same():
    lines = shown(result(), width=42, glyphs=ASCII)
    blocks = shown(result(), width=42)
    assert "".join(lines).isascii()
    assert lines[0] == '"a cat"'
    assert lines[5].rstrip() == " " * 10 + ":" * 10
    assert lines[11].rstrip() == " " * 10 + "1" + "=" * 9 + " " * 10 + "2" + "=" * 4
    assert [len(line) for line in lines] == [len(line) for line in blocks]


@pytest.mark.parametrize(
    ("encoding", "glyphs"),
    [
        ("utf-8", BLOCKS),
        ("gb18030", BLOCKS),
        ("ascii", ASCII),
        ("cp1252", ASCII),
        ("cp437", ASCII),
        ("?", ASCII),
    ],
)
def test_blocks_need_an_encoding(encoding, glyphs):
    assert glyphs_for(encoding) == glyphs


def terminal(monkeypatch, **environment: str) -> str:
    """What a terminal gets that has colours."""
    for name, value in {"TERM": "xterm-256color", "COLORTERM": "", **environment}.items():
        monkeypatch.setenv(name, value)
    console = Console(file=io.StringIO(), width=60, force_terminal=True)
    console.print(render_result(result(), width=60))
    return console.file.getvalue()


def test_colours_depend_on_the_terminal(monkeypatch):
    colour = re.compile(r"\x1b\[[0-9;]*\b(3[0-7]|9[0-7]|38;5;\d+)m")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    assert colour.search(terminal(monkeypatch))
    without = terminal(monkeypatch, NO_COLOR="1")
    assert not colour.search(without)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", without).splitlines()
    assert plain == shown(result())  # nothing is said by colour alone
    assert not any("\x1b" in line for line in shown(result()))


@given(
    st.integers(20, 200),
    st.lists(st.floats(-50, 50), min_size=1, max_size=300),
    st.floats(0.1, 20000),
)
def test_nothing_is_wider_than_the_terminal(width, scores, duration_s):
    moments = [Moment(0, duration_s, 0.5), Moment(duration_s * 0.99, duration_s, 0.4)]
    answer = GroundingResult("v", "q", "m", ("f",), duration_s, tuple(moments), Saliency(1.0, tuple(scores)))
    assert max(len(line) for line in shown(answer, width=max(width, 60))) <= max(width, 60)


def test_control_characters_are_escaped():
    assert "\x1b" not in "".join(shown(result(query="a \x1b[31mcat\n")))


def test_it_says_when_nothing_matches_clearly():
    unclear = replace(result(), clear_from=0.95, match_score=0.9)
    assert any("Nothing here matches" in line for line in shown(unclear))
    assert not any("Nothing" in line for line in shown(replace(unclear, match_score=0.95)))
    assert any(
        "cannot see people" in line for line in shown(replace(unclear, blind_spot="people"), width=120)
    )
    assert not any("Nothing here matches" in line for line in shown(result()))


def test_no_moments_above_threshold():
    assert any("threshold" in line for line in shown(result(moments=())))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.0"), (59.96, "1:00.0"), (62.5, "1:02.5"), (3599.97, "1:00:00.0"), (3723.4, "1:02:03.4")],
)
def test_timecode(seconds, text):
    assert timecode(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(4.24, "4.2 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_span(seconds, text):
    assert span(seconds) == text
