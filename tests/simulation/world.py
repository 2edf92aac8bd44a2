"""The world of one account: IBKR's side, the gateway's process and the machine, each with its faults."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from gwctl.gateway.heartbeat import BEAT_S
from gwctl.session_status import Verdict
from gwctl.supervisor.probe import ANSWER_TIMEOUT_S, KNOCK_TIMEOUT_S
from simulation.calendars import WEEKEND, Region, Window
from simulation.rates import Rates
from simulation.tally import Tally
from simulation.timeline import Timeline, to_tick

DAY_S = 86_400.0
YEAR_S = 365.0 * DAY_S
IDLE_LIMIT_S = 360.0
"""IBKR ends a session without requests after about six minutes (gateway-facts.md)."""
MOST_ILLNESSES = 4


class Told(Protocol):
    """An observer of events on the machine."""

    def gateway_ended(self) -> None:
        """Notice that the process is gone, by waiting on it."""
        ...

    def pushed(self, *, ready: bool) -> None:
        """Learn from the WebSocket that the session has changed."""
        ...

    def heart_missed(self) -> None:
        """Learn from the heartbeat that the gateway owes an answer."""
        ...

    def supervisor_killed(self) -> None:
        """Die."""
        ...

    def woken(self, asleep_s: float) -> None:
        """Wake after a sleep that the monotonic clock does not count."""
        ...


class World:
    """The real state. ``session`` is what IBKR accepts now, ``jar`` what the gateway sends; None means none."""

    def __init__(
        self, timeline: Timeline, rates: Rates, rng: random.Random, tally: Tally, begins_wall_s: float
    ) -> None:
        self.timeline = timeline
        self.rates = rates
        self.rng = rng
        self.tally = tally
        self.begins_wall_s = begins_wall_s
        self.told: Told | None = None
        self.illnesses: list[tuple[str, bool]] = []
        self.limited = False
        self.refusing = False
        self.challenged = False
        self.password = "password-0"
        self.window_open = 0
        self.session: int | None = None
        self.sessions = 0
        self.dead: int | None = None
        self.brokerage = False
        self.competitor = 0
        self.gateway_runs = False
        self.gateway_hangs = False
        self.jar: int | None = None
        self.machine_on = True
        self.asleep_until = 0.0
        self._opening = 0

    @property
    def wall_s(self) -> float:
        """Seconds since 1970."""
        return self.begins_wall_s + self.timeline.now

    @property
    def is_ill(self) -> bool:
        """Whether IBKR answers with errors or not at all."""
        return bool(self.illnesses)

    @property
    def is_silent(self) -> bool:
        """Whether IBKR does not answer."""
        return any(silent for _, silent in self.illnesses)

    @property
    def is_usable(self) -> bool:
        """Whether a client of the gateway has a session."""
        return (
            self.gateway_runs
            and not self.gateway_hangs
            and not self.illnesses
            and not self.limited
            and not self.competitor
            and self.brokerage
            and self.session is not None
            and self.jar == self.session
            and self.timeline.now >= self.asleep_until
        )

    def see(self) -> tuple[Verdict, float]:
        """Return the result of a check that starts now, and its latency: ``probe``'s deadlines, else a guess."""
        if not self.gateway_runs:
            return Verdict.HUNG, 0.015625
        if self.gateway_hangs:
            return Verdict.HUNG, to_tick(KNOCK_TIMEOUT_S)
        if self.illnesses:
            return Verdict.UPSTREAM_ILL, ANSWER_TIMEOUT_S if self.is_silent else 0.25
        return self._session_is(), 0.0625

    def _session_is(self) -> Verdict:
        if self.limited:
            return Verdict.RATE_LIMITED
        if self.session is None or self.jar != self.session or self.session == self.dead:
            return Verdict.NO_SESSION
        if self.competitor:
            return Verdict.COMPETING
        return Verdict.READY if self.brokerage else Verdict.BROKERAGE_GONE

    # Actions of gwctl.

    def launched(self) -> None:
        """Start a gateway with an empty jar."""
        self.gateway_runs, self.gateway_hangs, self.jar = True, False, None

    def stopped(self) -> None:
        """Remove the gateway."""
        self.gateway_runs, self.gateway_hangs, self.jar = False, False, None

    def log_out(self) -> None:
        """Log the session out."""
        if self.gateway_runs and not self.gateway_hangs and not self.is_ill and self.jar == self.session:
            self.session = None

    def log_in(self) -> int:
        """Open a new session, which a brokerage session follows; return it."""
        self.sessions += 1
        self.session = self.jar = self.sessions
        self.brokerage = False
        self._send_away()
        if self.challenged or self.rates["never_settles"].chance(self.rng):
            # A session that IBKR blocks with a challenge is no session (gateway-facts.md, ``sso/validate``).
            self.dead = self.session if self.challenged else None
            self.tally.blame("login", self.timeline.now)
            self._opening += 1
        else:
            self.open_in(self.rates["opens_after_login_s"].draw(self.rng))
        return self.session

    def take_cookies(self, session: int | None) -> bool:
        """Put stored cookies into the jar; return whether IBKR accepts them."""
        lives = session is not None and session == self.session and session != self.dead
        if not lives or not self.rates["resume_honoured"].chance(self.rng):
            return False
        self.jar, self.brokerage = session, False
        self.open_in(self.rates["opens_after_resume_s"].draw(self.rng))
        return True

    def take_over(self) -> None:
        """Take the brokerage session from the client that has it."""
        self._send_away()

    def open_in(self, in_s: float) -> None:
        """Open the brokerage session later, unless another opening comes first."""
        self._opening += 1
        self.timeline.after(in_s, self._opened, self._opening)

    def _opened(self, opening: int) -> None:
        if opening == self._opening and self.session is not None and not self.competitor:
            self.brokerage = True
            self._push()

    # Faults.

    def _push(self) -> None:
        heard = self.gateway_runs and not self.gateway_hangs and not self.is_ill and not self.limited
        if self.told is not None and heard and self.rates["push"].chance(self.rng):
            self.told.pushed(ready=self.brokerage and self.session is not None and not self.competitor)

    def _lose_session(self, cause: str) -> None:
        if self.session is not None:
            self.tally.blame(cause, self.timeline.now)
            self.session, self.brokerage = None, False
            self._push()

    def drop(self) -> None:
        """Lose the SSO session."""
        self._lose_session("dropped")

    def reset(self) -> None:
        """Lose all sessions of the username, as every night."""
        self._send_away()
        self._lose_session("reset")

    def lose_brokerage(self) -> None:
        """Lose only the brokerage session."""
        if self.session is not None and self.brokerage:
            self.tally.blame("brokerage", self.timeline.now)
            self._opening += 1
            self.brokerage = False
            self._push()

    def compete(self) -> None:
        """Let another session of the username take the brokerage session for a while."""
        if self.session is None or self.competitor:
            return
        self.tally.blame("competing", self.timeline.now, lasts=True)
        self.brokerage = False
        self._opening += 1
        self.competitor = self._opening
        self._push()
        self.timeline.after(self.rates["competing_s"].draw(self.rng), self._leave, self.competitor)

    def _leave(self, competitor: int) -> None:
        if self.competitor == competitor:
            self._send_away()
            self._push()

    def _send_away(self) -> None:
        if self.competitor:
            self.competitor = 0
            self.tally.lift("competing", self.timeline.now)

    def fall_ill(self, cause: str, lasts_s: float) -> None:
        """Let IBKR be down for a while."""
        illness = (cause, self.rates["illness_is_silent"].chance(self.rng))
        self.tally.blame(cause, self.timeline.now, lasts=True)
        self.illnesses.append(illness)
        self.timeline.after(lasts_s, self._get_well, illness)

    def _get_well(self, illness: tuple[str, bool]) -> None:
        self.illnesses.remove(illness)
        self.tally.lift(illness[0], self.timeline.now)

    def have_outage(self) -> None:
        """Let IBKR be down outside its windows."""
        self.fall_ill("outage", self.rates["outage_s"].draw(self.rng))

    def limit(self) -> None:
        """Let IBKR refuse the address for a while."""
        if not self.limited:
            self.tally.blame("limited", self.timeline.now, lasts=True)
            self.limited = True
            self.timeline.after(self.rates["limited_s"].draw(self.rng), self._unlimit)

    def _unlimit(self) -> None:
        self.limited = False
        self.tally.lift("limited", self.timeline.now)

    def refuse(self) -> None:
        """Let IBKR refuse a correct password for a while."""
        if not self.refusing:
            self.refusing = True
            self.timeline.after(self.rates["refusing_s"].draw(self.rng), self._accept)

    def _accept(self) -> None:
        self.refusing = False
        self.tally.lift("refused", self.timeline.now)

    def change_password(self) -> None:
        """Change the password at IBKR."""
        self.password = f"password-{int(self.password.rsplit('-')[-1]) + 1}"

    def challenge(self) -> None:
        """Let IBKR require a login on its website first."""
        self.challenged = True

    def crash_gateway(self) -> None:
        """Let the gateway's process end."""
        if self.gateway_runs:
            self.tally.blame("crashed", self.timeline.now)
            self.stopped()
            if self.told is not None:
                self.told.gateway_ended()

    def hang_gateway(self) -> None:
        """Let the gateway hang until it is ended."""
        if self.gateway_runs and not self.gateway_hangs:
            self.tally.blame("hung", self.timeline.now)
            self.gateway_hangs = True
            if self.told is not None:
                in_s = to_tick(BEAT_S + BEAT_S * self.rng.random())
                self.timeline.after(in_s, self.told.heart_missed)

    def kill_supervisor(self) -> None:
        """Let the supervisor be killed."""
        if self.told is not None:
            self.tally.blame("supervisor", self.timeline.now)
            self.told.supervisor_killed()

    def reboot(self) -> None:
        """Let the machine be off for a while."""
        if not self.machine_on or self.timeline.now < self.asleep_until:
            return
        self.tally.blame("reboot", self.timeline.now, lasts=True)
        self.machine_on = False
        self.stopped()
        if self.told is not None:
            self.told.supervisor_killed()
        self.timeline.after(self.rates["reboot_s"].draw(self.rng), self._boot)

    def _boot(self) -> None:
        self.machine_on = True
        self.tally.lift("reboot", self.timeline.now)

    def sleep(self) -> None:
        """Let the machine sleep for a while: nothing on it runs, and IBKR ends idle sessions."""
        if not self.machine_on or self.timeline.now < self.asleep_until:
            return
        self.tally.blame("asleep", self.timeline.now, lasts=True)
        asleep_s = to_tick(self.rates["asleep_s"].draw(self.rng))
        self.asleep_until = self.timeline.now + asleep_s
        self.timeline.after(asleep_s, self._wake, asleep_s)

    def _wake(self, asleep_s: float) -> None:
        self.tally.lift("asleep", self.timeline.now)
        if asleep_s > IDLE_LIMIT_S:
            self.session, self.brokerage = None, False
        if self.told is not None:
            self.told.woken(asleep_s)


