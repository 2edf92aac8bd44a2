"""Find the cause of the gateway's trouble in its log; only the causes named here leave it, never a line (law 8)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from gwctl.ownership import open_ours

_TAIL_BYTES = 256 * 1024
_FILES = 2
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)[.,]?(\d{0,6})(Z|[+-]\d\d:?\d\d)")


class Cause(StrEnum):
    """The cause in the log; the last one in the log wins."""

    NONE = "none"
    LOGIN_NOT_VALIDATED = "login_not_validated"
    GAVE_UP = "gave_up"
    REAUTHENTICATION_STOPPED = "reauthentication_stopped"
    BROKERAGE_HANDSHAKE_FAILED = "brokerage_handshake_failed"
    UPSTREAM_ILL = "upstream_ill"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"

    @property
    def text(self) -> str:
        """The text to show to a person."""
        return _TEXTS[self]


_TEXTS = {
    Cause.NONE: "the gateway's log shows no cause",
    Cause.LOGIN_NOT_VALIDATED: "IBKR accepted the login, then refused to validate it; the gateway is retrying",
    Cause.GAVE_UP: "IBKR accepted the login but refused five times to validate it: log in at IBKR's website, log out",
    Cause.REAUTHENTICATION_STOPPED: "IBKR refused the brokerage session five times; the gateway stopped asking",
    Cause.BROKERAGE_HANDSHAKE_FAILED: "the handshake for the brokerage session failed",
    Cause.UPSTREAM_ILL: "IBKR answered the gateway with errors after the login, but refused nothing",
    Cause.UPSTREAM_UNREACHABLE: "the gateway cannot reach IBKR",
}
# The lines that the current release's jar writes at the levels in our logback.xml, in order of precedence within
# one line. A success clears earlier causes.
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
    # What it sees of a front that cannot connect.
    (b"Connection reset by peer", Cause.UPSTREAM_UNREACHABLE),
    (b"java.net.SocketException: Connection reset", Cause.UPSTREAM_UNREACHABLE),
    (b"Connection was closed", Cause.UPSTREAM_UNREACHABLE),
)
_ERROR_STATUS = re.compile(rb"NoStackTraceThrowable: (5\d\d|429)\b")
"""The line below ``authentication to cp failed``: ``Access Denied`` for a 401, otherwise IBKR's status."""
_NO_REFUSAL = {Cause.UPSTREAM_ILL, Cause.UPSTREAM_UNREACHABLE}


def read_cause(gateway_dir: Path, *, since_s: float = 0.0) -> Cause:
    """Return the cause of the latest trouble in ``logs/gw.*.log`` since ``since_s`` (epoch); NONE if there is none.

    Reads at most the last 256 KB of the two newest files; a missing or unreadable log counts as no cause.
    """
    cause = Cause.NONE
    counts = True
    for line in _last_lines(gateway_dir / "logs"):
        stamp_s = _stamp_s(line)
        # A line without a date, as in a stack trace, belongs to the line before it.
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
    """Return the newer cause, unless the known one says more about the same trouble."""
    explains = {*_NO_REFUSAL, Cause.LOGIN_NOT_VALIDATED}
    if known in _NO_REFUSAL and new in {Cause.GAVE_UP, Cause.BROKERAGE_HANDSHAKE_FAILED}:
        # The line before explains why it gave up.
        return known
    if known in {Cause.GAVE_UP, Cause.REAUTHENTICATION_STOPPED} and new in explains:
        return known
    return new


def _last_lines(logs: Path) -> Iterator[bytes]:
    candidates = [path for path in logs.glob("gw.*.log") if not path.name.startswith("gw.message.")]
    newest = sorted(candidates, key=_modified_s)[-_FILES:]
    for path in newest:
        try:
            with os.fdopen(open_ours(path), "rb") as log:
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
