"""What ``gwctl up`` gives the supervisor it starts: settings and secrets, through a pipe and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gwctl.config import NOTIFY_SECRETS, SECRET_KEYS, Environment, variable_of
from gwctl.credentials import Found, Secret
from gwctl.supervisor.tether import Holder


def revealed(secrets: Mapping[str, Found]) -> dict[str, dict[str, str]]:
    """Return secrets as they go through a pipe or to our own process on loopback."""
    return {name: {"secret": one.secret.reveal(), "source": one.source} for name, one in secrets.items()}


@dataclass(frozen=True, slots=True)
class Handover:
    """The first line of the supervisor's stdin. ``flags`` are settings given on the command line."""

    flags: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Found] = field(default_factory=dict)
    attended: bool = False
    """Whether a person who can be asked waits for what comes of it."""
    by_hand: bool = False
    """Whether a person logs in by hand."""
    holder: Holder | None = None
    """Whose end is the end of what is started."""

    @classmethod
    def make(  # noqa: PLR0913 - one argument a thing that is handed over
        cls,
        environment: Environment,
        flags: Mapping[str, Any],
        found: Mapping[str, Found],
        *,
        attended: bool = False,
        by_hand: bool = False,
        holder: Holder | None = None,
    ) -> Handover:
        """Collect what the supervisor cannot find by itself: the environment, and secrets from a variable or a prompt.

        Its own environment is a child's; the user's programs, which it starts, need the user's.

        Where somebody is told it does not look for itself at all.
        """
        secret_names = {variable_of(key) for key in SECRET_KEYS}
        variables = {name: value for name, value in environment.variables.items() if name not in secret_names}
        fleeting = {
            name: one
            for name, one in found.items()
            if name in NOTIFY_SECRETS or one.source == "prompt" or one.source.startswith("$GWCTL_")
        }
        return cls(flags, variables, fleeting, attended, by_hand, holder)

    def to_line(self) -> bytes:
        """Return the line for the pipe; it holds secrets."""
        value: dict[str, Any] = {
            "flags": dict(self.flags),
            "variables": dict(self.variables),
            "secrets": revealed(self.secrets),
        }
        value |= {"attended": self.attended, "by_hand": self.by_hand}
        value["holder"] = None if self.holder is None else self.holder.to_json()
        return json.dumps(value).encode() + b"\n"

    @classmethod
    def from_line(cls, line: str) -> Handover:
        """Return what ``to_line`` wrote; an empty line is an empty handover."""
        value = json.loads(line) if line.strip() else {}
        secrets = {
            name: Found(Secret(str(one["secret"])), str(one["source"]))
            for name, one in value.get("secrets", {}).items()
        }
        return cls(
            value.get("flags", {}),
            value.get("variables", {}),
            secrets,
            value.get("attended") is True,
            value.get("by_hand") is True,
            Holder.from_json(value.get("holder")),
        )
