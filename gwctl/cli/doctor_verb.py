"""``gwctl doctor``: find what is wrong, and what to type to fix it."""

from __future__ import annotations

import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome, printable, wants_color
from gwctl.errors import Usage

if TYPE_CHECKING:
    from gwctl.doctor.case import Finding

WIDTH = 80
_WORDS = {"ok": "ok", "warning": "warning", "failed": "failed", "not_checked": "not checked"}
_COLORS = {"ok": "\x1b[32m", "warning": "\x1b[33m", "failed": "\x1b[31m", "not_checked": "\x1b[2m"}
_RESET = "\x1b[0m"


@click.command("doctor")
@click.option("--bundle", type=click.Path(path_type=Path), metavar="FILE",
              help="Also write a redacted zip for a bug report.")  # fmt: skip
@click.option("--force", is_flag=True, help="Let --bundle overwrite an existing file.")
@verb
def doctor(call: Call, *, bundle: Path | None, force: bool) -> Outcome:
    """Check everything a session needs and show how to fix what is wrong; changes nothing.

    Exits with 1 if a check failed; warnings do not count.
    """
    from gwctl.doctor import CHECKS
    from gwctl.doctor.case import Case, State, examine, summarise

    paths = call.paths
    if bundle is not None:
        _check_target(call, bundle, force=force)
    case = Case(call.profile_name, call.environment, paths)
    began_s = time.monotonic()
    findings = examine(case, CHECKS)
    summary: dict[str, Any] = {**summarise(findings), "took_s": round(time.monotonic() - began_s, 2)}
    data: dict[str, Any] = {
        "profile": call.profile_name,
        "findings": [one.to_json() for one in findings],
        "summary": summary,
        "bundle": None,
    }
    if bundle is not None:
        from gwctl.doctor.bundle import write_bundle

        write_bundle(bundle, case, findings)
        data["bundle"] = str(bundle)
        call.say(f"wrote {bundle}; check it before you send it")
    exit_code = 1 if any(one.state is State.FAILED for one in findings) else 0
    colored = wants_color(sys.stdout, no_color=call.no_color)
    return Outcome(data, render(findings, summary, quiet=call.quiet, colored=colored), exit_code)


def _check_target(call: Call, file: Path, *, force: bool) -> None:
    again = call.command(f"doctor --bundle {file} --force")
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise Usage(f"--bundle {file}: not a file in an existing folder", hint="name a file in an existing folder")
    if file.exists() and not force:
        raise Usage(f"--bundle {file}: the file already exists", hint=again)


def render(findings: list[Finding], summary: dict[str, Any], *, quiet: bool, colored: bool) -> str:
    """Return the findings for a person, 80 columns wide; if quiet, only the problems."""
    shown = [one for one in findings if not quiet or one.state in {"warning", "failed"}]
    width = max((len(one.check) for one in findings), default=0)
    rows = [row for one in shown for row in _rows(one, width, colored=colored)]
    if not quiet:
        counts = ", ".join(f"{summary[state]} {word}" for state, word in _WORDS.items() if summary[state])
        rows += ["", f"{counts} ({summary['took_s']:.1f} s)"]
    return "\n".join(rows)


def _rows(finding: Finding, width: int, *, colored: bool) -> list[str]:
    word = f"{_WORDS[finding.state]:<11}"
    indent = " " * (len(word) + width + 4)
    where = f" [{finding.where}]" if finding.where and finding.where not in finding.what else ""
    head = f"{word}  {finding.check:<{width}}  "
    rows = _wrapped(printable(finding.what + where), head, indent)
    if colored:
        rows[0] = _COLORS[finding.state] + word + _RESET + rows[0][len(word) :]
    if finding.remedy:
        rows += _wrapped(printable(finding.remedy), f"{indent}try: ", f"{indent}     ")
    return rows


def _wrapped(text: str, first: str, later: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]
