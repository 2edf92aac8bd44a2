"""Find and end what carries a label in its environment: a command and its whole family, wherever they have moved to.

Build servers know what a job left behind in this way: a child that was orphaned has lost its parent, not its
environment. The label is drawn anew for each command and given to nothing else, so it proves what a recorded folder
proves (law 3); who has it is signalled by pid, creation time and the folder it was just seen in.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from pathlib import Path

from gwctl.gateway.process.identity import Identity, identify
from gwctl.gateway.process.stopping import signal_if_ours, wait_all

_AGAIN_S = 0.1
_ROUNDS = 50


def labelled(name: str, value: str) -> list[Identity]:
    """Return the living processes whose environment has ``name`` with ``value``, as far as we may see it."""
    import psutil

    return [known for pid in psutil.pids() if _carries(pid, name, value) and (known := identify(pid)) is not None]


def _carries(pid: int, name: str, value: str) -> bool:
    with suppress(OSError):
        return f"{name}={value}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    if Path("/proc/self/environ").exists():
        return False  # another user's, or gone
    import psutil

    with suppress(psutil.Error, OSError):
        return bool(psutil.Process(pid).environ().get(name) == value)
    return False


async def end_labelled(name: str, value: str, *, grace_s: float) -> int:
    """End them: SIGTERM, and SIGKILL to what is left after ``grace_s``; return how many there were.

    It looks once more when nothing is found: a program that is just being started shows its environment a moment later.
    """
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
