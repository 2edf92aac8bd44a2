"""The health server's page for a person: three files, and a stream of what changes.

It shows what ``/status`` and the journal say and has nothing to press: whoever may look may not act. Everything it
loads is its own, and its policy lets a browser load nothing else.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any

from gwctl.errors import GwctlError
from gwctl.paths import Paths
from gwctl.supervisor.health import Answer

STATUS_EVERY_S = 1.0
DAY_EVERY_S = 30.0
"""The journal is read whole for it, which costs up to a quarter of a second; it is read at once after a change."""
DAY_PAUSE_S = 5.0
MOST_VIEWERS = 16
ASSETS = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
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
    """The page's files and its stream; ``status`` is the contract's object, ``changes`` counts the journal's lines."""

    def __init__(self, status: Callable[[], dict[str, Any]], paths: Paths, changes: Callable[[], int]) -> None:
        self._status = status
        self._paths = paths
        self._changes = changes
        self._viewers = 0
        self._day: tuple[float, int, str] | None = None
        self._reading = asyncio.Lock()
        self.pages: dict[str, Callable[[], Answer]] = {path: _opener(path) for path in ASSETS}
        self.streams: dict[str, Callable[[], AsyncIterator[bytes]]] = {"/live": self.live}

    async def live(self) -> AsyncIterator[bytes]:
        """Yield server-sent events for as long as somebody looks: ``status`` each second, ``day`` when it is due.

        Beyond sixteen at a time a viewer is told to come back.
        """
        if self._viewers >= MOST_VIEWERS:
            yield b"retry: 15000\nevent: busy\ndata: {}\n\n"
            return
        self._viewers += 1
        try:
            shown: str | None = None
            while True:
                yield _event("status", json.dumps(self._status()))
                day = await self._last_day()
                if day != shown:
                    shown = day
                    yield _event("day", day)
                await asyncio.sleep(STATUS_EVERY_S)
        finally:
            self._viewers -= 1

    async def _last_day(self) -> str:
        """Return the last day as JSON, read once for all viewers; what cannot be read is said in ``error``."""
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
        from gwctl.history.recent import look_back
        from gwctl.history.report import LastSign

        try:
            now_s = time.time()
            return json.dumps(look_back(self._paths, now_s, LastSign(now_s)).to_json())
        except GwctlError as error:
            return json.dumps({"error": error.message})


def _event(name: str, text: str) -> bytes:
    return f"event: {name}\ndata: {text}\n\n".encode()


def _opener(path: str) -> Callable[[], Answer]:
    name, content_type = ASSETS[path]

    def open_asset() -> Answer:
        return Answer(200, (files("gwctl.supervisor") / "assets" / name).read_bytes(), content_type, HEADERS)

    return open_asset
