"""Recovery: the steps from the cheapest to the most expensive, and what follows each result. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gwctl.core.budget import Budgeted
from gwctl.core.login_times import hold_in_window, waits_for_hours
from gwctl.core.messages import (
    BlockLogin,
    CancelLogin,
    CancelRecovery,
    CauseRead,
    Check,
    Event,
    Explain,
    Finish,
    Login,
    LoginDone,
    LoginResult,
    Reauthenticate,
    ReauthenticateDone,
    Recovery,
    RestartCause,
    Resume,
    ResumeDone,
    SecondFactorAsked,
    Session,
    SubmitBegun,
    Timer,
    Warn,
)
from gwctl.core.policy import back_off_s
from gwctl.core.tables import NO_LOGINS, Arrow, Turn, give_up, recycle


def check(turn: Turn, *, tickle: bool = False) -> None:
    """Check the session unless a check is under way: one check in flight, never two."""
    if turn.snapshot.checking:
        return
    turn.unwake(Timer.CHECK)
    turn.wake(Timer.LOOK, turn.policy.look_timeout_s)
    turn.set(checking=True)
    turn.act(Check(tickle=tickle))


def look_again(turn: Turn) -> None:
    """Abandon a check that takes too long and start another; the loop cancels the first one."""
    if turn.snapshot.checking:
        turn.set(checking=False)
        check(turn, tickle=True)


def recover(turn: Turn) -> None:
    """Restore a lost session: with the kept cookies, else with a login as soon as one is due."""
    if can_resume(turn):
        resume(turn)
    else:
        turn.set(resumable=False)
        recover_when_due(turn)


def recover_when_due(turn: Turn) -> None:
    """Log in, or wait: for the pause after the last attempt, the end of a maintenance window, or the budget."""
    hold_in_window(turn)
    left_s = turn.snapshot.login_not_before - turn.now
    room_in_s = turn.room_in_s(Budgeted.LOGIN)
    if room_in_s > max(0.0, left_s):
        turn.say("too many logins: waiting before the next one")
        turn.act(Warn("logged_in_often", "the login budget for an hour or a day is spent"))
    if waits_for_hours(turn, max(left_s, room_in_s)):
        return
    if max(left_s, room_in_s) > 0:
        turn.wake(Timer.LOGIN, max(left_s, room_in_s))
    else:
        log_in(turn)


def can_resume(turn: Turn) -> bool:
    """Return whether to send the kept cookies: once per lost session, within the budget."""
    snapshot = turn.snapshot
    return snapshot.resumable and not snapshot.resume_tried and turn.room_in_s(Budgeted.RESUME) == 0.0


def begin(turn: Turn, recovery: Recovery) -> None:
    """Note that a recovery step is under way: the next one waits for its end or its deadline."""
    turn.move_session(Arrow.BEGIN)
    turn.set(recovery=recovery, recovery_since=turn.now)
    if recovery is Recovery.SETTLE:
        turn.unwake(Timer.DEADLINE)
    else:
        policy = turn.policy
        turn.wake(Timer.DEADLINE, policy.login_timeout_s if recovery is Recovery.LOGIN else policy.recovery_timeout_s)


def resume(turn: Turn) -> None:
    """Send the kept SSO cookies once."""
    turn.set(resume_tried=True)
    turn.spend(Budgeted.RESUME)
    begin(turn, Recovery.RESUME)
    turn.act(Resume())


def log_in(turn: Turn) -> None:
    """Start a login; the ledger decides by law 2 whether a password may be sent."""
    turn.unwake(Timer.LOGIN, Timer.SETTLE, Timer.BY_HAND)
    replacing = turn.snapshot.session is Session.AUTHENTICATED
    turn.set(login_wanted=False, settling=None, submits=0, held=False, replacing=replacing)
    begin(turn, Recovery.LOGIN)
    turn.say("logging in")
    turn.act(Login(first=turn.snapshot.first_login))


def settle(turn: Turn, after: Recovery) -> None:
    """Wait for the session that a login or a resume opens."""
    over_at = turn.now + turn.policy.handshake_tries_s + turn.policy.settle_expected_s
    turn.set(settling=after, handshakes=0, handshake_over_at=over_at)
    wait_for_session(turn)
    if after is Recovery.RESUME:
        # The session is usually open, and a tickle confirms it with one request instead of two.
        check(turn, tickle=True)
    else:
        # The gateway's own handshake comes first; a check before it rarely helps (gateway-facts.md).
        turn.wake(Timer.CHECK, turn.policy.settle_second_check_s)
        if turn.policy.open_early and turn.room_in_s(Budgeted.REAUTHENTICATE) == 0.0:
            turn.spend(Budgeted.REAUTHENTICATE)
            begin(turn, Recovery.REAUTHENTICATE)
            turn.act(Reauthenticate(early=True))


def repeat_handshake(turn: Turn, *, sso_lives: bool) -> None:
    """Request the handshake that follows a login again, after the gateway has given up on it because of errors.

    It costs no login. Every second time, open the session without it. If IBKR does not know the gateway's cookies, send
    those of the login, which also repeats the handshake.
    """
    snapshot = turn.snapshot
    if snapshot.recovery is not Recovery.SETTLE or turn.now < snapshot.handshake_over_at:
        return
    if sso_lives and turn.room_in_s(Budgeted.REAUTHENTICATE) == 0.0:
        turn.spend(Budgeted.REAUTHENTICATE)
        begin(turn, Recovery.REAUTHENTICATE)
        turn.act(Reauthenticate(handshake=snapshot.handshakes % 2 == 0))
    elif not sso_lives and snapshot.resumable and turn.room_in_s(Budgeted.RESUME) == 0.0:
        resume(turn)
    over_at = turn.now + turn.policy.settle_expected_s + turn.policy.reauthenticate_wait_s
    turn.set(handshakes=snapshot.handshakes + 1, handshake_over_at=over_at)


def _goes_on_settling(turn: Turn, *, opened: bool = False) -> bool:
    """Keep waiting for a login's session, within its time, after a request for it; ``opened``: IBKR said yes."""
    if turn.snapshot.settling is None:
        return False
    begin(turn, Recovery.SETTLE)
    if opened:
        check(turn)
    else:
        turn.wake(Timer.CHECK, turn.policy.settle_second_check_s)
    return True


