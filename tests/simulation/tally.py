"""Count outages with their causes, ready time, logins, requests and broken laws."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

CAUSES = {
    "person": "a person was needed",
    "refused": "a correct password was refused",
    "maintenance": "IBKR down in a maintenance window",
    "outage": "IBKR down outside its windows",
    "limited": "IBKR refused the address (429)",
    "competing": "another session of the username",
    "asleep": "the machine slept",
    "reboot": "the machine rebooted",
    "login": "a login got no answer",
    "start": "a start of the gateway failed",
    "hung": "the gateway hung",
    "crashed": "the gateway ended",
    "reset": "nightly reset",
    "dropped": "the session was dropped",
    "brokerage": "the brokerage session was gone",
    "supervisor": "the supervisor was killed",
    "planned": "a person planned it",
    "unknown": "unknown",
}
"""The causes of an outage, the most severe first; an outage with several is listed under the most severe."""
_RANK = {cause: rank for rank, cause in enumerate(CAUSES)}
NOT_OURS = frozenset({"maintenance", "outage"})
BURST_S = 10.0
ECHO_S = 10.0
"""A check that began before a cause ended may report it this much later."""


@dataclass(slots=True)
class Outage:
    """One stretch without a session; ``ready_in_s`` counts from the end of its last cause, or the last fault itself."""

    began: float
    causes: set[str]
    curable_at: float
    ended: float = 0.0

    @property
    def cause(self) -> str:
        """The most severe of its causes."""
        return min(self.causes, key=lambda cause: _RANK[cause])

    @property
    def ready_in_s(self) -> float:
        """How long it lasted after the last cause was gone."""
        return self.ended - self.curable_at

    def plain(self) -> tuple[str, float, float, float]:
        """Return it as a tuple, to compare and to send between processes."""
        return self.cause, self.began, self.ended, self.ready_in_s


@dataclass
class Total:
    """The sums of one account, or of many."""

    account_s: float = 0.0
    well_s: float = 0.0
    ibkr_well_s: float = 0.0
    well_of_that_s: float = 0.0
    possible_s: float = 0.0
    well_of_possible_s: float = 0.0
    requests: int = 0
    worst_10_s: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    outages: list[tuple[str, float, float, float]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    worst_refusals: int = 0

    def add(self, other: Total) -> None:
        """Add another's sums."""
        for name in ("account_s", "well_s", "ibkr_well_s", "well_of_that_s", "possible_s", "well_of_possible_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.requests += other.requests
        self.worst_10_s = max(self.worst_10_s, other.worst_10_s)
        self.worst_refusals = max(self.worst_refusals, other.worst_refusals)
        self.counts += other.counts
        self.outages += other.outages
        self.broken += other.broken


class Tally:
    """Watches one account."""

    def __init__(self) -> None:
        self.total = Total()
        self.outage: Outage | None = None
        self._last = (0.0, False, True, True)
        self._pending: tuple[float, str] = (-1.0, "unknown")
        self._lasting: Counter[str] = Counter()
        self._recent: deque[float] = deque()
        self._since = 0.0

    def begin(self, at: float) -> None:
        """Start to count: the first login is over."""
        self.total = Total(broken=self.total.broken)
        self.outage = None
        self._last = (at, *self._last[1:])

    def blame(self, cause: str, at: float, *, lasts: bool = False) -> None:
        """Note that a fault happened; one that ``lasts`` will be lifted."""
        self.total.counts[f"fault {cause}"] += 1
        if lasts:
            self._lasting[cause] += 1
        self._pending = (at, cause)
        if self.outage is not None:
            self.outage.causes.add(cause)
            self.outage.curable_at = at

    def lift(self, cause: str, at: float) -> None:
        """Note that a fault that lasted is over."""
        self._lasting -= Counter([cause])
        self._pending = (at, cause)
        if self.outage is not None and cause in self.outage.causes:
            self.outage.curable_at = at

    def watch(self, at: float, *, well: bool, ibkr_well: bool, possible: bool) -> None:
        """Note the current state; ``possible``: nothing outside gwctl's control prevents a session."""
        now = (well, ibkr_well, possible)
        if now == self._last[1:] and not (not well and self.outage is None):
            return
        self._sum(at)
        self._last = (at, *now)
        if not well and self.outage is None:
            happened_at, cause = self._pending
            self.outage = Outage(at, {cause if at - happened_at <= ECHO_S else "unknown"} | set(self._lasting), at)
        elif well and self.outage is not None:
            self.outage.ended = at
            self.total.outages.append(self.outage.plain())
            self.outage = None

    def end(self, at: float) -> Total:
        """Return the sums, without an outage that is still open."""
        self._sum(at)
        self._last = (at, *self._last[1:])
        return self.total

    def _sum(self, at: float) -> None:
        since, well, ibkr_well, possible = self._last
        passed_s, total = at - since, self.total
        total.account_s += passed_s
        total.well_s += passed_s if well else 0.0
        total.ibkr_well_s += passed_s if ibkr_well else 0.0
        total.well_of_that_s += passed_s if well and ibkr_well else 0.0
        total.possible_s += passed_s if possible else 0.0
        total.well_of_possible_s += passed_s if well and possible else 0.0

    def asked(self, times: Iterable[float]) -> None:
        """Count requests at these times, in order."""
        recent, total = self._recent, self.total
        for at in times:
            total.requests += 1
            recent.append(at)
            while recent[0] <= at - BURST_S:
                recent.popleft()
            total.worst_10_s = max(total.worst_10_s, len(recent))

    def asked_within(self, at: float) -> int:
        """Return how many requests there were in the ten seconds before."""
        return sum(asked_at > at - BURST_S for asked_at in self._recent)

    def asked_also(self, number: int) -> None:
        """Count skipped requests: repetitions of counted ones, at the same intervals."""
        self.total.requests += number
