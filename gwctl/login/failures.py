"""What is kept of a failed login, and how it reads in plain words: `login --explain`."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gwctl.errors import DiskTrouble
from gwctl.gateway.log_diagnosis import Cause
from gwctl.login.outcome import LoginOutcome, LoginReport, redact
from gwctl.login.page import Page, PageFailed
from gwctl.login.recognition import UNDERSTOOD
from gwctl.state_file import look_at_json, make_private_dir, write_bytes, write_json
from gwctl.times import utc

STEPS_FILE, BROWSER_FILE, PAGE_FILE, PICTURE_FILE = "steps.json", "browser.json", "page.txt", "page.png"
CAUSE_FILE = "cause.json"
NEVER_AUTHENTICATED = "never_authenticated"
"""The end of a login that succeeded and of which no session came; only the gateway's own log knows why."""
KEPT = 10
DEADLINE_S = 8.0
TEXT_LIMIT_CHARS = 20_000
_NOT_KEPT = frozenset({LoginOutcome.SUCCESS, LoginOutcome.CANCELLED})


async def keep(evidence_dir: Path | None, report: LoginReport, page: Page, secrets: tuple[str, ...]) -> LoginReport:
    """Keep what a failed login left on the page, the last ``KEPT`` of them; return the report with the folder's name.

    A browser that is gone or a full disk costs the evidence, never the report.
    """
    if evidence_dir is None or report.outcome in _NOT_KEPT:
        return report
    folder = _new_folder(evidence_dir, report.outcome)
    with contextlib.suppress(DiskTrouble, OSError):
        make_private_dir(evidence_dir)
        make_private_dir(folder)
        _write_steps(folder, report)
        with contextlib.suppress(PageFailed, TimeoutError):
            async with asyncio.timeout(DEADLINE_S):
                secrets = (*secrets, *await page.cookie_values())
        write_json(folder / BROWSER_FILE, page.summary(secrets))
        with contextlib.suppress(PageFailed, TimeoutError):
            async with asyncio.timeout(DEADLINE_S):
                text = redact(await page.visible_text(), secrets)[:TEXT_LIMIT_CHARS]
                write_bytes(folder / PAGE_FILE, text.encode())
                write_bytes(folder / PICTURE_FILE, await page.screenshot(secrets))
        _forget_old(evidence_dir)
        return replace(report, evidence=str(folder))
    return report


def keep_without_page(evidence_dir: Path, report: LoginReport) -> LoginReport:
    """Keep the steps and the cause of a login that had no page; return the report with the folder's name."""
    folder = _new_folder(evidence_dir, report.outcome)
    with contextlib.suppress(DiskTrouble, OSError):
        make_private_dir(evidence_dir)
        make_private_dir(folder)
        _write_steps(folder, report)
        _forget_old(evidence_dir)
        return replace(report, evidence=str(folder))
    return report


def keep_cause(folder: Path, code: str, text: str) -> None:
    """Add to what was kept of a login the cause that the gateway's own log names; a full disk costs the cause."""
    with contextlib.suppress(DiskTrouble, OSError):
        if folder.is_dir():
            write_json(folder / CAUSE_FILE, {"cause": code, "text": text})


def keep_never_authenticated(evidence_dir: Path, report: LoginReport, text: str) -> None:
    """Keep what is known of a login that succeeded and of which no session came; a full disk costs it."""
    folder = _new_folder(evidence_dir, NEVER_AUTHENTICATED)
    with contextlib.suppress(DiskTrouble, OSError):
        make_private_dir(evidence_dir)
        make_private_dir(folder)
        _write_steps(folder, report, outcome=NEVER_AUTHENTICATED)
        keep_cause(folder, NEVER_AUTHENTICATED, text)
        _forget_old(evidence_dir)