def wait_for_session(turn: Turn) -> None:
    """Give IBKR time to open the session after a login."""
    begin(turn, Recovery.SETTLE)
    turn.say("logged in, waiting for the session")
    resumed = turn.snapshot.settling is Recovery.RESUME
    turn.wake(Timer.SETTLE, turn.policy.resume_timeout_s if resumed else turn.policy.settle_timeout_s)


def _is_over(turn: Turn, recovery: Recovery) -> bool:
    """Clear a recovery step that has ended; return whether there is nothing left to do for it."""
    if turn.snapshot.recovery is not recovery:
        return True
    turn.set(recovery=None)
    turn.unwake(Timer.DEADLINE)
    if turn.snapshot.login_wanted:
        log_in(turn)
        return True
    # A check may have seen the session ready while the step was under way.
    return turn.snapshot.session is Session.AUTHENTICATED


def on_reauthenticated(turn: Turn, event: ReauthenticateDone) -> None:
    """Check the session at once, or leave it to the next check."""
    is_early = turn.snapshot.handshakes == 0  # what is asked for again later is the gateway's handshake
    if _is_over(turn, Recovery.REAUTHENTICATE) or _goes_on_settling(turn, opened=event.ok and is_early):
        return
    if event.ok:
        check(turn)
    else:
        turn.move_session(Arrow.MISSING)


def on_resumed(turn: Turn, event: ResumeDone) -> None:
    """Wait for the session; if the cookies did not help, first check whether IBKR is unavailable (law 5)."""
    if _is_over(turn, Recovery.RESUME) or _goes_on_settling(turn):
        return
    if event.ok:
        settle(turn, Recovery.RESUME)
    else:
        turn.move_session(Arrow.MISSING)
        check(turn)


def on_second_factor(turn: Turn, event: SecondFactorAsked) -> None:
    """Show that a person has to act."""
    if turn.snapshot.recovery is Recovery.LOGIN and turn.snapshot.session not in NO_LOGINS:
        turn.move_session(Arrow.ASKED)
        turn.say(event.text)
        turn.wake(Timer.DEADLINE, turn.policy.login_timeout_s + turn.policy.second_factor_timeout_s)


