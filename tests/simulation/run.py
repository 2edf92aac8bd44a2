"""One account in virtual time: the loop around the pure core, and the supervisor's starts and ends.

No clock, no asyncio, no I/O. The cron line ``*/5 * * * * gwctl up`` brings a supervisor back.
"""

from __future__ import annotations

import math
import random
from collections import deque
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from gwctl.core.kept import remember
from gwctl.core.machine import Snapshot, step
from gwctl.core.messages import (
    Action,
    ClockJumped,
    CountsRecalled,
    Event,
    Finish,
    LoginWanted,
    Pause,
    Phase,
    StartWanted,
    TimeOut,
    Timer,
    Warn,
)
from gwctl.core.planned import PauseOver, PauseWanted, planned
from gwctl.core.policy import Policy
from gwctl.core.tables import phase_of
from gwctl.maintenance import Windows
from gwctl.session_status import Verdict
from gwctl.supervisor.calendar_watch import CalendarWatch
from gwctl.supervisor.probe import WHO_INTERVAL_S
from simulation.calendars import REGIONS
from simulation.hands import TEXTS, WHOSE, Hands, Life
from simulation.plans import NOTHING, Plans, check
from simulation.quiet import Answer, skip
from simulation.rates import Rates
from simulation.signin import Door
from simulation.tally import Tally, Total
from simulation.timeline import Timeline, to_tick
from simulation.world import Fate, World

CRON_S = 300.0
SUPERVISOR_START_S = 0.75
SHORTEST_SKIP_S = 45.0
"""Shorter quiet times are stepped through."""
FEW_REQUESTS = 3
"""With so few requests in ten seconds, and the few of a quiet time added, the pace delays nothing."""
BEGINS = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
SETTLED_S = 3600.0
GWCTL_REGIONS = {"america": "north-america", "europe": "europe", "asia": "asia"}


class Options(Struct, frozen=True):
    """How an account is run."""

    policy: Policy = field(default_factory=Policy)
    windows: Windows | None = None
    skipping: bool = True
    plans: Plans = NOTHING
    policy_seed: int | None = None


