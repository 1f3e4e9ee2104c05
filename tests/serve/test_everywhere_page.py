"""The search in all videos on the page, in a real browser."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.cli.running import EXAMPLES
from tests.extractors.cues.rendering import Line, srt
from tests.extractors.rendering import render
from tests.serve.browser import (
    NARROW,
    WIDE,
    grave_violations,
    scrolls_sideways,
    wait_until,
    window,
)
from tests.serve.running import Server, serving
from tests.serve.test_page import settled, tab_to, well_behaved

EXAMPLE = EXAMPLES / "example.mp4"
TIME = "document.getElementById('hit-video').currentTime"
PAUSED = "document.getElementById('hit-video').paused"
ROWS = """(rows) => rows.map((row) => [
    Number(row.ariaPosInSet), row.querySelector('.hit-name').innerText, row.querySelector('.when').innerText])"""
CUT_IN_HALF = """(names) => names
    .filter((name) => name.scrollHeight > name.clientHeight + 1).map((name) => name.innerText)"""
SAID = (
    "The budget is four million, and there is no more to say about it, neither today nor in any other year."
)
HOSTILE = "<img src=x onerror=document.title='bad'>.mp4"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """The example twice in a folder of its own, one with a name that tries to be markup, and one no browser plays."""
    place = tmp_path_factory.mktemp("everywhere")
    pets = place / "videos" / "pets"
    pets.mkdir(parents=True)
    shutil.copy(EXAMPLE, pets / "example.mp4")
    (pets / "copy.mp4").write_bytes(EXAMPLE.read_bytes() + b"\0\0\0\x08free")
    render(place / "videos" / HOSTILE, frames=40, fps=10)
    render(place / "videos" / "old.avi", frames=60, fps=10, codec="mpeg4")
    (place / "videos" / "old.srt").write_text(srt([Line(1, 3, SAID)]))
    with serving(place / "videos", home=place / "home") as running:
        yield running


def visit(page: Page, server: Server) -> None:
    """Open the search in all videos, and have all of them in the library."""
    page.goto(server.url)
    settled(page)
    page.keyboard.press("a")
    page.locator("#library-state", has_text="videos").wait_for()
    if page.locator("#library-add").is_visible():
        page.locator("#library-add").click()
    page.locator("#library-state", has_text="All of 4 videos").wait_for(timeout=240_000)


def look_for(page: Page, query: str) -> None:
    page.get_by_role("searchbox", name="What to look for in all videos").fill(query)
    page.keyboard.press("Enter")
    counted(page)


def counted(page: Page) -> None:
    """Wait until hits are there, or it is clear that there are none."""
    page.wait_for_timeout(100)
    wait_until(page, "/of|Nothing/.test(document.getElementById('everywhere-found').textContent)", 120)


def names(page: Page) -> set[str]:
    return {name.removesuffix("\n") for name in page.locator(".hit-name").all_inner_texts()}


def timecode(seconds: float) -> str:
    minutes, tenths = divmod(math.floor(10 * seconds + 0.5), 600)
    return f"{minutes}:{tenths / 10:04.1f}"


def hits(server: Server, query: str, **options: Any) -> list[dict[str, Any]]:
    with server.client() as client:
        found: dict[str, Any] = client.post("/api/search", json={"query": query, **options}).json()
    listed: list[dict[str, Any]] = found["hits"]
    return listed


def test_from_folders_to_a_moment(browser, server):
    with window(browser) as (page, watch):
        page.goto(server.url)
        settled(page)
        page.get_by_role("button", name="Search all videos").click()
        page.locator("#library-state", has_text="0 of 4 videos can be searched").wait_for()
        page.get_by_role("button", name="Make all 4 searchable").click()
        page.locator("#library-progress", has_text="of 4 videos").wait_for(timeout=60_000)
        page.locator("#library-state", has_text="All of 4 videos").wait_for(timeout=240_000)
        page.locator("#library-adding").wait_for(state="hidden")

        look_for(page, "a cup of coffee")
        best = hits(server, "a cup of coffee")[0]
        assert page.locator(".hit-name").first.inner_text() == best["name"]
        wait_until(page, "document.querySelector('.hit img').naturalWidth > 0")
        page.locator("button.hit").first.click()
        wait_until(page, f"{TIME} >= {best['start_s'] - 0.2}")
        assert page.evaluate(TIME) < best["end_s"] + 1
        assert page.locator("#hit-title").inner_text() == best["name"]
        # Now one of another video.
        other = next(
            at
            for at, hit in enumerate(hits(server, "a cup of coffee"))
            if hit["duration_s"] == best["duration_s"] and hit["name"] != best["name"]
        )
        page.locator("button.hit").nth(other).click()
        start_s = hits(server, "a cup of coffee")[other]["start_s"]
        wait_until(page, f"{TIME} >= {start_s - 0.2}")
        assert page.locator("button.hit[aria-current]").count() == 1
        page.get_by_role("button", name="Open this video").click()
        page.locator("#name", has_text=hits(server, "a cup of coffee")[other]["name"]).wait_for()
        assert page.locator("#everywhere").is_hidden()
        wait_until(page, f"Math.abs(document.getElementById('video').currentTime - {start_s}) < 0.5")
        well_behaved(watch, server)


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_moments_that_are_said_quote_it(browser, server, size):
    with window(browser, size) as (page, watch):
        visit(page, server)
        look_for(page, "the budget")
        first = page.locator("button.hit").first
        assert first.locator(".hit-name").inner_text() == "old.avi"
        quote = first.locator(".hit-quote")
        assert quote.inner_text() == f"Said: “{SAID}”"
        assert quote.get_attribute("title") == f"old.srt: {SAID}"
        # It is cut where the line ends, and hides nothing else.
        row, score = first.bounding_box(), first.locator(".score").bounding_box()
        assert quote.bounding_box()["x"] + quote.bounding_box()["width"] <= row["x"] + row["width"]
        assert quote.bounding_box()["y"] + quote.bounding_box()["height"] <= score["y"] + 1
        assert quote.bounding_box()["height"] > 12
        assert page.locator(".hit-quote").count() == 1
        assert not scrolls_sideways(page)
        assert grave_violations(page) == []
        well_behaved(watch, server)


def test_filters(browser, server):
    with window(browser) as (page, watch):
        visit(page, server)
        look_for(page, "a cat")
        assert names(page) == {"example.mp4", "copy.mp4", HOSTILE, "old.avi"}
        page.get_by_label("Name contains").fill("exam")
        wait_until(
            page, "new Set([...document.querySelectorAll('.hit-name')].map((e) => e.innerText)).size === 1"
        )
        assert names(page) == {"example.mp4"}
        page.get_by_label("Name contains").fill("")
        wait_until(
            page, "new Set([...document.querySelectorAll('.hit-name')].map((e) => e.innerText)).size === 4"
        )
        page.get_by_label("Folder", exact=True).select_option("videos/pets")
        wait_until(
            page, "new Set([...document.querySelectorAll('.hit-name')].map((e) => e.innerText)).size === 2"
        )
        assert names(page) == {"example.mp4", "copy.mp4"}
        page.get_by_label("Moments of one video").fill("1")
        wait_until(page, "document.querySelectorAll('.hit').length === 2")
        page.get_by_label("Folder", exact=True).select_option("")
        wait_until(page, "document.querySelectorAll('.hit').length === 4")
        page.get_by_label("Longer than").fill("30")
        wait_until(page, "document.querySelectorAll('.hit').length === 2")
        page.get_by_label("Longer than").fill("1000")
        page.locator("#everywhere-notes", has_text="No video fits the filters.").wait_for()
        assert page.locator("#everywhere-found").inner_text() == "Nothing found."
        page.get_by_label("Longer than").fill("")
        wait_until(page, "document.querySelectorAll('.hit').length === 4")
        page.get_by_label("Clear matches only").check()
        wait_until(page, "!document.querySelector('.hit.unclear')")
        page.get_by_label("Moments of one video").fill("0")
        page.locator("#everywhere-problem", has_text="a whole number from 1 to 100").wait_for()
        well_behaved(watch, server)


def test_keys_alone_are_enough(browser, server):
    with window(browser) as (page, watch):
        visit(page, server)
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("/")
        page.keyboard.type("a cat")
        page.keyboard.press("Enter")
        counted(page)
        found = hits(server, "a cat")
        assert tab_to(page, "button.hit") < 12
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Enter")
        wait_until(page, f"!{PAUSED} && {TIME} >= {found[0]['start_s'] - 0.2}")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("Space")
        wait_until(page, PAUSED)
        page.keyboard.press("n")
        wait_until(page, "document.activeElement.dataset.at === '1'")
        assert page.locator("#hit-when").inner_text().startswith("0:")
        page.keyboard.press("p")
        wait_until(page, "document.activeElement.dataset.at === '0'")
        well_behaved(watch, server)


def test_the_list_goes_on_to_the_last_hit(browser, server):
    with window(browser) as (page, watch):
        visit(page, server)
        page.get_by_label("Moments of one video").fill("100")
        look_for(page, "a cat")
        everything = hits(server, "a cat", per_video=100, top_k=10_000)
        assert len(everything) > 16
        # Only rows near what is in sight are on the page; each says which one it is.
        seen: dict[int, tuple[str, str]] = {}
        page.mouse.move(500, 500)
        for _ in range(200):
            seen |= {at: (name, when) for at, name, when in page.locator("#hits li").evaluate_all(ROWS)}
            if len(seen) == len(everything):
                break
            page.mouse.wheel(0, 2000)
            page.wait_for_timeout(50)
        listed = [seen[at] for at in sorted(seen)]
        assert sorted(seen) == [at + 1 for at in range(len(everything))]
        assert len(set(listed)) == len(everything)
        assert listed == [
            (hit["name"], f"{timecode(hit['start_s'])} – {timecode(hit['end_s'])}") for hit in everything
        ]
        # The keys reach rows that are not on the page.
        page.locator("button.hit[tabindex='0']").focus()
        for key, at in (
            ("Home", 0),
            ("End", len(everything) - 1),
            ("ArrowUp", len(everything) - 2),
            ("Home", 0),
        ):
            page.keyboard.press(key)
            assert page.evaluate("document.activeElement.dataset.at") == str(at)
            box = page.locator("button.hit:focus").bounding_box()
            assert -1 <= box["y"] <= WIDE[1] - box["height"] + 1
        page.keyboard.press("Enter")
        assert page.locator("button.hit[aria-current]").get_attribute("data-at") == "0"
        found = page.locator("#everywhere-found").inner_text()
        assert found == f"{len(everything)} moments of 4 videos"
        well_behaved(watch, server)


def test_the_list_goes_on_though_the_server_let_go_of_it(browser, server):
    with window(browser) as (page, _):
        visit(page, server)
        page.get_by_label("Moments of one video").fill("100")
        look_for(page, "a cat")
        for _ in range(32):
            hits(server, "a coin", top_k=1)
        count = len(hits(server, "a cat", per_video=100, top_k=10_000))
        page.locator("button.hit[tabindex='0']").focus()
        page.keyboard.press("End")
        page.locator("#everywhere-found", has_text=f"{count} moments of 4 videos").wait_for()
        assert page.locator("#hits li").first.get_attribute("aria-setsize") == str(count)
        assert page.get_by_role("alert").inner_text() == ""


def test_a_picture_stands_for_what_does_not_play(browser, server):
    with window(browser) as (page, _):
        visit(page, server)
        page.get_by_label("Name contains").fill("old")
        look_for(page, "a cat")
        page.locator("button.hit").first.click()
        page.locator("#hit-trouble").wait_for()
        wait_until(page, "document.getElementById('hit-still').naturalWidth > 0")


def test_the_view_survives_a_reload(browser, server):
    with window(browser) as (page, watch):
        visit(page, server)
        assert page.title() == "All videos – vtg"
        page.reload()
        page.locator("#library-state", has_text="All of 4 videos").wait_for()
        page.locator("#videos button", has=page.get_by_text("copy.mp4", exact=True)).click()
        page.locator("#name", has_text="copy.mp4").wait_for()
        assert page.locator("#everywhere").is_hidden()
        assert page.title() == "copy.mp4 – vtg"
        well_behaved(watch, server)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_everybody_can_use_it_at_every_size(size, dark, browser, server):
    with window(browser, size, dark=dark) as (page, watch):
        visit(page, server)
        assert grave_violations(page) == []
        look_for(page, "a cat")
        assert page.locator(".hit-name").evaluate_all(CUT_IN_HALF) == []
        page.locator("button.hit").first.click()
        page.locator("#hit-player").wait_for()
        assert grave_violations(page) == []
        assert not scrolls_sideways(page)
        well_behaved(watch, server)
