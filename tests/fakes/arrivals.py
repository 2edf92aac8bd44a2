"""When requests came to IBKR, so that a round begins when the supervisor may ask again as soon as it wants to."""

from __future__ import annotations

import collections
import time

from gwctl.supervisor.probe import PACE_REQUESTS, PACE_SPAN_S

A_CURE_ASKS = 5
"""A resume, two looks, whose the session is, of which kind the account."""


class Arrivals(collections.Counter[str]):
    """A stand-in's count of requests by path that also knows when those came which were not the gateway's own."""

    def __init__(self) -> None:
        super().__init__()
        self._at_s: collections.deque[float] = collections.deque(maxlen=PACE_REQUESTS)

    def __setitem__(self, path: str, count: int) -> None:
        """Count a request, and note when it came."""
        super().__setitem__(path, count)
        if path.startswith("/v1/api/"):
            self._at_s.append(time.monotonic())

    def leave_room(self) -> bool:
        """Say whether the pace lets a whole cure's requests go out at once.

        The supervisor sends at most nine in any ten seconds, whatever happens to it (gateway-facts.md): of faults that
        follow each other faster than that, the last one's cure has to wait, which its bound leaves out.
        """
        recent = sum(time.monotonic() - at_s < PACE_SPAN_S for at_s in list(self._at_s))
        return recent <= PACE_REQUESTS - A_CURE_ASKS
