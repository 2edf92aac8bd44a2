"""Watch the wall clock for what begins or ends at a time of day, and report it to the core."""

from __future__ import annotations

import math
from collections.abc import Callable

from gwctl.core.messages import Event, WindowChanged
from gwctl.core.planned import LoginHours, LoginPlanned, PauseOver
from gwctl.core.tables import Snapshot
from gwctl.login_hours import ANNOUNCED_S
from gwctl.supervisor.interfaces import Calendar, Plan

CALENDAR_S = 3600.0
"""How often to look at least: the wall clock may be slewed."""
BOUND_S = 0.01
CLOSE_S = 2.0
"""How far two computations of one time may differ."""
LATE_S = 900.0
"""A planned login is left out if it is later than this, as after a sleep."""


class CalendarWatch:
    """IBKR's maintenance windows, the login hours, planned logins and the end of a pause; ``due_at`` is monotonic."""

    def __init__(
        self, windows: Calendar, plan: Plan, note: Callable[..., object], wall: float, *, every_s: float = CALENDAR_S
    ) -> None:
        self.due_at = -math.inf
        self._every_s = every_s
        self._windows = windows
        self._plan = plan
        self._note = note
        self._seen_s = wall
        self._told_s = wall

    def look(self, snapshot: Snapshot, now: float, wall: float) -> list[Event]:
        """Return what changed since the last look, and set when to look next."""
        pause_s = None if snapshot.pause is None else snapshot.pause.until_s
        changes = (self._windows.next_change(wall), self._plan.next_change(wall), pause_s)
        change = min((one for one in changes if one is not None and one > wall), default=None)
        # Look just after a time, not at it: the clocks differ by a little.
        self.due_at = math.inf if change is None else now + min(change - wall, self._every_s) + BOUND_S
        events = [*self._window(snapshot, now, wall), *self._hours(snapshot, now, wall), *self._logins(wall)]
        if pause_s is not None and pause_s <= wall:
            events.append(PauseOver(pause=snapshot.pause))
        return events

    def _window(self, snapshot: Snapshot, now: float, wall: float) -> list[Event]:
        until, known = _monotonic(self._windows.until(wall), now, wall), snapshot.window_until
        if _is_same(until, known):
            return []
        if (until is None) is not (known is None):
            self._note("window", open=until is not None, for_s=None if until is None else round(until - now))
        return [WindowChanged(until=until)]

    def _hours(self, snapshot: Snapshot, now: float, wall: float) -> list[Event]:
        opens_s = self._plan.opens_at(wall)
        opens_at = _monotonic(opens_s, now, wall)
        if _is_same(opens_at, snapshot.logins_from):
            return []
        text = "" if opens_s is None else f"outside the login hours, gwctl logs in at {self._plan.words(opens_s)}"
        return [LoginHours(opens_at=opens_at, text=text)]

    def _logins(self, wall: float) -> list[Event]:
        """Return the planned login that has come due since the last look, or the one to announce."""
        seen_s, self._seen_s = min(self._seen_s, wall), wall
        due_s = self._plan.next_login(seen_s)
        if due_s is not None and due_s <= wall:
            return [LoginPlanned()] if wall - due_s < LATE_S else []
        if due_s is None or due_s - wall > ANNOUNCED_S or self._told_s == due_s:
            return []
        self._told_s = due_s
        text = f"gwctl logs in again at {self._plan.words(due_s)}, as planned: a second factor may be asked for then"
        return [LoginPlanned(in_s=due_s - wall, text=text)]


def _monotonic(at_s: float | None, now: float, wall: float) -> float | None:
    return None if at_s is None else at_s - wall + now


def _is_same(one: float | None, other: float | None) -> bool:
    return one is other if one is None or other is None else abs(one - other) < CLOSE_S
