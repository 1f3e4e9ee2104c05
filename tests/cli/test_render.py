"""What people see: tables, curves and time codes."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from model.moments import GroundingResult, Moment, Saliency
from vtg_cli.render import render_result
from vtg_cli.timecode import span, timecode


def shown(result: GroundingResult, *, width: int = 60, **options: bool) -> list[str]:
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


def test_the_curve_rises_over_the_moment_and_marks_stand_under_it():
    lines = shown(result(), width=42)  # 40 columns: one a second
    top, marks, axis = lines[4], lines[8], lines[9]
    assert top.rstrip() == " " * 10 + "▅" * 10
    assert marks == "─" * 10 + "1" + "━" * 9 + "─" * 10 + "2" + "━" * 4 + "─" * 5
    assert axis.startswith("0:00.0")
    assert axis.endswith("0:40.0")


@given(
    st.integers(20, 200),
    st.lists(st.floats(-50, 50), min_size=1, max_size=300),
    st.floats(0.1, 20000),
)
def test_nothing_is_wider_than_the_terminal(width, scores, duration_s):
    moments = [Moment(0, duration_s, 0.5), Moment(duration_s * 0.99, duration_s, 0.4)]
    answer = GroundingResult("v", "q", "m", ("f",), duration_s, tuple(moments), Saliency(1.0, tuple(scores)))
    assert max(len(line) for line in shown(answer, width=max(width, 60))) <= max(width, 60)


def test_control_characters_of_a_query_do_not_reach_the_terminal():
    assert "\x1b" not in "".join(shown(result(query="a \x1b[31mcat\n")))


def test_it_says_when_nothing_matches_clearly():
    assert any("Nothing here matches" in line for line in shown(result(), clear_match=False))
    assert not any("Nothing here matches" in line for line in shown(result()))


def test_no_moments_above_the_threshold_is_said():
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
