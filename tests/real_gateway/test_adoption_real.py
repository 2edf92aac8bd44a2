"""What is adopted is what was asked for: the sandbox is never a session at IBKR, nor one user's session another's."""

from __future__ import annotations

import pytest
from rig import Rig

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(180)]


def test_the_sandbox_never_takes_over_a_session_at_ibkr(rig: Rig) -> None:
    """A gateway that was left running with a session at IBKR is refused to `up --sandbox`, and is left as it is."""
    before = rig.gwctl("up", "--json").check(0).envelope["data"]
    rig.gwctl("down", "--keep-session").check(0)
    refused = rig.gwctl("up", "--sandbox").check(75)
    assert "session at IBKR" in refused.stderr
    assert "gwctl down" in refused.stderr
    again = rig.gwctl("up", "--json").check(0).envelope["data"]
    assert again["gateway"]["pid"] == before["gateway"]["pid"]
    assert not again["sandbox"]
    assert rig.submits() == 1


@pytest.mark.wide
def test_a_session_at_ibkr_never_takes_over_the_sandbox(rig: Rig) -> None:
    """The other way round: a sandbox that was left running is not reported as a session at IBKR."""
    rig.gwctl("up", "--sandbox").check(0)
    rig.gwctl("down", "--keep-session").check(0)
    refused = rig.gwctl("up").check(75)
    assert "sandbox" in refused.stderr
    assert rig.submits() == 0
    rig.gwctl("down").check(0)
    assert rig.processes_left() == []


@pytest.mark.wide
def test_another_upstream_is_not_adopted(rig: Rig) -> None:
    """A gateway that talks to another address than the profile now names is replaced, not adopted."""
    before = rig.gwctl("up", "--json").check(0).envelope["data"]
    rig.gwctl("down", "--keep-session").check(0)
    other = rig.stand_in.url.replace("127.0.0.1", "localhost")
    again = rig.gwctl("up", "--json", GWCTL_UPSTREAM=other).check(0).envelope["data"]
    assert again["gateway"]["pid"] != before["gateway"]["pid"]
