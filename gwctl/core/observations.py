"""How the core reacts to each result of a session check. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from gwctl.core.budget import Budgeted
from gwctl.core.messages import (
    BlockLogin,
    Checked,
    Finish,
    LiftBlock,
    Process,
    Reauthenticate,
    Recovery,
    RestartCause,
    Session,
    SessionPushed,
    Timer,
)
from gwctl.core.policy import back_off_s, settle_pause_s
from gwctl.core.recovery import (
    begin,
    check,
    never_settled,
    recover,
    recover_when_due,
    repeat_handshake,
    wait_for_session,
)
from gwctl.core.tables import NO_LOGINS, Arrow, Turn, give_up, recycle
from gwctl.session_status import UNREACHABLE, Verdict

PUSH_PAUSE_S = 0.1


def on_pushed(turn: Turn, event: SessionPushed) -> None:
    """Check at once, unless the state is known already or IBKR has asked for fewer requests."""
    snapshot = turn.snapshot
    known = event.ready is True and snapshot.session is Session.AUTHENTICATED
    if snapshot.process is Process.RUNNING and not known and not snapshot.rate_limited:
        check_again(turn)


def check_again(turn: Turn, *, tickle: bool = False) -> None:
    """Check the session; a check under way may have started too early, so another one follows it."""
    if turn.snapshot.checking:
        turn.set(look_again=True)
    else:
        check(turn, tickle=tickle)


def on_checked(turn: Turn, event: Checked) -> None:
    """Act on the result of a check, and schedule the next one."""
    again = turn.snapshot.look_again
    turn.set(checking=False, look_again=False)
    turn.unwake(Timer.LOOK)
    if turn.snapshot.process is not Process.RUNNING:
        return
    turn.wake(Timer.CHECK, turn.policy.check_interval_s)
    if event.verdict is not Verdict.HUNG:
        turn.set(hung=0, ill=event.verdict in {Verdict.UPSTREAM_ILL, Verdict.RATE_LIMITED})
    if event.verdict is not Verdict.READY:
        _note_loss(turn)
    if event.verdict is Verdict.NO_SESSION or event.verdict.sso_lives:
        turn.set(sso_lives=event.verdict.sso_lives)
    _VERDICTS[event.verdict](turn, event)
    if (
        again
        and turn.snapshot.timers.get(Timer.CHECK, 0.0) > turn.now + PUSH_PAUSE_S
        and not turn.snapshot.rate_limited
    ):
        turn.wake(Timer.CHECK, PUSH_PAUSE_S)


def _note_loss(turn: Turn) -> None:
    """Reset the count of take-overs if the session has stayed with us long enough."""
    since = turn.snapshot.ready_since
    calm = since is not None and turn.now - since >= turn.policy.quiet_s
    turn.set(ready_since=None, take_overs=0 if calm else turn.snapshot.take_overs)


def _seen_ready(turn: Turn, _event: Checked) -> None:
    if turn.snapshot.recovery is Recovery.LOGIN:
        # The login is about to end and brings the cookies that a later resume needs.
        return
    turn.move_session(Arrow.READY)
    turn.unwake(Timer.LOGIN, Timer.SETTLE, Timer.BY_HAND)
    if turn.snapshot.recovery is Recovery.SETTLE:
        turn.set(recovery=None)
    since = turn.now if turn.snapshot.ready_since is None else turn.snapshot.ready_since
    turn.set(
        settling=None,
        ever_ready=True,
        returning=False,
        held=False,
        ready_since=since,
        ready_here=True,
        reauthentications=0,
        failed_starts=0,
        failed_logins=0,
        local_failures=0,
        login_not_before=0.0,
        settle_restarted=False,
        resume_tried=False,
        first_login=False,
        ill_since=None,
        spread=False,
        rate_limited=0,
        cause="",
        cause_ill=False,
    )
    if turn.snapshot.blocked:
        turn.set(blocked=False)
        turn.act(LiftBlock())
    if turn.now - since >= turn.policy.quiet_s:
        turn.set(spent=replace(turn.snapshot.spent, calm_at=turn.now))
    turn.say("authenticated")


def _is_busy(turn: Turn) -> bool:
    """Return whether a recovery step is under way or scheduled, so that this result changes nothing."""
    return _is_settling(turn) or turn.snapshot.recovery is not None or Timer.LOGIN in turn.snapshot.timers


def _seen_no_session(turn: Turn, event: Checked) -> None:
    if _is_busy(turn):
        _look_for_resumed(turn, lost=event.lost)
        repeat_handshake(turn, sso_lives=False)
        return
    turn.move_session(Arrow.MISSING)
    if turn.snapshot.session in NO_LOGINS:
        return
    turn.say(event.text or "no session at IBKR")
    if _all_lost_theirs(turn):
        turn.set(spread=True)
        turn.say(f"{turn.snapshot.reason}; IBKR probably reset every session, so the next login waits a random time")
        turn.wake(Timer.LOGIN, turn.policy.spread_s * turn.draw())
    else:
        recover(turn)


def _look_for_resumed(turn: Turn, *, lost: bool) -> None:
    """Stop waiting for a resumed session that IBKR still does not know: it is lost."""
    snapshot = turn.snapshot
    if snapshot.recovery is not Recovery.SETTLE or snapshot.settling is not Recovery.RESUME:
        return
    left_s = turn.policy.resume_lost_s - (turn.now - snapshot.recovery_since)
    if lost or left_s <= 0:
        never_settled(turn)
    else:
        turn.wake(Timer.CHECK, min(left_s, snapshot.timers[Timer.CHECK] - turn.now))


def _all_lost_theirs(turn: Turn) -> bool:
    """Return whether IBKR probably ended everybody's session at once: then each login waits a random time."""
    snapshot, policy = turn.snapshot, turn.policy
    if snapshot.spread or not snapshot.ready_here:
        # This gateway never had a session: the last one was lost with the gateway before it.
        return False
    was_ill_for_s = 0.0 if snapshot.ill_since is None else turn.now - snapshot.ill_since
    return snapshot.window_until is not None or was_ill_for_s >= policy.spread_after_ill_s


