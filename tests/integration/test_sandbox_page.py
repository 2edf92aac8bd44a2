"""The fake IBKR's login page in a real Chromium."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pyotp
import pytest
from playwright.sync_api import Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.login_desk import LIVE_BUT_PAPER, REFUSED, WRONG_CODE
from gwctl.sandbox.settings import Account, PageOptions, StandInConfig

pytestmark = pytest.mark.browser

ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run"]
USERNAME, PASSWORD = "#xyz-field-username", "#xyz-field-password"
SUBMIT = ".xyz-button-login:visible"


@pytest.fixture
def page() -> Iterator[Page]:
    found = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        opened = browser.new_page()
        opened.set_default_timeout(10_000)
        yield opened
        browser.close()


@pytest.fixture
def ibkr() -> Iterator[RunningStandIn]:
    with serve_in_thread(StandInConfig(admin_token="t")) as running:
        yield running


def open_form(page: Page, ibkr: RunningStandIn) -> None:
    page.goto(f"{ibkr.url}/sso/Login?forwardTo=22&RL=1&ip2loc=US")
    page.wait_for_selector(USERNAME, state="visible")


def fill_and_submit(page: Page, password: str) -> None:
    page.fill(USERNAME, "sandbox")
    page.fill(PASSWORD, password)
    page.click(SUBMIT)


def error_text(page: Page) -> str:
    return page.wait_for_selector(".xyzblock-error .xyz-errormessage", state="visible").inner_text()  # type: ignore[union-attr] # visible: it is there


def test_the_form_comes_late(page: Page) -> None:
    """A page that has just loaded has no form; it appears when its script is done."""
    options = PageOptions(form_delay_ms=3000)
    with serve_in_thread(StandInConfig(admin_token="t", page=options)) as ibkr:
        page.goto(f"{ibkr.url}/sso/Login")
        assert page.locator(USERNAME).count() == 0
        page.wait_for_selector(USERNAME, state="visible")


def test_the_dialog_lies_over_the_button_and_the_toggle_clears(page: Page, ibkr: RunningStandIn) -> None:
    """The cookie dialog catches the click; the paper toggle empties the fields and renames Login."""
    page.goto(f"{ibkr.url}/sso/Login")
    page.wait_for_selector(USERNAME, state="visible")
    with pytest.raises(PlaywrightTimeout):
        page.click(SUBMIT, timeout=500)
    page.click("#gdpr-reject-all")
    assert page.locator(".xyz-button-login").count() > 1
    assert page.locator(SUBMIT).inner_text() == "Login"
    page.fill(USERNAME, "typed-too-early")
    assert not page.locator("#toggle1").is_visible()
    page.click("label[for=toggle1]")
    assert page.is_checked("#toggle1")
    assert page.input_value(USERNAME) == ""
    assert page.locator(SUBMIT).inner_text() == "Simulated Login"
    assert "btn-danger" in (page.locator(SUBMIT).get_attribute("class") or "")


def test_refused_wrong_mode_then_success(page: Page, ibkr: RunningStandIn) -> None:
    """Each outcome looks as on IBKR's page, the password is in no request, and success leaves the SSO cookies."""
    sent: list[str] = []
    page.on("request", lambda request: sent.append(f"{request.url} {request.post_data}"))
    open_form(page, ibkr)
    page.click("#gdpr-reject-all")
    fill_and_submit(page, "sandbox")
    assert error_text(page) == LIVE_BUT_PAPER
    page.click("label[for=toggle1]")
    fill_and_submit(page, "not-the-password")
    expect(page.locator(".xyz-errormessage")).to_have_text(REFUSED)
    with page.expect_request("**/sso/Dispatcher?forwardTo=22&RL=1&ip2loc=US"):
        fill_and_submit(page, "sandbox")
    names = {cookie.get("name") for cookie in page.context.cookies()}
    assert names >= {"XYZAB", "XYZAB_AM.LOGIN"}
    assert not [line for line in sent if "not-the-password" in line]
    assert [item.outcome for item in ibkr.state.desk.submits] == ["wrong_mode", "refused", "success"]


def test_the_code_panel(page: Page) -> None:
    """With a second factor, its panel follows the password, refuses a wrong code and accepts the right one."""
    secret = pyotp.random_base32()
    options = PageOptions(cookie_dialog=False, two_step=True, form_delay_ms=0)
    config = StandInConfig(admin_token="t", account=Account(mode="live", totp_secret=secret), page=options)
    with serve_in_thread(config) as ibkr:
        open_form(page, ibkr)
        assert not page.is_visible(PASSWORD)
        page.fill(USERNAME, "sandbox")
        page.click(".xyzblock-username-submit button")
        page.fill(PASSWORD, "sandbox")
        page.click(SUBMIT)
        page.fill("#xyz-field-silver-response", "12")
        page.click(SUBMIT)
        assert error_text(page) == WRONG_CODE
        page.fill("#xyz-field-silver-response", pyotp.TOTP(secret).at(int(time.time())))
        with page.expect_request("**/sso/Dispatcher?*"):
            page.click(SUBMIT)
        assert ibkr.state.desk.submits[-1].outcome == "success"


def test_endings_of_the_page(page: Page, ibkr: RunningStandIn) -> None:
    """Ignored: nothing is sent; again: empty fields, no text; spinning: the button stays disabled; banner: no form."""
    switch = ibkr.state.set_scenario
    switch("login_page", on=True, parameters={"cookie_dialog": False})
    switch("temperamental", on=True, parameters={})
    open_form(page, ibkr)
    fill_and_submit(page, "sandbox")
    assert ibkr.state.requests["/sso/Authenticator"] == 0
    switch("temperamental", on=False, parameters={})
    switch("form_again", on=True, parameters={})
    open_form(page, ibkr)
    fill_and_submit(page, "sandbox")
    expect(page.locator(USERNAME)).to_have_value("")
    assert not page.is_visible(".xyz-errormessage")
    switch("form_again", on=False, parameters={})
    switch("login_spins", on=True, parameters={})
    fill_and_submit(page, "sandbox")
    expect(page.locator(SUBMIT)).to_be_disabled()
    switch("maintenance_banner", on=True, parameters={})
    page.goto(f"{ibkr.url}/sso/Login")
    assert "maintenance" in page.locator(".gstat:visible").inner_text()
    assert page.locator(USERNAME).count() == 0
