"""How a gateway is stopped, given up or replaced, whatever led to it. Pure."""

from __future__ import annotations

from gwctl.supervisor.states import CancelLogin, Finish, Process, RestartCause, StopGateway
from gwctl.supervisor.tables import Arrow, Turn


def stop(turn: Turn, reason: str, *, logout: bool) -> None:
    """Begin to stop; ``GatewayGone`` ends it."""
    turn.move_process(Arrow.STOP)
    turn.say(reason)
    turn.act(StopGateway(logout=logout))


def give_up(turn: Turn, finish: Finish) -> None:
    """End the supervisor: nothing is left running."""
    logout = turn.snapshot.process is Process.RUNNING
    turn.new_epoch()
    turn.set(finishing=finish)
    turn.act(CancelLogin())
    stop(turn, finish.text or "giving up", logout=logout)


def recycle(turn: Turn, arrow: Arrow, cause: RestartCause, reason: str, *, hard: bool = False) -> None:
    """Stop the gateway and start it anew, at once if the budget has room; with ``hard`` it is asked nothing first."""
    turn.new_epoch()
    turn.act(CancelLogin())
    turn.move_process(arrow)
    turn.move_session(Arrow.RESET)
    turn.set(restart_cause=cause)
    turn.say(reason)
    turn.act(StopGateway(logout=False, hard=hard))
