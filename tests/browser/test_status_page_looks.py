"""The status page for everybody: at each width, light and dark, by keyboard, in each state, for paper and for live."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_fixtures import chromium, complaints, context, page, shown
from page_rig import READY, ShownPage
from playwright.sync_api import BrowserContext, Page, expect

from gwctl.supervisor.health import HealthServer

__all__ = ["chromium", "complaints", "context", "page", "shown"]
pytestmark = pytest.mark.browser

WIDTHS = (390, 1280, 1920)
LONG = "long-term-account-of-the-family"
FOLDER = f"/home/a-trader/.local/share/gwctl/profiles/{LONG}/gateway"
LIVE: dict[str, Any] = {"mode": "live", "username": "trader1"}
NOT_READY: dict[str, dict[str, Any]] = {
    "awaiting_second_factor": {"reason": "IBKR sent a notification to the phone", "person_needed": "second_factor"},
    "locked_out": {
        "reason": "IBKR refused the username or the password; it is not sent again until it changes",
        "person_needed": "locked_out", "login": {**READY["login"], "rejected": 3, "locked": True},
    },
    "backoff": {
        "reason": "IBKR cannot be reached: api.ibkr.com has no address", "next": {"what": "login", "in_s": 754.0},
    },
    "held": {
        "phase": "backoff", "reason": "no session at IBKR; outside the login hours, gwctl logs in at Mon 07:00 UTC",
        "next": {"what": "login", "in_s": 7540.0},
        "planned": {"logins_from": "2026-11-30T07:00:00Z", "relogin_at": "2026-11-30T07:30:00Z"},
    },
    "paused": {
        "reason": "paused until 14:00: trading by hand", "next": {"what": "pause_end", "in_s": 7540.0},
        "paused": {"since": "2026-11-29T12:00:00Z", "until": "2026-11-29T14:00:00Z", "reason": "trading by hand"},
    },
    "stopped": {"reason": "not running", "next": None},
}  # fmt: skip
LONGEST: dict[str, Any] = {
    "profile": LONG,
    **LIVE,
    "username": "a16charsusername",
    "gateway": {**READY["gateway"], "ca_file": f"{FOLDER}/certificates/ca.pem"},
    "isolation": {"kind": "off", "open_to": ["other users"], "reason": "namespaces are not available on this system"},
    "door": {
        "address": "192.168.100.100:5443", "pid": 1, "read_only": True, "token_file": f"{FOLDER}/door/token",
        "problem": None,
    },
    "drift": [
        {"setting": "allow_ips", "text": "allow_ips was changed since the gateway started",
         "remedy": f"gwctl --profile {LONG} down --keep-session, then gwctl --profile {LONG} up"},
    ],
}  # fmt: skip
BROKEN = """() => {
    const broken = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walk.nextNode()); ) {
        if (!node.parentElement.checkVisibility() || node.parentElement.closest(".unseen, .skip")) continue;
        for (const found of node.data.matchAll(/\\d{4}-\\d\\d-\\d\\d\\s[\\d:]+|[^\\s/-]+/g)) {
            const range = document.createRange();
            range.setStart(node, found.index);
            range.setEnd(node, found.index + found[0].length);
            if (new Set([...range.getClientRects()].map((one) => Math.round(one.top))).size > 1) broken.push(found[0]);
        }
    }
    return broken;
}"""
"""Returns the words, and the times with a date, that are on two lines."""


def violations(page: Page) -> list[str]:
    """Return what axe finds."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]


def show(page: Page, shown: ShownPage, phase: str, **changes: Any) -> None:
    """Show a state; return when the page has it."""
    shown.status = {**READY, "phase": phase, "ready": phase == "ready", **NOT_READY.get(phase, {}), **changes}
    expect(page.locator("#profile")).to_have_text(shown.status["profile"])
    expect(page).to_have_title(re.compile(str(page.evaluate(f"phaseWord('{phase}').toLowerCase()"))))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_can_be_read_by_everybody(
    page: Page, shown: ShownPage, scheme: Any, width: int, complaints: list[str]
) -> None:
    """Axe (contrast, names, landmarks) finds nothing in any state, opened, for paper and live; nothing is cut off."""
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    for phase in ("ready", *NOT_READY):
        show(page, shown, phase, **LIVE if phase == "backoff" else {})
        assert violations(page) == [], phase
    show(page, shown, "ready", **LONGEST)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(BROKEN) == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
    assert dark is (scheme == "dark")
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_lost_page_can_be_read_by_everybody(page: Page, shown: ShownPage, scheme: Any) -> None:
    """Axe finds nothing either when the supervisor no longer answers."""
    page.emulate_media(color_scheme=scheme)
    shown.end()
    expect(page.get_by_role("alert")).to_be_visible(timeout=15_000)
    assert violations(page) == []


