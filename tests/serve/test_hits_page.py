"""The page that `vtg search --html` writes, opened from a file in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.search.results import Hit, SearchResult
from tests.cli.running import EXAMPLES
from tests.serve.browser import (
    NARROW,
    WIDE,
    grave_violations,
    scrolls_sideways,
    wait_until,
    window,
)
from vtg_cli.drawing.hits_page import write_hits_page

pytestmark = pytest.mark.slow

QUERIES = ("a cat", "<img src=x onerror=document.title='bad'>")


@pytest.fixture
def report(tmp_path) -> Path:
    """Two copies of the example, a file that is no video, and the page of hits in them."""
    names = (
        "my #1 example.mp4",
        "second.mp4",
        "a rather long name that does not fit into the list of moments.mp4",
    )
    videos = [tmp_path / "films" / name for name in names]
    videos[0].parent.mkdir()
    for video in videos[:2]:
        shutil.copy(EXAMPLES / "example.mp4", video)
    videos[2].write_bytes(b"no video")
    hits = [
        Hit(videos[0], 6.0, 14.0, 0.9, True, 1.0, 50.0),
        Hit(videos[1], 20.0, 24.0, 0.6, False, 0.8, 50.0),
        Hit(videos[0], 30.0, 31.0, 0.2, False, 1.0, 50.0),
        Hit(videos[2], 1.0, 2.0, 0.1, False, 0.3, 50.0),
    ]
    results = [SearchResult(query, tuple(hits), True, 3, 3) for query in QUERIES]
    write_hits_page(results, tmp_path / "hits.html")
    return tmp_path / "hits.html"


def opened(page, report: Path) -> None:
    page.goto(report.as_uri())
    wait_until(page, "document.getElementById('video').readyState > 0")


def now(page) -> float:
    wait_until(page, "!document.getElementById('video').seeking")
    return page.evaluate("document.getElementById('video').currentTime")


def test_a_click_plays_the_moment_in_its_video(browser, report):
    with window(browser) as (page, watch):
        opened(page, report)
        assert now(page) == pytest.approx(6, abs=0.2)
        for number, (start_s, name) in enumerate(
            [(6, "my #1 example.mp4"), (20, "second.mp4"), (30, "my #1 example.mp4")]
        ):
            page.locator("button.moment").nth(number).click()
            wait_until(page, f"document.getElementById('playing').textContent === {name!r}")
            wait_until(page, "document.getElementById('video').readyState > 1")
            assert start_s - 0.2 <= now(page) <= start_s + 9
            assert page.locator("button.moment[aria-current]").count() == 1
        assert page.title() == ", ".join(QUERIES)
        assert (watch.troubles, watch.origins()) == ([], {"file://"})


def test_a_moment_ends(browser, report):
    with window(browser) as (page, _):
        opened(page, report)
        page.locator("button.moment").nth(2).click()
        wait_until(
            page,
            "document.getElementById('video').paused && document.getElementById('video').currentTime > 30.9",
        )
        assert now(page) < 32


def test_a_video_that_does_not_play_is_named(browser, report):
    with window(browser) as (page, _):
        opened(page, report)
        page.locator("button.moment").nth(3).click()
        wait_until(page, "!document.getElementById('trouble').hidden")
        assert "cannot play a rather long name" in page.locator("#trouble").inner_text()
        page.locator("button.moment").nth(1).click()
        wait_until(page, "document.getElementById('trouble').hidden")
        assert page.locator("#video").is_visible()


def test_keys_alone_are_enough(browser, report):
    with window(browser) as (page, _):
        opened(page, report)
        page.locator("button.moment[tabindex='0']").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        wait_until(page, "document.getElementById('playing').textContent === 'second.mp4'")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_everybody_can_use_it_at_every_size(size, dark, browser, report):
    with window(browser, size, dark=dark) as (page, watch):
        opened(page, report)
        assert grave_violations(page) == []
        assert not scrolls_sideways(page)
        assert watch.troubles == []
