"""The supervisor's page on a separate health server; a test writes its status and journal."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gwctl.paths import Paths
from gwctl.supervisor.health import HealthServer, Routes
from gwctl.supervisor.status_report import Page
from gwctl.times import utc_ms
from gwctl.version import VERSION

HOUR_S = 3600.0
READY: dict[str, Any] = {
    "profile": "trader",
    "phase": "ready",
    "reason": "authenticated 41 s ago",
    "ready": True,
    "since": "2026-11-22T21:13:55Z",
    "sandbox": False,
    "mode": "paper",
    "username": "paper123",
    "show_username": True,
    "paused": None,
    "planned": {"logins_from": None, "relogin_at": None},
    "gateway": {
        "pid": 4711, "port": 5000, "base_url": "https://localhost:5000/v1/api", "ca_file": "/home/me/ca.pem",
        "release": "20230424-a27ed421", "uptime_s": 36_000.0, "rss_bytes": 151_000_000, "restarts": 2,
    },
    "session": {
        "authenticated": True, "connected": True, "competing": False, "user_id": 1, "sso_expires_s": 444.9,
        "server_name": "JifZ34060", "last_tickle_age_s": 12.0, "sso": True,
    },
    "supervisor": {"pid": 4712, "uptime_s": 80_000.0, "rss_bytes": 44_000_000, "health_url": "http://127.0.0.1:5001"},
    "login": {
        "last_at": "2026-11-22T05:01:12Z", "last_outcome": "success", "rejected": 0, "rejected_limit": 3,
        "locked": False, "shared_with": [],
    },
    "next": {"what": "tickle", "in_s": 12.0},
    "person_needed": None,
    "last_error": None,
    "question": None,
    "drift": [],
    "isolation": {"kind": "namespace", "open_to": [], "reason": None},
    "door": None,
    "tickles": {
        "last_s": 0.042, "median_s": 0.04, "worst_s": 0.21,
        "recent_s": [0.03 + 0.01 * (n % 4) + (0.14 if n == 31 else 0.0) for n in range(60)],
    },
    "budget": {
        "reauthenticate": {"hour": 1, "per_hour": 30, "day": 4, "per_day": 200},
        "resume": {"hour": 0, "per_hour": 20, "day": 1, "per_day": 100},
        "login": {"hour": 0, "per_hour": 20, "day": 1, "per_day": 60},
        "restart": {"hour": 0, "per_hour": 12, "day": 1, "per_day": 60},
    },
}  # fmt: skip
STOPPED: dict[str, Any] = {
    **READY, "phase": "stopped", "reason": "not running", "ready": False, "since": None, "supervisor": None,
    "next": None, "tickles": None, "budget": None,
    "gateway": {**READY["gateway"], "pid": None, "release": None, "uptime_s": None, "rss_bytes": None, "restarts": 0},
    "session": {**dict.fromkeys(READY["session"]), "authenticated": False, "connected": False, "competing": False},
    "login": {"last_at": None, "last_outcome": None, "rejected": 0, "rejected_limit": 3, "locked": False},
}  # fmt: skip


def write_journal(file: Path, now_s: float) -> None:
    """Write a day and a half, and after a stop a day with a start, a dropped session and a gateway that died."""
    before: list[tuple[float, str, dict[str, Any]]] = [
        (60.0, "start", {"sandbox": False, "version": VERSION, "boot": "one", "last_seen": None}),
        (60.0, "phase", {"phase": "ready", "reason": "authenticated", "after_s": 4.3}),
        (24.0, "phase", {"phase": "stopping", "reason": "stopping", "event": "StopWanted"}),
        (24.0, "end", {"exit_code": 0}),
    ]
    entries: list[tuple[float, str, dict[str, Any]]] = [
        (22.0, "start", {"sandbox": False, "version": VERSION, "boot": "one", "last_seen": None}),
        (22.0, "phase", {"phase": "starting", "reason": "starting the gateway", "after_s": 0.0}),
        (21.999, "gateway", {"pid": 1, "port": 5000, "release": "20230424-a27ed421", "answered_s": 1.1}),
        (21.999, "phase", {"phase": "logging_in", "reason": "logging in", "after_s": 1.2}),
        (21.998, "login", {"outcome": "success", "code": "success", "text": "", "took_s": 1.4}),
        (21.997, "phase", {"phase": "ready", "reason": "authenticated", "after_s": 4.3}),
        (9.0, "phase", {"phase": "recovering", "reason": "no session at IBKR", "after_s": 46_000.0}),
        (8.95, "phase", {"phase": "logging_in", "reason": "logging in", "after_s": 180.0}),
        (8.9, "login", {"outcome": "success", "code": "success", "text": "", "took_s": 1.6}),
        (8.7, "phase", {"phase": "ready", "reason": "authenticated", "after_s": 700.0}),
        (3.0, "phase", {"phase": "recovering", "reason": "the gateway ended", "after_s": 20_000.0}),
        (2.999, "gateway", {"pid": 2, "port": 5000, "release": "20230424-a27ed421", "answered_s": 1.1}),
        (2.998, "phase", {"phase": "ready", "reason": "authenticated", "after_s": 1.8}),
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"n": n, "at": utc_ms(now_s - ago_h * HOUR_S), "kind": kind, **fields})
        for life in (before, entries)
        for n, (ago_h, kind, fields) in enumerate(life, 1)
    ]
    file.write_text("\n".join(lines) + "\n")


class ShownPage:
    """A page being served; ``status`` may be changed at any time."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.paths = Paths.for_profile("trader", home)
        self.status = copy.deepcopy(READY)
        self.changes = 0
        self.url = ""
        write_journal(self.paths.journal_file, time.time())
        self._stop = asyncio.Event()
        self._serving = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def start(self) -> None:
        """Return when it answers."""
        self._thread.start()
        assert self._serving.wait(10)

    def end(self) -> None:
        """Stop the server as a stopped supervisor does. Safe to repeat."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        async def control(_verb: str, _body: dict[str, Any]) -> dict[str, Any]:
            return {}

        async def events(_since: int) -> AsyncIterator[dict[str, Any]]:
            yield {}

        def outline() -> dict[str, Any]:
            return {name: self.status[name] for name in ("phase", "reason", "ready")}

        environ = {**os.environ, "GWCTL_HOME": str(self.home)}
        page = Page(lambda: self.status, outline, self.paths, lambda: self.changes, environ)
        routes = Routes(lambda: self.status, outline, lambda: True, control, events, page.pages, page.streams)
        server = HealthServer(routes, "token", "instance")
        self.url = f"http://127.0.0.1:{await server.start(0)}"
        self._serving.set()
        await self._stop.wait()
        await server.stop()
        await page.close()


@contextmanager
def a_page(home: Path) -> Iterator[ShownPage]:
    """Yield a served page."""
    shown = ShownPage(home)
    shown.start()
    try:
        yield shown
    finally:
        shown.end()
