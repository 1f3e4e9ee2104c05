"""Take the pictures of the documentation: the page of `vtg serve` and a report, at a laptop's width and a phone's.

    python docs/screenshots.py [FOLDER]

The example is searched by the real command in a real browser, so the pictures show what there is. Needs the `dev` extra
and Chromium.
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

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "example.mp4"
QUERIES = ("a cat", "a cup of coffee", "a rocket on the launch pad")
SIZES = {1280: (1280, 900, 1.0), 390: (390, 844, 1.5)}
"""Width, height and pixels to one of CSS, by the name of the picture."""

MOST_BYTES = 250_000
_VTG = (sys.executable, "-m", "vtg_cli.main")
_PAUSED_AT_S = 9.0
_EXACT = 60  # colours of a page, and of what lies over one another in its chart
_PICTURES_ARE_THERE = """[...document.images].every(
    (image) => image.complete || !image.checkVisibility() || image.getBoundingClientRect().top > innerHeight
)"""


def main(folder: Path) -> None:
    """Write `serve-1280.png`, `serve-390.png`, `report-1280.png` and `report-390.png` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        sys.exit("there is no Chromium on this machine")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        state = Path(name)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        with _server(state) as address:
            for width in SIZES:
                with _page(browser, width) as page:
                    _search(page, address)
                    _save(page, folder / f"serve-{width}.png")
        report = state / "report.html"
        cache = ("--cache", str(state / "cache"))
        command = [*_VTG, "ground", str(EXAMPLE), *QUERIES, "--html", str(report), "--quiet", *cache]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for width in SIZES:
            with _page(browser, width) as page:
                page.goto(report.as_uri())
                page.locator("button.moment").first.click()
                _pause(page)
                _save(page, folder / f"report-{width}.png")
        browser.close()


@contextmanager
def _server(state: Path) -> Iterator[str]:
    """The address of a server that is at home in a folder of its own."""
    places = ("--library", str(state / "library"), "--cache", str(state / "cache"))
    command = [*_VTG, "serve", str(EXAMPLE), "--port", "0", *places]
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


def _pause(page: Page) -> None:
    """Stop where there is something to see, with nothing in focus and the player's controls gone."""
    page.evaluate(
        """async (time) => {
            const video = document.getElementById("video");
            video.controls = false;
            video.pause();
            const there = new Promise((resolve) => video.addEventListener("seeked", resolve, { once: true }));
            video.currentTime = time;
            await there;
            document.activeElement.blur();
            scrollTo(0, 0);
        }""",
        _PAUSED_AT_S,
    )
    page.mouse.move(0, 0)
    while not page.evaluate(_PICTURES_ARE_THERE):
        page.wait_for_timeout(100)
    page.wait_for_timeout(500)


def _save(page: Page, path: Path) -> None:
    """Write what is to be seen, in few enough colours for the size."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for dither in (Image.Dither.FLOYDSTEINBERG, Image.Dither.NONE):
        file = io.BytesIO()
        _with_palette(image, dither).save(file, "PNG", optimize=True)
        if file.tell() <= MOST_BYTES:
            break
    path.write_bytes(file.getvalue())
    print(f"{path}: {file.tell() / 1000:.0f} kB")


def _with_palette(image: Image.Image, dither: Image.Dither) -> Image.Image:
    """The picture in 256 colours: those of the page as they are, and the best for the photographs in it."""
    counts = sorted(image.getcolors(1 << 24) or [], reverse=True)
    exact = [colour for _, colour in counts[:_EXACT]]
    photographs = image.quantize(256 - _EXACT).getpalette() or []
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