def _new_folder(evidence_dir: Path, ending: str) -> Path:
    """Return a new name; the names sort by time, whatever the zone."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return evidence_dir / f"{stamp}-{time.monotonic_ns() % 10**9:09}-{ending}"


def _write_steps(folder: Path, report: LoginReport, *, outcome: str | None = None) -> None:
    kept = {**report.to_json(), "at": utc(time.time())}
    del kept["cookies"]
    kept["outcome"] = outcome or kept["outcome"]
    write_json(folder / STEPS_FILE, kept)


def _forget_old(evidence_dir: Path) -> None:
    folders = sorted(folder for folder in evidence_dir.iterdir() if folder.is_dir())
    for folder in folders[:-KEPT]:
        shutil.rmtree(folder, ignore_errors=True)


# For each end: what happened, and what to do. docs/login.md has the same table.
EXPLANATIONS: dict[str, tuple[str, str]] = {
    LoginOutcome.SUCCESS: ("the login succeeded", "nothing"),
    LoginOutcome.REFUSED: (
        "IBKR refused the username or the password",
        "correct them (gwctl secret check password says where the password came from), then: gwctl up",
    ),
    LoginOutcome.FORM_AGAIN: (
        "IBKR showed the login form again without a word, which is how it refuses at times",
        "log in by hand at IBKR's website to see why, then: gwctl login --reset-lockout",
    ),
    LoginOutcome.LOCKED: (
        "IBKR says that the account is locked",
        "have it unlocked by IBKR, or wait 24 hours, then: gwctl login --reset-lockout",
    ),
    LoginOutcome.WRONG_MODE: (
        "the user is a paper user and the profile says live, or the other way round",
        "set mode in the profile, then: gwctl up",
    ),
    LoginOutcome.PAGE_UNKNOWN: (
        "the login page is not one that gwctl knows; nothing more was sent",
        "gwctl login --probe shows what it found; set the selectors in the profile's page table, and report it",
    ),
    LoginOutcome.PAGE_NEVER_CAME: (
        "the login form never came, with one reload",
        "nothing: it is tried again; if it stays so, gwctl login --probe",
    ),
    LoginOutcome.TIMED_OUT: (
        "IBKR took the form and did not answer in time",
        "nothing: it is tried again; it does not count as a refusal",
    ),
    LoginOutcome.BROWSER_FAILED: (
        "the browser did not start, or ended",
        "gwctl doctor says what it lacks; gwctl browser install gets one",
    ),
    LoginOutcome.BROWSER_KILLED: (
        "the browser was killed, as the system does where memory runs out",
        "give the machine or container more memory",
    ),
    LoginOutcome.FOREIGN_KEY: (
        "another key than the gateway's answers at its port; nothing was sent there",
        "gwctl doctor says who has the port",
    ),
    LoginOutcome.PORT_FORBIDDEN: (
        "browsers do not open the gateway's port",
        "set another port in the profile, then: gwctl up",
    ),
    LoginOutcome.SECOND_FACTOR_NEEDED: (
        "IBKR asked for a second factor, and nobody gave it",
        "set second_factor in the profile, or be there: gwctl login at a terminal",
    ),
    LoginOutcome.SECOND_FACTOR_REFUSED: (
        "IBKR refused the second factor",
        "look at the clock of this machine and at the secret or device, then: gwctl login --reset-lockout",
    ),
    LoginOutcome.UPSTREAM_ILL: (
        "IBKR's login was not available",
        "nothing: it is tried again when IBKR is well; it does not count as a refusal",
    ),
    LoginOutcome.SWALLOWED: (
        "the login page swallowed the form twice; the password never left the browser",
        "nothing: the gateway is restarted and it is tried again",
    ),
    LoginOutcome.COOKIES_DISABLED: ("the login page says that cookies must be enabled", "use another browser"),
    LoginOutcome.UNCLEAR: (
        "IBKR ended the login without a clear reason, which counts as a refusal",
        "log in by hand at IBKR's website to see why, then: gwctl login --reset-lockout",
    ),
    LoginOutcome.UNKNOWN_TEXT: (
        "the login page says something that gwctl does not know; it counts as a refusal",
        "read it, do what it says at IBKR's website, then: gwctl login --reset-lockout",
    ),
    LoginOutcome.CANCELLED: ("the login was stopped before anything was sent", "gwctl status says why"),
    NEVER_AUTHENTICATED: (
        "IBKR took the login and never opened the session",
        "log in once at IBKR's website, answer what it asks, log out there, then: gwctl login --reset-lockout",
    ),
}


@dataclass(frozen=True, slots=True)
class Kept:
    """One failed login as it was kept; ``text`` is the page's own, redacted."""

    folder: Path
    outcome: str
    at: str | None
    text: str
    submits: int
    steps: tuple[tuple[str, float], ...]
    cause: str | None
    files: tuple[str, ...]

    @property
    def what(self) -> str:
        """What happened, in words."""
        return EXPLANATIONS.get(self.outcome, ("the login failed", ""))[0]

    @property
    def understood(self) -> str | None:
        """What was understood of a page that no known version describes, and by what; None for a known one."""
        return next((name for name, _ in self.steps if name.startswith(UNDERSTOOD)), None)

    @property
    def todo(self) -> str:
        """What to do about it."""
        return EXPLANATIONS.get(self.outcome, ("", "gwctl logs --supervisor"))[1]

    def to_json(self) -> dict[str, Any]:
        """Return it for the envelope."""
        return {
            "outcome": self.outcome,
            "at": self.at,
            "what": self.what,
            "todo": self.todo,
            "text": self.text,
            "cause": self.cause,
            "understood": self.understood,
            "submits": self.submits,
            "steps": [{"name": name, "at_ms": at_ms} for name, at_ms in self.steps],
            "folder": str(self.folder),
            "files": list(self.files),
        }


def latest(evidence_dir: Path) -> Kept | None:
    """Return the last failed login that was kept and can be read; None if there is none."""
    if not evidence_dir.is_dir():
        return None
    for folder in sorted((one for one in evidence_dir.iterdir() if one.is_dir()), reverse=True):
        kept = _read(folder)
        if kept is not None:
            return kept
    return None


def _read(folder: Path) -> Kept | None:
    steps = _object_in(folder / STEPS_FILE)
    cause = _object_in(folder / CAUSE_FILE) or {}
    try:
        return (
            None
            if steps is None
            else Kept(
                folder=folder,
                outcome=str(steps["outcome"]),
                at=steps.get("at"),
                text=str(steps.get("text", "")),
                submits=int(steps.get("submits", 0)),
                steps=tuple((str(name), float(at_ms)) for name, at_ms in steps.get("steps", ())),
                cause=None if cause.get("cause") == Cause.NONE else cause.get("text"),
                files=tuple(sorted(file.name for file in folder.iterdir())),
            )
        )
    except (KeyError, TypeError, ValueError, OSError):
        return None


def _object_in(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        return look_at_json(file)[0]
    except OSError:
        return None