class Account(Hands):
    """One account, its machine and its supervisor."""

    def __init__(self, seed: int, world: World, options: Options) -> None:
        super().__init__(world, Door(world, self._broken))
        self.seed = seed
        self.options = options
        self.rng = random.Random(f"account {seed}")  # noqa: S311 - chance, not a secret
        self.kept: dict[str, Any] = {}
        self.booted_at = -1024.0
        self.trace: deque[tuple[float, Event]] = deque(maxlen=30)
        self._cron_planned = False
        self._person_called = False
        self._calendar: CalendarWatch | None = None
        self._looks = 0
        self._pause: Pause | None = None
        self._by_person = self._is_planned = False
        world.told = self

    # Its clocks.

    @property
    def now(self) -> float:
        """Monotonic seconds."""
        return self.timeline.now - self.booted_at

    @property
    def ahead_s(self) -> float:
        """Wall-clock minus monotonic seconds."""
        return self.world.begins_wall_s + self.booted_at

    # Its loop.

    def run_until(self, end: float) -> None:
        """Advance the time."""
        while True:
            due, timer = self._next_timer()
            if timer is not None and self.options.skipping and self._skip(min(end, self.timeline.next_at)):
                continue
            if min(due, self.timeline.next_at) > end:
                self.timeline.now = end
                return
            if timer is None or self.timeline.next_at <= due:
                self.timeline.advance()
            else:
                self.timeline.now = due
                self.feed(TimeOut(timer=timer))
            self._watch()

    def _next_timer(self) -> tuple[float, Timer | None]:
        life = self.life
        if life is None or not life.snapshot.timers or self.timeline.now < self.world.asleep_until:
            return float("inf"), None
        timers = life.snapshot.timers
        timer = min(timers, key=lambda one: timers[one])
        return max(self.timeline.now, to_tick(timers[timer] + self.booted_at)), timer

    def _skip(self, horizon: float) -> bool:
        """Skip repetition before ``horizon``; return whether anything was skipped."""
        life = self.life
        if life is None or not self._is_idle(life) or horizon - self.timeline.now < SHORTEST_SKIP_S:
            return False
        verdict, latency_s = self.world.see()
        asks_more = verdict is Verdict.READY and not (life.tickled and life.knows_our_app)
        horizon -= self.booted_at
        if verdict in WHOSE:
            # The next check asks for one more thing.
            horizon = min(horizon, (life.asked_who_at or 0.0) + WHO_INTERVAL_S)
        if asks_more:
            return False
        answer = Answer(verdict, TEXTS[verdict], latency_s)
        skipped = skip(life.snapshot, life.policy, answer, horizon)
        if skipped is None:
            return False
        if self.tally.asked_within(skipped.asked[0] + self.booted_at) > FEW_REQUESTS:
            return False
        for at in skipped.asked:
            # At these intervals no request waits, but the pace must count them.
            life.pace.take(at)
        life.snapshot = skipped.snapshot
        self.tally.asked(at + self.booted_at for at in skipped.asked)
        self.tally.asked_also(skipped.repeated)
        self.timeline.now = skipped.last_at + self.booted_at
        return True

    def _is_idle(self, life: Life) -> bool:
        return not life.waiting and life.attempt is None and not life.snapshot.checking

    def feed(self, event: Event) -> None:
        """Give the core an event and do what it asks for."""
        life = self.life
        if life is None:
            return
        before = life.snapshot
        self._by_person = isinstance(event, LoginWanted) or before.login_wanted
        self.trace.append((self.timeline.now, event))
        try:
            life.snapshot, actions = step(before, event, life.policy, self.now)
        except Exception as error:  # noqa: BLE001 - the shell goes on, and so does the count of defects
            self._broken(f"the core refused {event!r} in {before.process}, {before.session}: {error!r}")
            timers = {timer: due for timer, due in before.timers.items() if due > self.now}
            timers[Timer.CHECK] = self.now + life.policy.check_interval_s
            life.snapshot = replace(before, timers=timers, checking=False)
            return
        self._remember(before, life.snapshot)
        if life.snapshot.pause is None:
            self._pause = None
        for action in actions:
            self.perform(life, action)

    def _remember(self, before: Snapshot, after: Snapshot) -> None:
        """Save what must outlive the process at every change, as ``service`` does."""
        if (before.spent.times, before.failed_logins, before.login_not_before, before.blocked) != (
            after.spent.times,
            after.failed_logins,
            after.login_not_before,
            after.blocked,
        ):
            self.kept = remember(after, self.ahead_s, self.now)

    def _broken(self, what: str) -> None:
        told = "; ".join(f"{at:.3f} {event!r}" for at, event in self.trace)
        self.tally.total.broken.append(f"seed {self.seed}, {self.timeline.now:.3f} s: {what} [{told}]")

    def _watch(self) -> None:
        world, life = self.world, self.life
        phase = None if life is None else phase_of(life.snapshot)
        well = world.is_usable and (phase is None or phase is Phase.READY)
        up = world.machine_on and self.timeline.now >= world.asleep_until
        is_planned = life is not None and planned(life.snapshot) is not None
        if is_planned is not self._is_planned:
            (self.tally.blame if is_planned else self.tally.lift)("planned", self.timeline.now)
            self._is_planned = is_planned
        well = well or is_planned
        possible = up and not world.is_ill and not world.limited and not world.competitor
        self.tally.watch(self.timeline.now, well=well, ibkr_well=not world.is_ill, possible=possible)
        if phase is Phase.LOCKED_OUT:
            self._call_person()
        if phase is None or phase is Phase.LOCKED_OUT:
            self._plan_cron()

    # The supervisor's life.

    def start_supervisor(self) -> None:
        """Start a supervisor, as ``gwctl up`` does, unless one is running."""
        world = self.world
        if self.life is not None or not world.machine_on or self.timeline.now < world.asleep_until:
            return
        seed = self.options.policy_seed if self.options.policy_seed is not None else self.rng.getrandbits(64)
        self.tally.total.counts["supervisors"] += 1
        self.life = Life(Snapshot(since=self.now), replace(self.options.policy, seed=seed))
        self.feed(CountsRecalled(kept=self.kept, wall_minus_monotonic_s=self.ahead_s))
        if self._pause is not None and (self._pause.until_s is None or self._pause.until_s > world.wall_s):
            self.feed(PauseWanted(pause=self._pause))
        if world.gateway_runs:
            # The session continues, but it does not count as ready before the first check.
            self.tally.blame("supervisor", self.timeline.now)
        self.feed(StartWanted(adopted=world.gateway_runs))
        if self.life is not None:
            windows = self.options.windows or Windows()
            self._calendar = CalendarWatch(
                windows, self.options.plans.logins, lambda *_, **__: None, world.wall_s, every_s=math.inf
            )
            self._look_at_calendar()
        self._watch()

    def _look_at_calendar(self, number: int | None = None) -> None:
        """Report to the core what the calendar has, just after each of its times, as the loop does."""
        calendar = self._calendar
        if self.life is None or calendar is None or number not in {None, self._looks}:
            return
        if self.timeline.now >= self.world.asleep_until:
            for event in calendar.look(self.life.snapshot, self.now, self.world.wall_s):
                self.feed(event)
        self._looks += 1
        if math.isfinite(calendar.due_at):
            due_at = max(calendar.due_at + self.booted_at, self.world.asleep_until)
            self.timeline.at(due_at, self._look_at_calendar, self._looks)

    # What its person plans.

    def plan(self) -> None:
        """Pause now and then, as the person of this account does."""
        in_s = self.options.plans.next_pause_s(self.rng)
        if in_s is not None:
            self.timeline.after(in_s, self._pauses)

    def _pauses(self) -> None:
        life, world = self.life, self.world
        if life is not None and self.timeline.now >= world.asleep_until and life.snapshot.pause is None:
            self._pause, ends_in_s = self.options.plans.pause(self.rng, world.wall_s)
            self.tally.total.counts["pauses"] += 1
            self.feed(PauseWanted(pause=self._pause))
            if ends_in_s is not None:
                self.timeline.after(ends_in_s, self._resumes, self._pause)
            else:
                self._look_at_calendar()
        self.plan()

    def _resumes(self, pause: Pause) -> None:
        """End a pause by hand; the file goes first, so that it does not hold for the next supervisor."""
        if self._pause is not pause:
            return
        self._pause = None
        if self.life is not None:
            self.feed(PauseOver())

    def supervisor_killed(self) -> None:
        """Die with all running work; the budgets are on disk."""
        life, self.life = self.life, None
        if life is not None:
            self.cancel_login(life)
        if not self.world.machine_on:
            # The monotonic clock restarts with the machine.
            self.booted_at = self.timeline.now
        self._watch()

    def woken(self, asleep_s: float) -> None:
        """Wake up: the monotonic clock has not moved."""
        self.booted_at += asleep_s
        if self.life is not None:
            self.feed(ClockJumped(asleep_s=asleep_s))
            self._look_at_calendar()

    def finished(self, finish: Finish) -> None:
        """End the supervisor as the core requests."""
        self.life = None
        self.tally.total.counts[f"exits {finish.exit_code}"] += 1
        if finish.exit_code in {77, 78}:
            self._call_person()
        self._watch()

    def _plan_cron(self) -> None:
        if not self._cron_planned:
            self._cron_planned = True
            wall_s = self.world.wall_s
            self.timeline.after(CRON_S - wall_s % CRON_S + SUPERVISOR_START_S, self._cron)

    def _cron(self) -> None:
        """Run ``gwctl up`` as cron does.

        If law 2 forbids a login, it starts nothing, unless there is a gateway to adopt. A supervisor with a correct
        password whose session never opened also waits for a person.
        """
        self._cron_planned = False
        if self.timeline.now < self.world.asleep_until:
            return
        life = self.life
        permission = self.door.permission()
        forbidden = not permission.allowed and permission.wait_s is None
        if life is None and (self.world.gateway_runs or not forbidden):
            self.start_supervisor()
        elif forbidden:
            self._call_person()
        elif life is not None and phase_of(life.snapshot) is Phase.LOCKED_OUT and not self.door.let_in_last:
            self.tally.total.counts["woken by cron"] += 1
            self.feed(LoginWanted())

    # The person behind it.

    def perform(self, life: Life, action: Action) -> None:
        """Do what the core asks for; a person gets its warning that no session opened."""
        check(
            self.options.plans,
            self.world.wall_s,
            life.snapshot,
            action,
            by_person=self._by_person,
            broken=self._broken,
        )
        super().perform(life, action)
        if isinstance(action, Warn) and action.code == "never_opened":
            self._call_person()

    def _call_person(self) -> None:
        if not self._person_called:
            self._person_called = True
            self.tally.blame("person", self.timeline.now, lasts=True)
            self.timeline.after(self.world.rates["person_s"].draw(self.world.rng), self._person_acts)

    def _person_acts(self) -> None:
        if not self.world.machine_on or self.timeline.now < self.world.asleep_until:
            self.timeline.after(CRON_S, self._person_acts)
            return
        self._person_called = False
        self.tally.lift("person", self.timeline.now)
        self.door.be_mended()
        if self.life is None:
            self.start_supervisor()
        elif phase_of(self.life.snapshot) in {Phase.LOCKED_OUT, Phase.BACKOFF}:
            self.feed(LoginWanted())


def account(seed: int, rates: Rates, options: Options | None = None) -> Account:
    """Return an account of one of the regions, not yet started; the same seed gives the same account."""
    rng = random.Random(f"world {seed}")  # noqa: S311 - chance, not a secret
    region = REGIONS[seed % len(REGIONS)]
    options = options or Options()
    if options.windows is None:
        options = replace(options, windows=Windows.parse([GWCTL_REGIONS[region.name]]))
    world = World(Timeline(), rates, rng, Tally(), BEGINS)
    Fate(world, region)
    return Account(seed, world, options)


def live(one: Account, account_s: float) -> Total:
    """Run an account for a number of seconds after its first hour, and return its sums."""
    one.start_supervisor()
    one.plan()
    one.run_until(SETTLED_S)
    one.tally.begin(SETTLED_S)
    one.run_until(SETTLED_S + account_s)
    return one.tally.end(one.timeline.now)
