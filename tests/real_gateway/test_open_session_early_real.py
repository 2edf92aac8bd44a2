"""``open_session_early`` on the real gateway: the session without authDelay, and no harm where IBKR refuses it."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rig import Rig, wait_for

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(180)]

AUTH_DELAY_S = 3.0
SEEN_S = 30.0
REFUSALS = [(401, "not authenticated"), (500, "Failed to connect to the trading server"), (503, "not ready")]


@pytest.fixture
def early(rig: Rig) -> Rig:
    """Return a machine with the setting."""
    rig.settings["GWCTL_OPEN_SESSION_EARLY"] = "yes"
    return rig


def _cures(rig: Rig) -> list[dict[str, Any]]:
    if not (rig.profile_dir / "journal.jsonl").exists():
        return []
    return [one for one in rig.journal() if one["kind"] == "cure"]


def _waited_s(rig: Rig) -> float:
    """Return the seconds from the login's end to the session, as the journal has them."""
    login, ready = (
        next(one for one in rig.journal() if one["kind"] == kind and one.get("phase", "ready") == "ready")
        for kind in ("login", "phase")
    )
    return (dt.datetime.fromisoformat(ready["at"]) - dt.datetime.fromisoformat(login["at"])).total_seconds()


def test_the_session_is_there_before_auth_delay_is_over(early: Rig) -> None:
    """One request right after the login opens it; what the gateway asks later takes nothing over and ends nothing."""
    early.gwctl("up").check(0)
    assert _waited_s(early) < AUTH_DELAY_S
    state = early.stand_in.state
    wait_for(lambda: state.requests["/v1/api/iserver/accounts"], SEEN_S, "the gateway's own handshake is over")
    assert early.status()["ready"]
    assert early.submits() == 1


@pytest.mark.parametrize(("status", "text"), REFUSALS)
def test_a_refusal_costs_nothing(early: Rig, status: int, text: str) -> None:
    """IBKR refuses the early request: the session comes from the gateway's handshake, by the same login."""
    state = early.stand_in.state
    state.set_scenario("brokerage_refused", on=True, parameters={"status": status, "text": text})
    with ThreadPoolExecutor() as pool:
        up = pool.submit(early.gwctl, "up")
        wait_for(lambda: _cures(early), SEEN_S, "the early request")
        state.set_scenario("brokerage_refused", on=False, parameters={})
        up.result().check(0)
    [cure] = _cures(early)
    assert cure["ok"] is False
    assert early.submits() == 1
    assert early.status()["ready"]
    assert early.status()["gateway"]["restarts"] == 0
