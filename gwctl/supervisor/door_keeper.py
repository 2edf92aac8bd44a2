"""Keep the door open while there is a gateway: a process that ends with this one, and is started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
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
LOOK_EVERY_S = 10.0
LONG_RUN_S = 60.0
_GIVEN = "door_token"
"""The token's name among a service manager's secrets."""


def check_door(settings: Settings) -> None:
    """Raise Configuration if other machines are to use the gateway, which asks nobody who they are, without a door."""
    allowed = settings.values["allow_ips"]
    beyond = [one for one in allowed.value if not network_of(one).is_loopback]
    if beyond and settings["door"] is None:
        raise Configuration(
            f"allow_ips lets {', '.join(beyond)} in ({allowed.source}), and other machines need the door",
            hint=f"gwctl profile set {settings.profile} door=0.0.0.0:5443 (docs/how-to/other-machines.md)",
        )


def order_of(settings: Settings, environ: Mapping[str, str], *, creates: bool = True) -> Order:
    """Return what a profile's door is to serve; raise GwctlError. ``creates``: make a token if there is none."""
    paths, allowed, client_ca = settings.paths, settings.values["allow_ips"], settings["door_client_ca"]
    leaf, token = keystore.kept_leaf(paths), token_in(settings, environ)
    if leaf is None or not (token or client_ca or creates):
        raise Configuration("the door's certificate or token is missing", hint="gwctl restart")
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
        token=token or ("" if client_ca else write_token(paths)),
        client_ca=_pem_in(_expanded(client_ca)) if client_ca else None,
        certificate=leaf.spki_pin_base64,
    )


