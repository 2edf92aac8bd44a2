"""What a person planned: pauses, login hours, logins at a set time. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import field

from gwctl.core.budget import Budgeted
from gwctl.core.login_times import is_held
from gwctl.core.messages import CancelLogin, Event, Pause, Phase, Process, Session, StopGateway, Timer, Warn
from gwctl.core.recovery import log_in
from gwctl.core.tables import Arrow, Snapshot, Turn, phase_of, start

PLANNED_LOGIN = "logging in at the planned time"


class PauseWanted(Event, frozen=True):
    """A person wants the brokerage session for another program."""

    pause: Pause = field(default_factory=Pause)


class PauseOver(Event, frozen=True):
    """The pause has reached its end: ``pause`` is the one that ended; or a person ended it: None."""

    pause: Pause | None = None


class LoginHours(Event, frozen=True):
    """The login hours closed until ``opens_at``, monotonic seconds, or opened: None. ``text`` says it to people."""

    opens_at: float | None = None
    text: str = ""


class LoginPlanned(Event, frozen=True):
    """A planned login is due in ``in_s`` seconds; 0: now."""

    in_s: float = 0.0
    text: str = ""


def on_pause_wanted(turn: Turn, event: PauseWanted) -> None:
    """Log out and stop the gateway; the supervisor waits.

    Before a start, only note the pause; a gateway that is starting may be one with a session, so that it must answer
    before it can log out.
    """
    process = turn.snapshot.process
    if process in {Process.STOPPING, Process.FATAL}:
        return
    turn.set(pause=event.pause)
    if process in {Process.PAUSING, Process.PAUSED}:
        turn.say(event.pause.text)
    elif process not in {Process.STOPPED, Process.STARTING}:
        pause_now(turn)


def pause_now(turn: Turn) -> None:
    """Give the session away: log out, and stop the gateway, which would open the brokerage session again."""
    process, pause = turn.snapshot.process, turn.snapshot.pause or Pause()
    turn.new_epoch()
    turn.unwake(Timer.BY_HAND)
    turn.act(CancelLogin())
    turn.move_process(Arrow.PAUSE)
    if turn.snapshot.session is Session.AWAITING_MANUAL_LOGIN:
        turn.move_session(Arrow.HANDED_BACK)
    turn.move_session(Arrow.RESET)
    turn.set(resumable=False, login_wanted=False)
    turn.say(pause.text)
    if process in {Process.RUNNING, Process.STARTING}:
        turn.act(StopGateway(logout=process is Process.RUNNING))


def pauses_instead(turn: Turn) -> bool:
    """Pause if a pause is in force; return whether it is, so that nothing else follows."""
    if turn.snapshot.pause is None:
        return False
    pause_now(turn)
    return True


def on_paused(turn: Turn) -> None:
    """Wait, unless the pause ended while the gateway was stopping."""
    if turn.snapshot.pause is None:
        _return(turn)


def on_pause_over(turn: Turn, event: PauseOver) -> None:
    """Start the gateway again; its login takes the session back, once. A pause that was changed meanwhile goes on."""
    if turn.snapshot.pause is not None and event.pause in {None, turn.snapshot.pause}:
        turn.set(pause=None)
        if turn.snapshot.process is Process.PAUSED:
            _return(turn)


def _return(turn: Turn) -> None:
    turn.set(returning=True)
    start(turn, "the pause is over: starting the gateway")


def on_login_hours(turn: Turn, event: LoginHours) -> None:
    """Note when logins may begin; one that waits for this begins within ``hours_spread_s`` of it."""
    was_held = is_held(turn.snapshot)
    turn.set(logins_from=event.opens_at, hours_text=event.text)
    if event.opens_at is None:
        turn.set(held=False)
    opens_at = turn.now if event.opens_at is None else event.opens_at
    spread_s = turn.policy.hours_spread_s
    if was_held and not opens_at <= turn.snapshot.timers[Timer.LOGIN] <= opens_at + spread_s:
        turn.wake(Timer.LOGIN, opens_at - turn.now + spread_s * turn.draw())


def on_login_planned(turn: Turn, event: LoginPlanned) -> None:
    """Announce a login that replaces a session, or make it; a session younger than an hour needs none."""
    snapshot = turn.snapshot
    at = snapshot.logged_in_at
    young = at is not None and turn.now + event.in_s - at < turn.policy.planned_login_min_age_s
    if phase_of(snapshot) is not Phase.READY or snapshot.recovery is not None or young:
        return
    if event.in_s > 0:
        turn.act(Warn("login_soon", event.text))
    elif snapshot.logins_from is None and turn.room_in_s(Budgeted.LOGIN) == 0.0:
        log_in(turn)
        turn.say(PLANNED_LOGIN)


def planned(snapshot: Snapshot) -> str | None:
    """Return for which plan there is no session: ``pause``, ``login_hours`` or ``login``; None: for none."""
    if snapshot.pause is not None:
        return "pause"
    if snapshot.held:
        return "login_hours"
    return "login" if snapshot.reason == PLANNED_LOGIN else None


PLAN_HANDLERS: dict[type[Event], Callable[[Turn, Any], None]] = {
    PauseWanted: on_pause_wanted,
    PauseOver: on_pause_over,
    LoginHours: on_login_hours,
    LoginPlanned: on_login_planned,
}
