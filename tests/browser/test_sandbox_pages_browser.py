"""Both login pages of the fake IBKR, clicked through in a real Chromium and a gateway: every second factor once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import login_rig as rig
import pyotp
import pytest
from page_visit import PLACES, Visit
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from gwctl.login.browser import arguments, find_browser
from gwctl.sandbox.login_desk import DENIED, LIVE_BUT_PAPER, REFUSED, WRONG_CODE
from gwctl.sandbox.settings import Mode

pytestmark = pytest.mark.browser

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
CODE, RESPONSE = "135790", "24681357"
ASKED, REFUSED_FACTOR, OFFER = "second_factor_asked", "second_factor_refused", "offer"


Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[rig.Places, BrowserContext]]:
    """Yield the gateways, and the one browser that visits them."""
    expect.set_options(timeout=15_000)
    folder = tmp_path_factory.mktemp("pages")
    with ExitStack() as stack:
        places = rig.Places(folder, stack)
        playwright = stack.enter_context(sync_playwright())
        context = playwright.chromium.launch_persistent_context(
            folder / "browser",
            executable_path=find_browser(os.environ.get("GWCTL_BROWSER"), os.environ).executable,
            args=arguments(places.key.pin),
            chromium_sandbox=os.geteuid() != 0,
        )
        stack.callback(context.close)
        context.set_default_timeout(15_000)
        yield places, context


@pytest.fixture
def make_visit(shared: tuple[rig.Places, BrowserContext]) -> Iterator[Open]:
    """Yield a function that opens a fresh page, without the last one's cookies."""
    places, context = shared
    opened: list[Page] = []

    def make(variant: str, *, mode: Mode = "paper", secret: str | None = None, **page: Any) -> Visit:
        options = {"variant": variant, "form_delay_ms": 0, "cookie_dialog": False} | page
        ibkr, url = places.fresh(mode, secret, **options)
        context.clear_cookies()
        opened.append(context.new_page())
        return Visit(opened[-1], url, ibkr, PLACES[variant])

    yield make
    for one in opened:
        one.close()


