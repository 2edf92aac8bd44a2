"""What the fake IBKR asks for after the right password, and which answers it accepts; no clock, no I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pyotp
import pytest

from gwctl.errors import Usage
from gwctl.sandbox.fake_ibkr import StandIn
from gwctl.sandbox.login_desk import DENIED, LOCKED, STALE, WRONG_CODE, proof_of
from gwctl.sandbox.settings import Account, StandInConfig

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
CODE, RESPONSE = "135790", "24681357"
STEPS = {
    "app": "silver",
    "sms": "silver",
    "email": "temp",
    "card": "bronze",
    "challenge": "gold",
    "push": "push",
    "choice": "choice",
    "passkey": "fido",
    "email_check": "email",
}
ACTIONS = ("SILVER", "TEMP", "BRONZE", "GOLD", "EMAIL", "FIDO", "PUSH", "CHOICE", "RESEND", "SHOWCHALLENGE", "SKIP")


@dataclass
class Alerts:
    """A fake IBKR with a controlled clock, and the current login."""

    state: StandIn
    now_s: float = 1_795_388_353.0
    auth_id: str = ""

    def stage(self, **parameters: Any) -> None:
        self.state.set_scenario("second_factor", on=True, parameters=parameters)

    def log_in(self) -> dict[str, Any]:
        """Send the right password and return the answer."""
        init = self.state.desk.answer({"ACTION": "INIT", "USER": "sandbox", "MODE": "paper"})
        self.auth_id = init["auth_id"]
        return self.send("COMPLETEAUTH", PROOF=proof_of("sandbox", init["nonce"]))

    def send(self, action: str, **fields: str) -> dict[str, Any]:
        return self.state.desk.answer({"ACTION": action, "AUTH_ID": self.auth_id, **fields})

    @property
    def outcomes(self) -> list[str]:
        return [submit.outcome for submit in self.state.desk.submits]


def make_desk(secret: str | None = None, **parameters: Any) -> Alerts:
    desk = Alerts(StandIn(StandInConfig("token", Account(totp_secret=secret)), wall_clock=lambda: desk.now_s))
    if parameters:
        desk.stage(**parameters)
    return desk


@pytest.mark.parametrize(("kind", "step"), STEPS.items())
def test_each_kind_shows_its_step_and_opens_nothing_yet(kind: str, step: str) -> None:
    """The answer to the right password is only the step of the question, without a cookie."""
    desk = make_desk(kind=kind)
    answer = desk.log_in()
    assert (answer["step"], "cookies" in answer) == (step, False)
    assert desk.outcomes == ["second_factor_asked"]
    assert desk.state.sessions.summary()["sso"] == []


@pytest.mark.parametrize("parameters", [{"kind": "none"}, {"kind": "push", "remembered": True}])
def test_none_and_remembered_ask_for_nothing(parameters: dict[str, Any]) -> None:
    """Without a factor, and after a recent session, the password is enough for any account."""
    desk = make_desk(SECRET, **parameters)
    assert desk.log_in()["ok"] is True
    assert desk.outcomes == ["success"]


@pytest.mark.parametrize(
    ("kind", "right"), [("app", CODE), ("sms", CODE), ("email", CODE), ("card", CODE), ("challenge", RESPONSE)]
)
def test_a_wrong_code_is_refused_and_asked_for_again_and_the_right_one_works_once(kind: str, right: str) -> None:
    """A wrong code is a refusal that shows the same step; the right one logs in, once per switching of the scenario."""
    desk = make_desk(kind=kind)
    asked = desk.log_in()
    assert desk.send(STEPS[kind].upper(), CODE="0") == {"error": WRONG_CODE, **asked}
    assert desk.state.desk.refusals == 1
    assert desk.send(STEPS[kind].upper(), CODE=right)["ok"] is True
    assert desk.outcomes == ["second_factor_asked", "second_factor_refused", "success"]
    desk.log_in()
    assert desk.send(STEPS[kind].upper(), CODE=right)["error"] == WRONG_CODE
    desk.stage(kind=kind)
    assert desk.send(STEPS[kind].upper(), CODE=right)["ok"] is True


@pytest.mark.parametrize("kind", ["app", "choice"])
def test_an_account_with_a_secret_wants_its_totp_from_the_app(kind: str) -> None:
    """With a TOTP secret, the fixed code is wrong for the app, chosen or not, and the TOTP code is right."""
    desk = make_desk(SECRET, kind=kind)
    desk.log_in()
    if kind == "choice":
        assert desk.send("CHOICE", DEVICE="4") == {"step": "silver"}
    assert desk.send("SILVER", CODE=CODE)["error"] == WRONG_CODE
    assert desk.send("SILVER", CODE=pyotp.TOTP(SECRET).at(int(desk.now_s)))["ok"] is True


def test_an_sms_is_not_the_app() -> None:
    """An account with a TOTP secret still gets the fixed code by SMS, where its TOTP code is wrong."""
    desk = make_desk(SECRET, kind="sms", code=1122)
    desk.log_in()
    assert desk.send("SILVER", CODE=pyotp.TOTP(SECRET).at(int(desk.now_s)))["error"] == WRONG_CODE
    assert desk.send("SILVER", CODE="1122")["ok"] is True


def test_used_codes_of_the_app_stay_used() -> None:
    """Neither switching the scenario nor a reset makes a TOTP code valid again."""
    desk = make_desk(SECRET, kind="app")
    code = pyotp.TOTP(SECRET).at(int(desk.now_s))
    desk.log_in()
    assert desk.send("SILVER", CODE=code)["ok"] is True
    desk.state.act("reset", {})
    desk.stage(kind="app")
    desk.log_in()
    assert desk.send("SILVER", CODE=code)["error"] == WRONG_CODE


def test_the_challenge_is_shown_and_stays() -> None:
    """The challenge's text comes with its step, the first time and after a wrong response."""
    desk = make_desk(kind="challenge", challenge="111 222", response="87654321")
    assert desk.log_in() == {"step": "gold", "challenge": "111 222"}
    assert desk.send("GOLD", CODE=CODE) == {"error": WRONG_CODE, "step": "gold", "challenge": "111 222"}
    assert desk.send("GOLD", CODE="87654321")["ok"] is True