def on_submit(turn: Turn, _event: SubmitBegun) -> None:
    """Count a login: what counts is what may reach IBKR, not the start of a browser."""
    if turn.snapshot.recovery is Recovery.LOGIN:
        turn.set(submits=turn.snapshot.submits + 1)
        turn.spend(Budgeted.LOGIN)


def on_deadline(turn: Turn) -> None:
    """Cancel a recovery step that takes too long, and continue as if it had failed."""
    recovery = turn.snapshot.recovery
    waited_s = turn.now - turn.snapshot.recovery_since
    if recovery is Recovery.LOGIN:
        turn.act(CancelLogin())
        text = f"the login did not finish within {waited_s:.0f} s"
        on_login_done(turn, LoginDone(result=LoginResult.TRANSIENT, text=text, code="timed_out"))
    elif recovery is Recovery.RESUME:
        turn.act(CancelRecovery())
        on_resumed(turn, ResumeDone(ok=False))
    elif recovery is Recovery.REAUTHENTICATE:
        turn.act(CancelRecovery())
        on_reauthenticated(turn, ReauthenticateDone(ok=False))


def _settle_accounts(turn: Turn, event: LoginDone) -> bool:
    """Charge the login for what it sent and refund the rest; return whether it sent anything.

    Without a report, charge it for what it was about to send.
    """
    begun = turn.snapshot.submits
    made = event.submits
    if made is None:
        made = max(begun, 1) if event.result in _ANSWERED else begun
    if made > begun:
        turn.spend(Budgeted.LOGIN, made - begun)
    elif made < begun:
        turn.set(spent=turn.snapshot.spent.minus(Budgeted.LOGIN, begun - made))
    turn.set(submits=0)
    return made > 0


_ANSWERED = {
    LoginResult.SUCCESS,
    LoginResult.REFUSED_BEFORE_IT_EVER_WORKED,
    LoginResult.REFUSED_AFTER_IT_WORKED,
}
"""Results that only a sent password can have."""


def on_login_done(turn: Turn, event: LoginDone) -> None:
    """Act on the result of a login."""
    if turn.snapshot.recovery is not Recovery.LOGIN:
        return
    sent = _settle_accounts(turn, event)
    turn.set(recovery=None, first_login=False)
    turn.unwake(Timer.DEADLINE)
    if event.understood:
        turn.act(Warn("page_unknown_but_understood", event.understood))
    if event.result is LoginResult.SUCCESS:
        turn.set(resumable=event.resumable, resume_tried=True, logged_in_at=turn.now)
        settle(turn, Recovery.LOGIN)
    elif event.result in {LoginResult.REFUSED_BEFORE_IT_EVER_WORKED, LoginResult.NEEDS_PERSON}:
        _needs_person(turn, event)
    elif event.result is LoginResult.ENVIRONMENT and not turn.snapshot.ever_ready:
        give_up(turn, Finish(event.exit_code, event.code, event.text, event.hint))
    else:
        _pause_login(turn, event, sent=sent)


def _needs_person(turn: Turn, event: LoginDone) -> None:
    if not turn.snapshot.ever_ready:
        give_up(turn, Finish(event.exit_code, event.code, event.text, event.hint))
        return
    turn.move_session(Arrow.FORBIDDEN)
    turn.set(resumable=False, settling=None, locked_reason=event.text)
    turn.say(event.text)
    turn.act(Warn(event.code, event.text))


def _pause_login(turn: Turn, event: LoginDone, *, sent: bool = True) -> None:
    turn.move_session(Arrow.MISSING)
    policy = turn.policy
    turn.say(event.text)
    if event.result is LoginResult.ENVIRONMENT:
        _pause_for_machine(turn)
        return
    failed = turn.snapshot.failed_logins + (0 if event.result is LoginResult.PAUSED else 1)
    turn.set(failed_logins=failed)
    restart = event.result is LoginResult.TRANSIENT and failed == policy.transient_logins_before_restart
    if restart and not turn.snapshot.ill:
        recycle(turn, Arrow.RESTART, RestartCause.LOGIN_FAILED, f"{event.text}; restarting the gateway")
        return
    longest_s = policy.login_pause_max_s if sent else policy.unsent_pause_max_s
    if event is _NEVER_CAME and failed > policy.never_opened_often:
        longest_s = policy.never_opened_pause_max_s
    first_s = policy.ill_pause_s if event.result is LoginResult.IBKR_ILL else policy.login_pause_first_s
    pause_s = back_off_s(failed, first_s, longest_s)
    pause_s = turn.jittered(pause_s) if event.retry_after_s is None else event.retry_after_s
    turn.set(login_not_before=turn.now + pause_s)
    hold_in_window(turn)
    if turn.snapshot.replacing:
        # The session that was there may be there still: look before another login.
        turn.set(replacing=False)
        check(turn)
    elif not turn.snapshot.ill:
        turn.wake(Timer.LOGIN, turn.snapshot.login_not_before - turn.now)


