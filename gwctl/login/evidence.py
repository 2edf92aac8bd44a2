"""What is kept of a failed login; no secrets.

Its steps, the page's text and a picture with every field covered, the browser's requests (without queries, bodies and
cookies) and console, and the cause that the gateway's own log names.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from dataclasses import replace
from pathlib import Path

from gwctl.errors import DiskTrouble
from gwctl.login.outcome import LoginOutcome, LoginReport, redact
from gwctl.login.page import Page, PageFailed
from gwctl.state_file import make_private_dir, write_bytes, write_json

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
    kept = {**report.to_json(), "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    del kept["cookies"]
    kept["outcome"] = outcome or kept["outcome"]
    write_json(folder / STEPS_FILE, kept)


def _forget_old(evidence_dir: Path) -> None:
    folders = sorted(folder for folder in evidence_dir.iterdir() if folder.is_dir())
    for folder in folders[:-KEPT]:
        shutil.rmtree(folder, ignore_errors=True)
