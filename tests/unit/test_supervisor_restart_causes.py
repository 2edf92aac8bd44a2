"""The reasons for gateway restarts, in words that can be counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cores import end_login, logging_in, ready, settling
from msgspec.structs import replace
from supervisor_fakes import SWALLOWED, Core

from gwctl.core.messages import FolderLost, GatewayEnded, Process, RestartCause, RestartWanted, Timer
from gwctl.core.policy import Policy
from gwctl.session_status import Verdict


def asked() -> Core:
    core = ready()
    core.feed(RestartWanted())
    return core


def ended() -> Core:
    core = ready()
    core.feed(GatewayEnded(core.snapshot.epoch))
    return core


def hung() -> Core:
    core = ready()
    for _ in range(core.policy.hung_checks):
        core.fire(Timer.CHECK)
        core.see(Verdict.HUNG)
    return core


def login_failed() -> Core:
    core = logging_in()
    for _ in range(core.policy.transient_logins_before_restart - 1):
        end_login(core, SWALLOWED)
        core.fire(Timer.LOGIN)
    end_login(core, SWALLOWED)
    return core


def never_authenticated() -> Core:
    core = settling()
    core.fire(Timer.SETTLE)
    return core


def borrowed() -> Core:
    core = ready(replace(Policy(), take_over=True))
    core.fire(Timer.CHECK)
    core.see(Verdict.BORROWED)
    return core


def folder_lost() -> Core:
    core = ready()
    core.feed(FolderLost())
    return core


BY = {
    RestartCause.ASKED: asked,
    RestartCause.ENDED: ended,
    RestartCause.HUNG: hung,
    RestartCause.LOGIN_FAILED: login_failed,
    RestartCause.NEVER_AUTHENTICATED: never_authenticated,
    RestartCause.BORROWED: borrowed,
    RestartCause.FOLDER_LOST: folder_lost,
}


@pytest.mark.parametrize("cause", RestartCause)
def test_each_restart_has_its_cause(cause: RestartCause) -> None:
    """Each cause of a restart has its own word, and each word has a cause."""
    made: Callable[[], Core] = BY[cause]
    core = made()
    assert core.snapshot.process is Process.RECYCLING
    assert core.snapshot.restart_cause is cause