@pytest.mark.parametrize(
    ("device", "step"),
    [("5.2a", "push"), ("5.2i", "push"), ("4", "silver"), ("4.2", "silver"), ("7", "silver")],
)
def test_a_device_leads_to_its_step(device: str, step: str) -> None:
    """IB Key is a push, everything else a code; the choice itself is no submit."""
    desk = make_desk(kind="choice", devices=[[device, "IB KEY"], ["x", "y"]], choice_needs_button=True)
    assert desk.log_in() == {"step": "choice", "devices": ((device, "IB KEY"), ("x", "y")), "needs_button": True}
    assert desk.send("CHOICE", DEVICE=device) == {"step": step}
    assert desk.outcomes == ["second_factor_asked"]


@pytest.mark.parametrize("device", ["", "4", "IB Key"])
def test_a_device_that_was_not_offered_is_not_taken(device: str) -> None:
    """Only listed devices can be chosen, and the choice stays open."""
    desk = make_desk(kind="choice", devices=[["5.2a", "IB Key"]])
    desk.log_in()
    assert desk.send("CHOICE", DEVICE=device) == {"error": STALE}
    assert desk.send("CHOICE", DEVICE="5.2a") == {"step": "push"}


def test_a_push_is_approved_after_its_time() -> None:
    """A push waits for its time, and then logs in."""
    desk = make_desk(kind="push", approve_after_ms=300)
    desk.log_in()
    desk.now_s += 0.25
    assert desk.send("PUSH") == {"pending": True}
    desk.now_s += 0.1
    assert desk.send("PUSH")["ok"] is True
    assert desk.outcomes == ["second_factor_asked", "success"]


def test_a_push_that_is_never_approved_waits() -> None:
    """An hour later the page still waits, and nothing was refused or opened."""
    desk = make_desk(kind="push", approve="never")
    desk.log_in()
    desk.now_s += 3600
    assert desk.send("PUSH") == {"pending": True}
    assert (desk.outcomes, desk.state.desk.refusals) == (["second_factor_asked"], 0)


