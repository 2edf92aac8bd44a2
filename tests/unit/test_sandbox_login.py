"""How the fake IBKR judges logins and keeps its sessions; no clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyotp
import pytest

from gwctl.errors import Configuration, Usage
from gwctl.sandbox.account_settings import SANDBOX_PASSWORD, Account, StandInConfig
from gwctl.sandbox.fake_ibkr import StandIn
from gwctl.sandbox.login import LIVE_BUT_PAPER, LOCKED, REFUSED, WRONG_CODE, proof_of

NOW_S = 1_795_388_353.0


class HandClock:
    """A clock that moves only on request."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def stand_in(account: Account | None = None, clock: HandClock | None = None) -> StandIn:
    config = StandInConfig(admin_token="token", account=account or Account())
    return StandIn(config, clock=clock or HandClock(), wall_clock=lambda: NOW_S)


def log_in(
    state: StandIn, password: str = SANDBOX_PASSWORD, mode: str = "paper", user: str = "sandbox"
) -> dict[str, Any]:
    init = state.desk.answer({"ACTION": "INIT", "USER": user, "MODE": mode})
    proof = proof_of(password, init["nonce"])
    return state.desk.answer({"ACTION": "COMPLETEAUTH", "AUTH_ID": init["auth_id"], "PROOF": proof})


def outcomes(state: StandIn) -> list[str]:
    return [submit.outcome for submit in state.desk.submits]


def test_right_password_opens_sso_and_not_yet_brokerage() -> None:
    """The right password in the right mode opens an SSO session, and the brokerage session waits to be opened."""
    state = stand_in()
    answer = log_in(state)
    assert answer["ok"] is True
    assert state.session_of(answer["cookies"]) is not None
    assert state.sessions.brokerage == "unauthenticated"
    assert outcomes(state) == ["success"]


@pytest.mark.parametrize(("user", "password"), [("sandbox", "wrong"), ("nobody", "sandbox"), ("sandbox", "")])
def test_wrong_password_or_user_is_refused(user: str, password: str) -> None:
    """A wrong user and a wrong password get the same text and open nothing."""
    state = stand_in()
    assert log_in(state, password, user=user) == {"error": REFUSED}
    assert state.sessions.summary()["sso"] == []
    assert state.desk.refusals == 1


def test_wrong_mode_is_named_and_is_no_refusal() -> None:
    """A paper user who logs in live is told the mode, and the password does not count as refused."""
    state = stand_in()
    assert log_in(state, mode="live") == {"error": LIVE_BUT_PAPER}
    live = stand_in(Account(mode="live"))
    assert "Live Trading user" in log_in(live, mode="paper")["error"]
    assert (state.desk.refusals, live.desk.refusals) == (0, 0)


def test_ten_refusals_lock_the_account() -> None:
    """The tenth refusal is answered with the text for a locked account, and so is the right password after it."""
    state = stand_in()
    texts = [log_in(state, "wrong")["error"] for _ in range(10)]
    assert texts == [REFUSED] * 9 + [LOCKED]
    assert log_in(state) == {"error": LOCKED}
    state.act("unlock", {})
    assert log_in(state)["ok"] is True


def test_each_code_works_once() -> None:
    """After the password comes a real check of a TOTP code, which works only once."""
    secret = pyotp.random_base32()
    state = stand_in(Account(totp_secret=secret))
    code = pyotp.TOTP(secret).at(int(NOW_S))

    def second(value: str) -> dict[str, Any]:
        init = state.desk.answer({"ACTION": "INIT", "USER": "sandbox", "MODE": "paper"})
        auth = {"AUTH_ID": init["auth_id"]}
        proof = proof_of("sandbox", init["nonce"])
        assert state.desk.answer({"ACTION": "COMPLETEAUTH", **auth, "PROOF": proof}) == {"step": "silver"}
        return state.desk.answer({"ACTION": "SILVER", **auth, "CODE": value})

    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    assert second(wrong) == {"error": WRONG_CODE, "step": "silver"}
    assert second(code)["ok"] is True
    assert second(code)["error"] == WRONG_CODE


def test_a_code_before_the_password_opens_nothing() -> None:
    """The second factor alone is not a login."""
    secret = pyotp.random_base32()
    state = stand_in(Account(totp_secret=secret))
    init = state.desk.answer({"ACTION": "INIT", "USER": "sandbox", "MODE": "paper"})
    form = {"ACTION": "SILVER", "AUTH_ID": init["auth_id"], "CODE": pyotp.TOTP(secret).at(int(NOW_S))}
    assert "ok" not in state.desk.answer(form)
    assert "ok" not in state.desk.answer({**form, "AUTH_ID": "made-up"})


