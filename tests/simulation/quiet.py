"""Skip repetition: checks and tickles whose answer changes only timers.

Why this is exact. ``step`` is pure and knows time only by differences to ``now``. While the world does not change,
every check has the same answer after the same latency. If one pair of due timer and answer leaves the snapshot as it
was but for the two timers (and ``calm_at``, which follows the last answer once it follows it at all), then the next
pair meets the same snapshot, later; so it does the same. The only thing that can come between is a threshold on a time
in the snapshot ("ready for ``quiet_s``", "taken over less than ``take_over_pause_s`` ago"). Such a threshold, once
crossed, stays crossed while nothing else happens. So a pair of each kind is stepped through the real core both where
the skip begins and where it ends: if both leave the snapshot alone and move the timers alike, no threshold lies between
them; if they differ, the skip is halved until they do not, and the core itself crosses the threshold, step by step. The
times are whole ticks of a power of two (``timeline``), so adding them up in any order gives the same bits. A skip ends
before the next event of the world and the next other timer.

The timers' own rhythm is not written down here: it is read from the stepped pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from msgspec.structs import replace

from gwctl.core.machine import step
from gwctl.core.messages import Check, Checked, Process, TimeOut, Timer
from gwctl.core.policy import Policy
from gwctl.core.tables import Snapshot
from gwctl.session_status import Verdict
from simulation.timeline import TICKS_A_SECOND, to_tick

LISTED_CYCLES = 2
LONG_S = 1.0
"""Longer checks are also stepped together with a tickle; a tickle during a shorter check ends the skip."""
_WALKED = (Timer.CHECK, Timer.TICKLE)
_TIME_OUTS = {timer: TimeOut(timer=timer) for timer in _WALKED}
_CHECKS = {timer: [Check(tickle=timer is Timer.TICKLE)] for timer in _WALKED}


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to every check of a quiet time, and its latency in seconds."""

    verdict: Verdict
    text: str
    latency_s: float


@dataclass(frozen=True, slots=True)
class _Beat:
    """What one pair does: when check and tickle are due next, from its beginning, and whether ``calm_at`` follows."""

    check_in_s: float
    tickle_in_s: float | None
    calm_follows: bool


