"""Journal entries as lines for people. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from gwctl.history.replay import seconds_at
from gwctl.session_status import RESTART_ASKED

LINES = 8


class Line(Struct, frozen=True):
    """One event in words; wall-clock seconds."""

    at_s: float
    text: str


_NOT_WELL = {"degraded", "recovering", "backoff", "locked_out"}


def is_well(entry: Mapping[str, Any]) -> bool:
    """Return whether a journal entry that people read is of something that goes as it should."""
    if entry.get("kind") == "phase":
        return entry.get("phase") not in _NOT_WELL or entry.get("reason") == RESTART_ASKED
    return entry.get("kind") != "warning" and entry.get("outcome", "success") == "success"


def describe(entry: Mapping[str, Any], *, with_times: bool = True) -> str | None:
    """Return a journal entry as a line for people, None if it is not meant for them.

    ``with_times``: with how long it took, where the line itself shows no time.
    """
    line: str | None = None
    match entry:
        case {"kind": "phase", "reason": reason}:
            line = str(reason)
        case {"kind": "gateway", "pid": pid, "port": port, "answered_s": answered_s}:
            line = f"gateway answers on port {port} (pid {pid}{f', {answered_s} s' if with_times else ''})"
        case {"kind": "adopted", "pid": pid}:
            line = f"took over the running gateway (pid {pid})"
        case {"kind": "step", "step": str(step)} if step.startswith("ended: "):
            line = None  # the login's own entry follows, with its duration
        case {"kind": "step", "step": step}:
            line = f"login: {str(step).replace('_', ' ')}"
        case {"kind": "login", "outcome": outcome, "took_s": took_s}:
            line = f"login: {str(outcome).replace('_', ' ')}{f' after {took_s} s' if with_times else ''}"
        case {"kind": "warning" | "question", "text": text}:
            line = str(text)
    return line


def last_lines(entries: Iterable[Mapping[str, Any]], count: int = LINES) -> list[Line]:
    """Return the last entries that matter to people, oldest first, without repetitions."""
    lines: list[Line] = []
    for entry in reversed(list(entries)):
        text, at_s = describe(entry), seconds_at(entry, "at")
        if text is None or at_s is None or (lines and lines[-1].text == text):
            continue
        lines.append(Line(at_s, text))
        if len(lines) == count:
            break
    return lines[::-1]
