"""The ladder: what each sight of the session leads to, from the cheapest cure to the dearest. Pure."""

from __future__ import annotations

from dataclasses import replace

from gwctl.supervisor.policy import back_off_s, settle_pause_s
from gwctl.supervisor.states import (
    Arrow,
    CancelLogin,
    Check,
    Checked,
    Cure,
    Finish,
    Login,
    LoginDone,
    LoginResult,
    Process,
    Reauthenticate,
    ReauthenticateDone,
    Resume,
    ResumeDone,
    SecondFactorAsked,
    Session,
    StopGateway,
    Timer,
    Verdict,
    Warn,
)
from gwctl.supervisor.tables import Turn

# The session as it is seen.


def check(turn: Turn, *, tickle: bool = False) -> None:
    """Look at the session unless a look is under way: one check in flight, never two."""
    if turn.snapshot.checking:
        return
    turn.unwake(Timer.CHECK)
    turn.set(checking=True)
    turn.act(Check(tickle=tickle))


def on_checked(turn: Turn, event: Checked) -> None:
    """Act on what a check saw, and see to it that another one follows."""
    turn.set(checking=False)
    if turn.snapshot.process is not Process.RUNNING:
        return
    turn.wake(Timer.CHECK, turn.policy.check_interval_s)
    if event.verdict is not Verdict.HUNG:
        turn.set(hung=0, ill=event.verdict in {Verdict.UPSTREAM_ILL, Verdict.RATE_LIMITED})
    _VERDICTS[event.verdict](turn, event)


def _seen_ready(turn: Turn, _event: Checked) -> None:
    if turn.snapshot.cure is Cure.LOGIN:
        # The login's own end is near and brings the cookies that a later resume needs.
        return
    turn.move_session(Arrow.READY)
    turn.unwake(Timer.LOGIN, Timer.SETTLE)
    if turn.snapshot.cure is Cure.SETTLE:
        turn.set(cure=None)
    turn.set(
        settling=None,
        ever_ready=True,
        reauthentications=0,
        took_over=False,
        failed_starts=0,
        failed_logins=0,
        login_not_before=0.0,
        settle_restarted=False,
        resume_tried=False,
        first_login=False,
    )
    turn.say("authenticated")


def _seen_no_session(turn: Turn, event: Checked) -> None:
    if _is_settling(turn) or turn.snapshot.cure is not None or Timer.LOGIN in turn.snapshot.timers:
        return
    turn.move_session(Arrow.MISSING)
    if turn.snapshot.session is Session.LOCKED_OUT:
        return
    turn.say(event.text or "no session at IBKR")
    if turn.snapshot.resumable and not turn.snapshot.resume_tried:
        resume(turn)
    else:
        turn.set(resumable=False)
        _log_in_when_due(turn)


def _is_settling(turn: Turn) -> bool:
    """Return whether a session is just coming up, and look again soon if so."""
    snapshot = turn.snapshot
    if snapshot.cure is not Cure.SETTLE:
        return False
    if snapshot.session is Session.UNREACHABLE:
        # Law 5: the time in which IBKR could not be reached does not count against the session.
        _wait_for_session(turn)
    elif Timer.SETTLE not in snapshot.timers:
        never_settled(turn)
        return True
    turn.wake(Timer.CHECK, settle_pause_s(turn.policy, turn.now - turn.snapshot.cure_since))
    return True


def _seen_no_brokerage(turn: Turn, event: Checked) -> None:
    if _is_settling(turn) or turn.snapshot.cure is not None or Timer.LOGIN in turn.snapshot.timers:
        return
    turn.move_session(Arrow.MISSING)
    if turn.snapshot.session is Session.LOCKED_OUT:
        return
    turn.say(event.text or "the brokerage session is gone")
    tried = turn.snapshot.reauthentications
    if tried and turn.now - turn.snapshot.cure_since < turn.policy.reauthenticate_wait_s:
        # IBKR may take a while to open what it was asked to open.
        turn.wake(Timer.CHECK, turn.policy.settle_slow_check_s)
    elif tried < turn.policy.reauthenticate_tries:
        turn.set(reauthentications=tried + 1)
        _begin(turn, Cure.REAUTHENTICATE)
        turn.act(Reauthenticate(compete=turn.policy.take_over))
    else:
        _log_in_when_due(turn)


