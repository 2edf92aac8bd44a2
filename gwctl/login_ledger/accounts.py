"""Which ledger counts a profile's logins, and which other profiles' logins count there, too.

IBKR locks a username, whatever profile sent the passwords. So all profiles of one home that have the same username at
the same upstream share one ledger.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from gwctl.config import Settings, read_file
from gwctl.credentials import Secret
from gwctl.login_ledger.rules import HARD_REFUSAL_LIMIT
from gwctl.login_ledger.storage import look_at, noted_account
from gwctl.paths import Paths
from gwctl.profile_registry import known_names
from gwctl.setting_keys import KEYS

_IBKR = re.compile(r"(?:.+\.)?(?:ibkr|interactivebrokers)(?:\.[a-z]+){1,2}\.?", re.ASCII)
"""IBKR's own hosts, of any region: they all ask for the same account."""


def same_username(username: str) -> str:
    """Return a username in the form in which IBKR compares them."""
    return username.strip().lower()


def ledger_secret(username: str, password: Secret) -> Secret:
    """Return the text that the ledger fingerprints: the same password with another username is another login."""
    return Secret(f"{same_username(username)}\n{password.reveal()}")


def respelled(secret: Secret, username: str) -> Secret:
    """Return the text of ``ledger_secret`` as earlier versions made it: with the username as it was configured."""
    _, _, password = secret.reveal().partition("\n")
    return Secret(f"{username}\n{password}")


def account_of(username: str, upstream: str) -> str:
    """Return the name of an account's ledger, which shows neither: a hash of the username and the upstream."""
    host = urlsplit(upstream).hostname or ""
    where = "IBKR" if _IBKR.fullmatch(host) else upstream
    return hashlib.sha256(f"{where}\n{same_username(username)}".encode()).hexdigest()[:32]


class Account(Struct, frozen=True):
    """One profile's account: the ledger that counts its logins, and who shares it.

    ``name`` is None, and ``file`` the profile's own ledger, while neither the settings nor an earlier start of the
    profile name a user: then no login is possible.
    """

    name: str | None
    file: Path
    own_file: Path
    former: tuple[Path, ...] = ()
    """The ledgers in the profiles' folders, from versions that counted each profile alone."""
    shared_with: tuple[str, ...] = ()
    """The other profiles of the same account."""
    limit: int = HARD_REFUSAL_LIMIT
    """The smallest ``rejected_limit`` of all of them."""
    spellings: tuple[str, ...] = ()
    """The username as its profiles configure it: earlier versions fingerprinted passwords with it."""

    @classmethod
    def of(cls, settings: Settings) -> Account:
        """Return the account of the settings' profile; raise Configuration if the settings file cannot be read."""
        paths, username = settings.paths, settings["username"]
        name = account_of(username, settings["upstream"]) if username else account_noted(paths)
        if name is None:
            return cls(None, paths.ledger_file, paths.ledger_file)
        found = {other: (limit, spelling) for other, its, limit, spelling in _others(paths) if its == name}
        others = {other: limit for other, (limit, _) in found.items()}
        spellings = dict.fromkeys(one for one in (username, *(spelling for _, spelling in found.values())) if one)
        ledgers = [replace(paths, profile=profile).ledger_file for profile in (settings.profile, *others)]
        return cls(
            name,
            paths.account_ledger_file(name),
            paths.ledger_file,
            tuple(file for file in ledgers if file.exists() and noted_account(look_at(file)) is None),
            tuple(others),
            min([settings["rejected_limit"], *others.values()]),
            tuple(one for one in spellings if one != same_username(one)),
        )

    @classmethod
    def noted(cls, paths: Paths) -> Account:
        """Return the account of a profile whose settings cannot be read, as its last start noted it."""
        name = account_noted(paths)
        return cls(name, paths.account_ledger_file(name) if name else paths.ledger_file, paths.ledger_file)


def account_noted(paths: Paths) -> str | None:
    """Return the account that the profile's last start noted: the username may have been a variable there."""
    return noted_account(look_at(paths.ledger_file))


def _others(paths: Paths) -> Iterator[tuple[str, str | None, int, str | None]]:
    """Yield every other profile of the home with its account, as far as known, its limit, and its username."""
    content = read_file(paths.config_file)
    defaults = content.get("defaults", {})
    for name in known_names(paths):
        if name == paths.profile:
            continue
        own = content.get("profiles", {}).get(name, {})
        username, upstream, limit = (_value(own, defaults, key) for key in ("username", "upstream", "rejected_limit"))
        noted = None if username else account_noted(replace(paths, profile=name))
        yield name, account_of(username, upstream) if username else noted, limit, username


def _value(own: dict[str, Any], defaults: dict[str, Any], key: str) -> Any:  # noqa: ANN401 - as in Settings
    raw = own.get(key, defaults.get(key))
    with contextlib.suppress(ValueError):
        return KEYS[key].default if raw is None else KEYS[key].parse(raw)
    return KEYS[key].default
