"""What a browser that did not work said itself: its FATAL line, the library it lacks, the signal that ended it.

Chromium prints it on its standard error, which Playwright's driver passes on, with how the process ended
(``DEBUG=pw:browser``).
"""

from __future__ import annotations

import re
import signal
from dataclasses import replace

from gwctl.login.messages import CRASHED
from gwctl.login.outcome import LoginOutcome, LoginReport, tidy

DRIVER = "pw:browser"
LOG_VARIABLES = {"DEBUG": DRIVER, "DEBUG_HIDE_DATE": "1", "DEBUG_COLORS": "0"}
"""What has the driver write it down; there is no message of the protocol in it, nor what is typed."""
LOOKED_AT_BYTES = 256 * 1024
_FATAL = re.compile(r"^.*?(?:\[err\] )?(?P<said>\[[^\]]*:FATAL:[^\]]*\].*)$", re.MULTILINE)
_LIBRARY = re.compile(
    r"^.*?(?P<said>(?:\S+: )?error while loading shared libraries: .*|Library not loaded: .*)$", re.MULTILINE
)
_ENDED = re.compile(r"<process did exit: exitCode=(?P<code>\S+), signal=(?P<signal>\w+)>")
_PRINTED = re.compile(r"\[pid=\d+\]\[(?:err|out)\] (?P<said>.*\S.*)$", re.MULTILINE)
_BY_PLAYWRIGHT = "<forcefully close>"
_CLOSED = re.compile(r": Target (page, context or browser has been closed|crashed)\Z")
_KILLED_CODE = 128 + signal.SIGKILL
"""What a shell that started the browser ends with where that was killed."""


def fatal_line(log: str) -> str | None:
    """Return why the browser ended in its own words; None if it gave no reason."""
    # The last one: where its sandbox cannot be had it was started twice.
    found = [*_FATAL.finditer(log)][-1:] or [*_LIBRARY.finditer(log)][-1:]
    return found[0]["said"].strip() if found else None


def was_killed(log: str) -> bool:
    """Say whether something killed the browser, as the system does where memory runs out (SIGKILL)."""
    ends = [*_ENDED.finditer(log)][-1:]
    killed = any(one["signal"] == "SIGKILL" or one["code"] == str(_KILLED_CODE) for one in ends)
    return killed and _BY_PLAYWRIGHT not in log


def has_ended(log: str) -> bool:
    """Say whether the browser's process is known to have ended."""
    return _ENDED.search(log) is not None


def explained(report: LoginReport, log: str, secrets: tuple[str, ...] = ()) -> LoginReport:
    """Return the report of a login whose browser did not work with what the browser said of itself."""
    if report.outcome is not LoginOutcome.BROWSER_FAILED:
        return report
    reason = fatal_line(log)
    if reason is None and was_killed(log):
        return replace(report, outcome=LoginOutcome.BROWSER_KILLED, text="SIGKILL")
    if reason is None and report.text == CRASHED:
        # The system ends a page's process before the browser's own, and Chromium says nothing of it.
        return replace(report, outcome=LoginOutcome.BROWSER_KILLED)
    if reason is None:
        # No reason of its own: what it printed last is more than Playwright's "has been closed".
        printed = [found["said"].strip() for found in _PRINTED.finditer(log)]
        ends = [one["code"] for one in _ENDED.finditer(log) if one["code"].isdecimal()]
        reason = printed[-1] if printed else f"it ended with code {ends[-1]}" if ends else None
    if reason is None:
        return report
    return replace(report, text=tidy(f"{_CLOSED.sub('', report.text)}: {reason}", secrets))
