"""The status page in a real browser; its server is ``page_rig``'s."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import login_rig as rig
import pytest
from page_rig import ShownPage, a_page
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Yield a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=rig.browser().executable, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[ShownPage]:
    """Yield a page that is served."""
    with a_page(tmp_path) as served:
        yield served


@pytest.fixture
def complaints() -> list[str]:
    """Return what the browser complains of, and what it asks for elsewhere."""
    return []


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """Yield what a window opens in."""
    context = chromium.new_context()
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, shown: ShownPage, complaints: list[str]) -> Page:
    """Return a window that has the page open, its first status and day shown."""
    window = context.new_page()
    window.on("console", lambda message: complaints.append(f"console: {message.text}"))
    window.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    window.on(
        "request", lambda asked: None if asked.url.startswith((shown.url, "data:")) else complaints.append(asked.url)
    )
    window.goto(shown.url)
    expect(window.locator("#stretches tr")).not_to_have_count(0)
    return window
