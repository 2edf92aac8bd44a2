"""Many profiles in one night: how many logins a second reach IBKR when all lose their sessions at once."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from gwctl.core.policy import Policy
from gwctl.maintenance import Windows
from simulation.rates import Rates
from simulation.run import Account, Options
from simulation.tally import Tally
from simulation.timeline import Timeline
from simulation.world import World

RESET_S = 1200.0
"""When the sessions are reset, in seconds after a scenario's beginning."""
LASTS_S = 8400.0
_FAULTLESS = ("page_trouble", "never_settles", "start_fails", "login_times_out_in_window", "illness_is_silent")


@dataclass(frozen=True, slots=True)
class Night:
    """What all profiles of a fleet meet: IBKR down from, until; in seconds after the reset."""

    name: str
    what: str
    region: str | None
    zone: str
    ill: tuple[tuple[float, float], ...] = ()


_NEW_YORK, _ZURICH = "America/New_York", "Europe/Zurich"
NIGHTS = (
    Night("reset", "all sessions end at New York's midnight", "north-america", _NEW_YORK),
    Night("ill", "the same, IBKR down from 10 min before to 20 min after", "north-america", _NEW_YORK, ((-600, 1200),)),
    Night("relapse", "the same, IBKR down from 20 s to 20 min after", "north-america", _NEW_YORK, ((20, 1200),)),
    Night("europe", "all sessions end at Zurich's midnight", "europe", _ZURICH),
    Night("unannounced", "all sessions end outside every known window", None, _ZURICH),
)


def without_chance(policy: Policy) -> Policy:
    """Return a policy with which all machines do the same at the same time."""
    return replace(policy, jitter=0.0, spread_s=0.0)


@dataclass(frozen=True, slots=True)
class Came:
    """When one profile's submits came, and when its session was back; in seconds after the reset."""

    submits: tuple[float, ...]
    ready_at: float | None
    broken: tuple[str, ...]


def one_night(seed: int, rates: Rates, night: Night, policy: Policy) -> Came:
    """Return what one profile does in the night that all share."""
    calm = {**rates, **{name: replace(rates[name], value=0.0) for name in _FAULTLESS}}
    rng = random.Random(f"fleet {seed}")  # noqa: S311 - chance, not a secret
    midnight_s = datetime(2026, 3, 18, tzinfo=ZoneInfo(night.zone)).timestamp()
    world = World(Timeline(), calm, rng, Tally(), midnight_s - RESET_S)
    account = Account(seed, world, Options(policy, Windows.parse([night.region] if night.region else [])))
    world.launched()
    world.session = world.jar = world.sessions = 1
    world.brokerage = True
    world.timeline.at(RESET_S, world.reset)
    for begins, ends in night.ill:
        world.timeline.at(RESET_S + begins, world.fall_ill, "maintenance", ends - begins)
    account.door.worked.add(account.door.password)
    account.door.record = replace(account.door.record, worked_print=account.door.password)
    world.timeline.at(rng.uniform(0.0, 300.0), account.start_supervisor)
    account.run_until(LASTS_S)
    outages = world.tally.total.outages
    return Came(
        tuple(at - RESET_S for at in account.door.submits),
        outages[-1][2] - RESET_S if outages and world.is_usable else None,
        tuple(world.tally.total.broken),
    )


def peak(times: Iterable[float], span_s: float) -> int:
    """Return how many of ``times`` lie within any span of so many seconds."""
    ordered = sorted(times)
    most, first = 0, 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - span_s:
            first += 1
        most = max(most, last - first + 1)
    return most