@pytest.mark.parametrize("phase", NOT_READY)
def test_what_to_do_has_its_command(page: Page, shown: ShownPage, phase: str) -> None:
    """Whenever it is not ready, the page says what happens or what to do, first of all; commands name the profile."""
    expect(page.locator("#advice")).to_be_hidden()
    show(page, shown, phase)
    expect(page.locator("#advice li p").first).to_be_visible()
    typed = {
        "awaiting_second_factor": [],
        "locked_out": ["gwctl --profile trader login --explain", "gwctl --profile trader login --reset-lockout"],
        "backoff": ["gwctl --profile trader doctor"],
        "held": ["gwctl --profile trader login"],
        "paused": ["gwctl --profile trader resume"],
        "stopped": ["gwctl --profile trader up"],
    }
    expect(page.locator("#advice code")).to_have_text(typed[phase])
    box = page.locator("#advice").bounding_box()
    assert box is not None
    assert box["y"] < 500


def test_a_code_that_is_asked_for_has_its_command(page: Page, shown: ShownPage) -> None:
    """Where IBKR asks for a code and not for a tap on the phone, the page says where to type it."""
    question = {"id": 1, "what": "code", "challenge": None, "text": "the code of the app"}
    show(page, shown, "awaiting_second_factor", question=question)
    expect(page.locator("#advice code")).to_have_text("gwctl --profile trader login")


def test_live_is_loud_and_paper_is_quiet(page: Page, shown: ShownPage) -> None:
    """A live account has a red band over the whole width, and LIVE in the title; paper and sandbox do not."""
    account, hero = page.locator("#account"), page.locator("#hero")
    for quiet in ({}, {**LIVE, "sandbox": True, "username": None}):
        show(page, shown, "ready", **quiet)
        expect(account).to_have_text("SANDBOX" if quiet else "PAPER · paper123")
        expect(account).to_have_css("background-color", "rgba(0, 0, 0, 0)")
        assert "LIVE" not in page.title()
    show(page, shown, "ready", **LIVE)
    expect(account).to_have_text("LIVE, real money · trader1")
    expect(account).to_have_css("background-color", "rgb(179, 20, 30)")
    expect(page).to_have_title("LIVE · ready · trader · gwctl")
    boxes = [place.bounding_box() or {"width": 0.0} for place in (account, hero)]
    assert boxes[0]["width"] > 0.95 * boxes[1]["width"]
    assert page.evaluate("getComputedStyle(document.body, '::before').backgroundColor") == "rgb(179, 20, 30)"


def test_a_hidden_username_is_nowhere(page: Page, shown: ShownPage) -> None:
    """With `show_username = false`, the page has the account's kind and not the user, also in what is folded."""
    expect(page.locator("#account")).to_contain_text("paper123")
    shown.status = {**shown.status, "show_username": False}
    expect(page.locator("#account")).to_have_text("PAPER")
    assert "paper123" not in page.content()


def test_the_icon_shows_the_state(page: Page, shown: ShownPage, context: BrowserContext) -> None:
    """The server has an icon, also at the usual address; the page's changes its shape and colour with the state."""
    for path in ("/favicon.svg", "/favicon.ico"):
        answer = context.request.get(shown.url + path)
        assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")
        assert answer.text().startswith("<svg ")
    icons = set()
    for phase in ("ready", "locked_out", "backoff", "starting", "stopped"):
        show(page, shown, phase)
        icons.add(str(page.locator("#icon").get_attribute("href")))
    assert len(icons) == 5
    assert len({icon[icon.index("path") :][:60] for icon in icons}) >= 4  # not by colour alone


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("address", "https://localhost:5000/v1/api"),
        ("ca", "/home/me/ca.pem"),
        ("env", 'eval "$(gwctl --profile trader env)"'),
    ],
)
def test_a_button_copies(page: Page, context: BrowserContext, place: str, text: str) -> None:
    """One press puts the whole text into the clipboard and says so, to a screen reader as well."""
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.locator(f"button[data-copies={place}]")
    expect(button).to_contain_text("Copy the")
    button.press("Enter")
    expect(button).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == text
    expect(button).to_contain_text("Copy the")


