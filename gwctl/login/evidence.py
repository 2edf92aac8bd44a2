"""What is kept of a failed login: its steps, the page's text and a picture with every field covered; no secrets."""

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
    folder = evidence_dir / f"{time.strftime('%Y%m%dT%H%M%S')}-{time.monotonic_ns() % 10**6:06}-{report.outcome}"
    with contextlib.suppress(DiskTrouble, OSError):
        make_private_dir(evidence_dir)
        make_private_dir(folder)
        _write_steps(folder, report)
        with contextlib.suppress(PageFailed, TimeoutError):
            async with asyncio.timeout(DEADLINE_S):
                text = redact(await page.visible_text(), secrets)[:TEXT_LIMIT_CHARS]
                write_bytes(folder / "page.txt", text.encode())
                write_bytes(folder / "page.png", await page.screenshot(secrets))
        _forget_old(evidence_dir)
        return replace(report, evidence=str(folder))
    return report


def _write_steps(folder: Path, report: LoginReport) -> None:
    kept = report.to_json()
    del kept["cookies"]
    write_json(folder / "steps.json", kept)


def _forget_old(evidence_dir: Path) -> None:
    folders = sorted(folder for folder in evidence_dir.iterdir() if folder.is_dir())
    for folder in folders[:-KEPT]:
        shutil.rmtree(folder, ignore_errors=True)
