"""The pace of requests to IBKR."""

from __future__ import annotations

import math

PACE_AT_ONCE = 9
PACE_EACH_S = 1.0


class Pace:
    """The pace of requests to IBKR: nine at once, then one a second, far below IBKR's ten a second (gateway-facts.md).

    A session that is coming back needs several checks within moments, a healthy one a few a minute. After the nine are
    used, each request waits a second for its turn, so that a second fault is noticed as fast as the first.
    """

    def __init__(self, *, at_once: int = PACE_AT_ONCE, each_s: float = PACE_EACH_S) -> None:
        self.at_once = at_once
        self.each_s = each_s
        self._all_free_at_s = -math.inf
        """When all slots are free again if no request follows."""

    def take(self, now: float) -> float:
        """Take the next slot and return in how many seconds it comes."""
        self._all_free_at_s = max(self._all_free_at_s, now) + self.each_s
        return max(0.0, self._all_free_at_s - self.at_once * self.each_s - now)

    def give_back(self) -> None:
        """Return an unused slot."""
        self._all_free_at_s -= self.each_s
