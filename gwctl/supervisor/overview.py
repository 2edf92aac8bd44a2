"""All profiles of this home for the page: what `gwctl status --all` says in a process of its own, while somebody looks.

The supervisor itself asks no other supervisor and reads no other profile's files: one that hangs cannot delay its loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncGenerator, Mapping

from gwctl import process
from gwctl.errors import GwctlError
from gwctl.ownership import TRUST_VARIABLE
from gwctl.paths import Paths

log = logging.getLogger("gwctl.supervisor")

ALIVE_EVERY_S = 1.0
LINGER_S = 10.0
"""How long the process stays after its last viewer: a page that is loaded again and again starts no further one."""
AGAIN_AFTER_S = 5.0
_STOP_GRACE_S = 0.5
_PIECE_BYTES = 65_536
_LONGEST_BYTES = 8_000_000
"""Of one line; a profile takes 3 kB."""
_FAILED = '{"error": "The profiles cannot be listed. Run: gwctl status --all"}'


class Overview:
    """The process and its last line, a JSON object with ``profiles``; ``environ`` says where the home is."""

    def __init__(self, paths: Paths, environ: Mapping[str, str]) -> None:
        self._paths = paths
        self._environ = environ
        self._line: str | None = None
        self._failed = False
        self._viewers = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._leaving: asyncio.TimerHandle | None = None

    async def follow(self) -> AsyncGenerator[tuple[str, str | None], None]:
        """Yield ``profiles`` and each new line, ``failed`` and an ``error``; ``alive`` at least once a second."""
        self._viewers += 1
        self._begin()
        shown: str | None = None
        try:
            while True:
                changed = self._changed
                if self._line is not shown and self._line is not None:
                    yield "profiles", self._line
                else:
                    yield ("failed", _FAILED) if self._failed else ("alive", None)
                shown = self._line
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), ALIVE_EVERY_S)
        finally:
            self._viewers -= 1
            if self._viewers == 0 and self._task is not None:
                self._leaving = asyncio.get_running_loop().call_later(LINGER_S, self._task.cancel)

    async def close(self) -> None:
        """End the process, if one runs."""
        if self._leaving is not None:
            self._leaving.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _begin(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if self._task is None or self._task.done() or self._task.cancelling():
            self._line, self._failed = None, False
            self._task = asyncio.get_running_loop().create_task(self._keep_reading())

    def _tell(self, line: str | None) -> None:
        self._line, self._failed = line, line is None
        self._changed.set()
        self._changed = asyncio.Event()

    async def _keep_reading(self) -> None:
        while True:
            try:
                await self._read_one()
            except (GwctlError, OSError, ValueError) as error:
                log.warning("cannot list all profiles: %s", error)
            self._tell(None)
            await asyncio.sleep(AGAIN_AFTER_S)

    async def _read_one(self) -> None:
        """Start the process and read its lines to its end."""
        child = process.spawn(
            [sys.executable, "-P", "-m", "gwctl", "status", "--all", "--watch", "--json"],
            cwd=self._paths.profile_dir,
            env=process.environment_of(process.Child.OURS, self._environ, self._home()),
            log_file=None,
            pipes=True,
        )
        reader = await child.stdout_reader()
        try:
            rest = b""
            while piece := await reader.read(_PIECE_BYTES):
                *lines, rest = (rest + piece).split(b"\n")
                if lines:
                    self._tell(lines[-1].decode())
                if len(rest) > _LONGEST_BYTES:
                    raise ValueError("a line is too long")
        finally:
            await asyncio.shield(_end(child, reader))

    def _home(self) -> dict[str, str]:
        """Return where this home is. Our other variables are for one profile, and would be taken for those of each."""
        return {name: self._environ[name] for name in ("GWCTL_HOME", TRUST_VARIABLE) if name in self._environ}


async def _end(child: process.Spawned, reader: asyncio.StreamReader) -> None:
    await process.stop([child.identity], grace_s=_STOP_GRACE_S)
    child.poll()
    if child.stdin is not None:
        child.stdin.close()
    while await reader.read(_PIECE_BYTES):
        pass  # the end of the pipe closes it
