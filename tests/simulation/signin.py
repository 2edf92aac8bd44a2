"""Logins as ``supervisor.authenticator`` does them, with law 2 and its ledger, and the person who helps."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from gwctl.core.messages import LoginDone, LoginResult
from gwctl.login_ledger.rules import (
    REFUSED,
    SUCCESS,
    UNCOUNTED,
    LoginRecord,
    Permission,
    Question,
    begun,
    ended,
    forgiven,
    may_submit,
)
from gwctl.times import DAY_S
from simulation.world import World

LIMIT = 3
CONTEXT = "paper"
DEADLINE_S = 90.0
LOCK_AT = 10
"""IBKR locks an account at 10 refused logins in 24 hours (gateway-facts.md)."""

Ended = Callable[[LoginDone], None]


class Door:
    """IBKR's login and gwctl's record of it. The record outlives every process."""

    def __init__(self, world: World, on_broken: Callable[[str], None]) -> None:
        self.world = world
        self.on_broken = on_broken
        self.record = LoginRecord()
        self.password = world.password
        self.submits: list[float] = []
        self.refusals: list[float] = []
        self.refused_and_never_worked: set[str] = set()
        self.worked: set[str] = set()

    def permission(self) -> Permission:
        """Return law 2's answer for the profile's password."""
        return may_submit(self.record, Question(self.password, CONTEXT, LIMIT), self.world.wall_s)

    @property
    def let_in_last(self) -> bool:
        """Whether the last submitted password was accepted."""
        return bool(self.record.submits) and self.record.submits[-1].outcome == SUCCESS

    def write_submit(self) -> None:
        """Record a submit and send the password."""
        world = self.world
        self.record = begun(self.record, self.password, world.wall_s)
        self.submits.append(world.timeline.now)
        world.tally.total.counts["submits"] += 1
        if self.password in self.refused_and_never_worked:
            self.on_broken("a refused password that never worked was submitted again")

    def write_refusal(self) -> None:
        """Refuse the last submit, and record this."""
        world = self.world
        now = world.timeline.now
        self.refusals = [at for at in self.refusals if now - at < DAY_S] + [now]
        total = world.tally.total
        total.counts["refusals"] += 1
        total.worst_refusals = max(total.worst_refusals, len(self.refusals))
        if len(self.refusals) >= LOCK_AT:
            self.on_broken(f"{len(self.refusals)} refused logins within 24 h lock the account")
        if self.password not in self.worked:
            self.refused_and_never_worked.add(self.password)
        self.record = ended(self.record, REFUSED)

    def write_success(self) -> None:
        """Record that the last submit worked."""
        self.worked.add(self.password)
        self.record = ended(self.record, SUCCESS)

    def be_mended(self) -> None:
        """Let a person act: enter today's password (usually correctly), or reset a lock."""
        world = self.world
        world.challenged = False
        world.tally.total.counts["persons"] += 1
        if self.password != world.password:
            typo = world.rates["typo"].chance(world.rng)
            self.password = f"typo-{len(self.submits)}" if typo else world.password
        else:
            self.refused_and_never_worked.discard(self.password)
            self.record = forgiven(self.record)


class Attempt:
    """One running login. A cancelled one leaves its submit without an outcome, which counts as refused."""

    def __init__(
        self, door: Door, on_submit: Callable[[], None], on_ended: Ended, keep_cookies: Callable[[int], None]
    ) -> None:
        self.door = door
        self.on_submit = on_submit
        self.submits = 0
        self.world = door.world
        self.on_ended = on_ended
        self.keep_cookies = keep_cookies
        self.began = self.world.timeline.now
        self.over = False
        timeline, rates, rng = self.world.timeline, self.world.rates, self.world.rng
        permission = door.permission()
        if not permission.allowed:
            timeline.after(0.0625, self._end, _denied(permission))
        else:
            timeline.after(rates["before_submit_s"].draw(rng), self._submit)

    def cancel(self) -> None:
        """Cancel this login."""
        self.over = True

    def _end(self, done: LoginDone) -> None:
        if not self.over:
            self.over = True
            self.on_ended(replace(done, submits=self.submits))

    def _trouble(self, result: LoginResult, text: str) -> LoginDone:
        self.world.tally.blame("login", self.world.timeline.now)
        return LoginDone(result=result, text=text)

    def _submit(self) -> None:
        world, door = self.world, self.door
        if self.over:
            return
        if world.is_silent or world.gateway_hangs or not world.gateway_runs:
            world.timeline.at(self.began + DEADLINE_S, self._end, _TIMED_OUT)
        elif world.is_ill or world.limited:
            self._end(LoginDone(result=LoginResult.IBKR_ILL, text="IBKR's login is not available"))
        elif world.rates["page_trouble"].chance(world.rng):
            self._end(self._trouble(LoginResult.TRANSIENT, "the login form never appeared"))
        elif not (permission := door.permission()).allowed:
            self._end(_denied(permission))
        else:
            door.write_submit()
            self.submits += 1
            self.on_submit()
            world.timeline.after(world.rates["after_submit_s"].draw(world.rng), self._answer)

    def _answer(self) -> None:
        world, door = self.world, self.door
        if self.over:
            return
        lost = world.window_open and world.rates["login_times_out_in_window"].chance(world.rng)
        if world.is_ill or lost or world.gateway_hangs:
            if not world.is_ill:
                world.tally.blame("login", world.timeline.now)
            world.timeline.at(self.began + DEADLINE_S, self._time_out)
        elif world.refusing or door.password != world.password:
            if world.refusing:
                world.tally.blame("refused", world.timeline.now)
            door.write_refusal()
            self._end(self._refused())
        else:
            door.write_success()
            session = world.log_in()
            self.keep_cookies(session)
            world.tally.total.counts["logins"] += 1
            self._end(
                LoginDone(result=LoginResult.SUCCESS, text="logged in", code="success", exit_code=0, resumable=True)
            )

    def _time_out(self) -> None:
        if not self.over:
            self.door.record = ended(self.door.record, UNCOUNTED)
            self._end(_TIMED_OUT)

    def _refused(self) -> LoginDone:
        """Return the meaning of a refusal, as ``authenticator`` does."""
        done = LoginDone(
            result=LoginResult.REFUSED_BEFORE_IT_EVER_WORKED,
            text="IBKR refused the username or the password",
            code="credentials_rejected",
            exit_code=77,
        )
        record = self.door.record
        if record.worked_print != record.submits[-1].print:
            return done
        permission = self.door.permission()
        if permission.wait_s is not None:
            return replace(done, result=LoginResult.REFUSED_AFTER_IT_WORKED, retry_after_s=permission.wait_s)
        return done if permission.allowed else _denied(permission)


_TIMED_OUT = LoginDone(result=LoginResult.TRANSIENT, text="the login took too long", code="timed_out")


def _denied(permission: Permission) -> LoginDone:
    """Return the end of a login that law 2 does not allow."""
    if permission.wait_s is not None:
        return LoginDone(
            result=LoginResult.PAUSED,
            text=permission.reason or "waiting",
            code="login_paused",
            retry_after_s=permission.wait_s,
        )
    return LoginDone(
        result=LoginResult.NEEDS_PERSON,
        text=permission.reason or "locked out",
        code=permission.code or "locked_out",
        exit_code=77,
    )
