"""The system's Chromium, and checks of what a page does in it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

WIDE, NARROW = (1280, 800), (390, 844)
"""A laptop's window, and a phone's."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium without a window; skips the calling test where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watch:
    """What a page wrote on its console, what it threw, where its requests went, and which of them found nothing."""

    troubles: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def origins(self) -> set[str]:
        return {
            f"{parts.scheme}://{parts.netloc}"
            for parts in map(urlsplit, self.requests)
            if parts.scheme not in {"data", "blob"}
        }


@contextmanager
def window(
    browser: Browser, size: tuple[int, int] = WIDE, *, dark: bool = False, scale: float = 1
) -> Iterator[tuple[Page, Watch]]:
    """A new page that shares nothing with others."""
    context: BrowserContext = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        device_scale_factor=scale,
        reduced_motion="reduce",
        accept_downloads=True,
    )
    context.set_default_timeout(30_000)
    page = context.new_page()
    watch = Watch()
    page.on(
        "console",
        lambda said: watch.troubles.append(said.text) if said.type in {"error", "warning"} else None,
    )
    page.on("pageerror", lambda error: watch.troubles.append(str(error)))
    page.on("request", lambda request: watch.requests.append(request.url))
    page.on("response", lambda answer: watch.missing.append(answer.url) if answer.status == 404 else None)
    try:
        yield page, watch
    finally:
        context.close()


def grave_violations(page: Page) -> list[str]:
    """What axe-core calls serious or critical, one line each."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {node['target']} {node.get('failureSummary', '')}"
        for violation in found
        if violation["impact"] in {"serious", "critical"}
        for node in violation["nodes"]
    ]


def scrolls_sideways(page: Page) -> bool:
    """Whether the page is wider than its window."""
    wide: bool = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return wide


def wait_until(page: Page, condition: str, timeout_s: float = 30.0) -> None:
    """Wait for a condition in a page whose policy forbids `eval`, as Playwright's own waiting uses."""
    deadline = time.monotonic() + timeout_s
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"never came true: {condition}"
        page.wait_for_timeout(20)
