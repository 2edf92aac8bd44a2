"""Whether and how a gateway is isolated, and the front that lets its user's programs in (``gwctl.isolation``)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from gwctl import process, state_file
from gwctl.config import Settings
from gwctl.errors import Configuration, GatewayFailed, GwctlError
from gwctl.gateway.firewalled import why_no_firewall
from gwctl.isolation.firewall import Firewall
from gwctl.isolation.front import PORT_TAKEN
from gwctl.isolation.namespaces import CARD_ADDRESS, HOSTS, NOT_POSSIBLE, is_inside
from gwctl.isolation.socket_owner import can_tell_owners
from gwctl.paths import Paths
from gwctl.process import Spawned
from gwctl.signals import whole

_TRY_TIMEOUT_S = 10.0
_READY_TIMEOUT_S = 15.0
_PACKAGE = Path(__file__).parents[1]
# Only this package's folder is looked at, for a start in 20 ms and a process of 13 MB.
_BOOTSTRAP = (
    "import sys, types; here = types.ModuleType('gwctl'); here.__path__ = [sys.argv[1]]; sys.modules['gwctl'] = here\n"
    "from gwctl.isolation import {module}; {module}.main(sys.argv[2:])"
)
HOSTS_FILE = "hosts"
OTHER_USERS = "other users of this machine"
OTHER_MACHINES = "other machines"


class Network(Struct, frozen=True):
    """The network of an isolated gateway: where it leads, and which users are let in."""

    host: str
    port: int
    """The upstream's address, the only one that the gateway can reach."""
    uids: tuple[int, ...]

    @classmethod
    def to(cls, upstream: str, allow_users: Sequence[str]) -> Network:
        """Return the network of a gateway for ``upstream``; raise Configuration for a user that does not exist."""
        parts = urlsplit(upstream)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(parts.hostname or "", port, _uids(allow_users))

    def to_json(self) -> dict[str, Any]:
        """Return the object for the state file."""
        return {"host": self.host, "port": self.port, "uids": list(self.uids)}

    @classmethod
    def from_json(cls, value: object) -> Network | None:
        """Return the network in a state file, None if it names none."""
        match value:
            case {"host": str(host), "port": int(port), "uids": [*uids]} if all(isinstance(uid, int) for uid in uids):
                return cls(host, port, tuple(uids))
            case _:
                return None

    def hosts(self) -> bytes:
        """Return what the gateway sees as /etc/hosts. Every address leads to the front, so any one will do.

        It looks its own machine's name up, too.
        """
        names = {socket.gethostname(): CARD_ADDRESS, "localhost": "127.0.0.1"}
        names.setdefault(self.host, "127.0.0.1")
        return "".join(f"{address} {name}\n" for name, address in names.items() if name).encode()


class Isolation(Struct, frozen=True):
    """How others are kept from a gateway: by a network of its own, a firewall, or, for the ``reason``, not at all."""

    network: Network | None
    reason: str = ""
    firewall: Firewall | None = None

    @property
    def is_open(self) -> bool:
        """Whether others reach the gateway."""
        return self.network is None and self.firewall is None

    def describe(self) -> dict[str, Any]:
        """Return the ``isolation`` object of ``status``."""
        return {
            "kind": "off" if self.is_open else "firewall" if self.network is None else "namespace",
            "open_to": [OTHER_USERS, OTHER_MACHINES] if self.is_open else [],
            "reason": self.reason or None,
        }


def choose_isolation(settings: Settings, upstream: str, environ: Mapping[str, str]) -> Isolation:
    """Return how the profile's gateway is to be isolated.

    Raise Configuration if the settings require an isolation that is not possible here.
    """
    wanted = settings["isolation"]
    if wanted == "off":
        return Isolation(None, "isolation is off")
    if wanted == "firewall":
        found = by_firewall(settings)
    else:
        network = Network.to(upstream, settings["allow_users"])
        reason = _against(settings, network) or why_not(environ)
        if reason is None:
            return Isolation(network)
        found = by_firewall(settings, reason) if wanted == "auto" else Isolation(None, reason)
    if wanted != "auto" and found.is_open:
        source = settings.values["isolation"].source
        text = f"isolation = {wanted!r} ({source}) is not possible: {found.reason}"
        cannot_load = wanted == "firewall" and os.geteuid() != 0
        raise Configuration(text, hint=_instead(settings.paths.profile) if cannot_load else "gwctl doctor")
    return found


def _instead(profile: str) -> str:
    choose, show = f"gwctl profile set {profile} isolation=", f"gwctl --profile {profile} service show --firewall"
    return f"{choose}namespace; or {choose}off, and load what `{show}` prints as root"


def by_firewall(settings: Settings, reason: str = "") -> Isolation:
    """Return the isolation by a firewall, because of ``reason``; an open one, and why, if that is not possible."""
    firewall = firewall_of(settings)
    why = why_no_firewall(firewall)
    return Isolation(None, reason, firewall) if why is None else Isolation(None, reason or why)


