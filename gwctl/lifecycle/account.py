"""What `gwctl setup` knows of an account: what looks wrong with a username, and where secrets are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from gwctl.config import load, profile_names
from gwctl.credentials import Secret, doubt_of_username
from gwctl.environment import Environment, secrets_out_of_reach
from gwctl.errors import GwctlError
from gwctl.lifecycle.profile import Profile
from gwctl.setting_keys import SECRET_KEYS
from gwctl.state_file import make_missing, write_bytes
from gwctl.system_keyring import delete_from_keyring, import_keyring, store_in_keyring

_PLACES = {"GWCTL_HOME", "GWCTL_TRUST_HOME", "HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"}
_RECOMMENDED = 1
"""Keyrings of a lower priority keep secrets where others can read them, or nowhere (keyring's own advice)."""


class Keep(StrEnum):
    """Where a secret is kept."""

    KEYRING = "keyring"
    FILE = "file"
    ASK = "ask"


def doubts_of_username(profile: Profile, username: str, mode: str) -> Iterator[str]:
    """Yield what looks wrong with a username of that account kind; IBKR's page says the same of all: refused."""
    doubt = doubt_of_username(username)
    if doubt is not None:
        yield doubt
    written = Environment({name: value for name, value in profile.environment.variables.items() if name in _PLACES})
    for name in profile_names(profile.environment):
        try:
            other = load(name, environment=written)
        except GwctlError:  # a folder or a table of somebody else's
            continue
        if name != profile.name and other["mode"] != mode and str(other["username"]).lower() == username.lower():
            yield f"profile {name!r} has that username as a {other['mode']} account; a paper account has one of its own"


def keyring_is_usable() -> bool:
    """Return whether this machine has a keyring that keeps secrets from others, and that opens."""
    try:
        keyring = import_keyring()
    except ImportError:
        return False
    with secrets_out_of_reach():
        try:
            return float(keyring.get_keyring().priority) >= _RECOMMENDED
        except (keyring.errors.KeyringError, ImportError, RuntimeError, AttributeError, TypeError):
            return False


def secret_file(profile: Profile, name: str) -> Path:
    """Return the file in which `gwctl setup` keeps a secret."""
    return profile.paths.config_dir / f"{profile.name}.{name}"


def keep_secret(profile: Profile, name: str, secret: Secret | None, keep: Keep) -> dict[str, str | None]:
    """Keep a secret, or with ``ASK`` none; return the settings that lead to it, None for those to be removed.

    Raise Unavailable if the keyring does not take it, DiskTrouble if the file cannot be written.
    """
    file = secret_file(profile, name)
    if keep is Keep.FILE and secret is not None:
        make_missing(file.parent)
        write_bytes(file, f"{secret.reveal()}\n".encode())
        return {f"{name}_file": str(file), f"{name}_command": None}
    if keep is Keep.KEYRING and secret is not None:
        store_in_keyring(profile.paths, name, secret)
    elif keep is Keep.ASK:
        with suppress(GwctlError):  # there was none
            delete_from_keyring(profile.paths, name)
    file.unlink(missing_ok=True)
    return {f"{name}_file": None, f"{name}_command": None}


def forget_secrets(profile: Profile) -> None:
    """Remove the files in which `gwctl setup` kept the profile's secrets."""
    for name in SECRET_KEYS:
        secret_file(profile, name).unlink(missing_ok=True)
