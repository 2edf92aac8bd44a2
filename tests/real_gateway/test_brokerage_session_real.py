"""The brokerage session behind a login, on the real gateway: brought about again without another login."""

from __future__ import annotations

from typing import Any

import pytest
from rig import Rig, wait_for

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(180)]

ILL_S = 14.0
"""Longer than the gateway has a login validated by itself: five times, 3 s apart."""
READY_AGAIN_S = 15.0
"""From the first good answer: a check of ours, the hand-shake, and the gateway's ``authDelay`` of 3 s."""


def test_errors_after_a_login_cost_the_hand_shake_and_no_login(rig: Rig) -> None:
    """503 for everything just after a login: ready soon after it, with the same gateway and one password sent."""
    rig.stand_in.state.set_scenario("ill_after_login", on=True, parameters={"for_s": ILL_S})
    status = rig.gwctl("up", "--json").check(0).envelope["data"]
    assert rig.submits() == 1
    assert status["gateway"]["restarts"] == 0
    cures = [entry for entry in rig.journal() if entry["kind"] == "cure"]
    assert [entry["rung"] for entry in cures] == ["reauthenticate"]
    assert status["gateway"]["uptime_s"] < ILL_S + READY_AGAIN_S + 5.0
    assert not any(entry["kind"] == "warning" for entry in rig.journal())
