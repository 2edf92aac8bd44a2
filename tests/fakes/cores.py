"""The pure core in the states that tests begin from."""

from __future__ import annotations

from msgspec.structs import replace
from supervisor_fakes import SUCCESS, Core, started

from gwctl.core.messages import GatewayAnswers, GatewayGone, LoginDone, Phase, Process, Timer
from gwctl.core.policy import Policy
from gwctl.session_status import Verdict


def running(policy: Policy | None = None) -> Core:
    """Return a core whose gateway has just answered; a check is under way."""
    core = started(policy)
    core.feed(GatewayAnswers(core.snapshot.epoch))
    return core


def logging_in(policy: Policy | None = None) -> Core:
    """Return a core whose first login is under way."""
    core = running(policy)
    core.see(Verdict.NO_SESSION)
    return core


def end_login(core: Core, done: LoginDone) -> None:
    """Let the login under way end."""
    core.feed(replace(done, epoch=core.snapshot.epoch))


def settling(policy: Policy | None = None) -> Core:
    """Return a core that has logged in and waits for the session."""
    core = logging_in(policy)
    end_login(core, SUCCESS)
    return core


def ready(policy: Policy | None = None) -> Core:
    """Return a core that has been ready for two minutes; what it did until then is forgotten."""
    core = settling(policy)
    core.see(Verdict.READY)
    assert core.phase is Phase.READY
    core.now += 120.0
    core.done.clear()
    return core


def gateway_comes_back(core: Core) -> None:
    """Let the stop that is under way end and the next start succeed."""
    core.feed(GatewayGone())
    if core.snapshot.process is Process.BACKOFF:
        core.fire(Timer.START)
    core.feed(GatewayAnswers(core.snapshot.epoch))