def _pause_for_machine(turn: Turn) -> None:
    """Wait for what this machine lacks; IBKR's maintenance windows and login pauses do not apply."""
    failures = turn.snapshot.local_failures + 1
    turn.set(local_failures=failures)
    longest_s = turn.policy.environment_pause_max_s
    pause_s = turn.jittered(back_off_s(failures, turn.policy.login_pause_first_s, longest_s))
    turn.set(login_not_before=max(turn.snapshot.login_not_before, turn.now + pause_s))
    if not turn.snapshot.ill:
        turn.wake(Timer.LOGIN, turn.snapshot.login_not_before - turn.now)


def never_settled(turn: Turn) -> None:
    """Act on a login that succeeded but opened no session: one clean restart, then a person (field-problems.md)."""
    after = turn.snapshot.settling
    turn.set(recovery=None, settling=None)
    if after is Recovery.RESUME:
        # The next check decides which step follows: the SSO session may live without a brokerage session.
        turn.set(resumable=False)
        check(turn)
        return
    if turn.snapshot.window_until is not None or turn.snapshot.cause_ill:
        # In maintenance, or while IBKR returns errors to the gateway, IBKR is the cause, not a hidden question.
        _pause_login(turn, _NEVER_CAME)
        return
    if not turn.snapshot.settle_restarted:
        turn.set(settle_restarted=True, resumable=False)
        turn.act(Explain())
        reason = "the login succeeded but no session opened; restarting the gateway"
        recycle(turn, Arrow.RESTART, RestartCause.NEVER_AUTHENTICATED, reason)
        return
    if turn.snapshot.sso_lives and turn.snapshot.ever_ready and not turn.snapshot.cause:
        # The login was not refused: only the brokerage session is missing, and it may still open.
        _pause_login(turn, _NEVER_CAME)
        if turn.snapshot.failed_logins >= turn.policy.never_opened_told:
            # Warn each time: another failure may have come in between, and the alerts decide how often to notify.
            turn.act(Warn("never_opened", _NEVER_OPENED))
        return
    cause = f": {turn.snapshot.cause}" if turn.snapshot.cause else ""
    done = LoginDone(
        result=LoginResult.NEEDS_PERSON,
        text=f"the login succeeds but IBKR never opens the session{cause}",
        code="needs_person",
        exit_code=77,
        hint="log in once at IBKR's website, log out there, then: gwctl login --reset-lockout",
    )
    # The next supervisor, which cron may start in five minutes, must not repeat all this.
    turn.set(blocked=True)
    turn.act(BlockLogin(done.code, done.text))
    _needs_person(turn, done)


_NEVER_CAME = LoginDone(result=LoginResult.IBKR_ILL, text="the login succeeded but no session opened")
_NEVER_OPENED = (
    "logins succeed but IBKR does not open the session; gwctl keeps trying, less and less often."
    " IBKR may want you to log in once at its website, and to log out there"
)


def on_cause(turn: Turn, event: CauseRead) -> None:
    """Keep the cause from the gateway's log for the message to a person."""
    turn.set(cause=event.text, cause_ill=event.ibkr_ill)
    if event.text:
        turn.act(Warn("never_authenticated", event.text))


RECOVERY_HANDLERS: dict[type[Event], Callable[[Turn, Any], None]] = {
    ReauthenticateDone: on_reauthenticated,
    ResumeDone: on_resumed,
    SecondFactorAsked: on_second_factor,
    SubmitBegun: on_submit,
    LoginDone: on_login_done,
    CauseRead: on_cause,
}