def _seen_competing(turn: Turn, event: Checked) -> None:
    if turn.snapshot.cure is not None and turn.snapshot.cure is not Cure.SETTLE:
        return
    turn.unwake(Timer.SETTLE, Timer.LOGIN)
    turn.set(cure=None, settling=None)
    turn.move_session(Arrow.OTHER)
    if turn.snapshot.session is Session.LOCKED_OUT:
        return
    turn.say(event.text or "another session of this username competes")
    if turn.policy.take_over and not turn.snapshot.took_over and not _took_over_just_now(turn):
        turn.set(took_over=True, took_over_at=turn.now)
        _begin(turn, Cure.REAUTHENTICATE)
        turn.act(Reauthenticate(compete=True))


def _took_over_just_now(turn: Turn) -> bool:
    """Return whether the other side took back at once what was taken from it: a second time would be a fight."""
    at = turn.snapshot.took_over_at
    return at is not None and turn.now - at < turn.policy.take_over_pause_s


def _seen_ill(turn: Turn, event: Checked) -> None:
    if turn.snapshot.cure not in {None, Cure.SETTLE}:
        return
    # Law 5: while IBKR is ill no deadline may lead to a restart and no timer to a login.
    turn.unwake(Timer.SETTLE, Timer.LOGIN)
    turn.move_session(Arrow.ILL)
    if turn.snapshot.session is Session.LOCKED_OUT:
        return
    turn.set(resume_tried=False)
    turn.say(event.text or "IBKR cannot be reached")


def _seen_rate_limited(turn: Turn, event: Checked) -> None:
    _seen_ill(turn, replace(event, text=event.text or "IBKR asks for fewer requests"))
    turn.wake(Timer.CHECK, turn.policy.rate_limit_pause_s)
    turn.wake(Timer.TICKLE, turn.policy.rate_limit_pause_s + turn.policy.tickle_interval_s)


def _seen_denied(turn: Turn, event: Checked) -> None:
    text = event.text or "the gateway refuses requests from 127.0.0.1"
    if turn.snapshot.ever_ready:
        _seen_ill(turn, replace(event, text=text))
    else:
        give_up(turn, Finish(78, "configuration", text, "put 127.0.0.1 into allow_ips"))


def _seen_hung(turn: Turn, event: Checked) -> None:
    hung = turn.snapshot.hung + 1
    turn.set(hung=hung)
    if hung >= turn.policy.hung_checks:
        recycle(turn, Arrow.LOST, event.text or "the gateway hangs")
    else:
        turn.wake(Timer.CHECK, turn.policy.hung_confirm_s)


# The ladder.


def _log_in_when_due(turn: Turn) -> None:
    """Log in, or wait for what is left of the pause after the last attempt."""
    left_s = turn.snapshot.login_not_before - turn.now
    if left_s > 0:
        turn.wake(Timer.LOGIN, left_s)
    else:
        log_in(turn)


def _begin(turn: Turn, cure: Cure) -> None:
    turn.move_session(Arrow.BEGIN)
    turn.set(cure=cure, cure_since=turn.now)


def resume(turn: Turn) -> None:
    """Send the kept SSO cookies once."""
    turn.set(resume_tried=True)
    _begin(turn, Cure.RESUME)
    turn.act(Resume())


def log_in(turn: Turn) -> None:
    """Drive the login page; whether a password may be sent is law 2's to say, at the ledger."""
    turn.unwake(Timer.LOGIN, Timer.SETTLE)
    turn.set(login_wanted=False, settling=None)
    _begin(turn, Cure.LOGIN)
    turn.say("logging in")
    turn.act(Login(first=turn.snapshot.first_login))


def _settle(turn: Turn, after: Cure) -> None:
    turn.set(settling=after)
    _wait_for_session(turn)
    check(turn)


def _wait_for_session(turn: Turn) -> None:
    _begin(turn, Cure.SETTLE)
    turn.say("logged in, waiting for the session")
    resumed = turn.snapshot.settling is Cure.RESUME
    turn.wake(Timer.SETTLE, turn.policy.resume_timeout_s if resumed else turn.policy.settle_timeout_s)


def _is_over(turn: Turn, cure: Cure) -> bool:
    """Let go of a cure that has ended; return whether nothing more is to come of it."""
    if turn.snapshot.cure is not cure:
        return True
    turn.set(cure=None)
    if turn.snapshot.login_wanted:
        log_in(turn)
        return True
    # A check may have seen the session ready while the cure was under way.
    return turn.snapshot.session is Session.AUTHENTICATED


def on_reauthenticated(turn: Turn, event: ReauthenticateDone) -> None:
    """Look at the session at once, or leave it to the next check."""
    if _is_over(turn, Cure.REAUTHENTICATE):
        return
    if event.ok:
        check(turn)
    else:
        turn.move_session(Arrow.MISSING)