@pytest.fixture(params=PLACES)
def variant(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_without_a_second_factor_the_password_is_enough(make_visit: Open, variant: str) -> None:
    """Wrong mode, wrong password and the right one look right on each page, and the password is never sent."""
    visit = make_visit(variant, secret=SECRET)
    sent: list[str] = []
    visit.page.on("request", lambda request: sent.append(f"{request.url} {request.post_data}"))
    visit.log_in(kind="none")
    visit.expect_success()
    visit.open()
    visit.send_password("not-the-password")
    visit.expect_error(REFUSED)
    visit.page.click(visit.places.label)
    visit.page.fill(visit.places.username, rig.USERNAME)
    visit.page.fill(visit.places.password, rig.PASSWORD)
    visit.page.click(visit.places.submit)
    visit.expect_error(LIVE_BUT_PAPER)
    visit.send_password()
    visit.expect_success("success", "refused", "wrong_mode")
    assert not [line for line in sent if "not-the-password" in line or rig.PASSWORD in line]


@pytest.mark.parametrize("kind", ["app", "sms"])
def test_a_code_is_refused_and_then_taken(make_visit: Open, variant: str, kind: str) -> None:
    """A wrong code shows its text over the same field, the right one ends in success."""
    visit = make_visit(variant, secret=SECRET)
    visit.log_in(kind=kind)
    visit.send_code("0")
    visit.expect_error(WRONG_CODE)
    visit.send_code(CODE if kind == "sms" else pyotp.TOTP(SECRET).at(int(time.time())))
    visit.expect_success(ASKED, REFUSED_FACTOR)


@pytest.mark.parametrize(
    ("kind", "field", "code"),
    [
        ("email", "#xyz-field-temp-response", CODE),
        ("card", "#xyz-field-bronze-response", CODE),
        ("challenge", "#xyz-field-gold-response", RESPONSE),
    ],
)
def test_codes_of_the_current_page(make_visit: Open, kind: str, field: str, code: str) -> None:
    """A code by e-mail, from the card, or the response to the visible challenge each has its own field."""
    visit = make_visit("current")
    visit.log_in(kind=kind)
    for _ in ("before", "after a wrong one"):
        expect(visit.page.locator(field)).to_be_visible()
        assert visit.page.locator(visit.places.code).is_visible() is False
        if kind == "challenge":
            expect(visit.page.locator(".xyz-goldchallenge")).to_have_text("482 913")
        if not visit.page.is_visible(visit.places.error):
            visit.send_code("0", field)
            visit.expect_error(WRONG_CODE)
    visit.send_code(code, field)
    visit.expect_success(ASKED, REFUSED_FACTOR)


@pytest.mark.each_value
@pytest.mark.parametrize("needs_button", [False, True])
@pytest.mark.parametrize(
    ("device", "label"), [("5.2a", "IB KEY"), ("4", "MOBILE AUTHENTICATOR app"), ("4.2", "sms")], ids=str
)
def test_a_choice_leads_on(make_visit: Open, variant: str, device: str, label: str, *, needs_button: bool) -> None:
    """Each device of the list leads to its step, at once or by the visible button, with labels in any case."""
    visit = make_visit(variant)
    devices = [["5.2a", "IB KEY"], ["4", "MOBILE AUTHENTICATOR app"], ["4.2", "sms"]]
    visit.log_in(kind="choice", devices=devices, choice_needs_button=needs_button)
    expect(visit.page.locator(visit.places.devices)).to_be_visible()
    button = visit.page.locator(visit.places.submit)
    expect(button).to_be_visible(visible=needs_button)
    visit.page.select_option(visit.places.devices, label=label)
    if needs_button:
        # The script disables the list before it sends a choice, and hides it afterwards.
        assert visit.page.is_visible(visit.places.devices)
        assert visit.page.is_enabled(visit.places.devices)
        button.click()
    if device != "5.2a":
        visit.send_code(CODE)
    visit.expect_success(ASKED)


def test_a_push_is_approved(make_visit: Open, variant: str) -> None:
    """While the notification's panel is visible the page waits, and continues by itself after the approval."""
    visit = make_visit(variant)
    visit.log_in(kind="push", approve="never")
    expect(visit.page.locator(visit.places.push)).to_be_visible()
    with visit.page.expect_response("**/sso/Authenticator") as answer:
        pass
    assert answer.value.json() == {"pending": True}
    visit.stage("second_factor", kind="push", approve="approved", approve_after_ms=0)
    visit.expect_success(ASKED)


def test_a_push_is_denied(make_visit: Open, variant: str) -> None:
    """A denied push ends in IBKR's text above the form."""
    visit = make_visit(variant)
    visit.log_in(kind="push", approve="denied")
    visit.expect_error(DENIED)
    expect(visit.page.locator(visit.places.password)).to_be_visible()
    assert visit.outcomes == [ASKED, REFUSED_FACTOR]


def test_the_second_push_is_approved(make_visit: Open, variant: str) -> None:
    """IBKR's side sees a repeated push, and approves it where it ignored the first."""
    visit = make_visit(variant)
    visit.log_in(kind="push", approve="second", approve_after_ms=0)
    visit.page.click(visit.places.resend)
    visit.expect_success(ASKED)
    assert visit.ibkr.state.desk.resends == 1


def test_from_a_push_to_the_challenge(make_visit: Open) -> None:
    """The link on the push's panel shows the challenge, and its response ends in success."""
    visit = make_visit("current")
    visit.log_in(kind="push", approve="never")
    visit.page.click(".xyz-showchallenge")
    expect(visit.page.locator(".xyz-goldchallenge")).to_have_text("482 913")
    visit.send_code(RESPONSE, "#xyz-field-gold-response")
    visit.expect_success(ASKED)


@pytest.mark.parametrize("kind", ["none", "sms"])
def test_an_offer_is_skipped(make_visit: Open, variant: str, kind: str) -> None:
    """An offer stays between the last factor and success until it is skipped."""
    visit = make_visit(variant)
    visit.log_in(kind=kind, offer=visit.places.offer)
    if kind == "sms":
        visit.send_code(CODE)
    visit.page.click(visit.places.skip)
    visit.expect_success(*([ASKED] if kind == "sms" else []), OFFER)


def test_the_other_offer_of_the_current_page(make_visit: Open) -> None:
    """The offer of IB Key has its own panel and is skipped like the other."""
    visit = make_visit("current")
    visit.log_in(kind="none", offer="ibkey")
    assert not visit.page.is_visible(".xyzblock-enablepush")
    visit.page.click(".xyzblock-ibkey >> text=Not now")
    visit.expect_success(OFFER)


@pytest.mark.parametrize("skip", [True, False])
def test_the_check_by_e_mail(make_visit: Open, *, skip: bool) -> None:
    """The browser goes to another page below /sso; its code, or skipping it, ends in success."""
    visit = make_visit("current")
    visit.log_in(kind="email_check")
    visit.page.wait_for_url("**/sso/restricted/")
    if skip:
        visit.page.click("text=Skip Verification")
        visit.expect_success(ASKED)
        return
    visit.page.fill("input[name=email-code]", "0")
    visit.page.press("input[name=email-code]", "Enter")
    visit.expect_error(WRONG_CODE)
    visit.page.fill("input[name=email-code]", CODE)
    visit.page.press("input[name=email-code]", "Enter")
    visit.expect_success(ASKED, REFUSED_FACTOR)


def test_a_passkey_is_the_end(make_visit: Open) -> None:
    """The passkey's form is visible, its button does nothing, and IBKR's side still waits."""
    visit = make_visit("current")
    visit.log_in(kind="passkey")
    expect(visit.page.locator("form.xyzform-fido")).to_be_visible()
    asked = visit.ibkr.state.requests["/sso/Authenticator"]
    visit.page.click("form.xyzform-fido button")
    assert visit.page.is_visible("form.xyzform-fido")
    assert (visit.outcomes, visit.ibkr.state.requests["/sso/Authenticator"]) == ([ASKED], asked)


def test_a_remembered_session_skips_the_factor(make_visit: Open, variant: str) -> None:
    """After a recent session, the password alone ends in success."""
    visit = make_visit(variant)
    visit.log_in(kind="push", remembered=True)
    visit.expect_success()


@pytest.mark.parametrize("kind", ["email", "card", "challenge", "passkey", "email_check"])
def test_what_the_legacy_page_has_not_got_it_says(make_visit: Open, kind: str) -> None:
    """A second factor on the legacy page is an error text there, not an empty page."""
    visit = make_visit("legacy")
    visit.log_in(kind=kind)
    expect(visit.page.locator(visit.places.error)).to_contain_text("this page has no step")


def test_the_form_comes_after_one_reload(make_visit: Open, variant: str) -> None:
    """The first load never gets its form, the second does, and the login continues there."""
    visit = make_visit(variant, form_on_load=2)
    visit.open()
    expect(visit.page.get_by_text("Loading…")).to_be_visible()
    assert visit.page.evaluate("flags.form_never") is True
    visit.page.reload()
    visit.send_password()
    visit.expect_success()


def test_the_switch_clears_and_the_dialog_comes_back(make_visit: Open, variant: str) -> None:
    """The paper switch empties the fields, and the cookie dialog covers the form and the step after it."""
    visit = make_visit(variant, cookie_dialog=True, cookie_dialog_returns=True)
    visit.stage("second_factor", kind="sms")
    visit.open()
    visit.page.click("#gdpr-reject-all")
    visit.page.fill(visit.places.username, "typed too early")
    visit.page.click(visit.places.label)
    expect(visit.page.locator(visit.places.username)).to_have_value("")
    assert visit.page.is_checked(visit.places.box)
    visit.send_password()
    visit.page.click("#btn_accept_cookies")
    visit.send_code(CODE)
    visit.expect_success(ASKED)


def test_a_switch_that_keeps_and_no_switch(make_visit: Open, variant: str) -> None:
    """If the switch does not clear, the typed text stays; and a page without a switch logs in a live account."""
    visit = make_visit(variant, mode="live", toggle_clears=False)
    visit.open()
    visit.page.fill(visit.places.username, "kept")
    visit.page.click(visit.places.label)
    expect(visit.page.locator(visit.places.username)).to_have_value("kept")
    visit.stage("login_page", variant=variant, toggle=False, cookie_dialog=False)
    visit.open()
    visit.send_password()
    assert visit.page.locator(visit.places.box).count() == 0
    visit.expect_success()


@pytest.mark.each_value
@pytest.mark.parametrize("scenario", ["temperamental", "form_again", "login_spins", "maintenance_banner", "html_503"])
def test_endings_of_each_page(make_visit: Open, variant: str, scenario: str) -> None:
    """Ignored: nothing is sent; again: empty and without a text; spinning: disabled; banner and 503: no form."""
    visit = make_visit(variant)
    visit.stage(scenario)
    visit.open()
    if scenario == "maintenance_banner":
        expect(visit.page.locator(".gstat")).to_be_visible()
        assert not visit.page.is_visible(visit.places.submit)
        assert visit.page.locator("input:visible").count() == 0
        return
    if scenario == "html_503":
        expect(visit.page.locator("h1")).to_have_text("Service Unavailable")
        return
    visit.send_password()
    if scenario == "temperamental":
        # The script disables the button before it sends anything.
        assert visit.page.is_enabled(visit.places.submit)
        assert visit.ibkr.state.requests["/sso/Authenticator"] == 0
        assert visit.page.input_value(visit.places.password) == rig.PASSWORD
    elif scenario == "form_again":
        expect(visit.page.locator(visit.places.password)).to_have_value("")
        assert not visit.page.is_visible(visit.places.error)
    else:
        expect(visit.page.locator(visit.places.submit)).to_be_disabled()


def test_enter_in_the_first_half_of_the_form_shows_the_second(make_visit: Open) -> None:
    """The two-step form sends nothing before it has asked for the password, even when Enter is pressed."""
    visit = make_visit("current", two_step=True)
    visit.open()
    visit.page.fill(visit.places.username, rig.USERNAME)
    visit.page.press(visit.places.username, "Enter")
    visit.page.wait_for_selector(visit.places.password)
    assert visit.ibkr.state.requests["/sso/Authenticator"] == 0
