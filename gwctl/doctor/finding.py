"""What a check says: a state, what it saw, where, and the next command to type."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How what was looked at is."""

    OK = "ok"
    WARNING = "warning"
    """It works, or will until something else happens."""
    FAILED = "failed"
    NOT_CHECKED = "not_checked"
    """What it needs to look was not there."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check says; ``check`` is the check's code, filled in by who ran it."""

    state: State
    what: str
    remedy: str | None = None
    where: str | None = None
    check: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it for the envelope."""
        return {
            "check": self.check,
            "state": str(self.state),
            "what": self.what,
            "where": self.where,
            "remedy": self.remedy,
        }


def ok(what: str, *, where: object = None) -> Finding:
    """Return that all is well."""
    return Finding(State.OK, what, None, _text(where))


def warning(what: str, remedy: str | None, *, where: object = None) -> Finding:
    """Return that something may hurt later."""
    return Finding(State.WARNING, what, remedy, _text(where))


def failed(what: str, remedy: str | None, *, where: object = None) -> Finding:
    """Return that something is wrong."""
    return Finding(State.FAILED, what, remedy, _text(where))


def not_checked(needed: str) -> Finding:
    """Return that nothing could be said, because ``needed`` is missing."""
    return Finding(State.NOT_CHECKED, f"needs {needed}")


def _text(where: object) -> str | None:
    return None if where is None else str(where)


def summarise(findings: list[Finding]) -> dict[str, int]:
    """Return how many findings there are of each state."""
    return {str(state): sum(one.state is state for one in findings) for state in State}
