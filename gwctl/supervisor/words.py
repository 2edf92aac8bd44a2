"""Journal entries as lines for a person."""

from __future__ import annotations

from typing import Any


def describe(entry: dict[str, Any]) -> str | None:
    """Return a journal entry as a line for a person, None if it is not for one."""
    line: str | None = None
    match entry:
        case {"kind": "phase", "reason": reason}:
            line = str(reason)
        case {"kind": "gateway", "pid": pid, "port": port, "answered_s": answered_s}:
            line = f"gateway answers on port {port} (pid {pid}, {answered_s} s)"
        case {"kind": "adopted", "pid": pid}:
            line = f"took over the running gateway (pid {pid})"
        case {"kind": "step", "step": str(step)} if step.startswith("ended: "):
            line = None  # the login's own entry follows, with how long it took
        case {"kind": "step", "step": step}:
            line = f"login: {str(step).replace('_', ' ')}"
        case {"kind": "login", "outcome": outcome, "took_s": took_s}:
            line = f"login: {str(outcome).replace('_', ' ')} after {took_s} s"
        case {"kind": "warning" | "question", "text": text}:
            line = str(text)
    return line