@dataclass(frozen=True, slots=True)
class _Rhythm:
    """What both pairs do; ``again_in_s`` is for a tickle that comes due while a check is under way, None: not known."""

    check: _Beat
    tickle: _Beat
    again_in_s: float | None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A snapshot later on; ``asked`` are the first requests and the last, ``repeated`` how many there were in between.

    Of the cycles that are left out ``LISTED_CYCLES`` are listed: all that a memory of the last requests can tell apart.
    """

    snapshot: Snapshot
    asked: tuple[float, ...]
    repeated: int
    last_at: float


def skip(snapshot: Snapshot, policy: Policy, answer: Answer, horizon: float) -> Skipped | None:
    """Return the last snapshot before ``horizon`` (monotonic seconds), None if nothing can be skipped."""
    timers = snapshot.timers
    rhythm = _rhythm(snapshot, policy, answer)
    if rhythm is None:
        return None
    horizon = min([horizon, *(due for timer, due in timers.items() if timer not in _WALKED)])
    if snapshot.ready_since is not None and not rhythm.check.calm_follows:
        # Every quiet time crosses this threshold. Knowing it only saves the search.
        horizon = min(horizon, snapshot.ready_since + policy.quiet_s)
    few = _Walk(timers[Timer.CHECK], timers[Timer.TICKLE], rhythm, answer.latency_s)
    few.to_tickle(horizon)
    cycle = few.copy()
    span_s, number = 0.0, 0
    if cycle.to_tickle(horizon) and cycle.is_again(few):
        span_s = cycle.tickle - few.tickle
        number = math.ceil((horizon - cycle.last_answer) / span_s)

    def stays_quiet(walk: _Walk) -> bool:
        return bool(walk.asked) and _rhythm(walk.at_its_last(snapshot), policy, answer) == rhythm

    def quiet_after(cycles: int) -> _Walk | None:
        walk = few.later(span_s, cycles, cycle)
        if cycles == number:
            walk.to_horizon(horizon)
        return walk if stays_quiet(walk) else None

    found, low, high, tried = None, -1, number + 1, number
    while low + 1 < high:
        # Up to ``low`` cycles all is quiet; by ``high`` cycles something has happened.
        walk = quiet_after(tried)
        if walk is not None:
            found, low = walk, tried
        else:
            high = tried
        tried = (low + high) // 2
    if found is None:
        return None
    return Skipped(found.landed(snapshot), tuple(found.asked), found.repeated, found.last_answer)


def _rhythm(snapshot: Snapshot, policy: Policy, answer: Answer) -> _Rhythm | None:
    """Step a pair of each kind through the core; None if either changes more than the timers."""
    ours = [snapshot.timers.get(timer, 0.5 / TICKS_A_SECOND) for timer in _WALKED]
    if snapshot.process is not Process.RUNNING or snapshot.checking or any(to_tick(due) != due for due in ours):
        return None
    check = _beat(snapshot, Timer.CHECK, policy, answer)
    tickle = _beat(snapshot, Timer.TICKLE, policy, answer) if check is not None else None
    if check is None or tickle is None or check.calm_follows is not tickle.calm_follows:
        return None
    if answer.latency_s < LONG_S:
        return _Rhythm(check, tickle, None)
    again_in_s = _again_in_s(snapshot, policy)
    return None if again_in_s is None else _Rhythm(check, tickle, again_in_s)


def _again_in_s(snapshot: Snapshot, policy: Policy) -> float | None:
    """Return after how many seconds a tickle during a check is retried; None if it does more than wait."""
    fired_at = snapshot.timers[Timer.CHECK]
    asked, _ = step(snapshot, _TIME_OUTS[Timer.CHECK], policy, fired_at)
    after, actions = step(asked, _TIME_OUTS[Timer.TICKLE], policy, fired_at)
    again_in_s = after.timers.get(Timer.TICKLE, fired_at) - fired_at
    if actions or again_in_s <= 0 or replace(after, timers=asked.timers) != asked:
        return None
    return again_in_s


def _beat(snapshot: Snapshot, timer: Timer, policy: Policy, answer: Answer) -> _Beat | None:
    fired_at = snapshot.timers[timer]
    asked, actions = step(snapshot, _TIME_OUTS[timer], policy, fired_at)
    if actions != _CHECKS[timer]:
        return None
    answered_at = fired_at + answer.latency_s
    after, actions = step(asked, Checked(asked.epoch, answer.verdict, answer.text), policy, answered_at)
    if actions or after.timers.keys() != snapshot.timers.keys():
        return None
    if replace(after, timers=snapshot.timers, spent=snapshot.spent) != snapshot:
        return None
    calm_at = after.spent.calm_at
    follows = calm_at == answered_at
    if after.spent is not snapshot.spent and after.spent != replace(
        snapshot.spent, calm_at=calm_at if follows else snapshot.spent.calm_at
    ):
        return None
    if timer is Timer.CHECK and after.timers[Timer.TICKLE] != snapshot.timers[Timer.TICKLE]:
        return None
    return _Beat(
        after.timers[Timer.CHECK] - fired_at,
        after.timers[Timer.TICKLE] - fired_at if timer is Timer.TICKLE else None,
        follows,
    )


class _Walk:
    """The two timers, advanced as numbers only."""

    def __init__(self, check: float, tickle: float, rhythm: _Rhythm, latency_s: float) -> None:
        self.check = check
        self.tickle = tickle
        self.rhythm = rhythm
        self.latency_s = latency_s
        self.last_check = check
        self.last_tickle = tickle
        self.last_answer = -1.0
        self.asked: list[float] = []
        self.repeated = 0

    def copy(self) -> _Walk:
        """Return an independent copy."""
        other = _Walk(self.check, self.tickle, self.rhythm, self.latency_s)
        other.last_check, other.last_tickle, other.last_answer = self.last_check, self.last_tickle, self.last_answer
        other.asked, other.repeated = list(self.asked), self.repeated
        return other

    def _beat(self, horizon: float) -> Timer | None:
        """Advance by one pair; return None without a step if something happens in between."""
        check, tickle = self.check, self.tickle
        fired_at = min(check, tickle)
        answered_at = fired_at + self.latency_s
        again_in_s = self.rhythm.again_in_s
        if answered_at >= horizon or check == tickle or (check < tickle < answered_at and again_in_s is None):
            return None
        self.last_answer = answered_at
        self.asked.append(fired_at)
        if check < tickle:
            self.last_check = fired_at
            self.check = fired_at + self.rhythm.check.check_in_s
            while again_in_s is not None and self.tickle < answered_at:
                self.tickle += again_in_s
            return Timer.CHECK
        self.last_tickle = fired_at
        self.check = fired_at + self.rhythm.tickle.check_in_s
        self.tickle = fired_at + (self.rhythm.tickle.tickle_in_s or 0.0)
        return Timer.TICKLE

    def to_tickle(self, horizon: float) -> bool:
        """Advance until a tickle is over; return whether one was."""
        while (timer := self._beat(horizon)) is not None:
            if timer is Timer.TICKLE:
                return True
        return False

    def to_horizon(self, horizon: float) -> None:
        """Advance until something happens in between."""
        while self._beat(horizon) is not None:
            pass

    def is_again(self, earlier: _Walk) -> bool:
        """Return whether this is ``earlier`` again, later."""
        return self.check - earlier.check == self.tickle - earlier.tickle

    def later(self, span_s: float, number: int, cycle: _Walk) -> _Walk:
        """Return this after a number of cycles of ``span_s``, the first of which is ``cycle``."""
        moved = self.copy()
        if not number:
            return moved
        by_s = span_s * (number - 1)
        moved.check, moved.tickle = cycle.check + by_s, cycle.tickle + by_s
        moved.last_check, moved.last_tickle = cycle.last_check + by_s, cycle.last_tickle + by_s
        moved.last_answer = cycle.last_answer + by_s
        once = cycle.asked[len(self.asked) :]
        listed = min(number, LISTED_CYCLES)
        turns = [*range(listed - 1), number - 1]
        moved.asked += [at + span_s * turn for turn in turns for at in once]
        moved.repeated = (number - listed) * len(once)
        return moved

    def at_its_last(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with both timers at their last values."""
        return replace(
            snapshot, timers={**snapshot.timers, Timer.CHECK: self.last_check, Timer.TICKLE: self.last_tickle}
        )

    def landed(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot as it is after the last pair."""
        follows = self.rhythm.check.calm_follows
        spent = replace(snapshot.spent, calm_at=self.last_answer) if follows else snapshot.spent
        timers = {**snapshot.timers, Timer.CHECK: self.check, Timer.TICKLE: self.tickle}
        return replace(snapshot, timers=timers, spent=spent)
