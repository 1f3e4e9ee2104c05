"""What is said in a video, on the page of `vtg serve` and on the page that `--html` writes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from extractors.cues.cue import Cue, CueStream, Transcript
from tests.cli.running import EXAMPLES, vtg
from tests.extractors.cues.rendering import Line, vtt
from tests.serve.browser import (
    NARROW,
    WIDE,
    grave_violations,
    scrolls_sideways,
    wait_until,
    window,
)
from tests.serve.running import Server, serving
from vtg_cli.drawing.cue_tracks import cue_tracks

HOSTILE = "&lt;img src=x onerror=document.title='bad'&gt; </script><script>document.title='bad'</script>"
SHOWN = "<img src=x onerror=document.title='bad'>"
LINES = (
    Line(2, 5, "Good morning, everyone."),
    Line(20, 24, "We talk about the budgets of 2027."),
    Line(30, 34, f"A cup of coffee. {HOSTILE}"),
)
TIME = "document.getElementById('video').currentTime"

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with subtitles, and a report of it."""
    made = tmp_path_factory.mktemp("talks")
    shutil.copy(EXAMPLES / "example.mp4", made / "talk.mp4")
    (made / "talk.en.vtt").write_text(vtt(LINES), encoding="utf-8")
    done = vtg("ground", made / "talk.mp4", "the budget", "--html", made / "r.html", home=made / "home")
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    cache = next(folder.glob("home/**/features"), None)
    with serving(folder / "talk.mp4", home=home, cache=cache) as running:
        yield running


def check_tracks(page, watch) -> None:
    """The track, its words at the pointer, its list, and a click on it, by mouse and by keyboard."""
    rows = page.locator(".cue-row")
    rows.first.wait_for()
    assert rows.count() == 1
    box = rows.first.bounding_box()
    chart = page.locator("#chart").bounding_box()
    assert (box["x"], box["width"]) == (
        pytest.approx(chart["x"], abs=2),
        pytest.approx(chart["width"], abs=4),
    )
    assert box["y"] >= chart["y"] + chart["height"] - 1
    page.mouse.move(box["x"] + box["width"] * 22 / 50, box["y"] + 5)
    assert "We talk about the budgets of 2027." in page.locator(".caption").inner_text()
    assert "talk.en.vtt" in page.locator(".caption").inner_text()
    page.mouse.move(box["x"] + box["width"] * 32 / 50, box["y"] + 5)
    assert SHOWN in page.locator(".caption").inner_text()
    page.mouse.click(box["x"] + box["width"] * 22 / 50, box["y"] + 5)
    wait_until(page, f"{TIME} >= 20 && {TIME} < 24.5")
    # Everything said is a list, too, for keyboards and screen readers.
    page.locator(".cues summary").focus()
    page.keyboard.press("Enter")
    said = page.locator(".cue-list button")
    wait_until(page, "document.querySelectorAll('.cue-list button').length === 3")
    assert "Good morning, everyone." in said.first.inner_text()
    assert SHOWN in said.last.inner_text()
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    wait_until(page, f"{TIME} >= 30 && {TIME} < 34.5")
    assert page.locator("#cues img, #cues script, #answers script").count() == 0
    assert "bad" not in page.title()
    assert watch.troubles == []


@slow
@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_in_a_report(size, browser, folder: Path) -> None:
    with window(browser, size) as (page, watch):
        page.goto((folder / "r.html").as_uri())
        wait_until(page, "document.getElementById('video').readyState > 0")
        quote = page.locator("button.moment .quote").first
        assert quote.inner_text() == "We talk about the budgets of 2027."
        assert quote.locator("mark").all_text_contents() == ["budgets"]
        check_tracks(page, watch)
        assert not scrolls_sideways(page)
        assert grave_violations(page) == []


@slow
@pytest.mark.parametrize("dark", [False, True])
def test_on_the_page(dark: bool, browser, server: Server) -> None:
    with window(browser, dark=dark) as (page, watch):
        page.goto(server.url)
        page.locator("#work[aria-busy='false']").wait_for()
        page.get_by_role("textbox", name="What to look for").fill("a cup of coffee")
        page.get_by_role("button", name="Find", exact=True).click()
        page.locator(".answer h3", has=page.get_by_text("a cup of coffee", exact=True)).wait_for(
            timeout=120_000
        )
        quote = page.locator("button.moment .quote").first
        assert SHOWN in quote.inner_text()
        assert quote.locator("mark").all_text_contents() == ["cup", "coffee"]
        check_tracks(page, watch)
        assert grave_violations(page) == []


@slow
def test_the_api(server: Server) -> None:
    with server.client() as client:
        (video,) = client.get("/api/videos").json()["videos"]
        (track,) = client.get(f"/api/videos/{video['id']}/cues").json()["tracks"]
        assert (track["name"], track["source"]) == ("talk.en.vtt", "subtitles")
        assert track["cues"][0] == {"start_s": 2.0, "end_s": 5.0, "text": LINES[0].text}
        assert client.get("/api/videos/nothing/cues").status_code == 404
        job = server.start_job(client, video["id"], "everyone", "a rocket on the launch pad").json()
        said, seen = server.finished(client, job["id"])["results"]
        assert (said["moments"][0]["text"], said["sources"]) == (LINES[0].text, ["subtitles"])
        assert all("text" not in moment for moment in seen["moments"])


def stream(name: str, count: int, text: str = "word", source: str = "subtitles") -> CueStream:
    cues = tuple(Cue(at, at + 1, text, source, name) for at in range(count))
    return CueStream(name, source, cues=cues)


def test_what_is_too_much_for_a_page_is_left_out() -> None:
    said = Transcript("v", 9e9, tuple(stream(f"s{number}", 3) for number in range(5)))
    written = Transcript("v", 9e9, (stream("screen", 2, source="screen"),), source="screen")
    assert [track["name"] for track in cue_tracks([said, written])] == ["s0", "screen", "s1", "s2"]
    assert cue_tracks([]) == []
    many = Transcript("v", 9e9, (stream("a", 15_000), stream("b", 15_000)))
    assert [len(track["cues"]) for track in cue_tracks([many])] == [15_000, 5_000]
    long = Transcript("v", 9e9, (stream("a", 3_000, "x" * 2000),))
    assert [len(track["cues"]) for track in cue_tracks([long])] == [2_000]
