"""The page of `vtg serve` in a real browser: what a person does with it, by mouse, by keyboard, on a phone."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route

from tests.cli.running import EXAMPLES
from tests.extractors.rendering import render
from tests.hostile import damaged_in_the_middle
from tests.serve.browser import (
    NARROW,
    WIDE,
    Watch,
    grave_violations,
    scrolls_sideways,
    wait_until,
    window,
)
from tests.serve.running import Server, serving

EXAMPLE = EXAMPLES / "example.mp4"
HOSTILE = "<img src=x onerror=document.title='bad'>.mp4"
TIME = "document.getElementById('video').currentTime"
PLAYABLE = "document.getElementById('video').readyState > 0"
QUIET = "!document.getElementById('video').seeking"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The example, one with a name that tries to be markup, one that no browser plays, and a long one."""
    folder = tmp_path_factory.mktemp("videos")
    shutil.copy(EXAMPLE, folder / "example.mp4")
    render(folder / HOSTILE, frames=40, fps=10)
    render(folder / "old.avi", frames=60, fps=10, codec="mpeg4")
    render(folder / "long.mp4", frames=1200, fps=Fraction(2), width=160, height=96)
    return folder


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory) -> Iterator[Server]:
    with serving(folder, home=tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Iterator[Server]:
    with serving(home=tmp_path_factory.mktemp("empty")) as running:
        yield running


def visit(page: Page, server: Server, name: str = "example.mp4") -> None:
    """Open the page at one of its videos."""
    page.goto(server.url)
    settled(page)
    if page.locator("#videos").is_hidden():
        page.locator("#library-toggle").click()
    page.locator("#videos button", has=page.get_by_text(name, exact=True)).click()
    page.locator("#name", has_text=name).wait_for()
    settled(page)


def settled(page: Page) -> None:
    """Wait until a video and its latest search are there."""
    page.locator("#work[aria-busy='false']").wait_for()


def look_for(page: Page, *queries: str) -> None:
    """Search with nothing else in the form, and wait for the moments."""
    if page.locator("#clear").is_visible():
        page.locator("#clear").click()
    page.get_by_role("textbox", name="What to look for").fill(queries[0])
    for query in queries[1:]:
        page.get_by_role("button", name="Look for something else as well").click()
        page.keyboard.type(query)
    page.get_by_role("button", name="Find", exact=True).click()
    for query in queries:
        page.locator(".answer h3", has=page.get_by_text(query, exact=True)).wait_for(timeout=120_000)


def found(page: Page, server: Server) -> dict[str, Any]:
    """The job that the page shows."""
    job = re.search(r"search=([^&]+)", page.url)
    assert job is not None
    with server.client() as client:
        answer: dict[str, Any] = client.get(f"/api/jobs/{job[1]}").json()
    return answer


def well_behaved(watch: Watch, server: Server) -> None:
    assert watch.troubles == []
    assert watch.origins() == {server.url}


def test_from_a_file_to_a_moment_to_a_spreadsheet(browser, empty, tmp_path):
    with window(browser) as (page, watch):
        page.goto(empty.url)
        page.get_by_role("heading", name="Drop a video here").wait_for()
        page.locator("#file").set_input_files(EXAMPLE)
        page.get_by_role("heading", name="example.mp4").wait_for()
        wait_until(page, PLAYABLE)

        page.evaluate("""() => {
            window.seen = [];
            const note = () => window.seen.push([stage.textContent, bar.value]);
            const stage = document.getElementById("stage"), bar = document.getElementById("bar");
            const shown = document.getElementById("progress");
            new MutationObserver(() => shown.hidden || note())
                .observe(shown, { attributes: true, characterData: true, childList: true, subtree: true });
            document.getElementById("video").addEventListener(
                "seeked", (event) => { window.landed ??= event.target.currentTime; });
        }""")
        look_for(page, "a cup of coffee")
        stages = page.evaluate("window.seen")
        assert any(stage.startswith("Watching the video") for stage, _ in stages)
        assert any(0 < share < 1 for _, share in stages)
        assert [share for _, share in stages] == sorted(share for _, share in stages)

        best = found(page, empty)["results"][0]["moments"][0]
        page.locator("button.moment").first.click()
        wait_until(page, "window.landed !== undefined")
        assert page.evaluate("window.landed") == pytest.approx(best["start_s"], abs=0.2)
        assert not page.evaluate("document.getElementById('video').paused")
        assert 21 - 1 <= best["start_s"] <= 21 + 1

        page.get_by_role("button", name="Save as…").click()
        with page.expect_download() as download:
            page.locator("#save-list a[data-format='csv']").click()
        download.value.save_as(tmp_path / "saved.csv")
        with (tmp_path / "saved.csv").open(newline="") as file:
            first = next(csv.DictReader(file))
        assert first["query"] == "a cup of coffee"
        assert float(first["start_s"]) == pytest.approx(best["start_s"], abs=0.001)
        assert float(first["end_s"]) == pytest.approx(best["end_s"], abs=0.001)

        with empty.client() as client:
            formats = [form["name"] for form in client.get("/api/formats").json()["formats"]]
        page.get_by_role("button", name="Save as…").click()
        assert [link.get_attribute("data-format") for link in page.locator("#save-list a").all()] == formats
        well_behaved(watch, empty)


def test_a_moment_plays_to_its_end_and_no_further(browser, server):
    with window(browser) as (page, watch):
        visit(page, server)
        look_for(page, "a cat")
        wait_until(page, PLAYABLE)
        best = found(page, server)["results"][0]["moments"][0]
        page.locator("button.moment").first.click()
        wait_until(page, QUIET)
        page.evaluate("document.getElementById('video').playbackRate = 8")
        wait_until(page, "document.getElementById('video').paused")
        assert page.evaluate(TIME) == pytest.approx(best["end_s"], abs=2.0)
        assert page.evaluate(TIME) >= best["end_s"]
        well_behaved(watch, server)


def test_keys_alone_are_enough(browser, server):
    with window(browser) as (page, watch):
        page.goto(server.url)
        page.locator("#name").wait_for()
        # The library is one stop; arrows choose in it.
        page.locator("#videos button[tabindex='0']").focus()
        page.keyboard.press("Home")
        while "example.mp4" not in page.evaluate("document.activeElement.innerText"):
            page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.locator("#name", has_text="example.mp4").wait_for()
        wait_until(page, PLAYABLE)
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.matches('#rows input')")
        page.keyboard.type("a cat")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("a rocket on the launch pad")
        page.keyboard.press("Enter")
        page.locator(".answer h3", has_text="a rocket").wait_for(timeout=120_000)
        results = found(page, server)["results"]

        stops = tab_to(page, "button.moment")
        assert stops < 15
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("End")
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
        wait_until(page, "!document.getElementById('video').paused")
        start = results[0]["moments"][0]["start_s"]
        wait_until(page, f"{TIME} >= {start - 0.2}")
        assert page.evaluate(TIME) < start + 3

        # Space anywhere but on a button.
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("Space")
        wait_until(page, "document.getElementById('video').paused")
        before = page.evaluate(TIME)
        page.keyboard.press("ArrowRight")
        wait_until(page, f"Math.abs({TIME} - {before} - 5) < 0.1")
        starts = sorted(moment["start_s"] for result in results for moment in result["moments"])
        following = next(start for start in starts if start > before + 5.05)
        page.keyboard.press("n")
        wait_until(page, f"Math.abs({TIME} - {following}) < 0.1")

        page.locator("#chart").focus()
        page.keyboard.press("Home")
        wait_until(page, f"{TIME} === 0")

        page.locator("#save-button").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowDown")
        second = page.locator("#save-list a").nth(1).get_attribute("data-format")
        assert page.evaluate("document.activeElement.dataset.format") == second
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.id") == "save-button"
        page.keyboard.press("?")
        assert page.get_by_role("dialog", name="Keys").is_visible()
        page.keyboard.press("Escape")
        assert page.get_by_role("dialog", name="Keys").is_hidden()
        well_behaved(watch, server)


def test_late_search_leaves_the_form(browser, server):
    with window(browser) as (page, watch):
        visit(page, server)
        look_for(page, "a cat")
        waiting: list[Route] = []

        late = True

        def hold(route: Route) -> None:
            if late:
                waiting.append(route)
            else:
                route.continue_()

        page.route(re.compile(r"/api/jobs/\w+$"), hold)
        page.reload()
        page.locator("#name", has_text="example.mp4").wait_for()
        for _ in range(600):
            if waiting:
                break
            page.wait_for_timeout(50)
        page.keyboard.press("/")
        assert waiting
        late = False
        for route in waiting:  # a slow page may have asked twice
            route.continue_()
        page.locator(".answer h3", has_text="a cat").wait_for()
        page.keyboard.type("a dog")
        assert page.locator("#rows input").input_value() == "a dog"
        well_behaved(watch, server)


def tab_to(page: Page, selector: str) -> int:
    """Press Tab until something has the focus; says how often."""
    for count in range(1, 60):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return count
    raise AssertionError(f"{selector} cannot be reached by keyboard")


def test_player_stays_visible_on_a_phone(browser, server):
    with window(browser, NARROW) as (page, watch):
        visit(page, server)
        assert page.evaluate("document.activeElement.id") == "library-toggle"
        look_for(page, "a cat", "a cup of coffee", "a rocket on the launch pad")
        wait_until(page, PLAYABLE)
        last = page.locator("button.moment").last
        last.scroll_into_view_if_needed()
        last.click()
        wait_until(page, "!document.getElementById('video').paused")
        player = page.locator("#video").bounding_box()
        assert 0 <= player["y"] < NARROW[1] / 4
        assert page.evaluate("scrollY") > 500
        # Nothing that has the focus lies under it.
        for _ in range(12):
            page.keyboard.press("Shift+Tab")
            focused = page.evaluate("""() => {
                const box = document.activeElement.getBoundingClientRect();
                const shown = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
                return document.activeElement.contains(shown) || shown?.contains(document.activeElement);
            }""")
            assert focused, page.evaluate("document.activeElement.outerHTML")
        well_behaved(watch, server)


def test_several_searches_lie_over_one_another(browser, server):
    queries = ("a cat", "a cup of coffee", "a rocket on the launch pad")
    with window(browser) as (page, watch):
        visit(page, server)
        look_for(page, *queries)
        lines = page.locator("#chart path.line")
        assert lines.count() == 3
        chart = page.locator("#chart").bounding_box()
        looks = set()
        for line in lines.all():
            box = line.bounding_box()
            assert box["x"] == pytest.approx(chart["x"], abs=6)
            assert box["width"] == pytest.approx(chart["width"], abs=12)
            looks.add(
                line.evaluate("(e) => getComputedStyle(e).stroke + '/' + getComputedStyle(e).strokeDasharray")
            )
        assert len({look.split("/")[0] for look in looks}) == len({look.split("/")[1] for look in looks}) == 3
        assert page.locator("#chart .tag-letter").all_text_contents() == ["A", "B", "C"]
        for at, (query, second) in enumerate(zip(queries, (10, 25, 39), strict=True)):
            # At the middle of what it asks for, its line is the highest.
            page.mouse.move(chart["x"] + chart["width"] * second / 50, chart["y"] + 60)
            told = page.locator(".readout").inner_text()
            scores = [float(score) for score in re.findall(r"[A-C]\s*([\d.]+)", told)]
            assert max(scores) == scores[at], (query, told)
        page.locator("#legend button").nth(1).click()
        assert lines.count() == 2
        assert page.locator("#chart .tag-letter").all_text_contents() == ["A", "C"]

        bar = page.locator("#chart .bar.best").first
        bar.click()
        start = found(page, server)["results"][0]["moments"][0]["start_s"]
        wait_until(page, f"{TIME} >= {start - 0.2} && {TIME} < {start + 3}")
        page.mouse.click(chart["x"] + chart["width"] / 2, chart["y"] + 60)
        wait_until(page, f"Math.abs({TIME} - 25) < 3")
        well_behaved(watch, server)


def test_lines_that_are_pasted_become_searches(browser, server):
    with window(browser) as (page, watch):
        visit(page, server)
        if page.locator("#clear").is_visible():
            page.locator("#clear").click()
        page.locator("#rows input").first.evaluate("""(input) => {
            const data = new DataTransfer();
            data.setData("text", "a cat\\n\\n a dog \\r\\na bird");
            input.value = "";
            input.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, cancelable: true, bubbles: true }));
        }""")
        values = [box.input_value() for box in page.locator("#rows input").all()]
        assert values == ["a cat", "a dog", "a bird"]
        page.get_by_role("button", name="Remove search 2").click()
        assert [box.input_value() for box in page.locator("#rows input").all()] == ["a cat", "a bird"]
        for _ in range(30):
            if page.locator("#add").is_visible():
                page.locator("#add").click()
        assert page.locator("#rows input").count() == 20
        page.locator("#clear").click()
        page.locator("#rows input").fill("  ")
        page.get_by_role("button", name="Find", exact=True).click()
        assert page.locator("#problem").inner_text() == "Say what to look for first."
        well_behaved(watch, server)


def test_a_search_can_be_cancelled(browser, server):
    with window(browser) as (page, watch):
        visit(page, server, "long.mp4")
        page.get_by_role("textbox", name="What to look for").fill("a cat")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Cancel").click()
        page.locator("#results-hint", has_text="The search was cancelled.").wait_for(timeout=120_000)
        assert found(page, server)["state"] == "cancelled"
        assert page.locator("#progress").is_hidden()
        assert page.locator("button.moment").count() == 0
        well_behaved(watch, server)


def test_state_survives_a_reload(browser, server):
    with window(browser) as (page, watch):
        visit(page, server)
        look_for(page, "a cat")
        look_for(page, "a brick wall")
        page.reload()
        page.locator(".answer h3", has_text="a brick wall").wait_for()
        assert page.locator("#rows input").input_value() == "a brick wall"
        page.locator("#earlier-list button", has_text=re.compile("^a cat")).first.click()
        page.locator(".answer h3", has_text="a cat").wait_for()
        assert page.locator("#rows input").input_value() == "a cat"
        well_behaved(watch, server)


def test_progress_by_polling(browser, server):
    with window(browser) as (page, _):
        page.route("**/events", lambda route: route.abort())
        visit(page, server)
        look_for(page, "an astronaut")
        assert page.locator("button.moment").count() > 0


def test_what_is_no_video_is_refused_in_words(browser, empty, tmp_path):
    (tmp_path / "notes.mp4").write_text("These are notes, and no video.\n" * 100)
    with window(browser) as (page, watch):
        page.goto(empty.url)
        page.locator("#file").set_input_files(tmp_path / "notes.mp4")
        alert = page.get_by_role("alert")
        alert.locator("p").wait_for()
        assert alert.inner_text().startswith("notes.mp4 was not added. ")
        assert page.locator("#uploads li").count() == 0
        assert page.locator("#videos button", has_text="notes.mp4").count() == 0
        assert grave_violations(page) == []
        page.get_by_role("button", name="Dismiss").click()
        assert alert.inner_text() == ""
        # The browser itself notes the refusal.
        assert all("422" in trouble for trouble in watch.troubles)


def test_a_video_is_dropped_in_and_removed(browser, empty, tmp_path):
    render(tmp_path / "drop.mp4", frames=20, fps=10)
    content = list((tmp_path / "drop.mp4").read_bytes())
    with window(browser) as (page, watch):
        page.goto(empty.url)
        page.locator("#choose").wait_for()
        transfer = page.evaluate_handle(
            """(bytes) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(bytes)], "drop.mp4", { type: "video/mp4" }));
                return data;
            }""",
            content,
        )
        page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
        assert page.locator("#drop").is_visible()
        page.dispatch_event("body", "drop", {"dataTransfer": transfer})
        page.get_by_role("heading", name="drop.mp4").wait_for()
        assert page.locator("#drop").is_hidden()

        page.get_by_role("button", name="Remove", exact=True).click()
        page.get_by_role("button", name="Keep it").click()
        assert page.locator("#videos button", has_text="drop.mp4").count() == 1
        page.get_by_role("button", name="Remove", exact=True).click()
        well_behaved(watch, empty)
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        page.locator("#videos button", has_text="drop.mp4").wait_for(state="detached")
        # What the page was still waiting for as the video went is not found.
        assert all("404" in trouble for trouble in watch.troubles)
        assert len(watch.troubles) <= len(watch.missing)
        assert all("/api/videos/" in address for address in watch.missing)


def test_names_and_queries_are_never_markup(browser, server):
    query = "</p><img src=x onerror=document.title='bad'>"
    with window(browser) as (page, watch):
        visit(page, server, HOSTILE)
        look_for(page, query)
        page.locator("button.moment").first.click()
        assert page.locator("#name").inner_text() == HOSTILE
        assert page.title() == f"{HOSTILE} – vtg"
        assert page.locator(".answer h3").inner_text().strip() == query
        assert page.locator("img[src='x'], [onerror]").count() == 0
        assert page.locator("#remove").is_hidden()
        well_behaved(watch, server)


def test_unplayable_videos_are_searched(browser, server):
    with window(browser) as (page, watch):
        visit(page, server, "old.avi")
        page.locator("#trouble").wait_for()
        assert page.locator("#video").is_hidden()
        look_for(page, "a test picture")
        start = found(page, server)["results"][0]["moments"][0]["start_s"]
        page.locator("button.moment").first.click()
        assert float(page.locator("#chart").get_attribute("aria-valuenow")) == pytest.approx(start, abs=0.1)
        # A picture of where it stands, also where the chart is clicked.
        still = page.locator("#still")
        chart = page.locator("#chart").bounding_box()
        for act, time in (
            (lambda: None, start),
            (lambda: page.mouse.click(chart["x"] + chart["width"] / 2, chart["y"] + 40), 3.0),
        ):
            act()
            wait_until(page, f"document.getElementById('still').src.includes('at_s={time:.2f}&size=large')")
            wait_until(page, "document.getElementById('still').complete")
            assert still.evaluate("(image) => image.naturalWidth") > 0
            assert re.fullmatch(r"The picture at 0:0\d\.0", still.get_attribute("alt"))
        assert still.is_visible()
        assert grave_violations(page) == []
        visit(page, server)
        assert page.locator("#still").is_hidden()
        wait_until(page, PLAYABLE)
        assert watch.origins() == {server.url}


def test_errors_of_several_uploads_stay(browser, tmp_path):
    for name in ("notes.mp4", "more notes.mp4"):
        (tmp_path / name).write_text("These are notes, and no video.\n" * 100)
    names = ("first.mp4", "second.mp4")
    for number, name in enumerate(names):
        render(tmp_path / name, frames=20 + number, fps=10)
    with serving(home=tmp_path / "home") as server, window(browser) as (page, _):
        page.goto(server.url)
        page.locator("#file").set_input_files(
            [tmp_path / name for name in ("notes.mp4", "first.mp4", "more notes.mp4", "second.mp4")]
        )
        page.locator("#count", has_text="2").wait_for()
        alert = page.get_by_role("alert")
        # What was not added is told of until it is dismissed, and the first that was added stays on show.
        for _ in range(2):
            assert [text.partition(" was not added. ")[0] for text in alert.locator("p").all_inner_texts()] == [
                "notes.mp4", "more notes.mp4"
            ]  # fmt: skip
            assert page.locator("#name").inner_text() == "first.mp4"
            look_for(page, "a test picture")
        assert grave_violations(page) == []
        page.get_by_role("button", name="Dismiss").click()
        assert alert.inner_text() == ""


def test_other_pages_follow_changes(browser, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    render(tmp_path / "sent.mp4", frames=20, fps=10)
    with (
        serving(folder, home=tmp_path / "home") as server,
        window(browser) as (here, watch),
        window(browser) as (there, other),
    ):
        for page in (here, there):
            page.goto(server.url)
            page.get_by_role("heading", name="Drop a video here").wait_for()
        here.locator("#file").set_input_files(tmp_path / "sent.mp4")
        there.locator("#name", has_text="sent.mp4").wait_for()
        there.get_by_role("textbox", name="What to look for").fill("half a sent")

        render(folder / "arrived.mp4", frames=30, fps=10)
        for page in (here, there):
            page.locator("#videos button", has_text="arrived.mp4").wait_for()
        # Nothing else of the page has changed.
        assert there.locator("#rows input").input_value() == "half a sent"
        assert there.locator("#name").inner_text() == "sent.mp4"

        here.get_by_role("button", name="Remove", exact=True).click()
        here.get_by_role("dialog").get_by_role("button", name="Remove").click()
        there.locator("#name", has_text="arrived.mp4").wait_for()
        there.get_by_role("alert").filter(has_text=re.compile("^sent.mp4 is no longer there.")).wait_for()
        assert here.get_by_role("alert").inner_text() == ""

        (folder / "arrived.mp4").unlink()
        for page in (here, there):
            page.get_by_role("heading", name="Drop a video here").wait_for()
        for seen in (watch, other):
            assert [trouble for trouble in seen.troubles if "404" not in trouble] == []


def test_changed_file_is_another_video(browser, tmp_path):
    (tmp_path / "videos").mkdir()
    path = render(tmp_path / "videos" / "take.mp4", frames=20, fps=10)
    with serving(tmp_path / "videos", home=tmp_path / "home") as server, window(browser) as (page, _):
        page.goto(server.url)
        page.locator("#facts", has_text="0:02.0").wait_for()
        # At once: a file that is half written when it is looked at has gone for the page, which is another message.
        render(tmp_path / "other.mp4", frames=50, fps=10).replace(path)
        page.locator("#facts", has_text="0:05.0").wait_for()
        page.get_by_role("alert").filter(has_text=re.compile("^take.mp4 has changed")).wait_for()


def test_on_a_phone_the_search_is_in_sight(browser, server):
    with window(browser, NARROW) as (page, watch):
        visit(page, server)
        for _ in range(2):
            for wanted in (
                page.locator("#rows input").first,
                page.get_by_role("button", name="Find", exact=True),
            ):
                box = wanted.bounding_box()
                assert box["y"] >= 0
                assert box["y"] + box["height"] <= NARROW[1]
            assert page.evaluate("scrollY") == 0
            if page.locator(".answer").count() == 0:
                look_for(page, "a cat")
                page.evaluate("scrollTo(0, 0)")
        well_behaved(watch, server)


LONG_NAMES = (
    "holiday in the mountains 2023.mp4",
    "Screen Recording 2024-03-01 at 10.22.33.mov",
    "GX010123_interview_final_cut_v2.mp4",
    "MyHolidayVideoInSpain2023.mp4",
    "a.mp4",
)
BROKEN_WORDS = """(names) => names.flatMap((name) => {
    const texts = document.createTreeWalker(name, NodeFilter.SHOW_TEXT), broken = [];
    while (texts.nextNode()) {
        for (const found of texts.currentNode.data.matchAll(/[\\p{L}\\p{N}]+/gu)) {
            const range = document.createRange();
            range.setStart(texts.currentNode, found.index);
            range.setEnd(texts.currentNode, found.index + found[0].length);
            if (range.getClientRects().length > 1) broken.push(found[0]);
        }
    }
    return broken;
})"""


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Iterator[Server]:
    """A server with a list to scroll, of names of every length."""
    folder = tmp_path_factory.mktemp("many")
    first = render(tmp_path_factory.mktemp("one") / "v.mp4", frames=4, fps=4, width=64, height=48)
    for name in (*LONG_NAMES, *(f"{'long ' * (number % 9)}name {number:02d}.mp4" for number in range(60))):
        os.link(first, folder / name)
    with serving(folder, home=tmp_path_factory.mktemp("home")) as running:
        running.folder = folder
        yield running


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_names_are_broken_where_words_end(size, browser, many):
    with window(browser, size) as (page, watch):
        page.goto(many.url)
        settled(page)
        if page.locator("#library-toggle").is_visible():
            page.locator("#library-toggle").click()
        names = page.locator("#videos .video-name")
        assert set(LONG_NAMES) <= set(names.all_inner_texts())
        assert names.evaluate_all(BROKEN_WORDS) == []
        assert not scrolls_sideways(page)
        well_behaved(watch, many)


PLACES = """(rows) => Object.fromEntries(rows.map((row) => [
    row.innerText, row.getBoundingClientRect().top + document.getElementById("videos").scrollTop]))"""
GAPS = """(() => {
    const list = document.getElementById("videos").getBoundingClientRect();
    const isRow = (y) => document.elementFromPoint(list.left + 40, y)?.closest("li");
    return Array.from({ length: 9 }, (_, k) => list.top + 8 + k * (list.height - 30) / 8).filter((y) => !isRow(y));
})()"""


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_list_is_stable_while_scrolling(size, browser, many):
    with window(browser, size) as (page, watch):
        page.goto(many.url)
        settled(page)
        if page.locator("#library-toggle").is_visible():
            page.locator("#library-toggle").click()
        page.locator("#count", has_text="65").wait_for()
        height = page.evaluate("document.getElementById('videos').scrollHeight")
        places = page.locator("#videos li").evaluate_all(PLACES)
        box = page.locator("#videos").bounding_box()
        page.mouse.move(box["x"] + 50, box["y"] + 100)
        for _ in range(12):
            page.mouse.wheel(0, 300)
            page.wait_for_timeout(60)
            now = page.locator("#videos li").evaluate_all(PLACES)
            assert {name: now[name] for name in now.keys() & places.keys()} == pytest.approx(
                {name: places[name] for name in now.keys() & places.keys()}, abs=0.6
            )
            assert page.evaluate(GAPS) == []
            places |= now
        assert len(places) == 65
        assert page.evaluate("document.getElementById('videos').scrollHeight") == height

        # What arrives above moves nothing that is in sight.
        seen = page.locator("#videos li", has_text="name 40.mp4")
        seen.scroll_into_view_if_needed()
        top = seen.bounding_box()["y"]
        os.link(many.folder / LONG_NAMES[0], many.folder / "AAA arrives.mp4")
        try:
            page.locator("#count", has_text="66").wait_for()
            assert seen.bounding_box()["y"] == pytest.approx(top, abs=1)
        finally:
            (many.folder / "AAA arrives.mp4").unlink()
        page.locator("#count", has_text="65").wait_for()
        assert seen.bounding_box()["y"] == pytest.approx(top, abs=1)
        well_behaved(watch, many)


def test_the_filter_takes_enter_and_arrows(browser, many):
    with window(browser) as (page, watch):
        page.goto(many.url)
        settled(page)
        box = page.get_by_role("searchbox", name="Filter videos by name")
        box.fill("name 3")
        shown = page.locator("#videos li:visible .video-name").all_inner_texts()
        assert len(shown) > 5
        focused = "document.activeElement.querySelector('.video-name').innerText"
        for key, name in (
            ("ArrowDown", shown[0]), ("ArrowDown", shown[1]), ("End", shown[-1]), ("Home", shown[0])
        ):  # fmt: skip
            page.keyboard.press(key)
            assert page.evaluate(focused) == name
        page.keyboard.press("ArrowUp")
        assert page.evaluate("document.activeElement.id") == "filter"
        page.keyboard.press("Tab")
        assert page.evaluate(focused) == shown[0]
        box.fill("name 47")
        page.keyboard.press("Enter")
        page.locator("#name", has_text="name 47.mp4").wait_for()
        well_behaved(watch, many)


def test_model_note_can_be_dismissed(browser, server):
    with window(browser) as (page, watch):
        visit(page, server)
        look_for(page, "a cat")
        about = page.locator("#about")
        assert about.bounding_box()["height"] < 40
        about.locator("summary").click()
        assert "no actions" in about.inner_text()
        assert grave_violations(page) == []
        about.get_by_role("button", name="Do not show this again").click()
        look_for(page, "a cup of coffee")
        assert about.is_hidden()
        page.reload()
        page.locator(".answer h3", has_text="a cup of coffee").wait_for()
        assert about.is_hidden()
        well_behaved(watch, server)


def test_queries_are_shown_as_they_were_typed(browser, server):
    with window(browser) as (page, watch):
        visit(page, server)
        look_for(page, "eine u-boot-fahrt")
        note = page.locator(".note", has_text="“eine u-boot-fahrt”")
        assert note.inner_text().startswith("“eine u-boot-fahrt”: nothing here matches clearly")
        for element in (note, page.locator(".answer h3")):
            for part in ("", "::first-letter"):
                shown = element.evaluate("(e, part) => getComputedStyle(e, part || null).textTransform", part)
                assert shown == "none"
        well_behaved(watch, server)


def test_damage_is_shown_with_every_search(browser, tmp_path):
    _, damaged = damaged_in_the_middle(tmp_path)
    with serving(damaged, home=tmp_path / "home") as server, window(browser) as (page, _):
        page.goto(server.url)
        settled(page)
        for query in ("a cat", "a dog"):
            look_for(page, query)
            page.locator(".note", has_text="This video is damaged somewhere in").wait_for()
            mark, chart = page.locator("#chart .damage").bounding_box(), page.locator("#chart").bounding_box()
            assert chart["x"] < mark["x"] < chart["x"] + chart["width"] / 2 < mark["x"] + mark["width"]


IN_SIGHT = """(row) => {
    const list = document.getElementById("videos").getBoundingClientRect();
    const { top, bottom } = row.getBoundingClientRect();
    return top >= list.top - 1 && bottom <= list.bottom + 1;
}"""


def test_a_thousand_videos(browser, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    first = render(tmp_path / "v.mp4", frames=4, fps=4, width=64, height=48)
    for number in range(1000):
        os.link(first, folder / f"holiday {number:04d}.mp4")
    with serving(folder, home=tmp_path / "home") as server, window(browser) as (page, watch):
        page.goto(server.url)
        page.locator("#count", has_text="1000").wait_for(timeout=120_000)
        page.wait_for_timeout(500)
        pictures = [address for address in watch.requests if "/thumbnail" in address]
        assert len(pictures) < 150, len(set(pictures))
        # One stop for the Tab key, whatever the length.
        assert page.locator("#videos button[tabindex='0']").count() == 1
        # Only rows near what is in sight are on the page; the keys reach all.
        assert 10 < page.locator("#videos li").count() < 120
        page.locator("#videos button[tabindex='0']").focus()
        for key, number in (("End", 999), ("ArrowUp", 998), ("Home", 0), ("ArrowDown", 1), ("End", 999)):
            page.keyboard.press(key)
            assert page.evaluate("document.activeElement.innerText").startswith(f"holiday {number:04d}.mp4")
            focused = page.locator("#videos li:has(:focus)")
            assert focused.get_attribute("aria-posinset") == str(number + 1)
            assert focused.get_attribute("aria-setsize") == "1000"
            assert focused.evaluate(IN_SIGHT)
        wait_until(page, "document.querySelectorAll('#videos li').length < 120")
        page.get_by_role("searchbox", name="Filter videos by name").fill("0042 HOLI")
        assert page.locator("#videos li:visible").all_inner_texts()[0].startswith("holiday 0042.mp4")
        assert page.locator("#videos li:visible").count() == 1
        page.get_by_role("searchbox").fill("nowhere")
        assert page.locator("#library-hint").inner_text() == "None of 1000 videos is called that."
        assert watch.troubles == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, (800, 900), NARROW, (320, 640)], ids=lambda size: str(size[0]))
def test_everybody_can_use_it_at_every_size(size, dark, browser, server):
    with window(browser, size, dark=dark) as (page, watch):
        page.goto(server.url)
        settled(page)
        if page.locator("#library-toggle").is_visible():
            assert page.locator("#videos").is_hidden()
            page.locator("#library-toggle").click()
        assert not scrolls_sideways(page)
        assert grave_violations(page) == []
        visit(page, server)
        look_for(page, "a cat", "a cup of coffee", "eine Katze, " * 30 + "W" * 100)
        page.locator("button.moment").first.click()
        assert not scrolls_sideways(page)
        assert grave_violations(page) == []
        page.locator("#save-button").click()
        page.locator(".options summary").click()
        if page.locator("#about").is_visible():
            page.locator("#about summary").click()
        assert not scrolls_sideways(page)
        assert grave_violations(page) == []
        page.locator("#show-keys").click()
        assert grave_violations(page) == []
        well_behaved(watch, server)


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_empty_page_says_what_to_do(size, browser, tmp_path):
    with serving(home=tmp_path) as server, window(browser, size) as (page, watch):
        page.goto(server.url)
        page.get_by_role("heading", name="Drop a video here").wait_for()
        with page.expect_file_chooser():
            page.get_by_role("button", name="Choose a video").click()
        assert grave_violations(page) == []
        assert not scrolls_sideways(page)
        well_behaved(watch, server)


def test_a_server_that_is_gone_is_named(browser, tmp_path):
    with window(browser) as (page, _):
        with serving(EXAMPLE, home=tmp_path) as server:
            page.goto(server.url)
            page.locator("#name", has_text="example.mp4").wait_for()
            wait_until(page, PLAYABLE)
        page.get_by_role("textbox", name="What to look for").fill("a cat")
        page.keyboard.press("Enter")
        page.get_by_role("alert").locator("p").wait_for()
        assert "does not answer" in page.get_by_role("alert").inner_text()


def test_token_stays_out_of_the_address(browser, tmp_path):
    with (
        serving(EXAMPLE, "--token", "sesame-sesame-sesame", home=tmp_path) as server,
        window(browser) as (page, _),
    ):
        page.goto(server.address)
        page.locator("#name", has_text="example.mp4").wait_for()
        wait_until(page, PLAYABLE)
        assert "sesame" not in page.url
        assert "sesame" not in json.dumps(page.evaluate("performance.getEntries().map((e) => e.name)")[1:])


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_token_can_be_typed_in(size, browser, tmp_path):
    token = "sesame-sesame-sesame"
    with (
        serving(EXAMPLE, "--token", token, home=tmp_path) as server,
        window(browser, size) as (page, watch),
    ):
        page.goto(f"{server.url}/#here")
        page.get_by_role("heading", name="This page needs a token").wait_for()
        assert grave_violations(page) == []
        assert not scrolls_sideways(page)
        assert page.evaluate("document.activeElement.id") == "token"
        page.keyboard.type("sesame")
        page.keyboard.press("Enter")
        page.get_by_text("This is not the token.").wait_for()
        assert grave_violations(page) == []
        # The whole address does as well.
        page.get_by_label("Token").fill(f"http://elsewhere:8642/?token={token}")
        page.keyboard.press("Enter")
        page.locator("#name", has_text="example.mp4").wait_for()
        assert token not in page.url
        assert watch.origins() == {server.url}
        # The browser itself notes the refusals.
        assert all("401" in trouble for trouble in watch.troubles), watch.troubles