def test_without_a_clipboard_the_text_is_selected(page: Page) -> None:
    """Where the browser refuses the clipboard, the button says that the text is selected, and it is."""
    page.evaluate("navigator.clipboard.writeText = () => Promise.reject(); document.execCommand = () => false")
    button = page.locator("button[data-copies=address]")
    button.click()
    expect(button).to_contain_text("Selected")
    assert page.evaluate("getSelection().toString()") == "https://localhost:5000/v1/api"


def test_a_press_outlives_the_next_status(page: Page, shown: ShownPage) -> None:
    """What is updated each second neither takes the focus from a button nor closes an explanation."""
    show(page, shown, "backoff")
    page.locator("#advice button").focus()
    page.locator("summary", has_text="competing").click()
    page.locator("#advice button").focus()
    shown.status = {**shown.status, "next": {"what": "login", "in_s": 11.0}}
    expect(page.locator("#next")).to_have_text("Next: login in 11 s")
    assert page.evaluate("document.activeElement.dataset.copies") == "advice-0"
    expect(page.get_by_text("uses the same username")).to_be_visible()


def test_it_can_be_used_by_keyboard(page: Page) -> None:
    """Tab leads past the header first; Enter opens what words mean and the table; where one is, is always seen."""
    seen: list[str] = []
    while "Last 24 hours as a table" not in seen:
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate(
                "(here => here.getAttribute('aria-label') || here.textContent.trim())(document.activeElement)"
            )
        )
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", seen
        if seen[-1].startswith(("CA file", "As a table")):
            page.keyboard.press("Enter")
    assert seen[:3] == ["Skip to the session", "This profile", "All profiles"]
    expect(page.get_by_text("certificate authority")).to_be_visible()
    expect(page.locator("#stretches")).to_be_visible()


@pytest.mark.parametrize(
    "word", ["authenticated", "connected", "competing", "SSO", "Tickles", "Budgets", "refused logins"]
)
def test_words_are_explained_by_touch(page: Page, word: str) -> None:
    """A tap on a word opens a sentence about it, and another one closes it."""
    one = page.locator("details.fact", has=page.locator("summary", has_text=re.compile(f"^{word}")))
    meaning = one.locator("p")
    expect(meaning).to_be_hidden()
    one.locator("summary").click()
    expect(meaning).to_be_visible()
    assert len(meaning.inner_text().split()) > 6
    one.locator("summary").click()
    expect(meaning).to_be_hidden()


def test_times_have_one_form(page: Page, shown: ShownPage) -> None:
    """Times have seconds, dates the order of the log's, and only today's have no date; the clock names the zone."""
    show(page, shown, "backoff")
    page.locator("summary", has_text="As a table").click()
    expect(page.locator("#clock")).to_have_text(re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC[+-]\d\d:\d\d"))
    page.evaluate("document.getElementById('hours').remove()")  # the axis of the day has room for the minutes only
    text = re.sub(r"UTC[+-]\d\d:\d\d|localhost:\d+", "", page.inner_text("body"))
    times = re.findall(r"\d+:\d\d(?::\d\d)?", text)
    assert len(times) > 10
    assert [one for one in times if not re.fullmatch(r"\d\d:\d\d:\d\d", one)] == []
    assert re.findall(r"\d{4}-\d\d-\d\dT|\d\d/\d\d", text) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_others_see_the_state_and_the_way_to_the_rest(
    shown: ShownPage, context: BrowserContext, monkeypatch: pytest.MonkeyPatch, scheme: Any
) -> None:
    """Who may not see everything gets phase and reason, nothing that stands empty, and axe finds nothing."""
    monkeypatch.setattr(HealthServer, "_sees_all", lambda *_: False)
    page = context.new_page()
    page.emulate_media(color_scheme=scheme)
    page.goto(shown.url)
    expect(page.locator("#phase-word")).to_have_text("Ready")
    expect(page.locator("#next")).to_contain_text("gwctl status --web")
    assert page.locator("main section:visible").count() == 1
    assert "paper123" not in page.content()
    assert violations(page) == []
    page.goto(f"{shown.url}/profiles")
    expect(page.locator("#count")).to_contain_text("gwctl status --web --all")
    assert page.locator("#profiles li").count() == 0
    assert violations(page) == []
