"""The stand-in's server, which can stop listening for a while: nobody there, instead of somebody who is ill."""

from __future__ import annotations

import uvicorn

from gwctl.sandbox.serving import QuietServer, bound_socket
from gwctl.sandbox.standin import StandIn


class RefusingServer(QuietServer):
    """Listens whenever the stand-in does not refuse; looks at it with every tick, each 0.1 s."""

    def __init__(self, config: uvicorn.Config, stand_in: StandIn, address: tuple[str, int]) -> None:
        super().__init__(config)
        self._stand_in = stand_in
        self._address = address
        self._listening = True

    async def on_tick(self, counter: int) -> bool:
        """Close or open the door, then do what a server does at a tick."""
        if self._stand_in.refuses and self._listening:
            self._close()
        elif not self._stand_in.refuses and not self._listening:
            await self._open()
        return await super().on_tick(counter)

    def _close(self) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        self._listening = False

    async def _open(self) -> None:
        try:
            listener = bound_socket(*self._address)
        except OSError:
            return  # somebody has the port for a moment; the next tick tries again
        await self.startup(sockets=[listener])
        self._listening = True
