"""`gwctl up` on the real gateway jar with a real browser: issue's own acceptance."""

from __future__ import annotations

import os
import signal

import pytest
from rig import AT_ANY_HOUR, Rig, wait_for

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.mark.law(10)
def test_up_recover_and_down(rig: Rig) -> None:
    """Up reaches ready; a killed gateway is resumed without a login, a dropped session by one login; down ends all."""
    up = rig.gwctl("up", "--json").check(0)
    status = up.envelope["data"]
    assert status["ready"]
    assert status["gateway"]["release"] == "20230424-a27ed421"
    assert status["session"]["authenticated"]
    assert rig.submits() == 1

    entries, before = len(rig.journal()), status["gateway"]["pid"]
    os.kill(before, signal.SIGKILL)
    happened = rig.wait_ready_after(entries, 30)
    assert [entry["rung"] for entry in happened if entry["kind"] == "cure" and entry["ok"]] == ["resume"]
    assert rig.submits() == 1
    after = rig.status()
    assert after["gateway"]["pid"] != before
    assert after["gateway"]["restarts"] == 1

    entries = len(rig.journal())
    rig.stand_in.state.act("drop_session", {})
    rig.wait_ready_after(entries, 40)
    assert rig.submits() == 2
    assert rig.status()["gateway"]["pid"] == after["gateway"]["pid"]

    rig.gwctl("down").check(0)
    assert not rig.listens()
    assert rig.processes_left() == []
    rig.gwctl("status").check(3)
    rig.gwctl("down").check(0)


@pytest.mark.law(4)
def test_supervisor_killed(rig: Rig) -> None:
    """A gateway that outlives its supervisor is adopted by the next up: the session goes on without a login (law 4)."""
    status = rig.gwctl("up", "--json").check(0).envelope["data"]
    os.kill(status["supervisor"]["pid"], signal.SIGKILL)
    alone = wait_for(
        lambda: rig.gwctl("status", "--json").envelope["data"]["phase"] == "degraded", 10, "the gateway is seen alone"
    )
    assert alone
    again = rig.gwctl("up", "--json").check(0).envelope["data"]
    assert again["gateway"]["pid"] == status["gateway"]["pid"]
    assert again["supervisor"]["pid"] != status["supervisor"]["pid"]
    assert rig.submits() == 1


def test_gateway_hangs(rig: Rig) -> None:
    """A gateway that accepts and never answers is told from an unreachable IBKR and replaced, without a login."""
    status = rig.gwctl("up", "--json").check(0).envelope["data"]
    entries = len(rig.journal())
    os.kill(status["gateway"]["pid"], signal.SIGSTOP)
    happened = rig.wait_ready_after(entries, 60)
    assert any("hangs" in str(entry.get("reason")) for entry in happened)
    assert rig.submits() == 1


@pytest.mark.law(5)
def test_ibkr_unreachable(rig: Rig) -> None:
    """While IBKR does not answer the gateway stays and no password is sent (law 5); afterwards it is ready again."""
    status = rig.gwctl("up", "--json", GWCTL_CHECK_INTERVAL_S="1").check(0).envelope["data"]
    entries = len(rig.journal())
    rig.stand_in.state.set_scenario("hang", on=True, parameters={})
    wait_for(lambda: rig.status()["phase"] == "degraded", 30, "degraded")
    rig.stand_in.state.set_scenario("hang", on=False, parameters={})
    rig.wait_ready_after(entries, 30)
    assert rig.status()["gateway"]["pid"] == status["gateway"]["pid"]
    assert rig.submits() == 1


def test_temperamental_login(rig: Rig) -> None:
    """The form that is swallowed until the demo page has run gets through, with one password sent in all."""
    rig.stand_in.state.set_scenario("temperamental", on=True, parameters={})
    rig.gwctl("up").check(0)
    assert rig.submits() == 1
    assert any("demo" in str(entry.get("step")) for entry in rig.journal())


def test_a_profile_that_only_the_settings_file_knows_comes_up(rig: Rig) -> None:
    """Its supervisor has not got GWCTL_HOME in its environment: it must not look for the profile elsewhere."""
    table = {name: rig.settings.pop(f"GWCTL_{name.upper()}") for name in ("username", "password_file", "upstream")}
    lines = [f'{name} = "{value}"' for name, value in table.items()]
    (rig.home / "config.toml").write_text("\n".join([AT_ANY_HOUR, "[profiles.desk]", *lines, ""]))
    rig.gwctl("--profile", "desk", "up").check(0)
    rig.gwctl("--profile", "desk", "down").check(0)