def test_a_denied_push_ends_the_login() -> None:
    """A denied push is a refusal with IBKR's text, and that login is over."""
    desk = make_desk(kind="push", approve="denied", approve_after_ms=0)
    desk.log_in()
    assert desk.send("PUSH") == {"error": DENIED}
    assert desk.send("PUSH") == {"error": STALE}
    assert (desk.outcomes, desk.state.desk.refusals) == (["second_factor_asked", "second_factor_refused"], 1)


def test_the_second_push_is_approved() -> None:
    """With `second`, only a repeated push is approved, its time starts again, and the admin sees the resends."""
    desk = make_desk(kind="push", approve="second", approve_after_ms=1000)
    desk.log_in()
    desk.now_s += 60
    assert desk.send("PUSH") == {"pending": True}
    assert desk.send("RESEND") == {"pending": True}
    desk.now_s += 0.5
    assert desk.send("PUSH") == {"pending": True}
    desk.now_s += 0.6
    assert desk.send("PUSH")["ok"] is True
    assert desk.state.summary()["login"]["resends"] == 1
    desk.state.act("reset", {})
    assert desk.state.summary()["login"]["resends"] == 0


def test_a_waiting_push_heeds_a_changed_mind() -> None:
    """Switching `approve` decides about the waiting push; switching the scenario off leaves the question."""
    desk = make_desk(kind="push", approve="never", approve_after_ms=0)
    desk.log_in()
    desk.state.set_scenario("second_factor", on=False, parameters={})
    assert desk.send("PUSH") == {"pending": True}
    desk.stage(kind="push", approve="approved", approve_after_ms=0)
    assert desk.send("PUSH")["ok"] is True


def test_from_a_push_one_can_go_over_to_the_challenge() -> None:
    """The challenge is accepted instead of the push, which then no longer counts."""
    desk = make_desk(kind="push", approve_after_ms=0)
    desk.log_in()
    assert desk.send("SHOWCHALLENGE") == {"step": "gold", "challenge": "482 913"}
    assert desk.send("PUSH") == {"error": STALE}
    assert desk.send("GOLD", CODE=RESPONSE)["ok"] is True


@pytest.mark.parametrize("offer", ["enablepush", "ibkey", "promo"])
@pytest.mark.parametrize("kind", ["none", "sms", "push"])
def test_an_offer_stands_before_success(kind: str, offer: str) -> None:
    """After the last factor, or only the password, an offer is shown; the login finishes only when it is skipped."""
    desk = make_desk(kind=kind, offer=offer, approve_after_ms=0)
    answer = desk.log_in()
    if kind != "none":
        answer = desk.send("SILVER", CODE=CODE) if kind == "sms" else desk.send("PUSH")
    assert answer == {"step": offer}
    assert desk.state.sessions.summary()["sso"] == []
    assert desk.send("SKIP")["ok"] is True
    assert desk.outcomes == [*([] if kind == "none" else ["second_factor_asked"]), "offer", "success"]


@pytest.mark.parametrize("action", ["SKIP", "EMAIL"])
def test_the_check_by_e_mail_can_be_skipped_or_answered(action: str) -> None:
    """Skipping the e-mail's code works, so does the right code, and a wrong one is refused."""
    desk = make_desk(kind="email_check", offer="ibkey")
    desk.log_in()
    assert desk.send("EMAIL", CODE="0") == {"error": WRONG_CODE, "step": "email"}
    assert desk.send(action, CODE=CODE) == {"step": "ibkey"}
    assert desk.send("SKIP")["ok"] is True


@pytest.mark.parametrize("kind", STEPS)
def test_nothing_but_what_was_asked_for_is_taken(kind: str) -> None:
    """Every other round of the protocol, even with right codes, opens nothing and is no submit."""
    belongs = {
        "push": {"PUSH", "RESEND", "SHOWCHALLENGE"},
        "email_check": {"EMAIL", "SKIP"},
        "passkey": set[str](),
    }.get(kind, {STEPS[kind].upper()})
    desk = make_desk(kind=kind, approve_after_ms=0)
    desk.log_in()
    for action in set(ACTIONS) - belongs:
        for code in (CODE, RESPONSE):
            assert desk.send(action, CODE=code, DEVICE="5.2a") == {"error": STALE}, action
    assert desk.outcomes == ["second_factor_asked"]
    assert desk.state.desk.resends == 0


