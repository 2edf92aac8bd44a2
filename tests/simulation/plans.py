"""What the people of the simulation plan: login hours, planned logins, pauses; and the rules that hold for them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from gwctl.core.messages import Action, Login, Pause, StartGateway
from gwctl.core.tables import Snapshot
from gwctl.login_hours import LoginPlan

YEAR_S = 365.0 * 86_400.0
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 600.0, 6 * 3600.0
EARLY = 0.5
"""How often a person ends a pause before its time."""


@dataclass(frozen=True, slots=True)
class Plans:
    """One account's plans: the settings ``login_hours`` and ``relogin_at``, and how often a person pauses."""

    login_hours: tuple[str, ...] = ()
    relogin_at: tuple[str, ...] = ()
    pauses_a_year: float = 0.0
    logins: LoginPlan = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "logins", LoginPlan.parse(self.login_hours, self.relogin_at))

    def next_pause_s(self, rng: random.Random) -> float | None:
        """Return in how many seconds a person pauses next."""
        return None if not self.pauses_a_year else rng.expovariate(self.pauses_a_year / YEAR_S)

    def pause(self, rng: random.Random, wall_s: float) -> tuple[Pause, float | None]:
        """Return a pause that begins now, and after how many seconds a person ends it: None, if its time does."""
        length_s = rng.uniform(SHORTEST_PAUSE_S, LONGEST_PAUSE_S)
        ends_early = rng.random() < EARLY
        until_s = None if ends_early else wall_s + length_s
        return Pause(wall_s, until_s, "", "paused"), length_s if ends_early else None


NOTHING = Plans()


def check(
    plans: Plans, wall_s: float, after: Snapshot, action: Action, *, by_person: bool, broken: Callable[[str], None]
) -> None:
    """Report an action that breaks a plan: a login by itself outside the hours, or anything at all in a pause."""
    if after.pause is not None and isinstance(action, StartGateway) and not action.adopt:
        broken("a gateway was started in a pause")
    if not isinstance(action, Login):
        return
    if after.pause is not None:
        broken("a login in a pause")
    if plans.logins.opens_at(wall_s) is not None and not by_person:
        broken("a login outside the login hours")


PLANNERS = (
    Plans(("Mon-Fri 07:00-22:00 Europe/Zurich",), (), 200.0),
    Plans(("06:00-23:00 America/New_York",), ("07:00 America/New_York",), 100.0),
    Plans((), ("Mon-Fri 08:00 Asia/Hong_Kong",), 400.0),
)
"""The plans of the accounts of the three regions."""
