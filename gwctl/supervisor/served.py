"""What the running gateway serves: its release and its settings."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gwctl.config import Settings
from gwctl.errors import ProfileHeld, ReleaseMissing
from gwctl.gateway.launch import adopt
from gwctl.paths import Paths
from gwctl.release.store import Release, ReleaseStore
from gwctl.state_file import look_at_json, read_json, write_json


def choose_release(settings: Settings, store: ReleaseStore) -> Release | None:
    """Return the installed release that the settings ask for, None if it must be downloaded first.

    A version is looked up; the official address means the current release; another file or URL must be downloaded if no
    installed release came from it.
    """
    wanted = str(settings["release"])
    installed = store.list()
    for release in installed:
        if wanted in {release.version, release.source} and release.kind == "standard":
            return release
    if settings.values["release"].source == "built in":
        current = store.current()
        return current if current is not None and current.kind == "standard" else None
    if "/" not in wanted and not wanted.endswith(".zip"):
        raise ReleaseMissing(f"release {wanted!r} is not installed", hint="gwctl release list")
    return None


_MADE_WITH = ("auth_delay_ms", "java_options")


@dataclass(frozen=True, slots=True)
class Served:
    """What a gateway was launched for; ``user`` is a salted hash of username and account kind, not a name."""

    sandbox: bool
    upstream: str
    salt: str
    user: str
    made_with: Mapping[str, Any] = field(default_factory=dict)
    """Settings that the gateway was started with and that are not in its folder."""

    @classmethod
    def now(cls, settings: Settings, *, sandbox: bool, upstream: str) -> Served:
        """Return the record for a gateway that is launched now."""
        salt = secrets.token_hex(16)
        made = {key: settings[key] for key in _MADE_WITH}
        return cls(sandbox, upstream, salt, _user(settings, salt, sandbox=sandbox), made)

    @classmethod
    def load(cls, paths: Paths) -> Served | None:
        """Return the record of the last launch; None if there is none or it is damaged (and then set aside)."""
        raw, _ = read_json(paths.gateway_served_file)
        match raw:
            case {"sandbox": bool(sandbox), "upstream": str(upstream), "salt": str(salt), "user": str(user)}:
                # Earlier versions recorded the setting as it was written.
                return cls(sandbox, upstream.rstrip("/"), salt, user, _made_with(raw))
            case _:
                return None

    def save(self, paths: Paths) -> None:
        """Write the record whole; raise DiskTrouble."""
        write_json(
            paths.gateway_served_file,
            {
                "sandbox": self.sandbox,
                "upstream": self.upstream,
                "salt": self.salt,
                "user": self.user,
                "made_with": dict(self.made_with),
            },
        )

    def is_for(self, settings: Settings, *, sandbox: bool, upstream: str | None) -> bool:
        """Return whether a gateway with this record may be adopted for ``settings``."""
        if (self.sandbox, self.upstream) != (sandbox, upstream):
            return False
        return hmac.compare_digest(self.user, _user(settings, self.salt, sandbox=sandbox))


def made_with(paths: Paths) -> Mapping[str, Any]:
    """Return the recorded settings of the last launch that are not in its folder; change no file."""
    return _made_with(look_at_json(paths.gateway_served_file)[0])


def _made_with(raw: dict[str, Any] | None) -> Mapping[str, Any]:
    told = (raw or {}).get("made_with")
    return told if isinstance(told, dict) else {}


def _user(settings: Settings, salt: str, *, sandbox: bool) -> str:
    # The sandbox has one play account of the profile's kind, with any username.
    who = f"{settings['mode']}\n{'sandbox' if sandbox else settings['username']}"
    return hashlib.sha256(f"{salt}\n{who}".encode()).hexdigest()


def refuse_other_kind(paths: Paths, profile: str, *, sandbox: bool) -> None:
    """Raise ProfileHeld, changing nothing, if a gateway of the other kind (sandbox or IBKR) was left running."""
    served = Served.load(paths)
    if served is None or served.sandbox == sandbox or adopt(paths) is None:
        return
    left = "the sandbox" if served.sandbox else "a session at IBKR"
    option = "" if profile == "default" else f" --profile {profile}"
    raise ProfileHeld(
        f"profile {profile!r} still has a gateway running with {left}", hint=f"gwctl{option} down, or another --profile"
    )
