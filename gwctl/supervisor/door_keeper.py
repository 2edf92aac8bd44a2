"""Keep the door open while there is a gateway: a process that ends with this one, and is started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gwctl import process, state_file
from gwctl.config import BUILT_IN, Settings
from gwctl.door.order import Order
from gwctl.errors import Configuration, GwctlError
from gwctl.gateway import keystore
from gwctl.ownership import read_ours
from gwctl.paths import Paths
from gwctl.setting_values import network_of
from gwctl.signals import whole

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0
READY_TIMEOUT_S = 15.0
GRACE_S = 2.0
SHORTEST_TOKEN = 20
_TOKEN_NAME = "door_token"  # noqa: S105 - the name of a file


def check_door(settings: Settings) -> None:
    """Raise Configuration if other machines are to use the gateway, which asks nobody who they are, without a door."""
    allowed = settings.values["allow_ips"]
    beyond = [one for one in allowed.value if not network_of(one).is_loopback]
    if beyond and settings["door"] is None:
        raise Configuration(
            f"allow_ips lets {', '.join(beyond)} in ({allowed.source}), and other machines need the door",
            hint=f"gwctl profile set {settings.profile} door=0.0.0.0:5443 (docs/how-to/other-machines.md)",
        )


def order_of(settings: Settings, environ: Mapping[str, str]) -> Order:
    """Return what a profile's door is to serve, and create its token if there is none; raise Configuration."""
    paths, allowed = settings.paths, settings.values["allow_ips"]
    return Order(
        listen=settings["door"],
        gateway_port=settings["port"],
        ca_file=str(paths.ca_file),
        certificate_file=str(paths.leaf_file),
        key_file=str(paths.leaf_key_file),
        log_file=str(paths.door_log),
        names=settings["certificate_names"],
        addresses=() if allowed.source == BUILT_IN else tuple(allowed.value),
        read_only=settings["door_read_only"],
        token=_ensure_token(settings, environ),
        client_ca=settings["door_client_ca"],
    )


def token_file(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Return where the door's token is: where a service manager or the settings put it, else in the profile."""
    if settings["door_token_file"]:
        return Path(settings["door_token_file"]).expanduser()
    folder = environ.get("CREDENTIALS_DIRECTORY")
    given = Path(folder) / _TOKEN_NAME if folder else None
    return given if given is not None and given.exists() else settings.paths.door_token_file


def token_in(settings: Settings, environ: Mapping[str, str]) -> str:
    """Return the door's token, empty if there is none yet; raise Configuration if it is not usable."""
    file, own = token_file(settings, environ), settings.paths.door_token_file
    if settings["door_client_ca"] or (file == own and not file.exists()):
        return ""
    try:
        token = (read_ours(file) if file == own else file.read_bytes()).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Configuration(f"cannot read the door's token from {file}: {why}", hint=f"ls -l {file}") from None
    if len(token) < SHORTEST_TOKEN or len(token.split()) != 1:
        raise Configuration(
            f"the door's token in {file} is not one word of at least {SHORTEST_TOKEN} characters",
            hint=f"openssl rand -base64 32 >{file}",
        )
    return token


def _ensure_token(settings: Settings, environ: Mapping[str, str]) -> str:
    token = token_in(settings, environ)
    return token if token or settings["door_client_ca"] else write_token(settings.paths)


def write_token(paths: Paths) -> str:
    """Write a new token of 256 bits to the profile, and return it; raise DiskTrouble."""
    token = secrets.token_urlsafe(32)
    state_file.make_private_dir(paths.profile_dir)
    state_file.write_bytes(paths.door_token_file, f"{token}\n".encode())
    return token


class DoorKeeper:
    """Runs the door of one profile, if its settings ask for one."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], on_note: Callable[..., object]) -> None:
        self._settings = settings
        self._environ = environ
        self._on_note = on_note
        self._keeping: asyncio.Task[None] | None = None
        self._spawned: process.Spawned | None = None
        self._pin = ""
        self._problem: str | None = None

    def open(self, *, again: bool = False) -> None:
        """Open the door; do nothing without the setting ``door``.

        Open it once more if its certificate has changed, or if the caller says that something has (``again``).
        """
        if self._settings["door"] is None:
            return
        leaf = keystore.kept_leaf(self._settings.paths)
        pin = "" if leaf is None else leaf.spki_pin_base64
        if self._keeping is not None and pin == self._pin and not again:
            return
        before, self._pin = self._keeping, pin
        self._keeping = asyncio.get_running_loop().create_task(self._keep(before))

    async def close(self) -> None:
        """Close the door and end its process."""
        keeping, self._keeping = self._keeping, None
        await _end(keeping)

    def describe(self) -> dict[str, Any] | None:
        """Return the ``door`` object of ``status``, None without a door."""
        settings = self._settings
        if settings["door"] is None:
            return None
        return {
            "address": settings["door"],
            "pid": None if self._spawned is None else self._spawned.pid,
            "read_only": settings["door_read_only"],
            "token_file": None if settings["door_client_ca"] else str(token_file(settings, self._environ)),
            "problem": self._problem,
        }

    async def _keep(self, before: asyncio.Task[None] | None) -> None:
        await _end(before)
        pause_s, said = FIRST_PAUSE_S, ""
        while True:
            try:
                await self._serve()
                self._problem, pause_s, said = "the door ended", FIRST_PAUSE_S, ""
            except GwctlError as error:
                self._problem = error.message
            if self._problem != said:
                said = self._problem
                self._on_note("warning", code="door_failed", text=said)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _serve(self) -> None:
        """Run the door until it ends; raise GwctlError if it does not begin to serve."""
        order = await whole(order_of, self._settings, self._environ)
        argv = [sys.executable, "-m", "gwctl.door.server"]
        env = process.environment_of(process.Child.OURS, self._environ)
        paths = self._settings.paths
        spawned = await whole(_spawn, argv, paths, env)
        self._spawned = spawned
        try:
            if spawned.stdin is not None:
                with contextlib.suppress(OSError):  # it has ended: seen below
                    await asyncio.to_thread(_feed, spawned, order)
            reader = await spawned.stdout_reader()
            try:
                async with asyncio.timeout(READY_TIMEOUT_S):
                    said = await reader.readline()
            except TimeoutError:
                said = b""
            if said.strip() != b"ready":
                raise Configuration(
                    said.decode(errors="replace").strip() or f"the door cannot serve {order.listen}",
                    hint="gwctl logs --supervisor",
                )
            self._problem = None
            self._on_note("door", pid=spawned.pid, address=order.listen)
            await spawned.wait_ended()
        finally:
            self._spawned = None
            if spawned.stdin is not None:
                with contextlib.suppress(OSError):
                    spawned.stdin.close()
            await asyncio.shield(process.stop([spawned.identity], grace_s=GRACE_S))
            spawned.poll()


def _spawn(argv: list[str], paths: Paths, env: Mapping[str, str]) -> process.Spawned:
    return process.spawn(argv, cwd=paths.profile_dir, env=env, log_file=paths.supervisor_log, pipes=True)


def _feed(spawned: process.Spawned, order: Order) -> None:
    if spawned.stdin is not None:
        spawned.stdin.write(order.to_json().encode() + b"\n")
        spawned.stdin.flush()


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
