"""Draw the faults and their order from one seed, independent of the number of lanes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from chaos.fault import Fault

PAIR_ONE_IN = 4
ROUNDS_IN_A_WORLD = 5
LOGIN_S = 10.0
"""How long a login may take where a resume was expected."""
STORM = (3, 6)
"""How many faults follow each other in a storm, without waiting for recovery from the one before."""
IN_A_ROW = 15
ROW_ONE_IN = 4
"""One storm in so many repeats the same fault: more often than any hourly budget of restarts would allow."""
LONGEST_PAUSE_S = 60.0
"""The supervisor's longest pause: at most so long after the last cause it starts to recover."""
NO_STORM = frozenset({"never_authenticates", "borrowed", "borrowed_taken_back", "state_gone"})
"""Faults that wait for a step of the supervisor by themselves, or remove what the run looks at."""


@dataclass(frozen=True)
class Round:
    """One or two faults, or a ``storm`` of them, and the seed of every other choice in it."""

    number: int
    faults: tuple[Fault, ...]
    seed: int
    storm: bool = False

    @property
    def name(self) -> str:
        """Its name in the table."""
        if self.storm:
            counted = Counter(fault.name for fault in self.faults)
            return "storm: " + ", ".join(f"{count} x {name}" if count > 1 else name for name, count in counted.items())
        return " + ".join(fault.name for fault in self.faults)

    @property
    def replaces_gateway(self) -> bool:
        """Whether the gateway does not survive it."""
        return any(not fault.same_gateway for fault in self.faults)

    @property
    def forgets(self) -> bool:
        """Whether it costs the login's cookies."""
        return any(fault.forgets for fault in self.faults)

    @property
    def needs_cookies(self) -> bool:
        """Whether recovery uses the login's cookies."""
        return any(fault.cookies for fault in self.faults)

    @property
    def needs_login(self) -> bool:
        """Whether one fault costs the cookies that the other needs to recover; then a login is needed."""
        return self.forgets and self.needs_cookies

    @property
    def bound_s(self) -> float:
        """Return the bound: for two at once the sum, since one recovery may have to wait for the other.

        After a storm: the longest pause of the supervisor plus the longest recovery.
        """
        if self.storm:
            return LONGEST_PAUSE_S + LOGIN_S + max(fault.bound_s for fault in self.faults)
        return sum(fault.bound_s for fault in self.faults) + LOGIN_S * self.needs_login

    @property
    def submits(self) -> int:
        """Return how many submits it may cost; in a storm each fault may interrupt the previous recovery."""
        if self.storm:
            return len(self.faults) + 1 + sum(fault.submits for fault in self.faults)
        return sum(fault.submits for fault in self.faults) + self.needs_login

    @property
    def is_felt(self) -> bool:
        """Whether the session is lost for a while."""
        return any(fault.felt for fault in self.faults)

    @property
    def world(self) -> str:
        """What it needs from its home; only faults that come alone need anything."""
        return self.faults[0].world if len(self.faults) == 1 else ""


def may_overlap(one: Fault, other: Fault) -> bool:
    """Say whether two faults can be in one round: different places, and both allowed to overlap.

    Two that need the login's cookies come one after the other: gwctl does not offer cookies again at once to a gateway
    that has just lost them, and logs in instead.
    """
    return one.kind != other.kind and not one.alone and not other.alone and not (one.cookies and other.cookies)


def draw(seed: int, rounds: int, faults: tuple[Fault, ...]) -> list[Round]:
    """Return the rounds of a seed: every fault appears before one repeats, and about one round in four has two."""
    random = Random(seed)  # noqa: S311 - a drawing that can be repeated
    deck: list[Fault] = []
    drawn: list[Round] = []
    while len(drawn) < rounds:
        if not deck:
            deck = random.sample(faults, len(faults))
        first = deck.pop()
        partners = [fault for fault in faults if may_overlap(first, fault)]
        # Some faults must come alone, so the others come in pairs more often to reach one in four overall.
        share = sum(not fault.alone for fault in faults) / len(faults)
        pair = bool(partners) and random.random() < 1 / (PAIR_ONE_IN * share)
        chosen = (first, random.choice(partners)) if pair else (first,)
        drawn.append(Round(len(drawn) + 1, chosen, random.randrange(1 << 32)))
    return drawn


def draw_storms(seed: int, number: int, faults: tuple[Fault, ...]) -> list[Round]:
    """Return storms: any faults in any order, also repeated, as far as one world supports them all."""
    random = Random(seed)  # noqa: S311 - a drawing that can be repeated
    possible = [fault for fault in faults if not fault.world and fault.name not in NO_STORM]
    if not possible:
        return []
    at_once = [fault for fault in possible if fault.kind == "gateway" and not fault.hold_s[1]] or possible

    def faults_of(one: int) -> tuple[Fault, ...]:
        if one % ROW_ONE_IN == 0:
            return (at_once[(one // ROW_ONE_IN + seed) % len(at_once)],) * IN_A_ROW
        return tuple(random.choices(possible, k=random.randint(*STORM)))

    return [Round(one, faults_of(one), random.randrange(1 << 32), storm=True) for one in range(1, number + 1)]


def worlds_of(rounds: list[Round]) -> Iterator[list[Round]]:
    """Yield the rounds of one world after the other.

    A fault that costs the login's cookies is not followed by one that needs them. A storm has its own world.
    """
    world: list[Round] = []
    for one in rounds:
        full = len(world) == ROUNDS_IN_A_WORLD
        lost = one.needs_cookies and any(before.forgets for before in world)
        storm = one.storm or any(before.storm for before in world)
        if world and (full or storm or lost or one.world != world[0].world):
            yield world
            world = []
        world.append(one)
    if world:
        yield world