class Fate:
    """Applies faults to a world, as often as the rates say."""

    def __init__(self, world: World, region: Region) -> None:
        self.world = world
        self.region = region
        newer = world.rates["newer_windows"].chance(world.rng)
        self._midnight()
        for window in (*(region.newer if newer else region.older), WEEKEND):
            self._plan_window(window)
        for name, happens in (
            ("outage", world.have_outage),
            ("drop", world.drop),
            ("brokerage_gone", world.lose_brokerage),
            ("competing", world.compete),
            ("limited", world.limit),
            ("crash", world.crash_gateway),
            ("hang", world.hang_gateway),
            ("reboot", world.reboot),
            ("asleep", world.sleep),
            ("supervisor_crash", world.kill_supervisor),
            ("refusing", world.refuse),
            ("password_changed", world.change_password),
            ("challenge", world.challenge),
        ):
            self._plan(name, happens)

    def _plan(self, name: str, happens: Callable[[], None]) -> None:
        a_second = self.world.rates[name].value / YEAR_S
        if a_second > 0:
            self.world.timeline.after(self.world.rng.expovariate(a_second), self._happen, name, happens)

    def _happen(self, name: str, happens: Callable[[], None]) -> None:
        self._plan(name, happens)
        happens()

    def _midnight(self) -> None:
        world = self.world
        at = self.region.next_midnight(world.wall_s) - world.begins_wall_s
        world.timeline.at(at, self._reset)

    def _reset(self) -> None:
        self._midnight()
        world = self.world
        if world.rates["reset"].chance(world.rng):
            world.reset()

    def _plan_window(self, window: Window) -> None:
        begins, ends = window.next_after(self.world.wall_s)
        begins, ends = begins - self.world.begins_wall_s, ends - self.world.begins_wall_s
        self.world.timeline.at(begins, self._open_window, window, ends)

    def _open_window(self, window: Window, ends: float) -> None:
        self._plan_window(window)
        world, rates, rng = self.world, self.world.rates, self.world.rng
        world.window_open += 1
        world.timeline.at(ends, self._close_window)
        weekend = window is WEEKEND
        ill = rates["ill_in_weekend_window" if weekend else "ill_in_nightly_window"].chance(rng)
        for _ in range(MOST_ILLNESSES):
            if not ill:
                break
            begins = rng.uniform(world.timeline.now, ends)
            lasts_s = rates["weekend_illness_s" if weekend else "nightly_illness_s"].draw(rng)
            world.timeline.at(begins, world.fall_ill, "maintenance", min(lasts_s, ends - begins))
            ill = rates["ill_again_in_window"].chance(rng)

    def _close_window(self) -> None:
        self.world.window_open -= 1
