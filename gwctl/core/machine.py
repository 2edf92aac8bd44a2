"""The supervisor's core: ``step(snapshot, event, policy, now)``. Pure: no I/O, no clock, no randomness.

Two independent state machines, each a table; a transition that is not listed raises. ``now`` is monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from gwctl.core.budget import Budgeted
from gwctl.core.kept import recall
from gwctl.core.messages import (
    Action,
    ByHandWanted,
    CancelLogin,
    Checked,
    ClockJumped,
    CountsRecalled,
    Event,
    Finish,
    FolderLost,
    GatewayAnswers,
    GatewayCannotStart,
    GatewayEnded,
    GatewayFellOver,
    GatewayGone,
    LoggedInByHand,
    LoginWanted,
    Process,
    Recovery,
    RestartCause,
    RestartWanted,
    Session,
    SessionPushed,
    StartWanted,
    StopGateway,
    StopWanted,
    TimeOut,
    Timer,
    Warn,
    WindowChanged,
)
from gwctl.core.observations import check_again, on_checked, on_pushed
from gwctl.core.planned import PLAN_HANDLERS, on_paused, pauses_instead
from gwctl.core.policy import Policy, back_off_s
from gwctl.core.recovery import (
    RECOVERY_HANDLERS,
    can_resume,
    check,
    log_in,
    look_again,
    never_settled,
    on_deadline,
    recover,
    resume,
    settle,
)
from gwctl.core.tables import NO_LOGINS, Arrow, ImpossibleTransition, Snapshot, Turn, give_up, recycle, start, stop
from gwctl.session_status import RESTART_ASKED
from gwctl.times import DAY_S, HOUR_S

__all__ = ["ImpossibleTransition", "Snapshot", "step"]

_BY_HAND = "waiting for a login by hand"


def step(snapshot: Snapshot, event: Event, policy: Policy, now: float) -> tuple[Snapshot, list[Action]]:
    """Return the snapshot after ``event``, and the actions to perform.

    An event from an earlier epoch answers an outdated request and changes nothing. Raises ImpossibleTransition if the
    tables do not have the transition: a defect of the loop or of this module.
    """
    if event.epoch is not None and event.epoch != snapshot.epoch:
        return snapshot, []
    turn = Turn(snapshot, policy, now)
    _HANDLERS[type(event)](turn, event)
    return turn.snapshot, turn.actions


def after_defect(snapshot: Snapshot, policy: Policy, now: float) -> Snapshot:
    """Return the snapshot after an event that ``step`` refused: without timers that are due, and a check to come."""
    timers = {timer: due for timer, due in snapshot.timers.items() if due > now}
    return replace(snapshot, timers={**timers, Timer.CHECK: now + policy.check_interval_s}, checking=False)


def _on_counts_recalled(turn: Turn, event: CountsRecalled) -> None:
    turn.snapshot = recall(turn.snapshot, event.kept, event.wall_minus_monotonic_s, turn.now)


# Commands.


def _on_start(turn: Turn, event: StartWanted) -> None:
    if turn.snapshot.process is not Process.STOPPED:
        return
    if not event.adopted and pauses_instead(turn):
        return
    start(turn, "taking over the running gateway" if event.adopted else "starting the gateway", adopt=event.adopted)


def _on_stop(turn: Turn, event: StopWanted) -> None:
    if turn.snapshot.process in {Process.STOPPED, Process.STOPPING}:
        turn.move_process(Arrow.STOP)
        if turn.snapshot.process is Process.STOPPED:
            turn.act(turn.snapshot.finishing or Finish(0))
        return
    if turn.snapshot.process is Process.PAUSING:
        # Its gateway is stopping already, after a logout that must not be cut short.
        turn.set(finishing=Finish(0))
        turn.move_process(Arrow.STOP)
        turn.say("stopping")
        return
    running = turn.snapshot.process is Process.RUNNING
    turn.new_epoch()
    turn.act(CancelLogin())
    if event.keep_gateway and running:
        turn.say("leaving the gateway running")
        turn.act(Finish(0))
        return
    turn.set(finishing=turn.snapshot.finishing or Finish(0))
    stop(turn, "stopping", logout=running)


def _on_restart(turn: Turn, _event: RestartWanted) -> None:
    if turn.snapshot.process is Process.RUNNING:
        recycle(turn, Arrow.RESTART, RestartCause.ASKED, RESTART_ASKED)
        turn.set(spent=turn.snapshot.spent.without(Budgeted.RESTART))
    elif turn.snapshot.process is Process.BACKOFF:
        _on_timer(turn, TimeOut(timer=Timer.START))


def _on_login_wanted(turn: Turn, _event: LoginWanted) -> None:
    snapshot = turn.snapshot
    if snapshot.pause is not None:
        return
    if snapshot.process is Process.RUNNING and snapshot.recovery in {None, Recovery.SETTLE}:
        log_in(turn)
    elif snapshot.recovery is not Recovery.LOGIN:
        # Law 1: one recovery step at a time. The current one ends first.
        turn.set(login_wanted=True)


def _on_by_hand_wanted(turn: Turn, event: ByHandWanted) -> None:
    snapshot = turn.snapshot
    if event.over:
        _on_by_hand_over(turn)
        return
    for_s = turn.policy.by_hand_timeout_s if event.for_s is None else event.for_s
    if snapshot.session is Session.AWAITING_MANUAL_LOGIN:
        turn.wake(Timer.BY_HAND, max(for_s, snapshot.timers.get(Timer.BY_HAND, turn.now) - turn.now))
        return
    if snapshot.session is Session.LOCKED_OUT:
        # No login is sent anyway, and the reason why a person is needed stays visible.
        return
    stopping = snapshot.process in {Process.STOPPING, Process.FATAL} or snapshot.pause is not None
    under_way = snapshot.recovery not in {None, Recovery.SETTLE}
    if stopping or under_way or snapshot.session is Session.AUTHENTICATED:
        # Law 1: one login at a time. The person who wants to log in by hand sees that another login is under way.
        return
    turn.unwake(Timer.LOGIN, Timer.SETTLE)
    turn.move_session(Arrow.HANDED_OVER)
    turn.set(recovery=None, settling=None, login_wanted=False)
    turn.wake(Timer.BY_HAND, for_s)
    turn.say(_BY_HAND)


def _on_by_hand_over(turn: Turn) -> None:
    """Return to automatic logins; the next check says whether one is needed."""
    turn.unwake(Timer.BY_HAND)
    if turn.snapshot.session is Session.AWAITING_MANUAL_LOGIN:
        turn.move_session(Arrow.HANDED_BACK)
        turn.say("no login by hand took place")
        if turn.snapshot.process is Process.RUNNING:
            check_again(turn)


def _on_logged_in_by_hand(turn: Turn, event: LoggedInByHand) -> None:
    snapshot = turn.snapshot
    if snapshot.process is Process.RUNNING and snapshot.recovery is None:
        turn.set(resumable=event.resumable, resume_tried=True, logged_in_at=turn.now)
        if snapshot.session is not Session.AUTHENTICATED:
            settle(turn, Recovery.LOGIN)


# The gateway.


def _on_answers(turn: Turn, _event: GatewayAnswers) -> None:
    turn.move_process(Arrow.ANSWERS)
    turn.unwake(Timer.DEADLINE)
    if pauses_instead(turn):
        return
    turn.set(started_at=turn.now, first_login=True, resume_tried=False, ready_here=False)
    turn.wake(Timer.TICKLE, turn.policy.tickle_interval_s)
    turn.wake(Timer.CHECK, turn.policy.check_interval_s)
    turn.move_session(Arrow.RESET)
    if turn.snapshot.login_wanted:
        log_in(turn)
    elif can_resume(turn):
        resume(turn)
    elif turn.snapshot.session in NO_LOGINS:
        by_hand = turn.snapshot.session is Session.AWAITING_MANUAL_LOGIN
        turn.say(_BY_HAND if by_hand else turn.snapshot.locked_reason)
    else:
        turn.say("checking for a session")
        check(turn)


def _on_ended(turn: Turn, _event: GatewayEnded) -> None:
    if turn.snapshot.process in {Process.RUNNING, Process.STARTING}:
        recycle(turn, Arrow.LOST, RestartCause.ENDED, "the gateway ended")


def _on_gone(turn: Turn, _event: GatewayGone) -> None:
    was = turn.snapshot.process
    if was not in {Process.RECYCLING, Process.PAUSING, Process.STOPPING, Process.FATAL}:
        return
    turn.move_process(Arrow.GONE)
    if was is Process.PAUSING:
        on_paused(turn)
        return
    if was is not Process.RECYCLING:
        turn.say("stopped")
        turn.act(turn.snapshot.finishing or Finish(0))
        return
    _start_anew(turn)


def _start_anew(turn: Turn) -> None:
    """Start again at once, or after a pause that grows with the restarts in a row: they only load this machine."""
    policy = turn.policy
    started_at = turn.snapshot.started_at
    stable = started_at is not None and turn.now - started_at >= policy.stable_after_s
    quick = 0 if stable else len(turn.snapshot.spent.within(Budgeted.RESTART, policy.quiet_s, turn.now))
    pause_s = turn.jittered(back_off_s(quick, policy.start_pause_first_s, policy.start_pause_max_s))
    turn.spend(Budgeted.RESTART)
    _warn_if_often(turn)
    turn.set(restarts=turn.snapshot.restarts + 1)
    turn.wake(Timer.START, pause_s)
    if pause_s == 0:
        _on_timer(turn, TimeOut(timer=Timer.START))


def _warn_if_often(turn: Turn) -> None:
    """Warn once when restarts become frequent; warn again only after they have become half as frequent."""
    snapshot, budget = turn.snapshot, turn.policy.budgets[Budgeted.RESTART]
    hour = len(snapshot.spent.within(Budgeted.RESTART, HOUR_S, turn.now))
    day = sum(turn.now - at < DAY_S for at in snapshot.spent.times[Budgeted.RESTART])
    if not snapshot.often and (hour > budget.per_hour or day > budget.per_day):
        turn.set(often=True)
        text = f"the gateway was restarted {hour} times in an hour, {day} times in a day"
        turn.act(Warn("restarted_often", f"{text}; gwctl keeps restarting it, with growing pauses"))
    elif hour <= budget.per_hour / 2 and day <= budget.per_day / 2:
        turn.set(often=False)


def _on_fell_over(turn: Turn, event: GatewayFellOver) -> None:
    _fell_over(turn, event, turn.policy.start_pause_max_s)


def _fell_over(turn: Turn, event: GatewayFellOver, longest_s: float) -> None:
    if turn.snapshot.process is not Process.STARTING:
        _on_ended(turn, GatewayEnded())
        return
    if pauses_instead(turn):
        return
    failed = turn.snapshot.failed_starts + 1
    turn.set(failed_starts=failed)
    if not turn.snapshot.ever_ready and failed >= turn.policy.start_tries_before_ready:
        give_up(turn, Finish(69, "gateway_failed", event.text, "gwctl logs --gateway"))
        return
    turn.new_epoch()
    turn.move_process(Arrow.FELL_OVER)
    turn.say(event.text)
    turn.wake(Timer.START, turn.jittered(back_off_s(failed, turn.policy.start_pause_first_s, longest_s)))


def _start_says_nothing(turn: Turn) -> None:
    """Treat a start that does not finish as a failed one, and stop its processes."""
    if pauses_instead(turn):
        return
    failed = turn.snapshot.failed_starts + 1
    text = f"the gateway did not finish starting within {turn.policy.start_timeout_s:.0f} s"
    turn.set(failed_starts=failed)
    if not turn.snapshot.ever_ready and failed >= turn.policy.start_tries_before_ready:
        give_up(turn, Finish(69, "gateway_failed", text, "gwctl logs"))
    else:
        recycle(turn, Arrow.LOST, RestartCause.HUNG, text, hard=True)


def _on_cannot_start(turn: Turn, event: GatewayCannotStart) -> None:
    if turn.snapshot.ever_ready or turn.snapshot.pause is not None:
        # A busy port or a full disk: a quick retry only loads this machine.
        _fell_over(turn, GatewayFellOver(text=event.text), turn.policy.local_pause_max_s)
        return
    turn.new_epoch()
    turn.move_process(Arrow.CANNOT_START)
    turn.set(finishing=Finish(event.exit_code, event.code, event.text, event.hint))
    turn.say(event.text)
    turn.act(StopGateway(logout=False))


# Time.


def _on_timer(turn: Turn, event: TimeOut) -> None:
    turn.unwake(event.timer)
    snapshot = turn.snapshot
    if event.timer is Timer.START and snapshot.process is Process.BACKOFF:
        start(turn)
    elif event.timer is Timer.BY_HAND:
        _on_by_hand_over(turn)
    elif event.timer is Timer.DEADLINE and snapshot.process is Process.STARTING:
        _start_says_nothing(turn)
    if snapshot.process is Process.RUNNING and event.timer in _WHILE_RUNNING:
        _WHILE_RUNNING[event.timer](turn)


def _on_tickle_due(turn: Turn) -> None:
    # A check under way goes first; the tickle follows it.
    pause_s = turn.policy.settle_slow_check_s if turn.snapshot.checking else turn.policy.tickle_interval_s
    turn.wake(Timer.TICKLE, pause_s)
    check(turn, tickle=True)


def _on_login_due(turn: Turn) -> None:
    if turn.snapshot.recovery is None:
        recover(turn)


def _on_settled_late(turn: Turn) -> None:
    if turn.snapshot.recovery is Recovery.SETTLE and not turn.snapshot.checking:
        # The check under way decides: it may find that IBKR cannot be reached (law 5).
        never_settled(turn)


_WHILE_RUNNING: dict[Timer, Callable[[Turn], None]] = {
    Timer.DEADLINE: on_deadline,
    Timer.LOOK: look_again,
    Timer.CHECK: check,
    Timer.TICKLE: _on_tickle_due,
    Timer.LOGIN: _on_login_due,
    Timer.SETTLE: _on_settled_late,
}


def _on_window(turn: Turn, event: WindowChanged) -> None:
    turn.set(window_until=event.until)


def _on_clock_jumped(turn: Turn, event: ClockJumped) -> None:
    """Check at once; time asleep counts as waited."""
    snapshot = turn.snapshot
    if event.asleep_s > 0:
        waited = {Timer.LOGIN, Timer.START}
        turn.set(
            timers={
                timer: max(turn.now, due - event.asleep_s) if timer in waited else due
                for timer, due in snapshot.timers.items()
            },
            login_not_before=max(0.0, snapshot.login_not_before - event.asleep_s),
            spent=snapshot.spent.shifted(-event.asleep_s),
        )
    if snapshot.process is Process.RUNNING:
        check_again(turn, tickle=True)


def _on_folder_lost(turn: Turn, _event: FolderLost) -> None:
    arrow = {Process.RUNNING: Arrow.RESTART, Process.STARTING: Arrow.LOST}.get(turn.snapshot.process)
    if arrow is not None:
        reason = "the profile's folder was deleted; restarting the gateway in a new one"
        recycle(turn, arrow, RestartCause.FOLDER_LOST, reason)


_HANDLERS: dict[type[Event], Callable[[Turn, Any], None]] = {
    **RECOVERY_HANDLERS,
    **PLAN_HANDLERS,
    CountsRecalled: _on_counts_recalled,
    StartWanted: _on_start,
    StopWanted: _on_stop,
    RestartWanted: _on_restart,
    LoginWanted: _on_login_wanted,
    ByHandWanted: _on_by_hand_wanted,
    LoggedInByHand: _on_logged_in_by_hand,
    GatewayAnswers: _on_answers,
    GatewayEnded: _on_ended,
    GatewayFellOver: _on_fell_over,
    GatewayCannotStart: _on_cannot_start,
    GatewayGone: _on_gone,
    Checked: on_checked,
    TimeOut: _on_timer,
    SessionPushed: on_pushed,
    WindowChanged: _on_window,
    ClockJumped: _on_clock_jumped,
    FolderLost: _on_folder_lost,
}
