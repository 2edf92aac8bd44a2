from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import login_rig as rig
import pyotp
import pytest

from gwctl.login.browser import NO_SANDBOX
from gwctl.login.outcome import LoginJob, LoginOutcome
from gwctl.login.page_state import Patience
from gwctl.sandbox.ibkr import RunningStandIn
from gwctl.sandbox.settings import Mode

pytestmark = pytest.mark.browser

TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


class Shared:
    """What the tests share: one browser, and a gateway for each kind of account."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.places = rig.Places(folder, stack)
        self.chromium = stack.enter_context(rig.one_browser(self.places.key.pin, folder))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Yield what the tests share."""
    with ExitStack() as stack:
        yield Shared(tmp_path_factory.mktemp("shared"), stack)


@dataclass
class Stand:
    """The fake IBKR, behind a gateway without cookies."""

    url: str
    ibkr: RunningStandIn
    folder: Path
    shared: Shared

    def job(self, **changes: Any) -> LoginJob:
        values: dict[str, Any] = {
            "base_url": self.url,
            "username": rig.USERNAME,
            "password": rig.PASSWORD,
            "evidence_dir": self.folder / "evidence",
            "deadline_s": 60.0,
        }
        return rig.job(**values | changes)

    def log_in(self, *, permit: bool = True, **changes: Any) -> rig.Login:
        """Log in with the shared browser."""
        return self.shared.chromium.log_in(self.job(**changes), permit=permit)

    def log_in_by_worker(self, pin: str | None = None) -> rig.Login:
        """Log in as the supervisor does, by a worker with a separate browser."""
        return rig.log_in(self.job(), pin or self.shared.places.key.pin, self.folder / "scratch")

    @property
    def submits(self) -> list[str]:
        """What IBKR's side saw, in order."""
        return [submit.outcome for submit in self.ibkr.state.desk.submits]


MakeStand = Callable[..., Stand]


@pytest.fixture
def make_stand(shared: Shared, tmp_path: Path) -> MakeStand:
    def make(*, account_mode: Mode = "paper", totp_secret: str | None = None, **page: Any) -> Stand:
        ibkr, url = shared.places.fresh(account_mode, totp_secret, **{"cookie_dialog": True} | page)
        return Stand(url, ibkr, tmp_path, shared)

    return make


def test_a_login_succeeds_and_hands_over_its_cookies(make_stand: MakeStand) -> None:
    """One submit, one permit, IBKR's cookies for a later resume, and no evidence of a success."""
    stand = make_stand()
    login = stand.log_in_by_worker()
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert (login.report.submits, login.permits, stand.submits) == (1, 1, ["success"])
    assert {"XYZAB", "XYZAB_AM.LOGIN"} <= {cookie.name for cookie in login.report.cookies}
    assert login.report.page_version == "current"
    assert not login.report.workaround_used
    # That root's browser has no sandbox is said while it starts, before the login's own steps.
    names = [step.name for step in login.steps if step.name != NO_SANDBOX]
    assert names == [step.name for step in login.report.steps]
    assert names.index("mode switched to paper") < names.index("form filled") < names.index("submitted")
    assert {"browser", "form", "answer", "total"} <= set(login.report.durations_ms)
    assert not (stand.folder / "evidence").exists()


def test_a_wrong_password_is_sent_exactly_once(make_stand: MakeStand) -> None:
    """A refusal is a separate outcome, counted once, never tried again (law 2)."""
    stand = make_stand()
    login = stand.log_in(password="not-the-password")
    assert login.report.outcome is LoginOutcome.REFUSED
    assert login.report.text == "Invalid username password combination"
    assert (login.report.submits, login.permits, stand.submits) == (1, 1, ["refused"])
    assert login.report.cookies == ()


