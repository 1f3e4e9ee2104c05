"""The page that `vtg ground --html` writes, opened from a file in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from model.grounding.results import CUES, GroundingResult, Moment, Quote, Saliency
from tests.cli.running import EXAMPLES, vtg
from tests.serve.browser import (
    NARROW,
    WIDE,
    grave_violations,
    scrolls_sideways,
    wait_until,
    window,
)
from vtg_cli.drawing.html_report import write_report

ATTACK = "]]> &lt;b&gt; {{data}} </script><script>document.title='bad'</script> javascript:"
QUERIES = ("a cat", "a cup of coffee", "<img src=x onerror=document.title='bad'>")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The example with two reports: one beside it, and one that holds it."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copy(EXAMPLES / "example.mp4", folder / "my #1 example.mp4")
    for name, *more in (("beside.html",), ("whole.html", "--embed")):
        done = vtg(
            "ground",
            folder / "my #1 example.mp4",
            *QUERIES,
            "--html",
            folder / name,
            *more,
            home=folder / "home",
        )
        assert done.returncode == 0, done.stderr
    return folder


def moments(report: Path) -> list[list[dict[str, float]]]:
    data = re.findall(r'id="results">(.*?)</script>', report.read_text(encoding="utf-8"), re.DOTALL)[0]
    return [result["moments"] for result in json.loads(data)["results"]]


def opened(page, report: Path) -> None:
    page.goto(report.as_uri())
    wait_until(page, "document.getElementById('video').readyState > 0")


@pytest.mark.parametrize("name", ["beside.html", "whole.html"])
def test_a_click_on_a_moment_shows_it(name, browser, folder):
    report = folder / name
    with window(browser) as (page, watch):
        opened(page, report)
        for number in (0, 1):
            for at, moment in enumerate(moments(report)[number]):
                page.locator(f"button.moment[data-query='{number}'][data-rank='{at + 1}']").click()
                wait_until(page, "!document.getElementById('video').seeking")
                time = page.evaluate("document.getElementById('video').currentTime")
                assert time == pytest.approx(moment["start_s"], abs=0.2)
        assert page.evaluate("document.getElementById('video').videoWidth") == 640
        assert watch.troubles == []
        assert watch.origins() == {"file://"}


def test_curve_position_and_seek(browser, folder):
    with window(browser) as (page, watch):
        opened(page, folder / "beside.html")
        chart = page.locator("#chart")
        box = chart.bounding_box()
        curves = page.locator("path.line").all()
        assert len(curves) == len(QUERIES)
        for curve in curves:
            drawn = curve.bounding_box()
            assert drawn["x"] == pytest.approx(box["x"], abs=4)
            assert drawn["width"] == pytest.approx(box["width"], abs=8)
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 40)
        wait_until(page, "Math.abs(document.getElementById('video').currentTime - 25) < 0.3")
        chart.focus()
        page.keyboard.press("Home")
        wait_until(page, "document.getElementById('video').currentTime === 0")
        page.keyboard.press("ArrowRight")
        wait_until(page, "document.getElementById('video').currentTime === 5")
        assert watch.troubles == []


MOMENTS = (Moment(10.0, 20.0, 0.9), Moment(15.0, 40.0, 0.5), Moment(45.0, 50.0, 0.1))


def written(report: Path, *queries: str, moments=MOMENTS, scores=(0.1, 0.9, 0.4, 0.2, 0.3)) -> Path:
    """A report of made-up answers for 50 s of the example."""
    saliency = Saliency(50 / len(scores), tuple(scores))
    results = [
        GroundingResult(str(EXAMPLES / "example.mp4"), query, "m", ("f",), 50.0, tuple(moments), saliency)
        for query in queries or ("a cat",)
    ]
    write_report(results, report)
    return report


def test_moments_are_listed(browser, tmp_path):
    report = written(tmp_path / "r.html", "a cat", ATTACK)
    with window(browser) as (page, watch):
        opened(page, report)
        listed = page.locator("button.moment").evaluate_all(
            "(all) => all.map(({ dataset: d }) => [d.query, d.rank, Number(d.start), Number(d.end)])"
        )
        assert listed == [
            [query, str(rank), moment.start_s, moment.end_s]
            for query in ("0", "1")
            for rank, moment in enumerate(MOMENTS, start=1)
        ]
        assert page.locator("#answers h3 bdi").all_text_contents() == ["a cat", ATTACK]
        assert page.locator("#legend button[aria-pressed='true']").count() == 2
        assert watch.troubles == []


def test_nothing_found_is_said(browser, tmp_path):
    with window(browser) as (page, _):
        opened(page, written(tmp_path / "r.html", moments=()))
        assert page.locator("#answers .hint").inner_text() == "no moment scores as high as the threshold"


def test_bar_and_curve_positions(browser, tmp_path):
    with window(browser) as (page, _):
        opened(page, written(tmp_path / "r.html"))
        bars = page.locator("#chart .bar").evaluate_all(
            "(all) => Object.fromEntries(all.map((bar) => [bar.dataset.rank, "
            "['x', 'width', 'y'].map((name) => parseFloat(bar.getAttribute(name)))]))"
        )
        assert {rank: place[:2] for rank, place in bars.items()} == {
            str(rank): [2 * moment.start_s, 2 * moment.length_s]
            for rank, moment in enumerate(MOMENTS, start=1)
        }
        assert bars["1"][2] == bars["3"][2] < bars["2"][2]  # the second overlaps the first
        assert re.findall(r"[ML](\d+) ([\d.]+)", page.locator("path.line").get_attribute("d")) == [
            ("0", "115.5"), ("1000", "115.5"), ("3000", "19.5"), ("5000", "79.5"), ("7000", "103.5"),
            ("9000", "91.5"), ("10000", "91.5"),
        ]  # fmt: skip


def test_long_curves_keep_their_peaks(browser, tmp_path):
    scores = [0.0] * 20_000
    scores[12_345] = 1.0
    with window(browser) as (page, _):
        opened(page, written(tmp_path / "r.html", scores=scores))
        points = re.findall(r"[ML]\d+ ([\d.]+)", page.locator("path.line").get_attribute("d"))
        assert 1000 < len(points) <= 2002
        assert min(map(float, points)) == 7.5


def test_legend_and_markup(browser, folder):
    with window(browser) as (page, watch):
        opened(page, folder / "beside.html")
        assert page.title() == "my #1 example.mp4"
        assert QUERIES[2] in page.locator(".answers").inner_text()
        assert page.locator("main img[src='x']").count() == 0
        page.locator(".legend button").first.click()
        assert page.locator("section[data-query='0']").is_hidden()
        assert page.locator("section[data-query='1']").is_visible()
        assert watch.troubles == []


def test_keys_alone_are_enough(browser, folder):
    first = min(moment["start_s"] for of_query in moments(folder / "beside.html") for moment in of_query)
    with window(browser) as (page, watch):
        opened(page, folder / "beside.html")
        page.keyboard.press("n" if first > 0.05 else "Home")
        page.keyboard.press("1")
        best = moments(folder / "beside.html")[0][0]["start_s"]
        wait_until(page, f"Math.abs(document.getElementById('video').currentTime - {best}) < 0.2")
        assert page.evaluate("document.activeElement.dataset.rank") == "1"
        assert watch.troubles == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_everybody_can_use_it_at_every_size(size, dark, browser, folder):
    with window(browser, size, dark=dark) as (page, watch):
        opened(page, folder / "beside.html")
        assert grave_violations(page) == []
        assert not scrolls_sideways(page)
        assert watch.troubles == []


def test_a_video_that_is_gone_is_named(browser, folder, tmp_path):
    shutil.copy(folder / "beside.html", tmp_path / "alone.html")
    with window(browser) as (page, _):
        page.goto((tmp_path / "alone.html").as_uri())
        page.locator("#trouble").wait_for(state="visible")
        assert "my #1 example.mp4" in page.locator("#trouble").inner_text()
        # A picture of where one is stands in for it.
        assert page.locator("#video").is_hidden()
        still = page.locator("#still")
        moment = page.locator("button.moment").first
        moment.click()
        assert still.get_attribute("src") == moment.locator("img").get_attribute("src")
        assert still.evaluate("(image) => image.naturalWidth") > 0
        assert grave_violations(page) == []


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_quotes_are_text_under_their_moments(size, browser, folder, tmp_path):
    hostile = f"{QUERIES[2]} the budget of the next year and of the one after it"
    quotes = [Quote("subtitles", "talk.en.srt", hostile), Quote("subtitles", "track 2", "short")]
    spans = [(6.0, 9.0, 1.0), (12.0, 14.0, 0.2)]
    found = tuple(Moment(*span, quote) for span, quote in zip(spans, quotes, strict=True))
    video = folder / "my #1 example.mp4"
    curve = Saliency(1.0, (0.1,) * 48)
    answer = GroundingResult(
        str(video), "the budget", CUES, ("subtitles",), 48.0, found, curve, clear_from=0.3
    )
    report = tmp_path / "quotes.html"
    write_report([answer], report)
    with window(browser, size) as (page, watch):
        page.goto(report.as_uri())
        wait_until(page, "document.querySelectorAll('button.moment').length === 2")
        assert page.locator("button.moment .quote").all_text_contents() == [hostile, "short"]
        assert page.locator(".quote").first.get_attribute("title") == "talk.en.srt"
        assert "words of the subtitles" in page.locator("header").inner_text()
        assert page.title() == video.name
        assert not scrolls_sideways(page)
        assert grave_violations(page) == []
        assert watch.troubles == []
