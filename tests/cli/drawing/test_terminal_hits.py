"""Hits in the terminal: one table, or one for each video, in any encoding."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from model.search.results import Hit, SearchResult
from vtg_cli.drawing.terminal_hits import show_hits, shown_path

HITS = (
    Hit(Path("/films/b.mp4"), 1.0, 3.0, 0.9, True, 1.0, 8.0),
    Hit(Path("/films/a [bold]x.mp4"), 2.5, 65.25, 0.5, False, 0.7, 80.0),
    Hit(Path("/films/b.mp4"), 7.5, 8.0, 0.1, None, 1.0, 8.0),
)
RESULT = SearchResult("a cat", HITS, True, 12, 5)


def shown(monkeypatch, result: SearchResult, *, encoding: str = "utf-8", by_video: bool = False) -> list[str]:
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, encoding=encoding))
    show_hits([result], by_video=by_video)
    return data.getvalue().decode(encoding).splitlines()


def test_one_table(monkeypatch):
    assert shown(monkeypatch, RESULT) == [
        "“a cat”",
        "#   start     end  score         video",
        "1  0:01.0  0:03.0   0.90  clear  /films/b.mp4",
        "2  0:02.5  1:05.2   0.50         /films/a [bold]x.mp4",
        "3  0:07.5  0:08.0   0.10         /films/b.mp4",
        "",
    ]


def test_a_table_for_each_video(monkeypatch):
    lines = shown(monkeypatch, RESULT, by_video=True)
    assert [line.split()[0] for line in lines if line] == [
        "“a",
        "/films/b.mp4",
        "#",
        "1",
        "3",
        "/films/a",
        "#",
        "2",
    ]


def test_other_encodings(monkeypatch):
    assert shown(monkeypatch, RESULT, encoding="ascii")[0] == '"a cat"'


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (
            SearchResult("a", HITS, False, 312, 5),
            "Nothing in 312 videos matches clearly; these are only the likeliest places.",
        ),
        (SearchResult("a", (), False, 1, 1), "Nothing in 1 video matches clearly."),
        (SearchResult("a", (), True, 12, 5), "No moment of 12 videos reaches the threshold."),
        (SearchResult("a", (), None, 12, 5), "No moment of 12 videos reaches the threshold."),
        (SearchResult("a", (), False, 0, 0), "There is no video to search."),
    ],
)
def test_verdicts(monkeypatch, result, sentence):
    assert shown(monkeypatch, result)[1] == sentence


def test_hints(monkeypatch):
    assert "hint: long" in shown(monkeypatch, SearchResult("a", HITS, True, 3, 3, hints=("long",)))


def test_paths_from_the_current_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "a" / "b.mp4") == "a/b.mp4"
    assert shown_path(Path("/elsewhere/b.mp4")) == "/elsewhere/b.mp4"