@pytest.mark.parametrize(
    ("scenario", "answer", "outcome"),
    [
        ("wrong_password", {"error": REFUSED}, "refused"),
        ("login_error", {"error": "Authentication failed"}, "error_text"),
        ("form_again", {"again": True}, "form_again"),
        ("login_spins", {"spin": True}, "spins"),
    ],
)
def test_scenarios_of_the_login(scenario: str, answer: Mapping[str, Any], outcome: str) -> None:
    """Each login scenario changes the ending of a right login while it is on."""
    state = stand_in()
    state.set_scenario(scenario, on=True, parameters={})
    assert log_in(state) == answer
    assert outcomes(state) == [outcome]
    state.set_scenario(scenario, on=False, parameters={})
    assert log_in(state)["ok"] is True


def test_no_password_in_what_the_admin_sees() -> None:
    """Neither the state nor the config's repr shows a password, a secret or a session's token."""
    state = stand_in(Account(password="hunter-22", totp_secret="JBSWY3DPEHPK3PXP"))
    log_in(state, "hunter-22")
    log_in(state, "hunter-23")
    shown = f"{state.summary()} {state.config!r}"
    assert "hunter" not in shown
    assert "JBSWY3DP" not in shown
    assert "'token'" not in shown


def test_idle_sessions_die() -> None:
    """A session without a request during the idle time ends, and a renewed one does not."""
    clock = HandClock()
    state = stand_in(clock=clock)
    cookies = log_in(state)["cookies"]
    clock.now_s += 359
    session = state.session_of(cookies)
    assert session is not None
    assert state.sessions.renew(session) == 1000
    clock.now_s += 359
    assert state.session_of(cookies) is not None
    clock.now_s += 2
    assert state.session_of(cookies) is None
    assert state.sessions.brokerage == "none"


def test_a_new_login_ends_the_one_before() -> None:
    """There is one session per user: older cookies are unknown afterwards."""
    state = stand_in()
    old, new = log_in(state)["cookies"], log_in(state)["cookies"]
    assert state.session_of(old) is None
    assert state.session_of(new) is not None


def test_a_temperamental_page_swallows_until_its_gateway_warmed() -> None:
    """The page ignores each gateway's form until its demo page has called; a restart or `arm` starts over."""
    state = stand_in()
    state.set_scenario("temperamental", on=True, parameters={})
    first = state.meet({})
    assert state.swallows(first)
    state.demo_called({"web": first})
    assert state.meet({"web": first}) == first
    assert not state.swallows(first)
    restarted = state.meet({})
    assert state.swallows(restarted)
    state.act("arm", {})
    assert state.swallows(first)


def test_a_demo_call_before_the_first_page_warms_it() -> None:
    """A gateway whose demo page calls before it requests a login page gets a working one."""
    state = stand_in()
    state.set_scenario("temperamental", on=True, parameters={})
    state.demo_called({})
    assert not state.swallows(state.meet({}))


def test_unknown_names_say_what_is_known() -> None:
    """An unknown scenario, action or parameter is refused, with a list of the known ones."""
    state = stand_in()
    with pytest.raises(Usage) as unknown:
        state.set_scenario("http_504", on=True, parameters={})
    assert "http_503" in (unknown.value.hint or "")
    with pytest.raises(Usage) as parameter:
        state.set_scenario("slow", on=True, parameters={"seconds": 1})
    assert "delay_ms" in (parameter.value.hint or "")
    with pytest.raises(Usage) as action:
        state.act("explode", {})
    assert "drop_session" in (action.value.hint or "")
    with pytest.raises(Usage):
        state.act("drop_brokerage", {"how": "gently"})


def test_config_survives_its_json() -> None:
    """The fake IBKR reads what the supervisor writes; anything unknown or missing is an error."""
    config = StandInConfig(admin_token="token", account=Account("me", "secret", "live", "ABC"), port=7)
    assert StandInConfig.from_json(config.to_json()) == config
    wrong: list[Any] = [None, [], {}, {"admin_token": ""}, {"admin_token": "t", "nonsense": 1}]
    for broken in wrong:
        with pytest.raises(Configuration):
            StandInConfig.from_json(broken)
