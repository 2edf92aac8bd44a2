"""The evidence of a failed login, and its explanation in plain words: `login --explain`."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import Struct

from gwctl.errors import DiskTrouble
from gwctl.gateway.log_diagnosis import Cause
from gwctl.login.browser_reports import PageFailed
from gwctl.login.outcome import ENDINGS, Ending, LoginOutcome, LoginReport, redact
from gwctl.login.page import Page
from gwctl.login.recognition import UNDERSTOOD
from gwctl.login.start_failures import remedy_of_start
from gwctl.state_file import look_at_json, make_private_dir, write_bytes, write_json
from gwctl.times import utc

STEPS_FILE, BROWSER_FILE, PAGE_FILE, PICTURE_FILE = "steps.json", "browser.json", "page.txt", "page.png"
CAUSE_FILE = "cause.json"
NEVER_AUTHENTICATED = "never_authenticated"
"""The end of a login that succeeded without a session; only the gateway's log knows why."""
KEPT = 10
DEADLINE_S = 8.0
TEXT_LIMIT_CHARS = 20_000
_NOT_KEPT = frozenset({LoginOutcome.SUCCESS, LoginOutcome.CANCELLED})


async def keep(evidence_dir: Path | None, report: LoginReport, page: Page, secrets: tuple[str, ...]) -> LoginReport:
    """Keep the evidence of a failed login, of the last ``KEPT`` ones; return the report with the folder's name.

    If the browser is gone or the disk is full, the evidence is lost, but never the report.
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
        write_json(folder / BROWSER_FILE, page.wire.summary(secrets))
        with contextlib.suppress(PageFailed, TimeoutError):
            async with asyncio.timeout(DEADLINE_S):
                text = redact(await page.visible_text(), secrets)[:TEXT_LIMIT_CHARS]
                write_bytes(folder / PAGE_FILE, text.encode())
                write_bytes(folder / PICTURE_FILE, await page.screenshot(secrets))
        _forget_old(evidence_dir)
        return replace(report, evidence=str(folder))
    return report


def keep_without_page(evidence_dir: Path, report: LoginReport) -> LoginReport:
    """Keep the steps and the cause of a login that never had a page; return the report with the folder's name."""
    folder = _new_folder(evidence_dir, report.outcome)
    with contextlib.suppress(DiskTrouble, OSError):
        make_private_dir(evidence_dir)
        make_private_dir(folder)
        _write_steps(folder, report)
        _forget_old(evidence_dir)
        return replace(report, evidence=str(folder))
    return report


def keep_cause(folder: Path, code: str, text: str) -> None:
    """Add the cause from the gateway's log to a login's evidence; if the disk is full, the cause is lost."""
    with contextlib.suppress(DiskTrouble, OSError):
        if folder.is_dir():
            write_json(folder / CAUSE_FILE, {"cause": code, "text": text})


def keep_never_authenticated(evidence_dir: Path, report: LoginReport, text: str) -> None:
    """Keep the facts of a login that succeeded without a session; if the disk is full, they are lost."""
    folder = _new_folder(evidence_dir, NEVER_AUTHENTICATED)
    with contextlib.suppress(DiskTrouble, OSError):
        make_private_dir(evidence_dir)
        make_private_dir(folder)
        _write_steps(folder, report, outcome=NEVER_AUTHENTICATED)
        keep_cause(folder, NEVER_AUTHENTICATED, text)
        _forget_old(evidence_dir)


def _new_folder(evidence_dir: Path, ending: str) -> Path:
    """Return a new name; names sort by time in any time zone."""
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


NEVER_OPENED = Ending(
    "IBKR accepted the login but never opened the session",
    "log in once at IBKR's website, answer what it asks, log out there, then: gwctl login --reset-lockout",
)


def ending_of(name: str) -> Ending | None:
    """Return what a login's ending means by its name; None for a name of another version's."""
    if name == NEVER_AUTHENTICATED:
        return NEVER_OPENED
    return ENDINGS[LoginOutcome(name)] if name in set(LoginOutcome) else None


class FailureRecorder(Struct, frozen=True):
    """The evidence of one failed login; ``text`` is the page's own, redacted."""

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
        return ending.text if (ending := ending_of(self.outcome)) else "the login failed"

    @property
    def understood(self) -> str | None:
        """What was recognized on an unknown page, and by what; None for a known one."""
        return next((name for name, _ in self.steps if name.startswith(UNDERSTOOD)), None)

    @property
    def todo(self) -> str:
        """What to do about it."""
        if self.outcome == LoginOutcome.BROWSER_FAILED:
            return remedy_of_start(self.text)
        return ending.remedy if (ending := ending_of(self.outcome)) else "gwctl logs --supervisor"

    def to_json(self) -> dict[str, Any]:
        """Return the evidence as JSON for the envelope."""
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


def latest(evidence_dir: Path) -> FailureRecorder | None:
    """Return the evidence of the last failed login that can be read; None if there is none."""
    if not evidence_dir.is_dir():
        return None
    for folder in sorted((one for one in evidence_dir.iterdir() if one.is_dir()), reverse=True):
        kept = _read(folder)
        if kept is not None:
            return kept
    return None


def _read(folder: Path) -> FailureRecorder | None:
    steps = _object_in(folder / STEPS_FILE)
    cause = _object_in(folder / CAUSE_FILE) or {}
    try:
        return (
            None
            if steps is None
            else FailureRecorder(
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
