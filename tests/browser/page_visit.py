"""One of the fake IBKR's login pages, open in a browser: where its elements are, and actions on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import login_rig as rig
from playwright.sync_api import Page, expect

from gwctl.sandbox.ibkr import RunningStandIn

SUCCESS = "Client login succeeds"


@dataclass(frozen=True)
class Places:
    """Where the elements of one variant of the page are."""

    username: str
    password: str
    submit: str
    box: str
    label: str
    error: str
    code: str
    devices: str
    push: str
    resend: str
    offer: str
    skip: str


CURRENT = Places(
    username="#xyz-field-username",
    password="#xyz-field-password",
    submit=".xyz-button-login:visible",
    box="#toggle1",
    label="label[for=toggle1]",
    error=".xyzblock-error .xyz-errormessage",
    code="#xyz-field-silver-response",
    devices="select.xyz-multipleselect",
    push=".xyzblock-notification",
    resend=".xyz-resendnotification",
    offer="enablepush",
    skip=".xyzblock-enablepush >> text=Not now",
)
LEGACY = Places(
    username="[name=user_name]",
    password="[name=password]",
    submit="#submitForm",
    box="#paperSwitch",
    label="label[for=paperSwitch]",
    error=".alert.alert-danger.margin-top-10",
    code="#twofactbase #chlginput",
    devices="#sf_select",
    push=".login-step-notification",
    resend=".login-step-notification >> text=Resend",
    offer="promo",
    skip=".ibkey-promo-skip",
)
PLACES = {"current": CURRENT, "legacy": LEGACY}


@dataclass
class Visit:
    """One login page open in a browser, with its gateway and the fake IBKR."""

    page: Page
    url: str
    ibkr: RunningStandIn
    places: Places

    def stage(self, scenario: str, **parameters: Any) -> None:
        self.ibkr.state.set_scenario(scenario, on=True, parameters=parameters)

    def open(self) -> None:
        self.page.goto(f"{self.url}/")

    def send_password(self, password: str = rig.PASSWORD) -> None:
        """Put the page in the account's mode, fill the form and submit it."""
        self.page.wait_for_selector(self.places.username)
        box = self.page.locator(self.places.box)
        if box.count() and not box.is_checked() and self.ibkr.state.config.account.mode == "paper":
            self.page.click(self.places.label)
        self.page.fill(self.places.username, rig.USERNAME)
        self.page.fill(self.places.password, password)
        self.page.click(self.places.submit)

    def log_in(self, **factor: Any) -> None:
        """Open the page and send the right password, which leads to this second factor."""
        self.stage("second_factor", **factor)
        self.open()
        self.send_password()

    def send_code(self, code: str, field: str | None = None) -> None:
        self.page.fill(field or self.places.code, code)
        self.page.click(self.places.submit)

    def expect_success(self, *outcomes: str) -> None:
        """Check the end of a login, and what IBKR's side saw before it."""
        expect(self.page.locator("body")).to_have_text(SUCCESS)
        assert self.outcomes == [*outcomes, "success"]

    def expect_error(self, text: str) -> None:
        expect(self.page.locator(self.places.error)).to_have_text(text)
        expect(self.page.locator(self.places.error)).to_be_visible()

    @property
    def outcomes(self) -> list[str]:
        return [submit.outcome for submit in self.ibkr.state.desk.submits]
