"""Pretends to be a supervisor: argv is the home and the answers. Runs until it is killed; contains no tests."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from gwctl import process
from gwctl.history.journal import Journal
from gwctl.paths import Paths
from gwctl.state_file import write_json
from gwctl.supervisor.health import HealthServer, Routes
from gwctl.supervisor.registration import bind_control_socket
from gwctl.version import VERSION

STATUS: dict[str, Any] = {
    "profile": "default",
    "phase": "ready",
    "reason": "authenticated 41 s ago",
    "ready": True,
    "gateway": {"pid": None, "uptime_s": None},
}


async def no_control(_verb: str, _body: dict[str, Any]) -> dict[str, Any]:
    """Do nothing."""
    return {}


async def no_events(_since: int) -> AsyncIterator[dict[str, Any]]:
    """Log nothing."""
    none: tuple[dict[str, Any], ...] = ()
    for entry in none:
        yield entry


async def main() -> None:
    """Record, hold, and answer without end."""
    said: dict[str, Any] = json.loads(sys.argv[2])
    token = str(said.get("token", "token"))
    paths = Paths.for_profile("default", Path(sys.argv[1]))
    if said.get("holds", True):
        lock = FileLock(paths.supervisor_lock, mode=0o600)
        lock.acquire()
    status = {**STATUS, **said.get("status", {})}
    routes = Routes(lambda: status, lambda: status, lambda: said.get("live", True), no_control, no_events)
    server = HealthServer(routes, token, "one")
    bound, control = bind_control_socket(paths)
    if said.get("answers", True):
        await server.open_control(bound)
    else:
        bound.close()
    Journal(paths.journal_file).begin(sandbox=False, version=said.get("version", VERSION))
    me = process.identify(os.getpid())
    assert me is not None
    record = {
        "pid": me.pid,
        "created_s": me.created_s,
        "identity": me.to_json(),
        "port": await server.start(0),
        "control": str(control),
        "instance": "one",
        "token": token,
        "sandbox": False,
        "gateway_port": said["gateway_port"],
    }
    write_json(paths.supervisor_state_file, record)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
