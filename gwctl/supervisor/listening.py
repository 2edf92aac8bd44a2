"""Open the health server where the profile wants it, and say whose the port is where it cannot be had."""

from __future__ import annotations

from gwctl import process
from gwctl.config import Settings
from gwctl.errors import Unavailable
from gwctl.gateway.port_conflict import neighbour_on
from gwctl.supervisor.health import HealthServer


async def open_health(health: HealthServer, settings: Settings) -> int:
    """Listen and return the loopback port; raise PortBusy naming the profile of ours that has it, else Unavailable."""
    wanted = int(settings["health_port"])
    try:
        return await health.open(wanted, settings["metrics_address"])
    except Unavailable:
        holder = process.find_listener(wanted) if wanted else None
        neighbour = neighbour_on(settings.paths, "health_port", wanted, holder)
        if neighbour is not None:
            raise neighbour from None
        raise
