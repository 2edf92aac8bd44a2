"""The brokerage session on the real gateway: brought about again, usable by bots, and in IBKR's words if not."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from rig import Rig, wait_for

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.waits, pytest.mark.timeout(180)]

ILL_S = 14.0
"""Longer than the gateway has a login validated by itself: five times, 3 s apart."""
READY_AGAIN_S = 15.0
"""From the first good answer: a check of ours, the hand-shake, and the gateway's ``authDelay`` of 3 s."""
SEEN_S = 30.0


def test_errors_after_a_login_cost_the_hand_shake_and_no_login(rig: Rig) -> None:
    """503 for everything just after a login: ready soon after it, with the same gateway and one password sent."""
    rig.stand_in.state.set_scenario("ill_after_login", on=True, parameters={"for_s": ILL_S})
    status = rig.gwctl("up", "--json").check(0).envelope["data"]
    assert rig.submits() == 1
    assert status["gateway"]["restarts"] == 0
    recoveries = [entry for entry in rig.journal() if entry["kind"] == "cure"]
    assert [entry["rung"] for entry in recoveries] == ["reauthenticate"]
    [login] = [entry for entry in rig.journal() if entry["kind"] == "login"]
    [ready] = [entry for entry in rig.journal() if entry["kind"] == "phase" and entry["phase"] == "ready"]
    assert seconds_between(login, ready) < ILL_S + READY_AGAIN_S
    assert {entry["code"] for entry in rig.journal() if entry["kind"] == "warning"} <= {"browser_as_root"}


def seconds_between(first: dict[str, Any], last: dict[str, Any]) -> float:
    """Return the time between two of the journal's entries."""
    began, ended = (dt.datetime.fromisoformat(entry["at"]) for entry in (first, last))
    return (ended - began).total_seconds()


@pytest.mark.parametrize("how", ["no_bridge", pytest.param("unauthenticated", marks=pytest.mark.wide)])
def test_a_session_that_we_reopen_serves_bots_as_one_after_a_login(rig: Rig, how: str) -> None:
    """After our ``ssodh/init`` nobody hears "Please query /accounts first": it was queried before it is ready."""
    rig.gwctl("up").check(0)
    entries = len(rig.journal())
    rig.stand_in.state.act("drop_brokerage", {"how": how})
    rig.wait_ready_after(entries, SEEN_S)
    said = rig.gwctl("api", "GET", "/iserver/marketdata/snapshot")
    assert "accounts first" not in said.stdout + said.stderr
    assert "conids is missing" in said.stdout + said.stderr
    assert rig.submits() == 1


def test_the_words_of_ibkr_are_shown_and_kept(rig: Rig) -> None:
    """Why IBKR does not open the brokerage session is in the reason and in the journal, in its own words."""
    rig.gwctl("up").check(0)
    text = "Failed to\x1b[2J connect\nto CCP  server"
    rig.stand_in.state.set_scenario("brokerage_refused", on=True, parameters={"text": text})
    rig.stand_in.state.act("drop_brokerage", {"how": "unauthenticated"})
    words = "Failed to[2J connect to CCP server"
    wait_for(lambda: f"IBKR: {words}" in rig.status()["reason"], SEEN_S, "the words are in the reason")
    recoveries = wait_for(lambda: [one for one in rig.journal() if one["kind"] == "cure"], SEEN_S, "a cure")
    assert recoveries[0]["said"] == words
    rig.stand_in.state.set_scenario("brokerage_refused", on=False, parameters={})
    wait_for(lambda: rig.status()["ready"], SEEN_S, "ready")


def test_a_hand_shake_that_always_fails_is_done_without(rig: Rig) -> None:
    """IBKR refuses what the gateway asks in its hand-shake: the session is opened without it, with one login."""
    rig.stand_in.state.set_scenario("method_refused", on=True, parameters={"method": "GET"})
    rig.gwctl("up").check(0)
    assert rig.submits() == 1
    assert not [entry for entry in rig.journal() if entry["kind"] == "restart"]
    assert "accounts first" not in rig.gwctl("api", "GET", "/iserver/marketdata/snapshot").stderr


@pytest.mark.parametrize(("method", "status"), [("POST", 405), pytest.param("POST", 400, marks=pytest.mark.wide)])
def test_either_way_of_asking_and_a_flat_tickle_do(rig: Rig, method: str, status: int) -> None:
    """Where IBKR refuses GET or POST the other is taken, also when it changes its mind, and a tickle may be flat."""
    rig.stand_in.state.set_scenario("flat_tickle", on=True, parameters={})
    rig.stand_in.state.set_scenario("method_refused", on=True, parameters={"method": method, "status": status})
    up = rig.gwctl("up", "--json").check(0).envelope["data"]
    assert up["session"]["sso_expires_s"] is not None
    assert rig.gwctl("tickle", "--json").check(0).envelope["data"]["tickle"]["authenticated"]
    entries = len(rig.journal())
    other = "GET" if method == "POST" else "POST"
    rig.stand_in.state.set_scenario("method_refused", on=True, parameters={"method": other, "status": status})
    rig.gwctl("tickle").check(0)
    before = rig.status()["session"]["last_tickle_age_s"]
    wait_for(lambda: rig.status()["session"]["last_tickle_age_s"] < before, 45, "the next tickle")
    assert not [entry for entry in rig.journal()[entries:] if entry["kind"] == "phase"]
