"""The real gateway, stopped for ever and for a moment: one is replaced in time, the other is left alone."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime
from typing import Any

import pytest
from rig import Rig

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(180)]
SESSION_WITHIN_S = 7.0
"""The issue's bound: from the moment the gateway hangs until a client has a session again."""
DECIDED_WITHIN_S = 5.6
"""At most 1.3 s to the next heartbeat, 3.1 s without an answer to it, 0.4 s of a second probe, 0.1 s between them; the
rest is for the machine."""
JVM_S = 1.5
"""The real gateway's first answer comes within this time on a machine that is not busy (gateway-facts.md, Starting).
How long it takes on a busy one is not ours, and the rest of the seven seconds is ours on every machine."""


def _at_s(entry: dict[str, Any]) -> float:
    return datetime.fromisoformat(entry["at"]).timestamp()


def test_after_a_hang_there_is_a_session_within_seven_seconds(rig: Rig) -> None:
    """SIGSTOP to the JVM: found in time, and back in time."""
    rig.gwctl("up").check(0)
    pid, entries, hung_s = rig.status()["gateway"]["pid"], len(rig.journal()), time.time()
    os.kill(pid, signal.SIGSTOP)
    new = rig.wait_ready_after(entries, 60)
    (found,) = [entry for entry in new if entry["kind"] == "restart"]
    (started,) = [entry for entry in new if entry["kind"] == "gateway"]
    assert found["cause"] == "hung"
    assert _at_s(found) - hung_s <= DECIDED_WITHIN_S
    ours_s = _at_s(new[-1]) - hung_s - started["answered_s"]
    assert ours_s <= SESSION_WITHIN_S - JVM_S, new
    assert rig.submits() == 1


def test_a_gateway_that_stands_still_for_a_moment_is_left_alone(rig: Rig) -> None:
    """Three times 2.8 s without any answer, as under load: the same gateway, and no word of a hang."""
    rig.gwctl("up").check(0)
    entries, pid = len(rig.journal()), rig.status()["gateway"]["pid"]
    for _ in range(3):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(2.8)  # the length of the pause is what is tested
        os.kill(pid, signal.SIGCONT)
        time.sleep(3.0)  # with the 2.8 s, longer than DECIDED_WITHIN_S: a restart would have begun
    assert rig.status()["gateway"]["pid"] == pid
    assert [entry for entry in rig.journal()[entries:] if entry["kind"] in {"restart", "gateway"}] == []
    assert rig.status()["ready"]
