"""Who logs in by hand: the loop makes way for as long as one of them lives, and no longer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gwctl import process
from gwctl.process import Identity
from gwctl.supervisor.model import BY_HAND, Snapshot
from gwctl.supervisor.policy import Policy
from gwctl.supervisor.states import ByHandWanted, Session, Timer


def awaited(snapshot: Snapshot, policy: Policy, now: float) -> Snapshot:
    """Return the snapshot of a supervisor that is started for a login by hand.

    The call that wants it is watched once it has said so; should it never come to that, a timer ends the wait.
    """
    timers = {**snapshot.timers, Timer.BY_HAND: now + policy.by_hand_timeout_s}
    return replace(snapshot, session=Session.LOCKED_OUT, locked_reason=BY_HAND, reason=BY_HAND, timers=timers)


class Hands:
    """The calls of `gwctl login --manual`, each known by pid and creation time; ``post`` gives the loop an event."""

    def __init__(self, post: Callable[[ByHandWanted], None]) -> None:
        self._post = post
        self._watched: dict[tuple[int, float], asyncio.Task[None]] = {}

    def take(self, body: dict[str, Any]) -> None:
        """Do what a call says: it is going to log in, or with ``over`` it has given up."""
        owner = Identity.from_json(body.get("identity"))
        if body.get("over") is True:
            self._let_go(owner)
            return
        if owner is not None and (owner.pid, owner.created_s) not in self._watched:
            watch = asyncio.get_running_loop().create_task(self._watch(owner))
            self._watched[owner.pid, owner.created_s] = watch
        for_s = body.get("for_s")
        known = isinstance(for_s, int | float) and not isinstance(for_s, bool) and math.isfinite(for_s) and for_s > 0
        self._post(ByHandWanted(for_s=float(for_s) if known and for_s is not None else None))

    def done(self) -> None:
        """Know that somebody has logged in: nobody's end means anything any more."""
        watches, self._watched = list(self._watched.values()), {}
        for watch in watches:
            watch.cancel()

    async def close(self) -> None:
        """Watch nobody any more."""
        watches = list(self._watched.values())
        self.done()
        await asyncio.gather(*watches, return_exceptions=True)

    def _let_go(self, owner: Identity | None) -> None:
        watch = None if owner is None else self._watched.pop((owner.pid, owner.created_s), None)
        if watch is not None:
            watch.cancel()
        if not self._watched:
            self._post(ByHandWanted(over=True))

    async def _watch(self, owner: Identity) -> None:
        await process.wait_ended(owner)
        self._watched.pop((owner.pid, owner.created_s), None)
        if not self._watched:
            self._post(ByHandWanted(over=True))