def _is_settling(turn: Turn) -> bool:
    """Return whether a session is just opening; if so, check again soon."""
    snapshot = turn.snapshot
    if snapshot.recovery is not Recovery.SETTLE:
        return False
    if snapshot.session is Session.UNREACHABLE:
        # Law 5: time in which IBKR could not be reached does not count against the session.
        wait_for_session(turn)
    elif Timer.SETTLE not in snapshot.timers:
        never_settled(turn)
        return True
    turn.wake(Timer.CHECK, settle_pause_s(turn.policy, turn.now - turn.snapshot.recovery_since))
    return True


def _seen_no_brokerage(turn: Turn, event: Checked) -> None:
    if _is_busy(turn):
        repeat_handshake(turn, sso_lives=True)
        return
    turn.move_session(Arrow.MISSING)
    if turn.snapshot.session in NO_LOGINS:
        return
    turn.say(event.text or "the brokerage session is gone")
    tried = turn.snapshot.reauthentications
    if tried and turn.now - turn.snapshot.recovery_since < turn.policy.reauthenticate_wait_s:
        # IBKR may take a while to open the session.
        turn.wake(Timer.CHECK, turn.policy.settle_slow_check_s)
    elif tried < turn.policy.reauthenticate_tries and turn.room_in_s(Budgeted.REAUTHENTICATE) == 0.0:
        turn.set(reauthentications=tried + 1)
        compete = event.certain and _may_take_over(turn)
        if compete:
            _note_take_over(turn)
        _reauthenticate(turn, compete=compete)
    elif event.certain:
        # A login does not help if another client has borrowed the session, so wait until that is known.
        recover_when_due(turn)


def _reauthenticate(turn: Turn, *, compete: bool) -> None:
    turn.spend(Budgeted.REAUTHENTICATE)
    begin(turn, Recovery.REAUTHENTICATE)
    turn.act(Reauthenticate(compete=compete))


def _seen_competing(turn: Turn, event: Checked) -> None:
    if not _somebody_else_has_it(turn, event.text or "another session of this username competes"):
        return
    if _may_take_over(turn) and turn.room_in_s(Budgeted.REAUTHENTICATE) == 0.0:
        _note_take_over(turn)
        _reauthenticate(turn, compete=True)


def _seen_borrowed(turn: Turn, event: Checked) -> None:
    """Wait for the client that borrowed the session, or take it back by a restart, the only way (gateway-facts.md)."""
    snapshot = turn.snapshot
    if snapshot.recovery is Recovery.SETTLE or Timer.LOGIN in snapshot.timers:
        _is_settling(turn)
        return
    waits = turn.now - snapshot.recovery_since < turn.policy.borrowed_retry_s
    text = event.text or "another client has borrowed the session"
    if not turn.policy.take_over:
        text += "; gwctl leaves it there (to take it back: gwctl restart)"
    if not _somebody_else_has_it(turn, text):
        return
    if _may_take_over(turn):
        _note_take_over(turn)
        reason = f"{turn.snapshot.reason}; restarting the gateway to take it back"
        recycle(turn, Arrow.RESTART, RestartCause.BORROWED, reason)
    elif not turn.policy.take_over and not waits and turn.room_in_s(Budgeted.REAUTHENTICATE) == 0.0:
        _reauthenticate(turn, compete=False)


