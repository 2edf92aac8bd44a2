"""List this machine's profiles and their ports, and say which profile already uses a port."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

from gwctl.config import PROFILE_NAME, read_file
from gwctl.errors import Configuration, PortBusy
from gwctl.free_ports import BROWSERS_REFUSE, port_is_free
from gwctl.paths import Paths
from gwctl.setting_keys import KEYS
from gwctl.state_file import look_at_json, read_json

FIRST_PORT = 5000
LAST_PORT = 65535


def configured_names(paths: Paths) -> list[str]:
    """Return the profiles in the settings file, in its order; raise Configuration if it cannot be read."""
    return [name for name in _table(read_file(paths.config_file), "profiles") if PROFILE_NAME.fullmatch(name)]


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a table of the settings file, an empty one for anything else under its name."""
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def known_names(paths: Paths) -> list[str]:
    """Return the profiles in the settings file, then those that only have a folder; skip a broken settings file."""
    names: list[str] = []
    with contextlib.suppress(Configuration):
        names = configured_names(paths)
    folders: list[str] = []
    with contextlib.suppress(OSError):
        folders = sorted(entry.name for entry in paths.profiles_dir.iterdir() if entry.is_dir())
    return names + [name for name in folders if name not in names and PROFILE_NAME.fullmatch(name)]


def ports_by_profile(paths: Paths) -> dict[str, set[int]]:
    """Return the ports of each profile: its own, its fixed health and metrics ports, and the one it runs on now.

    Ports from ``[defaults]`` and built-in ports count too; the environment does not.
    """
    content = read_file(paths.config_file)
    profiles, defaults = _table(content, "profiles"), _table(content, "defaults")
    return {
        name: _named_ports(_table(profiles, name), defaults) | _running_port(paths, name) for name in known_names(paths)
    }


def _named_ports(own: Mapping[str, Any], defaults: Mapping[str, Any]) -> set[int]:
    ports: set[int] = set()
    for key in ("port", "health_port", "metrics_address"):
        raw = own.get(key, defaults.get(key, KEYS[key].default))
        with contextlib.suppress(ValueError):
            ports.add(int(str(KEYS[key].parse(raw)).rpartition(":")[2]))
    return ports - {0}


def _running_port(paths: Paths, name: str) -> set[int]:
    folder = paths.profiles_dir / name
    record, _ = read_json(folder / paths.supervisor_state_file.name)
    chosen, _ = look_at_json(folder / paths.chosen_port_file.name)
    ports = ((record or {}).get("gateway_port"), (chosen or {}).get("port"))
    return {port for port in ports if isinstance(port, int)}


def choose_port(taken: Container[int], is_free: Callable[[int], bool]) -> int:
    """Return the lowest port from 5000 up that ``is_free`` and no profile has; raise Configuration if there is none."""
    for port in range(FIRST_PORT, LAST_PORT + 1):
        if port not in taken and port not in BROWSERS_REFUSE and is_free(port):
            return port
    raise Configuration(f"no free port from {FIRST_PORT} up", hint="gwctl profile list, then choose a port with --port")


def free_port_beside(paths: Paths, is_free: Callable[[int], bool]) -> int:
    """Return a port for a new profile; raise Configuration if the settings file cannot be read."""
    return choose_port(set().union(*ports_by_profile(paths).values()), is_free)


def profile_at(folder: str | None, paths: Paths) -> str | None:
    """Return the profile of this home that has ``folder`` as a process's working directory, or None."""
    if not folder:
        return None
    below = Path(os.path.realpath(paths.profiles_dir))
    try:
        return Path(folder).relative_to(below).parts[0]
    except (ValueError, IndexError):
        return None


_CALLED = {"port": "port", "health_port": "health port"}


def taken_by(paths: Paths, neighbour: str, key: str, port: int) -> PortBusy:
    """Return the error of a profile whose setting ``key`` is a port that ``neighbour`` uses; its hint resolves it."""
    another = "PORT"
    with contextlib.suppress(Configuration):
        another = "0" if key == "health_port" else str(free_port_beside(paths, port_is_free))
    return PortBusy(
        f"{_CALLED[key]} {port} of profile {paths.profile!r} is in use by profile {neighbour!r}",
        hint=f"gwctl profile set {paths.profile} {key}={another}, or gwctl --profile {neighbour} down",
    )


def neighbour_on(paths: Paths, key: str, port: int, folder: str | None) -> PortBusy | None:
    """Return the error of a port whose holder works in ``folder``, if that is another profile's of this home."""
    neighbour = profile_at(folder, paths)
    return None if neighbour in {None, paths.profile} else taken_by(paths, str(neighbour), key, port)
