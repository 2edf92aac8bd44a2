"""Read from the gateway's own log why it does not get on; only what is named here leaves it, never a line (law 8)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path

_TAIL_BYTES = 256 * 1024
_FILES = 2
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)[.,]?(\d{0,6})(Z|[+-]\d\d:?\d\d)")


class Cause(StrEnum):
    """What the log says; the last one that speaks wins."""

    NONE = "none"
    LOGIN_NOT_VALIDATED = "login_not_validated"
    GAVE_UP = "gave_up"
    REAUTHENTICATION_STOPPED = "reauthentication_stopped"
    BROKERAGE_HANDSHAKE_FAILED = "brokerage_handshake_failed"
    UPSTREAM_ILL = "upstream_ill"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"

    @property
    def text(self) -> str:
        """What to tell a person."""
        return _TEXTS[self]


_TEXTS = {
    Cause.NONE: "the gateway's log names no cause",
    Cause.LOGIN_NOT_VALIDATED: "IBKR took the login and then refused to validate it; the gateway tries again",
    Cause.GAVE_UP: "IBKR took the login and refused to validate it five times: log in once at IBKR's website, log out",
    Cause.REAUTHENTICATION_STOPPED: "the brokerage session was refused five times; the gateway stopped asking",
    Cause.BROKERAGE_HANDSHAKE_FAILED: "the hand-shake for the brokerage session failed",
    Cause.UPSTREAM_ILL: "IBKR answered the gateway with errors after the login; nothing was refused",
    Cause.UPSTREAM_UNREACHABLE: "the gateway cannot reach IBKR",
}
# What the jar of the current release writes, at the levels our logback.xml keeps; the order is that of precedence
# within one line. A success forgets what came before it.
_SIGNS: tuple[tuple[bytes, Cause], ...] = (
    (b"authenticated to cp", Cause.NONE),
    (b"giving up", Cause.GAVE_UP),
    (b"Reauthentication failed", Cause.REAUTHENTICATION_STOPPED),
    (b"authentication to cp failed", Cause.LOGIN_NOT_VALIDATED),
    (b"ssodh failed", Cause.BROKERAGE_HANDSHAKE_FAILED),
    (b"iserver init failed", Cause.BROKERAGE_HANDSHAKE_FAILED),
    (b"java.net.ConnectException", Cause.UPSTREAM_UNREACHABLE),
    (b"java.net.UnknownHostException", Cause.UPSTREAM_UNREACHABLE),
    (b"Connection refused", Cause.UPSTREAM_UNREACHABLE),
)
_ERROR_STATUS = re.compile(rb"NoStackTraceThrowable: (5\d\d|429)\b")
"""What stands below ``authentication to cp failed``: ``Access Denied`` for a 401, else the status that IBKR sent."""
_NO_REFUSAL = {Cause.UPSTREAM_ILL, Cause.UPSTREAM_UNREACHABLE}


def read_cause(gateway_dir: Path, *, since_s: float = 0.0) -> Cause:
    """Return the cause of the latest trouble in ``logs/gw.*.log`` from ``since_s`` (epoch) on; NONE if there is none.

    Reads the last 256 KB of the two newest files at most; a log that is missing or unreadable is no cause.
    """
    cause = Cause.NONE
    counts = True
    for line in _last_lines(gateway_dir / "logs"):
        stamp_s = _stamp_s(line)
        # A line without a date (a stack trace) belongs to the one before it.
        counts = counts if stamp_s is None else stamp_s >= since_s
        if not counts:
            continue
        meant = _meant(line)
        if meant is not None:
            cause = _worse(cause, meant)
    return cause


def _meant(line: bytes) -> Cause | None:
    if _ERROR_STATUS.search(line):
        return Cause.UPSTREAM_ILL
    return next((meant for sign, meant in _SIGNS if sign in line), None)


def _worse(known: Cause, new: Cause) -> Cause:
    """Return the newer cause, unless it only explains in other words one that is known and says more."""
    explains = {*_NO_REFUSAL, Cause.LOGIN_NOT_VALIDATED}
    if known in _NO_REFUSAL and new in {Cause.GAVE_UP, Cause.BROKERAGE_HANDSHAKE_FAILED}:
        # It gave up because of what the line before says.
        return known
    if known in {Cause.GAVE_UP, Cause.REAUTHENTICATION_STOPPED} and new in explains:
        return known
    return new


def _last_lines(logs: Path) -> Iterator[bytes]:
    candidates = [path for path in logs.glob("gw.*.log") if not path.name.startswith("gw.message.")]
    newest = sorted(candidates, key=_modified_s)[-_FILES:]
    for path in newest:
        try:
            with path.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(0, size - _TAIL_BYTES))
                yield from log.read(_TAIL_BYTES).splitlines()
        except OSError:
            continue


def _modified_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _stamp_s(line: bytes) -> float | None:
    match = _STAMP.match(line)
    if match is None:
        return None
    whole, fraction, zone = (part.decode() for part in match.groups())
    try:
        return datetime.fromisoformat(f"{whole}.{fraction or 0:0<6}{zone}").timestamp()
    except ValueError:
        return None