def _somebody_else_has_it(turn: Turn, text: str) -> bool:
    """Show which client has the session; return whether gwctl may act on it."""
    if turn.snapshot.recovery is not None and turn.snapshot.recovery is not Recovery.SETTLE:
        return False
    turn.unwake(Timer.SETTLE, Timer.LOGIN)
    turn.set(recovery=None, settling=None)
    turn.move_session(Arrow.OTHER)
    if turn.snapshot.session in NO_LOGINS:
        return False
    turn.say(text)
    return True


def _may_take_over(turn: Turn) -> bool:
    """Return whether to take over the session; the pause grows each time another client takes it back."""
    snapshot, policy = turn.snapshot, turn.policy
    at = snapshot.took_over_at
    pause_s = back_off_s(max(1, snapshot.take_overs), policy.take_over_pause_s, policy.take_over_pause_max_s)
    return policy.take_over and (at is None or turn.now - at >= pause_s)


def _note_take_over(turn: Turn) -> None:
    turn.set(take_overs=turn.snapshot.take_overs + 1, took_over_at=turn.now)


def _seen_ill(turn: Turn, event: Checked) -> None:
    if turn.snapshot.recovery not in {None, Recovery.SETTLE}:
        return
    if Timer.LOGIN in turn.snapshot.timers:
        # Draw a new random wait, or all machines would log in as soon as IBKR is back.
        turn.set(spread=False)
    # Law 5: while IBKR is unavailable, no deadline may cause a restart and no timer a login.
    turn.unwake(Timer.SETTLE, Timer.LOGIN)
    turn.move_session(Arrow.ILL)
    if turn.snapshot.session in NO_LOGINS:
        return
    turn.set(resume_tried=False, ill_since=turn.now if turn.snapshot.ill_since is None else turn.snapshot.ill_since)
    turn.say(event.text or UNREACHABLE)


def _seen_rate_limited(turn: Turn, event: Checked) -> None:
    limited = turn.snapshot.rate_limited + 1
    turn.set(rate_limited=limited)
    _seen_ill(turn, replace(event, text=event.text or "IBKR asks for fewer requests"))
    policy = turn.policy
    pause_s = turn.jittered(back_off_s(limited, policy.rate_limit_pause_first_s, policy.rate_limit_pause_max_s))
    turn.wake(Timer.CHECK, pause_s)
    turn.wake(Timer.TICKLE, pause_s + policy.tickle_interval_s)


def _seen_denied(turn: Turn, event: Checked) -> None:
    text = event.text or "the gateway refuses requests from 127.0.0.1"
    if turn.snapshot.ever_ready:
        _seen_ill(turn, replace(event, text=text))
    else:
        give_up(turn, Finish(78, "configuration", text, "gwctl restart"))


def _seen_wrong_kind(turn: Turn, event: Checked) -> None:
    """Log out and end: the account is not of the profile's mode, and live trading must not happen by accident."""
    if turn.snapshot.recovery is Recovery.LOGIN:
        # As with a ready session: the login is about to end, and the next check follows it.
        return
    text = event.text or "the account does not match the profile's mode"
    turn.act(BlockLogin("wrong_mode", text))
    give_up(turn, Finish(77, "wrong_mode", text, "set mode and username in the profile, then: gwctl up"))


def _seen_hung(turn: Turn, event: Checked) -> None:
    hung = turn.snapshot.hung + 1
    turn.set(hung=hung)
    if hung >= turn.policy.hung_checks:
        recycle(turn, Arrow.LOST, RestartCause.HUNG, event.text or "the gateway hangs", hard=True)
    else:
        turn.wake(Timer.CHECK, turn.policy.hung_confirm_s)


_VERDICTS = {
    Verdict.READY: _seen_ready,
    Verdict.NO_SESSION: _seen_no_session,
    Verdict.NOT_AUTHENTICATED: _seen_no_brokerage,
    Verdict.BROKERAGE_GONE: _seen_no_brokerage,
    Verdict.COMPETING: _seen_competing,
    Verdict.BORROWED: _seen_borrowed,
    Verdict.UPSTREAM_ILL: _seen_ill,
    Verdict.HUNG: _seen_hung,
    Verdict.RATE_LIMITED: _seen_rate_limited,
    Verdict.ACCESS_DENIED: _seen_denied,
    Verdict.WRONG_KIND: _seen_wrong_kind,
}