def test_without_permission_nothing_is_sent(make_stand: MakeStand) -> None:
    """A submit that the ledger does not allow never happens: not one POST reaches IBKR (law 2)."""
    stand = make_stand()
    login = stand.log_in(permit=False)
    assert login.report.outcome is LoginOutcome.CANCELLED
    assert (login.report.submits, login.permits, stand.submits) == (0, 1, [])
    assert not any("Authenticator" in path for path in stand.ibkr.state.requests)


def test_the_wrong_mode_is_said_and_not_switched(make_stand: MakeStand) -> None:
    """A paper account in live mode ends the login: the profile's mode decides."""
    stand = make_stand()
    login = stand.log_in(mode="live")
    assert login.report.outcome is LoginOutcome.WRONG_MODE
    assert "Please select the correct Login mode" in login.report.text
    assert (login.report.submits, stand.submits) == (1, ["wrong_mode"])


def test_live_mode_leaves_the_switch_alone(make_stand: MakeStand) -> None:
    """A live account logs in with the paper switch off."""
    stand = make_stand(account_mode="live")
    login = stand.log_in(mode="live")
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert [submit.mode for submit in stand.ibkr.state.desk.submits] == ["live"]


@pytest.mark.parametrize(
    "page",
    [
        {"form_delay_ms": 2500},
        {"toggle_clears": False},
        {"cookie_dialog_returns": True},
        {"cookie_dialog": False},
        {"two_step": True},
    ],
    ids=lambda page: next(iter(page)),
)
def test_every_habit_of_the_page_is_coped_with(make_stand: MakeStand, page: dict[str, Any]) -> None:
    """Late, two-step, cleared by its switch or covered by a cookie dialog: one submit, and in."""
    stand = make_stand(**page)
    login = stand.log_in()
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert (login.report.submits, stand.submits) == (1, ["success"])


def test_a_page_without_a_switch_is_logged_in_by_username(make_stand: MakeStand) -> None:
    """Without a paper switch, nothing is clicked for one."""
    stand = make_stand(toggle=False, account_mode="live")
    login = stand.log_in(mode="paper")
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert "no paper switch" in [step.name for step in login.steps]


def test_a_form_that_never_comes_gets_one_free_reload(make_stand: MakeStand) -> None:
    """No form, one reload, then a separate outcome; no permit is requested and no password spent."""
    stand = make_stand(form_never=True)
    login = stand.log_in(patience=Patience(form_s=1.0))
    assert login.report.outcome is LoginOutcome.PAGE_NEVER_CAME
    assert [step.name for step in login.steps][:2] == ["page opened", "page reloaded"]
    assert (login.report.submits, login.permits, stand.submits) == (0, 0, [])
    assert not login.report.workaround_used


def test_after_a_gateway_start_a_missing_form_is_worth_the_demo_page(make_stand: MakeStand) -> None:
    """A gateway's first login opens the demo page before the form and, if no form appears, once more."""
    stand = make_stand(form_never=True)
    login = stand.log_in(first_after_start=True, patience=Patience(form_s=0.7))
    assert login.report.outcome is LoginOutcome.PAGE_NEVER_CAME
    assert login.report.workaround_used
    assert [step.name for step in login.steps].count("demo page called the API") == 2


@pytest.mark.each_value
@pytest.mark.parametrize("how", ["swallows", "stays", "clears", "reloads"])
@pytest.mark.parametrize("has_worked", [False, True])
def test_after_a_gateway_start_the_demo_page_comes_first(make_stand: MakeStand, how: str, has_worked: bool) -> None:  # noqa: FBT001 - a case
    """The first form after a gateway's start is opened after the demo page: one submit, with any temperament."""
    stand = make_stand()
    stand.ibkr.state.set_scenario("temperamental", on=True, parameters={"how": how})
    login = stand.log_in(first_after_start=True, has_worked=has_worked)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert (login.report.submits, login.permits, stand.submits) == (1, 1, ["success"])
    assert not login.report.workaround_used
    names = [step.name for step in login.steps]
    assert names.index("demo page called the API") < names.index("page opened")


