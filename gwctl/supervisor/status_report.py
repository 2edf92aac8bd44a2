"""The ``status`` object (docs/cli.md), and the page that shows it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from gwctl import process
from gwctl.core.budget import Budget, Budgeted, Spent
from gwctl.core.messages import Pause, Phase, Process, Recovery, Timer
from gwctl.core.tables import GIVES_UP, Snapshot, person_needed, phase_of
from gwctl.errors import GwctlError
from gwctl.gateway.responses import SessionAnswer
from gwctl.paths import Paths
from gwctl.supervisor.health import Answer
from gwctl.supervisor.overview import Overview
from gwctl.times import DAY_S, HOUR_S, utc


def describe_phase(snapshot: Snapshot, now: float) -> dict[str, Any]:
    """Return phase, reason, start time, next action and last error; ``now`` is monotonic seconds."""
    phase = phase_of(snapshot)
    ready = phase is Phase.READY
    return {
        "phase": str(phase),
        "reason": f"authenticated {round(now - snapshot.since)} s ago" if ready else snapshot.reason,
        "ready": ready,
        "person_needed": person_needed(snapshot),
        "since": utc(time.time() - (now - snapshot.since)),
        "next": what_comes_next(snapshot, now),
        "last_error": None if ready else snapshot.reason,
    }


def describe_session(seen: SessionAnswer | None, tickled_at: float | None, now: float) -> dict[str, Any]:
    """Return the ``session`` object."""
    return {
        "authenticated": bool(seen and seen.authenticated),
        "connected": bool(seen and seen.connected),
        "competing": bool(seen and seen.competing),
        "user_id": seen.user_id if seen else None,
        "sso_expires_s": seen.sso_expires_s if seen else None,
        "server_name": seen.server_name if seen else None,
        "last_tickle_age_s": None if tickled_at is None else round(now - tickled_at, 1),
    }


def describe_tickles(latencies_s: Sequence[float]) -> dict[str, Any] | None:
    """Return the latencies of the last tickles, in seconds, oldest first; None before the first one."""
    if not latencies_s:
        return None
    return {
        "last_s": round(latencies_s[-1], 4),
        "median_s": round(statistics.median(latencies_s), 4),
        "worst_s": round(max(latencies_s), 4),
        "recent_s": [round(latency_s, 4) for latency_s in latencies_s],
    }


def describe_budget(spent: Spent, budgets: Mapping[Budgeted, Budget], now: float) -> dict[str, Any]:
    """Return how often each recovery step ran within the last hour and day, and how often it may run."""
    return {
        str(budgeted): {
            "hour": len(spent.within(budgeted, HOUR_S, now)),
            "per_hour": budget.per_hour,
            "day": sum(now - at < DAY_S for at in spent.times.get(budgeted, ())),
            "per_day": budget.per_day,
        }
        for budgeted, budget in budgets.items()
    }


def describe_supervisor(uptime_s: float, port: int | None) -> dict[str, Any]:
    """Return the ``supervisor`` object of this process; ``port`` is the port of its health server."""
    me = process.identify(os.getpid())
    return {
        "pid": os.getpid(),
        "uptime_s": round(uptime_s, 1),
        "rss_bytes": process.rss_bytes(me) if me else None,
        "health_url": f"http://127.0.0.1:{port}",
    }


def what_comes_next(snapshot: Snapshot, now: float) -> dict[str, Any] | None:
    """Return the action under way (in 0 s), else the next attempt, else the next check; None in an endless pause."""
    if snapshot.process is Process.PAUSED:
        return _pause_end(snapshot.pause)
    under_way = _under_way(snapshot)
    if under_way is not None:
        return {"what": under_way, "in_s": 0.0}
    timers = {timer: due for timer, due in snapshot.timers.items() if timer not in GIVES_UP}
    tried = [timer for timer in (Timer.START, Timer.LOGIN) if timer in timers]
    nearest = sorted(timers, key=lambda timer: timers[timer])
    if not nearest:
        return {"what": "check", "in_s": 0.0}
    timer = (tried or nearest)[0]
    return {"what": str(timer), "in_s": round(max(0.0, timers[timer] - now), 1)}


def _pause_end(pause: Pause | None) -> dict[str, Any] | None:
    """Return when a pause ends by itself; None if a person must end it."""
    if pause is None or pause.until_s is None:
        return None
    return {"what": "pause_end", "in_s": round(max(0.0, pause.until_s - time.time()), 1)}


def _under_way(snapshot: Snapshot) -> str | None:
    match snapshot.process:
        case Process.STARTING | Process.RECYCLING:
            return "start"
        case Process.STOPPING | Process.STOPPED | Process.FATAL | Process.PAUSING:
            return "stop"
        case _:
            pass
    return None if snapshot.recovery in {None, Recovery.SETTLE} else str(snapshot.recovery)


STATUS_EVERY_S = 1.0
DAY_EVERY_S = 30.0
"""Reading the whole journal takes up to a quarter of a second; after a change, ``DAY_PAUSE_S`` applies instead."""
DAY_PAUSE_S = 5.0
MOST_VIEWERS = 16
_HTML, _CSS, _SCRIPT = (f"text/{kind}; charset=utf-8" for kind in ("html", "css", "javascript"))
_ICON = ("favicon.svg", "image/svg+xml")
ASSETS = {
    "/": ("page.html", _HTML),
    "/profiles": ("profiles.html", _HTML),
    "/page.css": ("page.css", _CSS),
    "/live.js": ("live.js", _SCRIPT),
    "/page.js": ("page.js", _SCRIPT),
    "/profiles.js": ("profiles.js", _SCRIPT),
    "/favicon.svg": _ICON,
    "/favicon.ico": _ICON,  # which browsers ask for beside an answer that is no page
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
)


class Page:
    """The page's files and its stream.

    ``status`` returns the status object, ``outline`` what everybody may know of it, ``changes`` the count of journal
    lines; ``environ`` is what the process that lists all profiles inherits from.
    """

    def __init__(
        self,
        status: Callable[[], dict[str, Any]],
        outline: Callable[[], dict[str, Any]],
        paths: Paths,
        changes: Callable[[], int],
        environ: Mapping[str, str],
    ) -> None:
        self._status = status
        self._outline = outline
        self._paths = paths
        self._changes = changes
        self._overview = Overview(paths, environ)
        self._viewers = {True: 0, False: 0}
        self._day: tuple[float, int, str] | None = None
        self._reading = asyncio.Lock()
        self.pages: dict[str, Callable[[], Answer]] = {path: _opener(path) for path in ASSETS}
        self.streams: dict[str, Callable[[bool], AsyncIterator[bytes]]] = {
            "/live": lambda sees_all: self._admit(self._live if sees_all else self._outlines, sees_all=sees_all),
            "/profiles/live": lambda sees_all: self._admit(
                self._profiles if sees_all else self._outlines, sees_all=sees_all
            ),
        }

    async def close(self) -> None:
        """End what lists all profiles."""
        await self._overview.close()

    async def _admit(
        self, events: Callable[[], AsyncGenerator[bytes, None]], *, sees_all: bool
    ) -> AsyncIterator[bytes]:
        """Yield the server-sent events of an open page.

        With more than sixteen viewers of a kind, a further one gets a request to come back later.
        """
        if self._viewers[sees_all] >= MOST_VIEWERS:
            yield b"retry: 15000\nevent: busy\ndata: {}\n\n"
            return
        self._viewers[sees_all] += 1
        try:
            async with contextlib.aclosing(events()) as items:
                async for item in items:
                    yield item
        finally:
            self._viewers[sees_all] -= 1

    async def _outlines(self) -> AsyncGenerator[bytes, None]:
        """Yield what those see who may not see everything."""
        while True:
            yield _event("outline", json.dumps(self._outline()))
            await asyncio.sleep(STATUS_EVERY_S)

    async def _live(self) -> AsyncGenerator[bytes, None]:
        """Yield ``status`` each second, ``day`` when it is due."""
        shown: str | None = None
        while True:
            yield _event("status", json.dumps(self._status()))
            day = await self._last_day()
            if day != shown:
                shown = day
                yield _event("day", day)
            await asyncio.sleep(STATUS_EVERY_S)

    async def _profiles(self) -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(self._overview.follow()) as told:
            async for name, text in told:
                yield _event(name, text or "{}")

    async def _last_day(self) -> str:
        """Return the last day as JSON, read once for all viewers; ``error`` holds the message if reading fails."""
        async with self._reading:
            now, changes = time.monotonic(), self._changes()
            if self._day is not None:
                age_s = now - self._day[0]
                if age_s < (DAY_EVERY_S if changes == self._day[1] else DAY_PAUSE_S):
                    return self._day[2]
            text = await asyncio.to_thread(self._read_day)
            self._day = (now, changes, text)
            return text

    def _read_day(self) -> str:
        from gwctl.history.journal import read_entries
        from gwctl.history.report import LastSign, look_back

        try:
            now_s = time.time()
            return json.dumps(look_back(read_entries(self._paths), now_s, LastSign(now_s)).to_json())
        except GwctlError as error:
            return json.dumps({"error": error.message})


def _event(name: str, text: str) -> bytes:
    return f"event: {name}\ndata: {text}\n\n".encode()


def _opener(path: str) -> Callable[[], Answer]:
    name, content_type = ASSETS[path]

    def open_asset() -> Answer:
        return Answer(200, (files("gwctl.supervisor") / "assets" / name).read_bytes(), content_type, HEADERS)

    return open_asset
