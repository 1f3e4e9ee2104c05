"""Pictures of results: readable, with every moment in its place."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from extractors.errors import UsageError, VideoError, VtgError
from model.grounding.results import GroundingResult, Moment, Saliency
from tests.cli.running import EXAMPLES, vtg
from tests.extractors.rendering import render
from vtg_cli.drawing.curve import MOST_ROWS, evenly_spaced, peak, rows, score_range, time_ticks
from vtg_cli.drawing.plot import write_plot

SVG = "{http://www.w3.org/2000/svg}"
LENGTH_S = 8.0
MOMENTS = (Moment(1.0, 3.0, 0.9), Moment(2.5, 5.25, 0.5), Moment(7.5, 8.0, 0.1))


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return render(tmp_path_factory.mktemp("videos") / "v.mp4", frames=80, fps=10, width=160, height=96)


def answer(
    video: Path, query: str = "a cat", moments=MOMENTS, scores=(0.1, 0.9, 0.4, 0.2)
) -> GroundingResult:
    return GroundingResult(
        str(video), query, "zero-shot", ("lite",), LENGTH_S, tuple(moments), Saliency(2.0, tuple(scores))
    )


def box(element: ET.Element) -> tuple[float, float]:
    """Left and right of what an element of a picture draws."""
    path = element.find(f"{SVG}path")
    assert path is not None
    across = [float(x) for x, _ in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path.attrib["d"])]
    return min(across), max(across)


def test_svg_has_each_moment_where_it_belongs(video, tmp_path):
    queries = ["a cat", "a $x_{1}$ <b> & cup"]
    write_plot([answer(video, query) for query in queries], tmp_path / "a.svg")
    root = ET.parse(tmp_path / "a.svg").getroot()
    by_id = {element.get("id"): element for element in root.iter() if element.get("id")}
    for number in (1, 2):
        left, right = box(by_id[f"axes-{number}"])
        for rank, moment in enumerate(MOMENTS, start=1):
            found = box(by_id[f"moment-{number}-{rank}"])
            for x, time_s in zip(found, (moment.start_s, moment.end_s), strict=True):
                assert x == pytest.approx(left + (right - left) * time_s / LENGTH_S, abs=0.01)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert set(queries) <= set(texts)  # as they were written, not as formulas
    assert texts.count("1") == texts.count("2") == texts.count("3") == 2
    assert {"0:00", "0:04", "0:08"} <= set(texts)
    pictures = list(root.iter(f"{SVG}image"))
    assert pictures
    assert all(
        value.startswith("data:") for one in pictures for key, value in one.attrib.items() if "href" in key
    )


def test_the_same_results_give_the_same_svg(video, tmp_path):
    for name in ("a.svg", "b.svg"):
        write_plot([answer(video)], tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_png_grows_with_queries_and_has_their_colours(video, tmp_path):
    sizes = []
    for count in (1, 2):
        path = tmp_path / f"{count}.png"
        write_plot([answer(video, f"query {k} 日本 \x1b\ud800") for k in range(count)], path)
        with Image.open(path) as picture:
            sizes.append(picture.size)
            pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        blue, orange = ((pixels == colour).all(1).any() for colour in ([0, 114, 178], [213, 94, 0]))
        assert (blue, orange) == (True, count == 2)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1]


def has_letters(text: str) -> bool:
    from matplotlib import font_manager, ft2font

    return any(
        set(map(ord, text)) <= set(ft2font.FT2Font(file).get_charmap())
        for file in font_manager.findSystemFonts()
        if "CJK" in file
    )


def test_missing_letters_use_fallback_fonts(video, tmp_path, monkeypatch, capsys):
    from matplotlib import font_manager

    if not has_letters("猫犬"):
        pytest.skip("no font with Chinese letters is installed")
    # As the list is that matplotlib made, and keeps, before such a font was installed.
    entries = [entry for entry in font_manager.fontManager.ttflist if "CJK" not in entry.name]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", entries)
    pictures = []
    for query in ("猫", "犬", "猫犬 日本 한국어"):
        write_plot([answer(video, query)], tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as picture:
            pictures.append(np.asarray(picture))
    assert (pictures[0] != pictures[1]).any()  # boxes are all the same
    assert capsys.readouterr().err == ""


def test_letters_that_no_font_has_are_told(video, tmp_path, monkeypatch, capsys):
    from matplotlib import font_manager

    own = [entry for entry in font_manager.fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)  # a system without any
    write_plot([answer(video, "a cat 猫")], tmp_path / "a.png")
    told = capsys.readouterr().err
    assert "no installed font has 猫" in told
    assert len(told.splitlines()) == 1
    write_plot([answer(video, "a cat 猫")], tmp_path / "a.svg")  # its letters are drawn elsewhere
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("moments", "scores"),
    [((), (0.1, 0.2, 0.3, 0.4)), (MOMENTS, ()), (MOMENTS, (-3.0, 5.0)), (MOMENTS, (2.0,) * 4)],
)
def test_answers_of_every_kind_are_drawn(moments, scores, video, tmp_path):
    write_plot([answer(video, moments=moments, scores=scores)], tmp_path / "a.svg")
    assert ET.parse(tmp_path / "a.svg").getroot().tag == f"{SVG}svg"


def test_the_users_own_style_changes_nothing(video, tmp_path):
    import matplotlib

    write_plot([answer(video)], tmp_path / "a.svg")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        write_plot([answer(video)], tmp_path / "b.svg")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_what_cannot_be_drawn_leaves_nothing(video, tmp_path):
    with pytest.raises(UsageError, match=r"\.png or \.svg"):
        write_plot([answer(video)], tmp_path / "a.jpg")
    with pytest.raises(VideoError, match=r"nothing\.mp4"):
        write_plot([answer(tmp_path / "nothing.mp4")], tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(VtgError, match="cannot be written"):
        write_plot([answer(video)], tmp_path / "file" / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_invalid_requests_are_usage_errors(tmp_path):
    done = vtg("ground", EXAMPLES / "example.mp4", "a cat", "--plot", "a.jpg", home=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "vtg: --plot a.jpg: its name must end in .png or .svg\n"


def test_matplotlib_is_read_only_to_draw():
    code = (
        "import sys, vtg_cli.drawing.plot, vtg_cli.drawing.html_report\n"
        "sys.exit(not {'matplotlib', 'PIL'}.isdisjoint(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# What all drawings have in common.


@given(st.floats(0.05, 200_000), st.integers(1, 12))
def test_ticks_are_few_and_inside(duration_s, most):
    ticks = time_ticks(duration_s, most)
    times_s = [time_s for time_s, _ in ticks]
    assert times_s[0] == 0
    assert 1 <= len(ticks) <= most + 1
    assert times_s[-1] <= duration_s * (1 + 1e-5)


@given(
    st.lists(st.floats(-9, 9), min_size=1, max_size=50), st.floats(0.1, 5), st.floats(0, 1), st.floats(0, 1)
)
def test_the_peak_of_a_moment_is_its_best_clip(scores, clip_length_s, one, other):
    length_s = len(scores) * clip_length_s
    start_s, end_s = sorted((one * length_s, other * length_s))
    time_s, score = peak(Saliency(clip_length_s, tuple(scores)), Moment(start_s, end_s, 0.5))
    assert start_s <= time_s <= end_s
    covered = [
        score
        for k, score in enumerate(scores)
        if k * clip_length_s < end_s - 1e-4 and (k + 1) * clip_length_s > start_s + 1e-4
    ]
    assert score in scores
    assert score >= max(covered, default=score)


def test_central_clip_is_the_peak():
    assert peak(Saliency(1.0, (0.5,) * 9), Moment(2, 7, 0.5)) == (4.5, 0.5)


@given(st.lists(st.tuples(st.floats(0, 90), st.floats(0, 10)), max_size=6))
def test_marks_do_not_overlap(spans):
    marks = [(start, start + length) for start, length in spans]
    placed = [(row, mark) for row, mark in zip(rows(marks), marks, strict=True) if row < MOST_ROWS]
    assert [row for row, _ in placed[:1]] == [0][: len(marks)]
    for (row, one), (beside, other) in combinations(placed, 2):
        assert row >= 0
        assert row != beside or max(one[0], other[0]) >= min(one[1], other[1])


def test_rows_run_out():
    assert rows([(0, 10)] * (MOST_ROWS + 1) + [(20, 30)]) == [*range(MOST_ROWS), MOST_ROWS, 0]


def test_a_curve_has_the_scale_of_its_scores():
    assert score_range((0.2, 0.4)) == score_range(()) == (0.0, 1.0)
    assert score_range((-1.0, 0.5)) == (-1.0, 0.5)
    assert evenly_spaced(8.0, 4) == [1, 3, 5, 7]