@pytest.mark.each_value
@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        ("stays", LoginOutcome.TIMED_OUT),
        ("clears", LoginOutcome.FORM_AGAIN),
        ("reloads", LoginOutcome.FORM_AGAIN),
    ],
)
@pytest.mark.parametrize("has_worked", [False, True])
def test_where_the_demo_page_did_not_help_at_first(
    make_stand: MakeStand,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    outcome: LoginOutcome,
    has_worked: bool,  # noqa: FBT001 - a case
) -> None:
    """If a page does nothing with the answer, it gets one more try within 15 s, if the password has worked (law 2)."""
    stand = make_stand()
    stand.ibkr.state.set_scenario("temperamental", on=True, parameters={"how": how})
    called, helps = [0], stand.ibkr.state.demo_called

    def second_call_helps(cookies: Any) -> None:
        called[0] += 1
        if called[0] > 1:
            helps(cookies)

    monkeypatch.setattr(stand.ibkr.state, "demo_called", second_call_helps)
    login = stand.log_in(first_after_start=True, has_worked=has_worked, patience=Patience(answer_s=20.0))
    at_ms = {step.name: step.at_ms for step in reversed(login.steps)}
    if has_worked:
        assert login.report.outcome is LoginOutcome.SUCCESS
        assert (login.report.submits, login.permits, stand.submits) == (2, 2, ["success"])
        again_ms = [step.at_ms for step in login.steps if step.name == "submitted"][1]
        assert again_ms - at_ms["submitted"] < 15_000
    else:
        assert login.report.outcome is outcome
        assert (login.report.submits, login.permits, stand.submits) == (1, 1, [])


def test_an_error_text_after_a_gateway_start_is_no_mood(make_stand: MakeStand) -> None:
    """A refusal is not sent again after the demo page, even if the password has worked before."""
    stand = make_stand()
    login = stand.log_in(first_after_start=True, has_worked=True, password="another")
    assert login.report.outcome is LoginOutcome.REFUSED
    assert (login.report.submits, login.permits, stand.submits) == (1, 1, ["refused"])


def test_a_temperamental_gateway_is_talked_round(make_stand: MakeStand) -> None:
    """An ignored form is no refusal: after the demo page the password is sent, once in all."""
    stand = make_stand()
    stand.ibkr.state.set_scenario("temperamental", on=True, parameters={})
    login = stand.log_in()
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert login.report.workaround_used
    assert (login.report.submits, login.permits, stand.submits) == (1, 2, ["success"])