def on_resumed(turn: Turn, event: ResumeDone) -> None:
    """Wait for the session; where the cookies did not help, look first whether it is IBKR that is ill (law 5)."""
    if _is_over(turn, Cure.RESUME):
        return
    if event.ok:
        _settle(turn, Cure.RESUME)
    else:
        turn.move_session(Arrow.MISSING)
        check(turn)


def on_second_factor(turn: Turn, _event: SecondFactorAsked) -> None:
    """Show that somebody has to act."""
    if turn.snapshot.cure is Cure.LOGIN and turn.snapshot.session is not Session.LOCKED_OUT:
        turn.move_session(Arrow.ASKED)
        turn.say("waiting for a second factor")


def on_login_done(turn: Turn, event: LoginDone) -> None:
    """Go on from a login's end."""
    if turn.snapshot.cure is not Cure.LOGIN:
        return
    turn.set(cure=None, first_login=False)
    if event.result is LoginResult.SUCCESS:
        turn.set(resumable=event.resumable, resume_tried=True, failed_logins=0)
        _settle(turn, Cure.LOGIN)
    elif event.result in {LoginResult.REFUSED_BEFORE_IT_EVER_WORKED, LoginResult.NEEDS_PERSON}:
        _needs_person(turn, event)
    elif event.result is LoginResult.ENVIRONMENT and not turn.snapshot.ever_ready:
        give_up(turn, Finish(event.exit_code, event.code, event.text, event.hint))
    else:
        _pause_login(turn, event)


def _needs_person(turn: Turn, event: LoginDone) -> None:
    if not turn.snapshot.ever_ready:
        give_up(turn, Finish(event.exit_code, event.code, event.text, event.hint))
        return
    turn.move_session(Arrow.FORBIDDEN)
    turn.set(resumable=False, settling=None, locked_reason=event.text)
    turn.say(event.text)
    turn.act(Warn(event.code, event.text))


def _pause_login(turn: Turn, event: LoginDone) -> None:
    turn.move_session(Arrow.MISSING)
    policy = turn.policy
    failed = turn.snapshot.failed_logins + (0 if event.result is LoginResult.PAUSED else 1)
    turn.set(failed_logins=failed)
    turn.say(event.text)
    restart = event.result is LoginResult.TRANSIENT and failed == policy.transient_logins_before_restart
    if restart and not turn.snapshot.ill:
        recycle(turn, Arrow.RESTART, f"{event.text}; restarting the gateway")
        return
    pause_s = back_off_s(failed, policy.login_pause_first_s, policy.login_pause_max_s)
    if event.result is LoginResult.IBKR_ILL:
        pause_s = max(policy.ill_pause_s, pause_s)
    pause_s = pause_s if event.retry_after_s is None else event.retry_after_s
    turn.set(login_not_before=turn.now + pause_s)
    if not turn.snapshot.ill:
        turn.wake(Timer.LOGIN, pause_s)


def never_settled(turn: Turn) -> None:
    """Act on a login that succeeded and never authenticated: one clean restart, then a person (field-problems.md)."""
    after = turn.snapshot.settling
    turn.set(cure=None, settling=None)
    if after is Cure.RESUME:
        turn.set(resumable=False)
        _log_in_when_due(turn)
        return
    if not turn.snapshot.settle_restarted:
        turn.set(settle_restarted=True, resumable=False)
        recycle(turn, Arrow.RESTART, "the login succeeded but the session never came; restarting the gateway")
        return
    _needs_person(
        turn,
        LoginDone(
            result=LoginResult.NEEDS_PERSON,
            text="the login succeeds but IBKR never opens the session",
            code="needs_person",
            exit_code=77,
            hint="log in once at IBKR's website, log out there, then: gwctl login",
        ),
    )


# What both halves end in.


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


def recycle(turn: Turn, arrow: Arrow, reason: str) -> None:
    """Stop what is left of the gateway and start it anew, at once if the budget has room."""
    turn.new_epoch()
    turn.act(CancelLogin())
    turn.move_process(arrow)
    turn.move_session(Arrow.RESET)
    turn.say(reason)
    turn.act(StopGateway(logout=False))


_VERDICTS = {
    Verdict.READY: _seen_ready,
    Verdict.NO_SESSION: _seen_no_session,
    Verdict.NO_BROKERAGE: _seen_no_brokerage,
    Verdict.COMPETING: _seen_competing,
    Verdict.UPSTREAM_ILL: _seen_ill,
    Verdict.HUNG: _seen_hung,
    Verdict.RATE_LIMITED: _seen_rate_limited,
    Verdict.ACCESS_DENIED: _seen_denied,
}
