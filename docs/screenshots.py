"""Take the pictures of the documentation: `vtg serve` with one video and with many, and a report, wide and on a phone.

    python docs/screenshots.py [FOLDER]

The example is searched by the real command in a real browser, so the pictures show what there is. The many videos are
parts of the example. Needs the `dev` extra and Chromium.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.grounding.results import GroundingResult, Moment, Saliency
from vtg_cli.cutting.clips import cut_clips

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "example.mp4"
QUERIES = ("a cat", "a cup of coffee", "a rocket on the launch pad")
SIZES = {1280: (1280, 900, 1.0), 390: (390, 844, 1.5)}
"""Width, height and pixels to one of CSS, by the name of the picture."""

MOST_BYTES = 250_000
FEWER_BYTES = 150_000  # enough where the photographs are small
CUTS = {
    "animals/Chelsea.mp4": (6.0, 14.0),
    "holidays/first day.mp4": (9.0, 28.0),
    "holidays/last day.mp4": (28.0, 50.0),
    "kitchen/coffee.mp4": (21.0, 30.0),
    "space/deep field.mp4": (0.0, 6.0),
    "space/Eileen Collins.mp4": (14.0, 21.0),
    "space/launch pad.mp4": (35.0, 43.0),
    "walks/brick wall.mp4": (30.0, 35.0),
    "walks/camera.mp4": (43.0, 50.0),
}
"""Seconds of the example that are videos of a library."""

_VTG = (sys.executable, "-m", "vtg_cli.main")
_PAUSED_AT_S = 9.0
_EXACT = 60  # colours of a page, and of what lies over one another in its chart
_PICTURES_ARE_THERE = """[...document.images].every(
    (image) => image.complete || !image.checkVisibility() || image.getBoundingClientRect().top > innerHeight
)"""


def main(folder: Path) -> None:
    """Write `serve-1280.png`, `serve-390.png` and likewise `search-…` and `report-…` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        sys.exit("there is no Chromium on this machine")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        state = Path(name)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        with _server(EXAMPLE, state) as address:
            for width in SIZES:
                with _page(browser, width) as page:
                    _search(page, address)
                    _save(page, folder / f"serve-{width}.png")
        _cut(state / "videos")
        with _server(state / "videos", state) as address:
            for width in SIZES:
                with _page(browser, width) as page:
                    _search_all(page, address)
                    _save(page, folder / f"search-{width}.png", FEWER_BYTES)
        report = state / "report.html"
        command = [*_VTG, "ground", str(EXAMPLE), *QUERIES, "--html", str(report), "--quiet"]
        subprocess.run([*command, "--cache", str(state / "cache")], check=True, stdout=subprocess.DEVNULL)
        for width in SIZES:
            with _page(browser, width) as page:
                page.goto(report.as_uri())
                page.locator("button.moment").first.click()
                _pause(page)
                _save(page, folder / f"report-{width}.png")
        browser.close()


def _cut(folder: Path) -> None:
    """Cut the videos of a library out of the example."""
    for name, (start_s, end_s) in CUTS.items():
        target = folder / name
        answer = GroundingResult(
            str(EXAMPLE), "part", "none", (), 50.0, (Moment(start_s, end_s, 1.0),), Saliency(1.0, ())
        )
        (cut,) = cut_clips([answer], target.parent)
        cut.replace(target)


@contextmanager
def _server(videos: Path, state: Path) -> Iterator[str]:
    """The address of a server that is at home in a folder of its own."""
    places = ("--library", "--cache", "--index")
    homes = [text for option in places for text in (option, str(state / option.strip("-")))]
    command = [*_VTG, "serve", str(videos), "--port", "0", *homes]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield next(word for line in process.stdout for word in line.split() if word.startswith("http://"))
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _page(browser: Browser, size: int) -> Iterator[Page]:
    width, height, scale = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, device_scale_factor=scale, reduced_motion="reduce"
    )
    context.set_default_timeout(120_000)
    yield context.new_page()
    context.close()


def _search(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("#work[aria-busy='false']").wait_for()
    if page.locator("#clear").is_visible():
        page.locator("#clear").click()
    page.locator("#rows input").focus()
    for query in QUERIES[:-1]:
        page.keyboard.type(query)
        page.keyboard.press("Shift+Enter")
    page.keyboard.type(QUERIES[-1])
    page.keyboard.press("Enter")
    page.locator("button.moment").first.click()
    _pause(page)


def _search_all(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("#work[aria-busy='false']").wait_for()
    page.keyboard.press("a")
    page.locator("#library-state", has_text="All of").wait_for()
    page.keyboard.type(QUERIES[0])
    page.keyboard.press("Enter")
    page.locator("button.hit").first.click()
    minutes, seconds = page.locator("#hit-when").inner_text().split(" ")[0].split(":")
    _pause(page, "hit-video", at_s=60 * int(minutes) + float(seconds) + 2)
    if page.locator("#library-toggle").is_visible():  # on a phone the answer is below what was asked for
        page.evaluate("scrollTo(0, document.getElementById('everywhere-body').offsetTop)")
        page.wait_for_timeout(500)


def _pause(page: Page, video: str = "video", at_s: float = _PAUSED_AT_S) -> None:
    """Stop where there is something to see, with nothing in focus and the player's controls gone."""
    page.evaluate(
        """async ([id, time]) => {
            const video = document.getElementById(id);
            video.controls = false;
            video.pause();
            const there = new Promise((resolve) => video.addEventListener("seeked", resolve, { once: true }));
            video.currentTime = time;
            await there;
            document.activeElement.blur();
            scrollTo(0, 0);
        }""",
        [video, at_s],
    )
    page.mouse.move(0, 0)
    while not page.evaluate(_PICTURES_ARE_THERE):
        page.wait_for_timeout(100)
    page.wait_for_timeout(500)


def _save(page: Page, path: Path, most_bytes: int = MOST_BYTES) -> None:
    """Write what is to be seen, in few enough colours for the size."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    dithered, plain = Image.Dither.FLOYDSTEINBERG, Image.Dither.NONE
    for dither, colours in ((dithered, 256), (plain, 256), (plain, 160), (plain, 112)):
        file = io.BytesIO()
        _with_palette(image, dither, colours).save(file, "PNG", optimize=True)
        if file.tell() <= most_bytes:
            break
    path.write_bytes(file.getvalue())
    print(f"{path}: {file.tell() / 1000:.0f} kB")


def _with_palette(image: Image.Image, dither: Image.Dither, colours: int) -> Image.Image:
    """The picture in few colours: those of the page as they are, and the best for the photographs in it."""
    counts = sorted(image.getcolors(1 << 24) or [], reverse=True)
    exact = [colour for _, colour in counts[:_EXACT]]
    photographs = image.quantize(colours - _EXACT).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in exact for value in colour] + photographs)
    reduced = image.quantize(palette=palette, dither=dither)
    # The nearest colour is found by a shortcut that misses even colours which are in the palette.
    pixels, numbers = np.asarray(image), np.array(reduced)
    for number, colour in enumerate(exact):
        numbers[(pixels == colour).all(axis=-1)] = number
    picture = Image.fromarray(numbers)
    picture.putpalette(palette.getpalette() or [])
    return picture


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images")
