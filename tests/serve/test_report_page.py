"""The page that `vtg ground --html` writes, opened from a file in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.cli.running import EXAMPLES, vtg
from tests.serve.browser import (
    NARROW,
    WIDE,
    chromium,
    grave_violations,
    scrolls_sideways,
    wait_until,
    window,
)

QUERIES = ("a cat", "a cup of coffee", "<img src=x onerror=document.title='bad'>")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


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


def test_the_curve_stands_in_its_place_and_seeks(browser, folder):
    with window(browser) as (page, watch):
        opened(page, folder / "beside.html")
        chart = page.locator("#chart")
        box = chart.bounding_box()
        for curve in page.locator("path.curve").all():
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


def test_queries_can_be_left_out_and_are_never_markup(browser, folder):
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
