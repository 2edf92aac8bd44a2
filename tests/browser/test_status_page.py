"""The health server's page in a real browser."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import login_rig as rig
import page_rig
import pytest
from axe_playwright_python.sync_playwright import Axe
from page_rig import ShownPage, a_page
from playwright.sync_api import Browser, Page, expect, sync_playwright

pytestmark = pytest.mark.browser


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
def page(chromium: Browser, shown: ShownPage, complaints: list[str]) -> Iterator[Page]:
    """Yield a window that has the page open, its first status and day shown."""
    context = chromium.new_context()
    window = context.new_page()
    window.on("console", lambda message: complaints.append(f"console: {message.text}"))
    window.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    window.on(
        "request", lambda asked: None if asked.url.startswith((shown.url, "data:")) else complaints.append(asked.url)
    )
    window.goto(shown.url)
    expect(window.locator("#stretches tr")).not_to_have_count(0)
    yield window
    context.close()


def test_it_says_what_the_status_says(page: Page, complaints: list[str]) -> None:
    """Phase, reason, what comes next, tickles, budget, the last day and what happened are there, and no complaint."""
    expect(page).to_have_title("ready · trader · gwctl")
    expect(page.locator("#phase-word")).to_have_text("ready")
    expect(page.locator("#reason")).to_have_text("authenticated 41 s ago")
    expect(page.locator("#next")).to_have_text("next: tickle in 12 s")
    expect(page.locator("#tickle-words")).to_have_text("answered in 42 ms, 12 s ago; median 40 ms, worst 210 ms")
    expect(page.locator("#tickles rect")).to_have_count(60)
    expect(page.locator("#budget tr").first).to_have_text(re.compile("reauthenticate.*1 of 30.*4 of 200"))
    expect(page.locator("#login")).to_contain_text("0 of 3 refused logins")
    # 22 h, of which 11 s of starting are no outage, 18 min and 7 s were without a session.
    expect(page.locator("#day-words")).to_have_text(re.compile(r"9[78]\.\d\d % ready, 2 outages, 2 logins, 1 restart"))
    # The first outage had two parts: found gone, and logging in.
    expect(page.locator("#day rect.down")).to_have_count(3)
    expect(page.locator("#lines li").first).to_contain_text("authenticated")
    assert complaints == []


def test_changed_settings_are_shown(page: Page, shown: ShownPage, complaints: list[str]) -> None:
    """A setting that the gateway was not started with is there with its remedy, until it is applied."""
    expect(page.locator("#drift")).to_be_hidden()
    drift = {"setting": "allow_ips", "text": "allow_ips was changed", "remedy": "gwctl restart"}
    shown.status = {**shown.status, "drift": [drift]}
    expect(page.locator("#drift li")).to_have_text(["allow_ips was changed; to apply it: gwctl restart"])
    shown.status = {**shown.status, "drift": []}
    expect(page.locator("#drift")).to_be_hidden()
    assert complaints == []


def test_a_change_is_shown_without_a_reload(page: Page, shown: ShownPage, complaints: list[str]) -> None:
    """A session that is lost is seen within seconds; a second factor that is asked for is an alert."""
    shown.status = {
        **shown.status, "ready": False, "phase": "awaiting_second_factor", "reason": "IBKR asks for a code",
        "question": {"id": 1, "what": "code", "challenge": None, "text": "the code of the app"},
    }  # fmt: skip
    expect(page.locator("#phase-word")).to_have_text("waiting for a second factor")
    expect(page.get_by_role("alert").filter(has_text="the code of the app")).to_be_visible()
    shown.status = {**page_rig.READY}
    expect(page.get_by_role("alert")).to_have_count(0)
    assert complaints == []


def test_only_a_change_is_announced(page: Page) -> None:
    """What a screen reader is told of (role status) is touched when the phase changes, not each second."""
    page.evaluate(
        """() => { window.touched = 0;
            new MutationObserver((all) => { window.touched += all.length; })
              .observe(document.getElementById("phase"), {childList: true, characterData: true, subtree: true}); }"""
    )
    before = page.locator("#clock").text_content()
    expect(page.locator("#clock")).not_to_have_text(str(before))
    assert page.evaluate("window.touched") == 0


def test_a_supervisor_that_is_gone_is_an_alert(page: Page, shown: ShownPage) -> None:
    """Nobody takes the last picture of a session for its present: after five seconds the page says so."""
    shown.end()
    expect(page.get_by_role("alert").filter(has_text="has not answered since")).to_be_visible(timeout=15_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_everybody(page: Page, shown: ShownPage, scheme: Any, complaints: list[str]) -> None:
    """The rules of axe (contrast, names, landmarks, tables) find nothing, in light and dark, in trouble, and opened."""
    page.emulate_media(color_scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is (scheme == "light")
    page.locator("summary").click()
    assert _violations(page) == []
    for phase in ("locked_out", "stopping"):
        shown.status = {**shown.status, "phase": phase, "ready": False}
        expect(page.locator("#phase-word")).to_have_text(phase.replace("_", " "))
        assert _violations(page) == []
    assert complaints == []


def _violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]


def test_it_can_be_used_by_keyboard(page: Page) -> None:
    """Tab leads to the way past the header, then to the table of the day, which Enter opens; where one is, is seen."""
    seen = []
    for _ in range(3):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.tagName + ' ' + document.activeElement.textContent.trim()"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        if seen[-1].startswith("SUMMARY"):
            page.keyboard.press("Enter")
    assert seen[:2] == ["A Skip to the session", "SUMMARY As a table"]
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Last 24 hours as a table"
    expect(page.locator("#stretches")).to_be_visible()


def test_it_fits_a_telephone(page: Page) -> None:
    """At 360 pixels nothing is cut off at the side."""
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_foreign_text_stays_text(page: Page, shown: ShownPage, complaints: list[str]) -> None:
    """What comes from IBKR is never markup."""
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    shown.status = {**shown.status, "ready": False, "phase": "degraded", "reason": evil, "profile": evil}
    expect(page.locator("#reason")).to_have_text(evil)
    assert page.locator("#reason img").count() == 0
    assert page.title() != "owned"
    assert complaints == []


def test_nothing_else_may_be_loaded(page: Page, complaints: list[str]) -> None:
    """The policy keeps what got into the page from calling elsewhere, and a script in it from running."""
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0)
        page.evaluate(
            """(port) => {
                const picture = document.createElement("img");
                picture.src = `http://127.0.0.1:${port}/leak.png`;
                const script = document.createElement("script");
                try { script.text = "document.title = 'owned'"; } catch (refused) { console.log("" + refused); }
                document.body.append(picture, script); }""",
            elsewhere.getsockname()[1],
        )
        while not any("img-src" in one for one in complaints):
            page.wait_for_timeout(20)  # until the browser has complained; the test's own time-out ends it
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
    assert any("TrustedScript" in one for one in complaints)
    assert page.title() != "owned"