def token_file(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Return where the door's token is: where the settings or a service manager put it, else in the profile."""
    if settings["door_token_file"]:
        return _expanded(settings["door_token_file"])
    folder = environ.get("CREDENTIALS_DIRECTORY")
    given = Path(folder) / _GIVEN if folder else None
    return given if given is not None and os.access(given, os.F_OK) else settings.paths.door_token_file


def _expanded(text: str) -> Path:
    with contextlib.suppress(RuntimeError):  # no such user: the file with this name is not found then
        return Path(text).expanduser()
    return Path(text)


def token_in(settings: Settings, environ: Mapping[str, str]) -> str:
    """Return the door's token, empty if there is none yet or none is needed; raise Configuration if it is unusable."""
    file, own = token_file(settings, environ), settings.paths.door_token_file
    if settings["door_client_ca"] or (file == own and not file.exists()):
        return ""
    token = _read(file, "door's token", read_ours if file == own else Path.read_bytes).strip()
    if len(token) < SHORTEST_TOKEN or len(token.split()) != 1:
        raise Configuration(
            f"the door's token in {file} is not one word of at least {SHORTEST_TOKEN} characters",
            hint=f"openssl rand -hex 32 >{file}",
        )
    return token


def _pem_in(file: Path) -> str:
    """Return the certificates in a file, without what people write between them; raise Configuration."""
    found = re.findall(
        r"-----BEGIN CERTIFICATE-----[\sA-Za-z0-9+/=]+-----END CERTIFICATE-----", _read(file, "authority")
    )
    if not found:
        raise Configuration(f"door_client_ca: {file} has no certificate in it", hint=f"file {file}")
    return "\n".join(found)


def _read(file: Path, what: str, read: Callable[[Path], bytes] = Path.read_bytes) -> str:
    try:
        return read(file).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Configuration(f"cannot read the {what} from {file}: {why}", hint=f"ls -l {file}") from None


def write_token(paths: Paths) -> str:
    """Write a new token of 256 bits to the profile, and return it; raise DiskTrouble."""
    token = secrets.token_hex(32)
    state_file.make_private_dir(paths.profile_dir)
    state_file.write_bytes(paths.door_token_file, f"{token}\n".encode())
    return token


class DoorKeeper:
    """Runs the door of one profile, if its settings ask for one; ``settings`` returns those in force."""

    def __init__(
        self, settings: Callable[[], Settings], environ: Mapping[str, str], on_note: Callable[..., object]
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._on_note = on_note
        self._keeping: asyncio.Task[None] | None = None
        self._spawned: process.Spawned | None = None
        self._looks = asyncio.Event()
        self._token_file: str | None = None
        self._problem: str | None = None

    def open(self) -> None:
        """Open the door, or look at once whether what it serves has changed; do nothing without the setting."""
        self._looks.set()
        if self._keeping is None and self._settings()["door"] is not None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """Close the door and end its process."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    def describe(self) -> dict[str, Any] | None:
        """Return the ``door`` object of ``status``, None without a door."""
        settings = self._settings()
        if settings["door"] is None:
            return None
        return {
            "address": settings["door"],
            "pid": None if self._spawned is None else self._spawned.pid,
            "read_only": settings["door_read_only"],
            "token_file": self._token_file,
            "problem": self._problem,
        }

    async def _keep(self) -> None:
        pause_s, said = FIRST_PAUSE_S, ""
        while True:
            began_s = time.monotonic()
            try:
                if await self._serve():
                    continue
                self._problem = "the door ended"
            except Exception as error:  # noqa: BLE001 - whatever it is, the door is tried again, and it is said
                self._problem = error.message if isinstance(error, GwctlError) else f"{type(error).__name__} in gwctl"
            if time.monotonic() - began_s > LONG_RUN_S:
                pause_s, said = FIRST_PAUSE_S, ""
            if self._problem != said:
                said = self._problem
                self._on_note("warning", code="door_failed", text=said)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _serve(self) -> bool:
        """Run the door until it ends or should serve something else; return whether it should. Raise GwctlError."""
        self._looks.clear()
        order = await whole(order_of, self._settings(), self._environ)
        self._token_file = None if order.client_ca else str(token_file(self._settings(), self._environ))
        env = process.environment_of(process.Child.OURS, self._environ)
        spawned = await whole(_spawn, self._settings().paths, env)
        ended = asyncio.ensure_future(spawned.wait_ended())
        try:
            with contextlib.suppress(OSError):  # it has ended: seen below
                await asyncio.to_thread(_feed, spawned, order)
            reader = await spawned.stdout_reader()
            said = b""
            with contextlib.suppress(TimeoutError):
                said = (await asyncio.wait_for(reader.readline(), READY_TIMEOUT_S)).strip()
            if said != b"ready":
                text = said.decode(errors="replace") or f"the door cannot serve {order.listen}"
                raise Configuration(text, hint="gwctl logs --supervisor")
            self._spawned, self._problem = spawned, None
            self._on_note("door", pid=spawned.pid, address=order.listen)
            while not ended.done():
                looks = asyncio.ensure_future(self._looks.wait())
                await asyncio.wait({ended, looks}, timeout=LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                looks.cancel()
                self._looks.clear()
                if not ended.done() and await self._wants_another(order):
                    return True
            return False
        finally:
            self._spawned = None
            ended.cancel()
            if spawned.stdin is not None:
                with contextlib.suppress(OSError):
                    spawned.stdin.close()
            await asyncio.shield(process.stop([spawned.identity], grace_s=GRACE_S))
            spawned.poll()

    async def _wants_another(self, order: Order) -> bool:
        """Return whether the token, the certificate or a setting has changed; what cannot be read has not."""
        with contextlib.suppress(GwctlError, OSError):
            return await whole(partial(order_of, self._settings(), self._environ, creates=False)) != order
        return False


def _spawn(paths: Paths, env: Mapping[str, str]) -> process.Spawned:
    argv = [sys.executable, "-m", "gwctl.door.server"]
    return process.spawn(argv, cwd=paths.profile_dir, env=env, log_file=paths.supervisor_log, pipes=True)


def _feed(spawned: process.Spawned, order: Order) -> None:
    if spawned.stdin is not None:
        spawned.stdin.write(order.to_json().encode() + b"\n")
        spawned.stdin.flush()
