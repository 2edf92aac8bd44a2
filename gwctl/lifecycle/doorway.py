"""How other machines reach a profile's gateway, and a new token for them."""

from __future__ import annotations

import contextlib
import time
from typing import TypedDict

from gwctl.errors import Configuration, GwctlError
from gwctl.lifecycle.profile import Profile
from gwctl.paths import Paths
from gwctl.session_status import DoorStatus
from gwctl.signals import checkpoint
from gwctl.supervisor.control import NoSupervisor, SupervisorClient
from gwctl.supervisor.door_keeper import token_file, write_token

OPENS_WITHIN_S = 20.0
LOOK_EVERY_S = 0.05


class Doorway(TypedDict):
    """What a client of the door needs; the token itself stays in its file. ``problem`` says why it is not open."""

    base_url: str
    ca_file: str
    token_file: str | None
    client_ca: str | None
    read_only: bool
    open: bool
    problem: str | None


def door_of(profile: Profile, *, renew: bool = False) -> Doorway:
    """Return what a client of the profile's door needs, once a running gateway's door accepts connections.

    A door that cannot be opened, or whose gateway does not run, is not waited for. ``renew`` replaces the token first,
    which a running door uses from then on. Raise Configuration without a door, or if the token is not gwctl's own.
    """
    settings = profile.settings()
    if settings["door"] is None:
        again = f"{profile.command('down --keep-session')}, then {profile.up_again()}"
        hint = f"gwctl profile set {profile.name} door=0.0.0.0:5443, then {again}"
        raise Configuration(f"profile {profile.name!r} has no door", hint=hint)
    names = settings["certificate_names"]
    name = names[0] if names else "localhost"
    host = f"[{name}]" if ":" in name else name
    client_ca = settings["door_client_ca"]
    file = None if client_ca else str(token_file(settings, profile.environment.variables))
    shown, _ = _look(settings.paths)
    before = None
    if renew:
        _renew_token(settings.paths, file if shown is None else shown["token_file"] or file, client_ca)
        before = None if shown is None else shown["pid"]
    shown = _await_open(settings.paths, before)
    # A supervisor may have the token from elsewhere than this shell.
    file = file if shown is None else shown["token_file"] or file
    return {
        "base_url": f"https://{host}:{settings['door'].rpartition(':')[2]}/v1/api",
        "ca_file": str(profile.paths.ca_file),
        "token_file": file,
        "client_ca": client_ca,
        "read_only": settings["door_read_only"],
        "open": shown is not None and shown["pid"] not in {None, before},
        "problem": None if shown is None else shown["problem"],
    }


def _look(paths: Paths) -> tuple[DoorStatus | None, bool]:
    """Return the running supervisor's door, and whether there is a gateway behind it."""
    with contextlib.suppress(GwctlError, NoSupervisor):
        found = SupervisorClient.find_with_status(paths)
        if found is not None:
            return found[1].get("door"), found[1]["gateway"]["pid"] is not None
    return None, False


def _await_open(paths: Paths, before: int | None) -> DoorStatus | None:
    """Return the door once it is open, in another process than ``before``, or if there is nothing to wait for."""
    deadline_s = time.monotonic() + OPENS_WITHIN_S
    while True:
        checkpoint()
        door, has_gateway = _look(paths)
        is_open = door is not None and door["pid"] not in {None, before}
        if door is None or is_open or door["problem"] or not has_gateway or time.monotonic() > deadline_s:
            return door
        time.sleep(LOOK_EVERY_S)  # until the supervisor's door is open, or the deadline passes


def _renew_token(paths: Paths, file: str | None, client_ca: str | None) -> None:
    """Replace the profile's token, and let a running door use the new one at once."""
    if file != str(paths.door_token_file):
        where = file or f"a certificate of {client_ca}"
        raise Configuration(
            f"the door's key is not gwctl's own: {where}", hint="replace it there; the door sees it within ten seconds"
        )
    write_token(paths)
    supervisor = SupervisorClient.find(paths)
    if supervisor is not None:
        supervisor.command("door")
