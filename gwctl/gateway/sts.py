"""What the messages of the gateway's WebSocket say of the session; pure, and nothing in them is believed blindly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Push:
    """One message with a topic."""

    topic: str
    args: Mapping[str, object]
    beats: bool = False


def read_push(message: bytes | str) -> Push | None:
    """Return what a message says, or None for what is no message of IBKR's; never raises."""
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("topic"), str):
        return None
    args = value.get("args")
    return Push(value["topic"], args if isinstance(args, dict) else {}, "hb" in value)


@dataclass(frozen=True, slots=True)
class Said:
    """What ``sts`` has said on one connection so far; IBKR may send one field without the others (Voyz/ibind 25)."""

    authenticated: bool | None = None
    competing: bool | None = None
    connected: bool | None = None

    def and_then(self, args: Mapping[str, object]) -> Said:
        """Return it with what ``args`` say; what is no boolean is not said."""
        return Said(
            _flag(args, "authenticated", self.authenticated),
            _flag(args, "competing", self.competing),
            _flag(args, "connected", self.connected),
        )

    @property
    def ready(self) -> bool | None:
        """Whether the session can be used; None while that was not said."""
        if self.authenticated is False or self.connected is False or self.competing:
            return False
        return self.authenticated


def says_something(args: Mapping[str, object]) -> bool:
    """Say whether these arguments of ``sts`` are about the session at all."""
    return Said().and_then(args) != Said()


def _flag(args: Mapping[str, object], name: str, before: bool | None) -> bool | None:  # noqa: FBT001 - a field's value
    value = args.get(name)
    return value if isinstance(value, bool) else before
