"""Keep the front of an isolated gateway running: without it nobody reaches the gateway, and it reaches nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping

from gwctl import process
from gwctl.errors import GwctlError
from gwctl.gateway.isolated import PortTaken, start_front
from gwctl.gateway.launch import RunningGateway
from gwctl.paths import Paths
from gwctl.signals import whole
from gwctl.state_file import write_json

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
CLOSE_TIMEOUT_S = 1.0


class FrontKeeper:
    """Watches one gateway's front and starts another one when it ends."""

    def __init__(self, paths: Paths, environ: Mapping[str, str], on_note: Callable[..., object]) -> None:
        self._paths = paths
        self._environ = environ
        self._on_note = on_note
        self._watching: asyncio.Task[None] | None = None
        self._running: RunningGateway | None = None
        self._tried = asyncio.Event()
        """Set at the end of the next try to start a front; each try has its own."""

    def watch(self, running: RunningGateway) -> None:
        """Keep the gateway's front running from now on, in the background, and no earlier gateway's."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        self._running = running
        if running.network is not None:
            self._watching = asyncio.get_running_loop().create_task(self._keep(running))

    async def ensure(self, running: RunningGateway) -> None:
        """Start the front of an adopted gateway if it has ended meanwhile, and keep it running."""
        if running.network is not None and running.front is None:
            await self._try(running)  # if that fails, the watch tries again, and says why
        self.watch(running)

    async def came_back(self) -> bool:
        """Wait while no front runs, at most until the next try to start one; return whether one was started.

        Until then a gateway seems to hang that is well. False at once while a front runs.
        """
        running, watching, tried = self._running, self._watching, self._tried
        if running is None or watching is None or (running.front is not None and process.is_alive(running.front)):
            return False
        waiting = asyncio.ensure_future(tried.wait())
        try:
            await asyncio.wait([waiting, watching], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        return running.front is not None and running.is_alive()

    async def close(self) -> None:
        """Stop watching; the front stays. A hung disk delays this no longer than a moment."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait([watching], timeout=CLOSE_TIMEOUT_S)

    async def _start(self, running: RunningGateway) -> None:
        """Start the front, or recognize one that was started and not recorded; raise _Failed."""
        if running.network is None:
            return
        try:
            spawned = await start_front(self._paths, running.java.pid, running.port, running.network, self._environ)
        except GwctlError as error:
            raise _Failed(error.message) from None
        except PortTaken:
            running.front = await asyncio.to_thread(self._own_front, running.port)
        else:
            running.front, running.front_spawned = spawned.identity, spawned

    def _own_front(self, port: int) -> process.Identity:
        """Return the front of ours that has the port; raise _Failed if another program has it."""
        holder = process.find_listener(port)
        known = None if holder is None or holder.pid is None else process.identify(holder.pid)
        if known is not None and known.cwd == os.path.realpath(self._paths.gateway_dir):
            return known
        raise _Failed(f"port {port} is held by {holder.describe() if holder else 'somebody'}")

    async def _keep(self, running: RunningGateway) -> None:
        pause_s, said = FIRST_PAUSE_S, ""
        while True:
            if running.front is not None:
                await process.wait_ended(running.front)
                if running.front_spawned is not None:
                    running.front_spawned.poll()
                running.front = None
            if not running.is_alive():
                return
            failed = await self._try(running)
            if failed is None:
                pause_s, said = FIRST_PAUSE_S, ""
                self._on_note("front", pid=running.front.pid if running.front else None)
                continue
            if failed != said:
                said = failed
                self._on_note("warning", code="front_failed", text=said)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _try(self, running: RunningGateway) -> str | None:
        """Start the front; return why it failed, None if it runs."""
        try:
            await self._start(running)
        except _Failed as error:
            return str(error)
        finally:
            self._tried.set()
            self._tried = asyncio.Event()
        with contextlib.suppress(GwctlError):  # on a full disk, the next start recognizes it by its port
            await whole(write_json, self._paths.gateway_state_file, running.to_json())
        return None


class _Failed(Exception):
    """Why no front runs, for a person; never leaves this module."""
