"""End processes: those that we started, and those labelled as part of a command; no others (law 3)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from gwctl.process.identity import (
    Identity,
    children,
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
_CHILDREN_GRACE_S = 1.0


class LeftAlone(Struct, frozen=True):
    """A process that we did not signal, and why."""

    pid: int
    why: str


class StopReport(Struct, frozen=True):
    """The result of a stop: which processes ended when asked, were killed, were left alone, or are still running."""

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


def _with_families(proven: Iterable[Identity], known: Iterable[int] = ()) -> dict[int, Identity]:
    """Add to proven processes their descendants and the members of process groups led by any of these.

    A group led by another process, such as a start script or a terminal, is not ours, even if some of our processes are
    in it. ``known`` are pids that were proven before and may have ended: as long as a group exists, no new process gets
    its leader's pid.
    """
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
    for group in (groups & {*found, *known}) - forbidden_groups:
        for mate in members_of_group(group):
            found.setdefault(mate.pid, mate)
    found.pop(os.getpid(), None)
    return found


def _judge(identity: Identity) -> LeftAlone | None:
    """Return why a living process with the recorded pid is not ours; None if it is ours or no process has the pid."""
    if is_ours(identity) or identify(identity.pid) is None:
        return None
    if is_alive(identity):
        return LeftAlone(identity.pid, "it works in a folder other than the recorded one")
    return LeftAlone(identity.pid, "the pid now belongs to another process")


async def wait_all(identities: Iterable[Identity], timeout_s: float) -> None:
    """Return when all of them have ended, or after ``timeout_s``."""
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
    """End processes and their families: SIGTERM, then SIGKILL for those left after ``grace_s``.

    Signal only what is provably ours (law 3): the pid, creation time and working directory of each given process must
    match the record. Its descendants are ours too, and so are the members of a process group that it leads. Return what
    ended, what was killed, what was left alone and why, and what survived SIGKILL. If everything already stopped, the
    report is empty.
    """
    asked = list(identities)
    # A process that is just ending no longer has a folder: it needs no signal, only a moment.
    await wait_all([one for one in asked if is_alive(one) and not cwd_of(one.pid)], grace_s)
    left_alone = tuple(reason for one in asked if (reason := _judge(one)) is not None)
    members = _with_families([one for one in asked if is_ours(one)])
    for one in members.values():
        if signal_if_ours(one, signal.SIGTERM):
            signal_if_ours(one, signal.SIGCONT)  # a process stopped by SIGSTOP would never see the first
    await wait_all(members.values(), grace_s)
    killed: dict[int, Identity] = {}
    deadline_s = time.monotonic() + _KILL_WAIT_S
    while time.monotonic() < deadline_s:
        remaining = _with_families([one for one in members.values() if is_ours(one)], known=members)
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


async def stop_alone(parent: Identity, *, spared: Iterable[Identity], grace_s: float) -> StopReport:
    """End one process that shares its group and children with others: SIGTERM, then SIGKILL after ``grace_s``.

    Everything that ``spawn`` starts leads its own session. So only such children are ended, after the parent and except
    the ``spared`` ones. Other children came from the script that the process replaced. A grace of 0 kills at once.
    """
    if not is_ours(parent):
        return await stop([parent], grace_s=grace_s)
    kept = {one.pid for one in spared}
    ours = _own_sessions(parent)
    if grace_s > 0 and signal_if_ours(parent, signal.SIGTERM):
        signal_if_ours(parent, signal.SIGCONT)
        await wait_all([parent], grace_s)
        ours |= _own_sessions(parent)
    killed = signal_if_ours(parent, signal.SIGKILL)
    await wait_all([parent], _KILL_WAIT_S)
    rest = await stop([one for one in ours if one.pid not in kept], grace_s=_CHILDREN_GRACE_S)
    here = (parent,)
    if is_alive(parent):
        return replace(rest, survivors=here + rest.survivors)
    return replace(rest, killed=here + rest.killed) if killed else replace(rest, ended=here + rest.ended)


def _own_sessions(parent: Identity) -> set[Identity]:
    """Return the children of a process that lead their own session."""
    found: set[Identity] = set()
    for child in children(parent):
        with contextlib.suppress(OSError):
            if os.getsid(child.pid) == child.pid:
                found.add(child)
    return found


_AGAIN_S = 0.1
_ROUNDS = 50


def labelled(name: str, value: str) -> list[Identity]:
    """Return the living processes whose environment has ``name`` set to ``value``, as far as we may read it."""
    import psutil

    return [known for pid in psutil.pids() if _carries(pid, name, value) and (known := identify(pid)) is not None]


def _carries(pid: int, name: str, value: str) -> bool:
    with suppress(OSError):
        return f"{name}={value}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    if Path("/proc/self/environ").exists():
        return False  # another user's process, or it has ended
    import psutil

    with suppress(psutil.Error, OSError):
        return bool(psutil.Process(pid).environ().get(name) == value)
    return False


async def end_labelled(name: str, value: str, *, grace_s: float) -> int:
    """End labelled processes: SIGTERM, then SIGKILL for those left after ``grace_s``; return how many there were.

    Look once more after finding none: a program that is just starting shows its environment a moment later.
    """
    import asyncio

    seen: set[int] = set()
    asked = [one for one in labelled(name, value) if signal_if_ours(one, signal.SIGTERM)]
    for one in asked:
        seen.add(one.pid)
        signal_if_ours(one, signal.SIGCONT)
    await wait_all(asked, grace_s)
    nothing = 0
    for _ in range(_ROUNDS):
        left = labelled(name, value)
        nothing = 0 if left else nothing + 1
        if nothing == 2:
            break
        for one in left:
            seen.add(one.pid)
            signal_if_ours(one, signal.SIGKILL)
        await wait_all(left, _AGAIN_S)
        if not left:
            await asyncio.sleep(_AGAIN_S)
    return len(seen)
