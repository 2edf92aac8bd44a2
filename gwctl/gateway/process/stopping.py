"""End processes and their families, signalling only what is provably ours (law 3)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

from gwctl.gateway.process.identity import (
    Identity,
    cwd_of,
    descendants,
    identify,
    is_alive,
    is_ours,
    members_of_group,
    open_pidfd,
    wait_ended,
)

_KILL_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A process that was asked for and not signalled, and why."""

    pid: int
    why: str


@dataclass(frozen=True, slots=True)
class StopReport:
    """What a stop did: who ended when asked, who had to be killed, who was left alone, who is still there."""

    ended: tuple[Identity, ...] = ()
    killed: tuple[Identity, ...] = ()
    left_alone: tuple[LeftAlone, ...] = ()
    survivors: tuple[Identity, ...] = ()


def signal_if_ours(identity: Identity, number: signal.Signals) -> bool:
    """Send a signal to exactly that process; return whether it was sent."""
    descriptor = open_pidfd(identity.pid)
    try:
        if not is_ours(identity):
            return False
        if descriptor is not None:
            signal.pidfd_send_signal(descriptor, number)
        else:
            os.kill(identity.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return True


def _with_families(proven: Iterable[Identity]) -> dict[int, Identity]:
    """Add to proven processes their descendants and the mates of their process groups, never ours or our parents."""
    forbidden_groups = {os.getpgrp(), 0, 1}
    found: dict[int, Identity] = {}
    groups: set[int] = set()
    for one in proven:
        found[one.pid] = one
        for child in descendants(one):
            found.setdefault(child.pid, child)
    for pid in found:
        with contextlib.suppress(OSError):
            groups.add(os.getpgid(pid))
    for group in groups - forbidden_groups:
        for mate in members_of_group(group):
            found.setdefault(mate.pid, mate)
    found.pop(os.getpid(), None)
    return found


def _judge(identity: Identity) -> LeftAlone | None:
    """Say why a living process that has the recorded pid is not ours; None if it is ours or nobody has the pid."""
    if is_ours(identity) or identify(identity.pid) is None:
        return None
    if is_alive(identity):
        return LeftAlone(identity.pid, "it works in another folder than recorded")
    return LeftAlone(identity.pid, "the pid now belongs to another process")


async def wait_all(identities: Iterable[Identity], timeout_s: float) -> None:
    """Return when all of them have ended, at the latest after ``timeout_s``."""
    import asyncio

    waits = [asyncio.ensure_future(wait_ended(one)) for one in identities]
    if not waits:
        return
    try:
        await asyncio.wait(waits, timeout=timeout_s)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def stop(identities: Iterable[Identity], *, grace_s: float) -> StopReport:
    """End processes and their families: SIGTERM, then SIGKILL to what is left after ``grace_s``.

    Only what is provably ours is signalled (law 3): the pid, creation time and working directory of each given process
    must be as recorded; its descendants and the members of its own process group are ours with it. Returns what ended,
    what was killed, what was left alone and why, and what survived even SIGKILL. Already stopped: an empty report.
    """
    asked = list(identities)
    # One that is just ending shows no folder any more: it needs no signal, only a moment.
    await wait_all([one for one in asked if is_alive(one) and not cwd_of(one.pid)], grace_s)
    left_alone = tuple(reason for one in asked if (reason := _judge(one)) is not None)
    members = _with_families([one for one in asked if is_ours(one)])
    for one in members.values():
        if signal_if_ours(one, signal.SIGTERM):
            signal_if_ours(one, signal.SIGCONT)  # one held by SIGSTOP would never see the first
    await wait_all(members.values(), grace_s)
    killed: dict[int, Identity] = {}
    deadline_s = time.monotonic() + _KILL_WAIT_S
    while time.monotonic() < deadline_s:
        remaining = _with_families([one for one in members.values() if is_ours(one)])
        if not remaining:
            break
        members |= remaining
        for one in remaining.values():
            if signal_if_ours(one, signal.SIGKILL):
                killed[one.pid] = one
        await wait_all(remaining.values(), 0.5)
    survivors = tuple(one for one in members.values() if is_alive(one))
    ended = tuple(one for one in members.values() if one.pid not in killed and one not in survivors)
    return StopReport(ended, tuple(killed.values()), left_alone, survivors)
