"""When a login may begin: after a maintenance window, within the login hours. Pure."""

from __future__ import annotations

from gwctl.core.messages import Process, Timer
from gwctl.core.tables import Snapshot, Turn


def hold_in_window(turn: Turn) -> None:
    """Delay a retry to the end of the maintenance window, plus a random time so that machines do not retry together."""
    snapshot = turn.snapshot
    until = snapshot.window_until
    if until is not None and snapshot.failed_logins and snapshot.login_not_before < until:
        turn.set(login_not_before=until + turn.policy.spread_s * turn.draw())
        turn.say(f"{snapshot.reason}; waiting for the end of IBKR's maintenance window")


def waits_for_hours(turn: Turn, left_s: float) -> bool:
    """Delay a login to the login hours if they begin later than in ``left_s`` seconds; return whether they do."""
    snapshot = turn.snapshot
    opens_at = snapshot.logins_from
    if opens_at is None or opens_at - turn.now < left_s:
        return False
    turn.wake(Timer.LOGIN, max(0.0, opens_at - turn.now) + turn.policy.hours_spread_s * turn.draw())
    turn.set(held=True)
    if not snapshot.reason.endswith(snapshot.hours_text):
        turn.say(f"{snapshot.reason}; {snapshot.hours_text}")
    return True


def is_held(snapshot: Snapshot) -> bool:
    """Return whether the next login waits for the login hours."""
    due, opens_at = snapshot.timers.get(Timer.LOGIN), snapshot.logins_from
    if due is None or opens_at is None:
        return False
    return snapshot.process is Process.RUNNING and due >= opens_at
