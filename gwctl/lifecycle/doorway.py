"""How other machines reach a profile's gateway, and a new token for them."""

from __future__ import annotations

import contextlib
from typing import TypedDict

from gwctl.errors import Configuration, GwctlError
from gwctl.lifecycle.profile import Profile
from gwctl.supervisor.control import NoSupervisor, SupervisorClient
from gwctl.supervisor.door_keeper import token_file, write_token


class Doorway(TypedDict):
    """What a client of the door needs; the token itself stays in its file."""

    base_url: str
    ca_file: str
    token_file: str | None
    client_ca: str | None
    read_only: bool


def door_of(profile: Profile) -> Doorway:
    """Return what a client of the profile's door needs; raise Configuration without a door."""
    settings = profile.settings()
    if settings["door"] is None:
        again = f"{profile.command('down --keep-session')}, then {profile.command('up')}"
        hint = f"gwctl profile set {profile.name} door=0.0.0.0:5443, then {again}"
        raise Configuration(f"profile {profile.name!r} has no door", hint=hint)
    names = settings["certificate_names"]
    name = names[0] if names else "localhost"
    host = f"[{name}]" if ":" in name else name
    client_ca = settings["door_client_ca"]
    file = None if client_ca else str(token_file(settings, profile.environment.variables))
    with contextlib.suppress(
        GwctlError, NoSupervisor
    ):  # a supervisor may have the token from elsewhere than this shell
        found = SupervisorClient.find_with_status(settings.paths)
        shown = None if found is None else found[1].get("door")
        file = file if shown is None else shown["token_file"] or file
    return {
        "base_url": f"https://{host}:{settings['door'].rpartition(':')[2]}/v1/api",
        "ca_file": str(profile.paths.ca_file),
        "token_file": file,
        "client_ca": client_ca,
        "read_only": settings["door_read_only"],
    }


def renew_token(profile: Profile) -> None:
    """Replace the profile's token, and let a running door use the new one at once.

    Raise Configuration if the token is not gwctl's own, or without a door; NoSupervisor if the supervisor ended now.
    """
    settings, shown = profile.settings(), door_of(profile)
    if shown["token_file"] != str(settings.paths.door_token_file):
        where = shown["token_file"] or f"a certificate of {shown['client_ca']}"
        raise Configuration(
            f"the door's key is not gwctl's own: {where}", hint="replace it there; the door sees it within ten seconds"
        )
    write_token(settings.paths)
    supervisor = SupervisorClient.find(settings.paths)
    if supervisor is not None:
        supervisor.command("door")
