"""The health server's page in a real browser."""

from __future__ import annotations

import re
import socket

import page_rig
import pytest
from page_fixtures import chromium, complaints, context, page, shown
from page_rig import ShownPage
from playwright.sync_api import Page, expect

__all__ = ["chromium", "complaints", "context", "page", "shown"]
pytestmark = pytest.mark.browser
SINCE = re.compile(r"Authenticated for \d+\sd\s\d+\sh, since 2026-11-2\d\s\d\d:\d\d:55")
SESSION = {
    "authenticated": "yes", "connected": "yes", "competing": "no", "sso": "valid for 7 min 25 s", "server": "JifZ34060",
    "gateway": "pid 4711", "gateway-up": "10 h 0 min", "restarts": "2", "access": "this user's programs only",
}  # fmt: skip


def test_it_says_what_the_status_says(page: Page, complaints: list[str]) -> None:
    """Phase, reason, what comes next, tickles, budget, the last day and what happened are there, and no complaint."""
    expect(page).to_have_title("ready · trader · gwctl")
    expect(page.locator("#phase-word")).to_have_text("Ready")
    expect(page.locator("#since")).to_have_text(SINCE)
    expect(page.locator("#next")).to_have_text("Next: tickle in 12 s")
    expect(page.locator("#tickle-words")).to_have_text("answered in 42 ms, 12 s ago; median 40 ms, worst 210 ms")
    expect(page.locator("#tickles rect")).to_have_count(60)
    expect(page.locator("#budget tr").first).to_have_text(re.compile("reauthenticate.*1 of 30.*4 of 200"))
    expect(page.locator("#login")).to_have_text("0 of 3")
    for place, text in SESSION.items():
        expect(page.locator(f"#{place}")).to_have_text(text)
    # 22 h, of which 11 s of starting are no outage, 18 min and 7 s were without a session.
    expect(page.locator("#day-words")).to_have_text(re.compile(r"9[78]\.\d\d\s% ready, 2 outages, 2 logins, 1 restart"))
    # The first outage had two parts: found gone, and logging in.
    expect(page.locator("#day rect.down")).to_have_count(3)
    expect(page.locator("#lines li").first).to_contain_text("authenticated")
    assert complaints == []


def test_changed_settings_are_shown(page: Page, shown: ShownPage, complaints: list[str]) -> None:
    """A setting that the gateway was not started with is there with its remedy, until it is applied."""
    expect(page.locator("#drift")).to_be_hidden()
    drift = {"setting": "allow_ips", "text": "allow_ips was changed", "remedy": "gwctl restart"}
    shown.status = {**shown.status, "drift": [drift]}
    expect(page.locator("#drift li p")).to_contain_text(["allow_ips was changed. To apply it:", "gwctl restart"])
    another = {"setting": "java_options", "text": "java_options was changed", "remedy": "gwctl restart"}
    shown.status = {**shown.status, "drift": [drift, another]}
    both = "allow_ips was changed. java_options was changed. To apply them:"
    expect(page.locator("#drift li p")).to_contain_text([both, "gwctl restart"])
    expect(page.locator("#drift li")).to_have_count(1)
    shown.status = {**shown.status, "drift": []}
    expect(page.locator("#drift")).to_be_hidden()
    assert complaints == []


def test_a_change_is_shown_without_a_reload(page: Page, shown: ShownPage, complaints: list[str]) -> None:
    """A session that is lost is seen within seconds; a second factor that is asked for is an alert."""
    shown.status = {
        **shown.status, "ready": False, "phase": "awaiting_second_factor", "reason": "IBKR asks for a code",
        "question": {"id": 1, "what": "code", "challenge": None, "text": "the code of the app"},
    }  # fmt: skip
    expect(page.locator("#phase-word")).to_have_text("Waiting for a second factor")
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
    expect(page.get_by_role("alert")).to_contain_text("Before that: ready")
    expect(page.locator("#phase-word")).to_have_text("No answer")
    expect(page.locator("#advice code")).to_have_text("gwctl --profile trader status")
    assert page.title() == "no answer · trader · gwctl"


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