@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_is_taken_before_the_password(action: str) -> None:
    """No answer to a second factor, and no skipping, logs in without the password."""
    desk = make_desk(kind="none", offer="ibkey")
    init = desk.state.desk.answer({"ACTION": "INIT", "USER": "sandbox", "MODE": "paper"})
    desk.auth_id = init["auth_id"]
    assert desk.send(action, CODE=CODE) == {"error": STALE}
    assert desk.outcomes == []


def test_refused_codes_lock_the_account() -> None:
    """Wrong codes count like wrong passwords: the tenth locks, and then no step is shown again."""
    desk = make_desk(kind="sms")
    desk.log_in()
    answers = [desk.send("SILVER", CODE="0") for _ in range(10)]
    assert answers == [{"error": WRONG_CODE, "step": "silver"}] * 9 + [{"error": LOCKED}]
    assert desk.log_in() == {"error": LOCKED}


@pytest.mark.parametrize(
    ("parameters", "hint"),
    [
        ({"kind": "telex"}, "email_check"),
        ({"approve": "maybe"}, "denied"),
        ({"offer": "gold"}, "false, enablepush"),
        ({"offer": True}, "false, enablepush"),
        ({"pushes": 1}, "approve_after_ms"),
        ({"code": ""}, "text"),
        ({"response": True}, "text"),
        ({"devices": []}, "pairs"),
        ({"devices": "4"}, "pairs"),
        ({"devices": [["4"]]}, "pair"),
        ({"devices": ["42"]}, "pair"),
        ({"choice_needs_button": "yes"}, "true or false"),
        ({"remembered": 1}, "true or false"),
        ({"approve_after_ms": -1}, "milliseconds"),
        ({"approve_after_ms": "300"}, "milliseconds"),
    ],
)
def test_what_there_is_not_is_said(parameters: dict[str, Any], hint: str) -> None:
    """An unknown parameter or value is refused with the known ones, and changes nothing."""
    desk = make_desk(kind="sms")
    with pytest.raises(Usage) as refused:
        desk.stage(**parameters)
    assert hint in (refused.value.hint or "")
    assert desk.state.scenarios["second_factor"]["kind"] == "sms"


def test_the_state_shows_the_scenario_as_json() -> None:
    """The admin's view of a second factor, with all its defaults, is JSON."""
    shown = json.loads(json.dumps(make_desk(kind="choice").state.summary()))
    assert shown["scenarios"]["second_factor"]["devices"][1] == ["4", "Mobile Authenticator App"]


def test_a_form_after_one_reload_is_counted_by_gateway() -> None:
    """With form_on_load 2, each gateway's second page has the form; switching it or a reset restarts the count."""
    state = make_desk().state
    state.set_scenario("login_page", on=True, parameters={"form_on_load": 2})
    assert [state.form_comes(name) for name in ("one", "two", "one", "one", "two")] == [False, False, True, True, True]
    state.set_scenario("login_page", on=True, parameters={"form_on_load": 2})
    assert state.form_comes("one") is False
    state.set_scenario("login_page", on=True, parameters={"form_never": True})
    assert [state.form_comes("one") for _ in range(3)] == [False] * 3
    state.act("reset", {})
    assert state.form_comes("one") is True


@pytest.mark.parametrize(
    "parameters", [{"variant": "modern"}, {"variant": "restricted"}, {"form_on_load": 0}, {"form_on_load": "2"}]
)
def test_a_page_that_there_is_not_is_refused(parameters: dict[str, Any]) -> None:
    """An unknown variant or an invalid count is refused when it is set, and the page stays unchanged."""
    state = make_desk().state
    with pytest.raises(Usage):
        state.set_scenario("login_page", on=True, parameters=parameters)
    assert state.page() == state.config.page
