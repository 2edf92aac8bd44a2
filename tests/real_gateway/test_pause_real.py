"""Pauses and a standby on the real gateway: one username, one brokerage session, whoever has it."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Rig, a_rig, free_port, wait_for

from gwctl.sandbox.settings import Account

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.waits, pytest.mark.timeout(240)]

SEEN_S = 30.0


@pytest.fixture
def rig(tmp_path: Path, real_release_zip: Path) -> Iterator[Rig]:
    """Yield a machine with a paper user."""
    account = Account(username="reader01", password=f"canary-{secrets.token_hex(8)}")
    with a_rig(tmp_path, real_release_zip, account) as rig:
        yield rig


@pytest.fixture
def standby(rig: Rig, tmp_path: Path, real_release_zip: Path) -> Iterator[Rig]:
    """Yield a second machine of the same user, with the same IBKR."""
    folder = tmp_path / "standby"
    folder.mkdir()
    other = Rig(folder, free_port(), rig.account, rig.stand_in)
    other.gwctl("release", "install", str(real_release_zip)).check(0)
    try:
        yield other
    finally:
        other.gwctl("down")
    assert other.processes_left() == []


def test_a_pause_leaves_ibkr_without_a_session_of_ours(rig: Rig) -> None:
    """After `pause` IBKR knows no login and no process of the gateway is left; `resume` costs one login."""
    rig.gwctl("up").check(0)
    rig.gwctl("pause", "--reason", "TWS").check(0)
    assert rig.stand_in.state.sessions.summary()["sso"] == []
    assert not rig.listens()
    os.kill(rig.status()["supervisor"]["pid"], signal.SIGKILL)
    rig.gwctl("up").check(0)
    assert rig.submits() == 1
    assert not rig.listens()
    rig.gwctl("resume").check(0)
    assert rig.status()["ready"]
    assert rig.submits() == 2


def test_a_standby_takes_over_and_the_first_machine_yields(rig: Rig, standby: Rig) -> None:
    """Two machines of one username: the paused one does nothing; if both are active, the one that lost it yields."""
    rig.stand_in.state.set_scenario("two_machines", on=True, parameters={})
    rig.gwctl("up").check(0)
    standby.gwctl("up", "--paused").check(0)
    assert rig.submits() == 1
    assert rig.status()["ready"]

    # A hand-over as it should be: pause there, resume here.
    rig.gwctl("pause").check(0)
    standby.gwctl("resume").check(0)
    assert standby.status()["ready"]
    assert rig.submits() == 2

    # Somebody resumes both: IBKR has one brokerage session, and the machine without it leaves it to the other.
    rig.gwctl("resume").check(0)
    wait_for(lambda: "compet" in standby.status()["reason"], SEEN_S, "the standby sees who has the session")
    logins, age_s = rig.submits(), standby.status()["session"]["last_tickle_age_s"] or 0.0
    wait_for(lambda: (standby.status()["session"]["last_tickle_age_s"] or age_s) < age_s, 60, "it tickles on")
    assert rig.status()["ready"]
    assert rig.submits() == logins
