"""Measure the page's search in many videos, in a headless Chromium: until the first results, and while scrolling.

    python benchmarks/page.py [--videos 2000] [--screenshots FOLDER] [--json]

The videos are small files: scenes of the example, and copies of them with other content in a box that players pass
over. The scenes' rows are made by `lite`, and each copy gets those of its scene with a little noise, so that every
video has moments of its own. All else is as for any user: `vtg serve` offers the folder with a library that holds it.

A search is timed in the page, from the key press to the first results on screen: the first of a process, which loads
the model, then others. Then the list is scrolled to its last hit, 300 pixels per frame, and the
longest tasks of the page's thread are noted. On a busy machine they are longer than the page's own work.
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

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
_MOST_SCROLLING_S = 120
_SIZES = {"1280": (1280, 900), "390": (390, 844)}

_WATCH_TASKS = """() => {
    window.tasks = [];
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => window.tasks.push(entry.duration)))
        .observe({ type: "longtask" });
}"""
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
_SCROLL = """async ([notch, limit]) => {
    const end = document.getElementById("hits-end"), more = document.getElementById("hits-more");
    const found = document.getElementById("everywhere-found");
    const isAtTheEnd = () => end.getBoundingClientRect().top <= innerHeight && more.hidden
        && document.querySelectorAll("#hits li").length === parseInt(found.textContent, 10);
    const begin = performance.now();
    let frames = 0;
    while (!isAtTheEnd() && performance.now() - begin < 1000 * limit) {
        scrollBy(0, notch);
        await new Promise((resolve) => requestAnimationFrame(resolve));
        frames += 1;
    }
    return [frames, isAtTheEnd()];
}"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER")
    parser.add_argument("--folder", type=Path, help="where videos and library are kept, and used again")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = options.folder or Path(name)
        if not (place / "index").exists():
            make_library(place, options.videos)
        with _server(place) as address:
            figures = measure(address, options.videos, options.screenshots)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        for what, value in figures.items():
            print(f"{what}: {value:.3f}" if isinstance(value, float) else f"{what}: {value}")


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
def _server(place: Path) -> Iterator[str]:
    """The address of a server of the videos, once it has looked at all of them."""
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
        yield address
    finally:
        process.terminate()
        process.wait()


def _ask(address: str, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address.rstrip('/')}/{path}") as answer:
        read: dict[str, Any] = json.load(answer)
    return read


def measure(address: str, count: int, screenshots: Path | None) -> dict[str, Any]:
    """Search, scroll and look, in a browser."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        sys.exit("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(120_000)
        page.goto(address)
        page.locator("#everywhere-show").click()
        page.locator("#library-state", has_text=f"All of {count} videos").wait_for()
        page.locator("#per-video").fill("1")
        first_ms = page.evaluate(_TIME_SEARCH, FIRST_QUERY)
        times_ms = []
        for query in QUERIES:
            page.wait_for_timeout(1000)  # a person reads what was found
            times_ms.append(page.evaluate(_TIME_SEARCH, query))
        page.evaluate(_WATCH_TASKS)
        print(
            f"first results: {first_ms:.0f} ms, then {', '.join(f'{one:.0f}' for one in times_ms)}",
            file=sys.stderr,
        )
        frames_s, seconds = _scroll_to_the_end(page)
        down = page.evaluate("window.tasks.splice(0)")
        for key in ("Home", "End", "Home"):
            page.locator("main").focus()
            page.keyboard.press(key)
            page.wait_for_timeout(1500)
        jumps = page.evaluate("window.tasks.splice(0)")
        hits = page.locator("button.hit").count()
        page.locator("button.hit").nth(1).click()
        page.wait_for_timeout(2000)
        violations = [f"{one['id']} ({one['impact']})" for one in Axe().run(page).response["violations"]]
        figures = {
            "videos": count,
            "hits on the page": hits,
            "first search of the process, s": first_ms / 1000,
            "later searches, median s": statistics.median(times_ms) / 1000,
            "later searches, longest s": max(times_ms) / 1000,
            "scrolling to the end, s": seconds,
            "frames per second while scrolling": frames_s,
            "longest task while scrolling, ms": max(down, default=0.0),
            "tasks over 100 ms while scrolling": sum(one > 100 for one in down),
            "longest task of jumps to both ends, ms": max(jumps, default=0.0),
            "axe-core violations": violations,
        }
        if screenshots is not None:
            screenshots.mkdir(parents=True, exist_ok=True)
            for name, (width, height) in _SIZES.items():
                page.set_viewport_size({"width": width, "height": height})
                page.wait_for_timeout(1500)
                page.screenshot(path=screenshots / f"page-{name}.png")
        browser.close()
    return figures


def _scroll_to_the_end(page: Page) -> tuple[float, float]:
    """Scroll by a notch per frame until there are no more hits; returns frames per second, and seconds."""
    begin_s = time.perf_counter()
    frames, is_at_the_end = page.evaluate(_SCROLL, [_NOTCH, _MOST_SCROLLING_S])
    if not is_at_the_end:
        print(f"the list did not end in {_MOST_SCROLLING_S} s", file=sys.stderr)
    seconds = time.perf_counter() - begin_s
    return frames / seconds, seconds


if __name__ == "__main__":
    main()