def firewall_of(settings: Settings) -> Firewall:
    """Return the firewall of the profile's port; raise Configuration for a user that does not exist."""
    return Firewall(settings["port"], _uids(settings["allow_users"]))


def _against(settings: Settings, network: Network) -> str | None:
    if network.port == settings["port"]:
        return f"the gateway and its upstream have the same port {network.port}"
    if ":" in network.host:
        return "the upstream is an IPv6 address"
    return None


def why_not(environ: Mapping[str, str]) -> str | None:
    """Return why this machine does not allow a network of the gateway's own, None if it does; it is tried."""
    if sys.platform != "linux":
        return "only Linux has network namespaces"
    if not can_tell_owners():
        return "the system does not tell who owns a connection"
    if not hasattr(os, "pidfd_open") or not hasattr(os, "eventfd"):
        return "this Python was built for a system older than Linux 5.3"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return f"the system is too old: pidfd_open: {error.strerror}"
    env = process.environment_of(process.Child.OURS, environ)
    try:
        done = process.run(program("namespaces", HOSTS, ""), timeout_s=_TRY_TIMEOUT_S, env=env)
    except (OSError, GwctlError) as error:
        return str(error)
    return None if done.exit_code == 0 else done.stderr.strip().rpartition("\n")[2] or f"exit code {done.exit_code}"


def is_isolated(pid: int) -> bool:
    """Return whether a process has another network than this one."""
    try:
        return sys.platform == "linux" and is_inside(pid)
    except OSError:
        return False


def _uids(allow_users: Sequence[str]) -> tuple[int, ...]:
    return tuple(dict.fromkeys((os.geteuid(), *map(_uid_of, allow_users))))


def _uid_of(user: str) -> int:
    try:
        return int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):  # a name that no user can have
        raise Configuration(f"allow_users names {user!r}, and there is no such user", hint="getent passwd") from None


def program(module: str, *arguments: object) -> list[str]:
    """Return the command line of a program of ``gwctl.isolation``."""
    bootstrap = _BOOTSTRAP.format(module=module)
    return [sys.executable, "-I", "-S", "-c", bootstrap, str(_PACKAGE), *map(str, arguments)]


def entering(paths: Paths, network: Network, argv: Sequence[str]) -> list[str]:
    """Return the command line that runs ``argv`` in the network, after writing what that needs; raise DiskTrouble."""
    hosts = paths.gateway_dir / HOSTS_FILE
    state_file.write_bytes(hosts, network.hosts())
    return program("namespaces", hosts, _hardware_address(), *argv)


def _hardware_address() -> str:
    """Return the hardware address of this machine's first network card, as the gateway would find it; empty if none."""
    for card in sorted(Path("/sys/class/net").glob("*")):
        with contextlib.suppress(OSError):
            address = (card / "address").read_text().strip()
            if (card / "type").read_text().strip() == "1" and re.fullmatch("([0-9a-f]{2}:){5}[0-9a-f]{2}", address):
                return "" if address == "00:00:00:00:00:00" else address
    return ""


def front_program(paths: Paths, pid: int, port: int, network: Network) -> list[str]:
    """Return the command line of the front of the gateway with ``pid``."""
    tls = (paths.leaf_file, paths.leaf_key_file)
    return program("front", pid, port, network.host, network.port, *tls, *network.uids)


class FrontFailed(GatewayFailed):
    """The gateway's front did not start."""


class PortTaken(Exception):
    """Another program has the port that the front was to listen on."""


async def start_front(paths: Paths, pid: int, port: int, network: Network, environ: Mapping[str, str]) -> Spawned:
    """Start the front of the gateway with ``pid``, and return once it lets programs in.

    Raise PortTaken, or FrontFailed with its last words; then nothing of it is left.
    """
    argv = front_program(paths, pid, port, network)
    env = process.environment_of(process.Child.OURS, environ)
    begun: list[Spawned] = []

    def begin() -> None:
        begun.append(process.spawn(argv, cwd=paths.gateway_dir, env=env, log_file=paths.gateway_log, pipes=True))
        if begun[0].stdin is not None:
            begun[0].stdin.close()

    try:
        await whole(begin)
        spawned = begun[0]
        async with asyncio.timeout(_READY_TIMEOUT_S):
            said = await process.read_to_end(spawned.stdout)
            if said:
                return spawned
            code = await spawned.wait_ended()
    except BaseException as error:
        for one in begun:
            await asyncio.shield(process.stop([one.identity], grace_s=0.0))
            one.poll()
            if one.stdout is not None:
                one.stdout.close()
        if isinstance(error, TimeoutError):
            raise FrontFailed("the gateway's front did not start in time", hint="gwctl logs --gateway") from None
        raise
    if code == PORT_TAKEN:
        raise PortTaken
    what = "cannot join its network" if code == NOT_POSSIBLE else f"ended with code {code}"
    raise FrontFailed(f"the gateway's front {what}", hint="gwctl logs --gateway")
