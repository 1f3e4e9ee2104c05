"""Measure the page's search in many videos, in a headless Chromium: until the first results, while scrolling, by keys.

    python benchmarks/page.py [--videos 2000] [--folder FOLDER] [--json]

The videos are small files: scenes of the example, and copies of them with other content in a box that players pass
over. The scenes' rows are made by `lite`, and each copy gets those of its scene with a little noise, so that every
video has moments of its own. All else is as for any user: `vtg serve` offers the folder with a library that holds it.
With `--folder` the videos are kept there, and used again.

A search is timed in the page, from the key press to the first results on screen: the first of a process, which loads
the model, then others. Then the list is scrolled, 300 pixels per frame, and a trace of Chromium tells how long the
tasks of the page's thread took, and how much CPU time they needed. On a busy machine a task takes long because it waits
for a CPU; the same on an empty page tells how much of that there is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from extractors.cache.store import FeatureCache
from model.grounding.grounder import Grounder
from model.search.library import Library

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "example.mp4"
FIRST_QUERY = "a person"
QUERIES = ("a cat", "a cup of coffee", "a rocket", "a brick wall", "an astronaut", "a coin")
_LENGTH_S, _STEP_S = 12, 5
_FPS = 5
_NOISE = 0.02  # of a row's length
_NOTCH = 300  # pixels
_SCROLLING_S = 30
_TABS = 40  # that a moment may be away
_TASK = "ThreadControllerImpl::RunTask"
_TALL = "<title>empty</title><div style='height: 9000000px'></div>"

_TIME_SEARCH = """(query) => new Promise((resolve) => {
    const found = document.getElementById("everywhere-found");
    document.getElementById("everywhere-query").value = query;
    const begin = performance.now();
    document.getElementById("everywhere-form").requestSubmit();
    new MutationObserver((_, observer) => {
        if (!/ of /.test(found.textContent)) return;
        observer.disconnect();
        requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - begin)));
    }).observe(found, { childList: true });
})"""
_SCROLL = """async ([notch, seconds]) => {
    const begin = performance.now(), end = begin + 1000 * seconds;
    const more = document.getElementById("hits-more");
    const isAtTheEnd = () => more?.hidden && /^\\d/.test(document.getElementById("everywhere-found").textContent)
        && scrollY + innerHeight >= document.documentElement.scrollHeight - 1;
    let frames = 0;
    while (performance.now() < end && !isAtTheEnd()) {
        scrollBy(0, notch);
        await new Promise((resolve) => requestAnimationFrame(resolve));
        frames += 1;
    }
    return [frames, (performance.now() - begin) / 1000];
}"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--folder", type=Path, help="where videos and library are kept, and used again")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = options.folder or Path(name)
        if not (place / "index").exists():
            make_library(place, options.videos)
        with _server(place) as (address, process):
            figures = measure(address, process, options.videos)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    print("| figure | value |\n|---|---|")
    for what, value in figures.items():
        print(f"| {what} | {value} |")


def make_library(place: Path, count: int) -> None:
    """Write videos, their rows, and a library of them."""
    scenes = list(_scenes(place / "scenes"))
    cache = FeatureCache(place / "cache")
    grounder = Grounder.load("zero-shot", features="lite", cache=cache, offline=True)
    spec = grounder.video_encoders[0].spec
    random = np.random.default_rng(1)
    entries = []
    for scene in scenes:
        grounder.encode(scene)
        entry = cache.load_video(scene, spec)
        assert entry is not None, "it has just been encoded"
        entries.append((scene, entry))
    for number in range(count):
        scene, entry = entries[number % len(entries)]
        folder = place / "videos" / f"box {number // 250 + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        video = folder / f"{scene.stem} {number:04}.mp4"
        mark = f"{number:08}".encode()
        video.write_bytes(scene.read_bytes() + (8 + len(mark)).to_bytes(4, "big") + b"free" + mark)
        rows = entry.features.astype(np.float32)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        noise = random.standard_normal(rows.shape).astype(np.float32) / np.sqrt(rows.shape[1])
        cache.store_video(video, spec, rows + _NOISE * lengths * noise, replace(entry.info, path=video))
    time.sleep(2.1)  # files that have just been written are looked at again
    load = lambda model, *, features, fps: grounder  # noqa: E731
    with Library.open(place / "index", load=load) as library:
        library.add([place / "videos"])


def _scenes(folder: Path) -> Iterator[Path]:
    """Parts of the example, small."""
    folder.mkdir(parents=True)
    with av.open(str(EXAMPLE)) as source:
        frames = [
            (float(frame.time or 0.0), frame.reformat(width=192, height=108, format="yuv420p").to_ndarray())
            for frame in source.decode(video=0)
        ]
    last_s = frames[-1][0]
    for number, start_s in enumerate(np.arange(0, last_s - _LENGTH_S, _STEP_S)):
        path = folder / f"scene {number + 1}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=_FPS, options={"g": "10"})
            stream.width, stream.height, stream.pix_fmt = 192, 108, "yuv420p"
            for tick in range(_LENGTH_S * _FPS):
                at_s = start_s + tick / _FPS
                picture = min(frames, key=lambda one: abs(one[0] - at_s))[1]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
            container.mux(stream.encode(None))
        yield path


