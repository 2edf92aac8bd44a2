"""Accounts and fleets on all cores."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from gwctl.core.policy import Policy
from simulation.fleet import NIGHTS, Came, Night, one_night, without_chance
from simulation.plans import NOTHING, PLANNERS
from simulation.rates import Rates
from simulation.run import Options, account, live
from simulation.tally import Total
from simulation.world import YEAR_S

_NIGHTS_KEPT = 100
_Result = TypeVar("_Result")


def _ready() -> None:
    gc.disable()  # an account is one cycle, and is collected whole when its year is over


def _spread(work: Callable[[int], _Result], seeds: Sequence[int]) -> Iterator[_Result]:
    """Yield the results in the order of the seeds."""
    with multiprocessing.get_context("spawn").Pool(os.cpu_count() or 1, _ready, maxtasksperchild=200) as pool:
        yield from pool.imap(work, seeds, chunksize=max(1, min(50, len(seeds) // 16)))


def _year(rates: Rates, seed: int, *, planned: bool) -> Total:
    plans = PLANNERS[seed % len(PLANNERS)] if planned else NOTHING
    total = live(account(seed, rates, Options(plans=plans)), YEAR_S)
    gc.collect()
    return total


def years(rates: Rates, number: int, seed: int, on_done: Callable[[int], None], *, planned: bool = False) -> Total:
    """Return the sums of so many accounts, each for a year; ``planned``: with login hours and pauses."""
    total = Total()
    for done, one in enumerate(_spread(partial(_year, rates, planned=planned), range(seed, seed + number)), 1):
        total.add(one)
        on_done(done)
    return total


@dataclass(frozen=True, slots=True)
class Fleet:
    """One night of many profiles, with or without chance."""

    night: Night
    by_chance: bool
    submits: tuple[float, ...]
    ready_at: tuple[float, ...]
    lost: int
    broken: tuple[str, ...]


def _night(rates: Rates, night: Night, policy: Policy, seed: int) -> Came:
    came = one_night(seed, rates, night, policy)
    if seed % _NIGHTS_KEPT == 0:
        gc.collect()
    return came


def fleets(rates: Rates, profiles: int, seed: int, on_done: Callable[[str], None]) -> list[Fleet]:
    """Return every night, with chance and without."""
    found = []
    for night in NIGHTS:
        for by_chance in (False, True):
            policy = Policy() if by_chance else without_chance(Policy())
            came = list(_spread(partial(_night, rates, night, policy), range(seed, seed + profiles)))
            found.append(
                Fleet(
                    night,
                    by_chance,
                    tuple(sorted(at for one in came for at in one.submits)),
                    tuple(sorted(one.ready_at for one in came if one.ready_at is not None)),
                    sum(one.ready_at is None for one in came),
                    tuple(text for one in came for text in one.broken),
                )
            )
            on_done(night.name)
    return found