def test_a_form_swallowed_twice_is_the_end(make_stand: MakeStand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignored again after the demo page: a separate outcome, nothing sent, nothing counted."""
    stand = make_stand()
    stand.ibkr.state.set_scenario("temperamental", on=True, parameters={})
    monkeypatch.setattr(stand.ibkr.state, "demo_called", lambda _cookies: None)  # the call does not help
    login = stand.log_in(patience=Patience(swallowed_s=1.0))
    assert login.report.outcome is LoginOutcome.SWALLOWED
    assert not login.report.outcome.counts_as_refusal
    assert (login.report.submits, stand.submits) == (0, [])


def test_a_code_is_made_and_sent(make_stand: MakeStand) -> None:
    """For a code of the app, a login with the secret sends it and reports the used window."""
    stand = make_stand(totp_secret=TOTP_SECRET)
    login = stand.log_in(totp_secret=TOTP_SECRET)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert stand.submits == ["second_factor_asked", "success"]
    assert login.report.totp_window is not None
    assert pyotp.TOTP(TOTP_SECRET).at(login.report.totp_window * 30) not in repr(login.report)


@pytest.mark.parametrize(
    ("secret", "text", "submits"),
    [(None, "authenticator app", ["second_factor_asked"]), ("not base 32!", "base32", [])],
)
def test_without_a_good_secret_a_person_is_needed(
    make_stand: MakeStand, secret: str | None, text: str, submits: list[str]
) -> None:
    """For a code that cannot be computed, the login ends and says so; with a bad secret, even before the password."""
    stand = make_stand(totp_secret=TOTP_SECRET)
    login = stand.log_in(totp_secret=secret)
    assert login.report.outcome is LoginOutcome.SECOND_FACTOR_NEEDED
    assert text in login.report.text
    assert stand.submits == submits


@pytest.mark.parametrize(
    ("scenario", "parameters", "outcome"),
    [
        ("form_again", {}, LoginOutcome.FORM_AGAIN),
        ("login_error", {"text": "Authentication failed"}, LoginOutcome.UNCLEAR),
        ("login_error", {"text": "The moon is full"}, LoginOutcome.UNKNOWN_TEXT),
        ("login_error", {"text": "Your account is locked"}, LoginOutcome.LOCKED),
        ("login_error", {"text": "Cookies must be enabled"}, LoginOutcome.COOKIES_DISABLED),
        ("login_spins", {}, LoginOutcome.TIMED_OUT),
    ],
)
def test_every_ending_is_its_own_outcome(
    make_stand: MakeStand, scenario: str, parameters: dict[str, Any], outcome: LoginOutcome
) -> None:
    """Form again, each text, a spinner: each is distinguished, after one submit and never a second."""
    stand = make_stand()
    stand.ibkr.state.set_scenario(scenario, on=True, parameters=parameters)
    login = stand.log_in(patience=Patience(answer_s=3.0))
    assert login.report.outcome is outcome
    assert (login.report.submits, login.permits, len(stand.submits)) == (1, 1, 1)


@pytest.mark.parametrize("scenario", ["maintenance_banner", "html_503"])
def test_maintenance_spends_no_password(make_stand: MakeStand, scenario: str) -> None:
    """A banner without a form, or a 503: IBKR has a problem, and nothing is sent."""
    stand = make_stand()
    stand.ibkr.state.set_scenario(scenario, on=True, parameters={})
    login = stand.log_in(patience=Patience(banner_s=0.5))
    assert login.report.outcome is LoginOutcome.UPSTREAM_ILL
    assert (login.report.submits, login.permits, stand.submits) == (0, 0, [])


def test_another_key_is_never_talked_to(make_stand: MakeStand, tmp_path: Path) -> None:
    """A port with a key other than the pinned one gets no password (law 8: our TLS is verified)."""
    stand = make_stand()
    other = tmp_path / "other"
    other.mkdir()
    login = stand.log_in_by_worker(rig.make_key(other).pin)
    assert login.report.outcome is LoginOutcome.FOREIGN_KEY
    assert "does not have our key" in login.report.text
    assert (login.report.submits, login.permits, stand.submits) == (0, 0, [])


def test_evidence_is_kept_without_secrets(make_stand: MakeStand) -> None:
    """A failed login leaves steps, text and picture, 0600 in 0700, and no secret in them (law 8)."""
    stand = make_stand()
    text = f"Hello {rig.USERNAME}, your password {rig.PASSWORD} is odd"
    stand.ibkr.state.set_scenario("login_error", on=True, parameters={"text": text})
    login = stand.log_in()
    assert login.report.text == "Hello •••, your password ••• is odd"
    assert login.report.evidence is not None
    folder = Path(login.report.evidence)
    assert {file.name for file in folder.iterdir()} == {"steps.json", "browser.json", "page.txt", "page.png"}
    assert folder.stat().st_mode & 0o777 == 0o700
    for file in folder.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
        assert rig.USERNAME.encode() not in file.read_bytes()
        assert rig.PASSWORD.encode() not in file.read_bytes()
    assert "is odd" in (folder / "page.txt").read_text()
    assert (folder / "page.png").read_bytes().startswith(b"\x89PNG")