@contextmanager
def _server(place: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The address and the process of a server of the videos, once it has looked at all of them."""
    command = [
        *(sys.executable, "-m", "vtg_cli.main", "serve", str(place / "videos"), "--port", "0", "--quiet"),
        *(
            "--index",
            str(place / "index"),
            "--library",
            str(place / "uploads"),
            "--cache",
            str(place / "cache"),
        ),
    ]
    environment = os.environ | {"VTG_OFFLINE": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        address = next(word for line in process.stdout for word in line.split() if word.startswith("http://"))
        while _ask(address, "api/videos")["scanning"]:
            time.sleep(0.5)
        while (state := _ask(address, "api/library"))["adding"] or state["searchable"] < state["videos"]:
            time.sleep(0.5)
        yield address, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def _ask(address: str, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address.rstrip('/')}/{path}") as answer:
        read: dict[str, Any] = json.load(answer)
    return read


def measure(address: str, server: psutil.Process, count: int) -> dict[str, Any]:
    """Search, scroll and look, in a browser; each figure by what it is of."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        sys.exit("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(120_000)
        page.set_content(_TALL)
        empty = scroll(browser, page)
        page.goto(address)
        keys, first_ms = search_by_keys(page, count)
        times_ms, cpu_s = [], []
        for query in QUERIES:
            page.wait_for_timeout(1000)  # a person reads what was found
            before_s = _cpu_s(server)
            times_ms.append(page.evaluate(_TIME_SEARCH, query))
            cpu_s.append(_cpu_s(server) - before_s)
        full = scroll(browser, page)
        nodes = page.evaluate("document.querySelectorAll('*').length")
        found = page.locator("#everywhere-found").inner_text()
        page.locator("main").focus()
        page.keyboard.press("Home")
        page.locator("button.hit").first.click()
        page.locator("#hit-player").wait_for()
        violations = [f"{one['id']} ({one['impact']})" for one in Axe().run(page).response["violations"]]
        browser.close()
    return {
        "videos": count,
        "first search of the process": f"{first_ms / 1000:.2f} s",
        "first results, median": f"{statistics.median(times_ms) / 1000:.2f} s",
        "first results, slowest": f"{max(times_ms) / 1000:.2f} s",
        "CPU time of the server for them": f"{statistics.median(cpu_s):.2f} s, {max(cpu_s):.2f} s",
        "listed after scrolling": found,
        "elements of the page then": nodes,
        "frames per second": f"{full.frames_per_s:.0f} (empty page: {empty.frames_per_s:.0f})",
        "CPU time per frame": f"{full.cpu_ms_per_frame:.1f} ms (empty page: {empty.cpu_ms_per_frame:.1f} ms)",
        **{
            f"tasks over {limit} ms": f"{full.longer_than(limit)} (empty page: {empty.longer_than(limit)})"
            for limit in (50, 100)
        },
        "longest task": f"{max(full.wall_ms):.0f} ms (empty page: {max(empty.wall_ms):.0f} ms)",
        "CPU time of that task": f"{full.cpu_ms[full.wall_ms.index(max(full.wall_ms))]:.0f} ms",
        "most CPU time of any task": f"{max(full.cpu_ms):.0f} ms (empty page: {max(empty.cpu_ms):.0f} ms)",
        "keys to a playing moment": keys,
        "axe-core violations": ", ".join(violations) or "none",
    }


def _cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a process without its subprocesses, which draw the pictures."""
    times = process.cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True)
class Scrolled:
    """What a page's thread did while the page was scrolled.

    Attributes:
        frames: how many were drawn.
        seconds: for how long.
        wall_ms: how long each task took.
        cpu_ms: how long it computed.
    """

    frames: int
    seconds: float
    wall_ms: list[float]
    cpu_ms: list[float]

    @property
    def frames_per_s(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds

    @property
    def cpu_ms_per_frame(self) -> float:
        """How long all tasks computed, for each frame."""
        return sum(self.cpu_ms) / self.frames

    def longer_than(self, limit_ms: float) -> int:
        """How many tasks took longer."""
        return sum(one > limit_ms for one in self.wall_ms)


def scroll(browser: Browser, page: Page) -> Scrolled:
    """Scroll by a notch per frame, until there are no more hits or the time is over."""
    browser.start_tracing(page=page, categories=["toplevel"])
    frames, seconds = page.evaluate(_SCROLL, [_NOTCH, _SCROLLING_S])
    events = json.loads(browser.stop_tracing())["traceEvents"]
    threads = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    of_threads = [event for event in events if (event["pid"], event["tid"]) in threads]
    # Other pages, such as those of the browser itself, do next to nothing.
    busiest, _ = Counter((event["pid"], event["tid"]) for event in of_threads).most_common(1)[0]
    tasks = [
        event
        for event in of_threads
        if (event["pid"], event["tid"]) == busiest and event["name"] == _TASK and event["ph"] == "X"
    ]
    return Scrolled(
        frames,
        seconds,
        [task["dur"] / 1000 for task in tasks],
        [task.get("tdur", 0) / 1000 for task in tasks],
    )


def search_by_keys(page: Page, count: int) -> tuple[str, float]:
    """Search and play a moment without a mouse; returns the keys, and the milliseconds of the search."""
    page.locator("#work[aria-busy='false']").wait_for()
    page.keyboard.press("a")
    page.locator("#library-state", has_text=f"All of {count} videos").wait_for()
    page.locator("#per-video").fill("1")  # the most videos that a list can need
    page.locator("#everywhere-query").focus()
    page.keyboard.type(FIRST_QUERY)
    first_ms = page.evaluate(_TIME_SEARCH, FIRST_QUERY)
    tabs = 0
    while not page.evaluate("document.activeElement.matches('button.hit')"):
        if tabs == _TABS:
            return "a moment cannot be reached", first_ms
        page.keyboard.press("Tab")
        tabs += 1
    page.keyboard.press("Enter")
    page.locator("#hit-player").wait_for()
    return f"a, the query, Enter, {tabs} × Tab, Enter", first_ms


if __name__ == "__main__":
    main()
