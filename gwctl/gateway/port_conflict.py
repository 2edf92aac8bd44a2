"""The error for a port that another profile on this machine already uses."""

from __future__ import annotations

import contextlib

from gwctl import process
from gwctl.errors import Configuration, PortBusy
from gwctl.paths import Paths
from gwctl.process import Listener

_CALLED = {"port": "port", "health_port": "health port"}


def taken_by(paths: Paths, neighbour: str, key: str, port: int) -> PortBusy:
    """Return the error of a profile whose setting ``key`` is a port that ``neighbour`` uses; its hint resolves it."""
    from gwctl.profile_registry import free_port_beside

    another = "PORT"
    with contextlib.suppress(Configuration):
        another = "0" if key == "health_port" else str(free_port_beside(paths, process.port_is_free))
    return PortBusy(
        f"{_CALLED[key]} {port} of profile {paths.profile!r} is in use by profile {neighbour!r}",
        hint=f"gwctl profile set {paths.profile} {key}={another}, or gwctl --profile {neighbour} down",
    )


def neighbour_on(paths: Paths, key: str, port: int, holder: Listener | None) -> PortBusy | None:
    """Return the error of a port whose ``holder`` belongs to another profile of this home; None if it does not."""
    from gwctl.profile_registry import profile_at

    neighbour = profile_at(holder.cwd, paths) if holder is not None else None
    return None if neighbour in {None, paths.profile} else taken_by(paths, str(neighbour), key, port)
