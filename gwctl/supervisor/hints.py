"""What reports, between two checks, that something may have changed: the gateway's WebSocket and its heartbeat."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gwctl.gateway.heartbeat import Heartbeat
from gwctl.gateway.websocket import PushListener


class Hints:
    """Both reporters for one gateway at a time; ``on_hint`` gets what they report, None for "check"."""

    def __init__(self, on_hint: Callable[[bool | None], None], *, push: bool) -> None:
        self._heartbeat = Heartbeat(lambda: on_hint(None))
        self._pushes = PushListener(on_hint)
        self._push = push
        """Whether to listen to the WebSocket."""
        self._gateway: tuple[int, Path, bytes] | None = None
        self._listens = False

    def gateway_is_late(self) -> bool:
        """Return whether the gateway itself owes an answer."""
        return self._heartbeat.overdue

    def gateway_owes_s(self) -> float:
        """Return for how long the gateway has owed the heartbeat an answer."""
        return self._heartbeat.owes_s

    def start(self, port: int, ca_file: Path, leaf_der: bytes) -> None:
        """Watch the gateway on ``port`` with the certificate ``leaf_der``, and no earlier one."""
        self._gateway = (port, ca_file, leaf_der)
        self._heartbeat.start(*self._gateway)

    def session_is(self, *, up: bool) -> None:
        """Note that the session opened or ended: the WebSocket is only useful while there is one."""
        if self._listens:
            self._pushes.poke(up=up)
        elif self._push and up and self._gateway is not None:
            self._listens = True
            self._pushes.start(*self._gateway)

    async def close(self) -> None:
        """Stop watching and release everything. Safe at any time."""
        self._gateway, self._listens = None, False
        await self._heartbeat.close()
        await self._pushes.close()
