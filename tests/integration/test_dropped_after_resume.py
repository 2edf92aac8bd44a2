"""A session that IBKR drops just after a resume, with real processes: it is lost, and is soon back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chaos.worlds import plain_release
from cli_fakes import RealHome
from hand_fakes import a_live_home
from rig import wait_for

from gwctl.core.policy import Policy

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

SEEN_WITHIN_S = Policy().check_interval_s + 1.0
"""From the drop until a login begins: a drop before the gateway's WebSocket is there is seen by the next check."""
BOUND_S = 20.0
"""Until the session is back, which docs/faults.md promises of a dropped one; a quiet machine takes 2.5 to 4 s."""


def asked_of(home: RealHome) -> int:
    """Return how often the API at IBKR was asked for something."""
    return sum(count for path, count in dict(home.stand_in.state.requests).items() if path.startswith("/v1/api/"))


@pytest.mark.parametrize("looks", [0, *(pytest.param(n, marks=pytest.mark.wide) for n in range(1, 6))])
def test_session_dropped_after_a_resume_is_a_lost_session(
    tmp_path: Path, looks: int, record_property: Callable[[str, object], None]
) -> None:
    """The gateway is killed, its session comes back by its cookies, and goes again after so many looks at it.

    A login follows at once, whichever look is the first that finds nothing.
    """
    with a_live_home(tmp_path, plain_release(tmp_path / "plain.zip")) as home:
        home.gwctl("up", GWCTL_USERNAME=home.account.username, GWCTL_PASSWORD=home.account.password).check(0)
        begun = len(home.journal())

        def resumed() -> bool:
            return any(one.get("rung") == "resume" and one["ok"] for one in home.journal()[begun:])

        def lost() -> bool:
            return any(one.get("reason") == "logging in" for one in home.journal()[begun:])

        def back() -> list[dict[str, Any]]:
            fresh = home.journal()[begun:]
            logins = [number for number, one in enumerate(fresh) if one["kind"] == "login"]
            return fresh if logins and any(one.get("phase") == "ready" for one in fresh[logins[0] :]) else []

        os.kill(home.status()["gateway"]["pid"], signal.SIGKILL)
        wait_for(resumed, 30, "the cookies are taken")
        asked = asked_of(home)
        wait_for(lambda: asked_of(home) >= asked + looks, 60, f"{looks} requests after the resume")
        home.stand_in.state.act("drop_session", {})
        dropped_s = time.monotonic()
        wait_for(lost, 60, "a login begins")
        seen_s = time.monotonic() - dropped_s
        entries = wait_for(back, 60, "ready again")
        took_s = time.monotonic() - dropped_s
        record_property("seen_s", round(seen_s, 2))
        record_property("took_s", round(took_s, 2))
        assert seen_s < SEEN_WITHIN_S
        assert took_s < BOUND_S
        assert [one for one in entries if one["kind"] in {"warning", "defect"}] == []
        reasons = {one["reason"] for one in entries if one["kind"] == "phase"}
        assert reasons <= {
            "the gateway ended",
            "logged in, waiting for the session",
            "authenticated",
            "no session at IBKR",
            "logging in",
        }
        assert [one["outcome"] for one in entries if one["kind"] == "login"] == ["success"]
