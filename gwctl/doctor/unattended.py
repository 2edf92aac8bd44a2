"""The check of what starts gwctl unattended: systemd's units and the crontab point at a gwctl that is there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from gwctl import process
from gwctl.doctor.case import Case
from gwctl.doctor.finding import Finding, failed, ok
from gwctl.errors import TimedOut

_CRONTAB_TIMEOUT_S = 3.0
_EXEC_START = re.compile(r"^\s*ExecStart\s*=\s*[-@:+!]*(.+)$", re.MULTILINE)
_SCHEDULE = re.compile(r"\s*(?:@\w+|(?:\S+\s+){4}\S+)\s+(.+)")
_PATH = re.compile(r"\s*PATH\s*=\s*[\"']?([^\"'\s]+)")
_CRON_PATH = "/usr/bin:/bin"


def check_unattended(case: Case) -> Iterator[Finding]:
    """Look at each unit and each line of the crontab that starts gwctl."""
    programs = [*_of_units(case), *_of_crontab(case)]
    missing = [(program, where) for program, where, path in programs if not _is_there(program, path)]
    for program, where in missing:
        yield failed(f"{where} starts {program}, which is not there", "correct it: command -v gwctl", where=where)
    if not missing:
        places = ", ".join(sorted({where for _, where, _ in programs}))
        yield ok(places or "neither a unit nor a crontab line starts gwctl")


def _of_units(case: Case) -> Iterator[tuple[str, str, str]]:
    home = case.environment.get("XDG_CONFIG_HOME") or f"{case.environment.get('HOME') or ''}/.config"
    for folder in (Path(home) / "systemd" / "user", *case.ports.unit_dirs):
        for unit in sorted(folder.glob("gwctl*.service")) if folder.is_dir() else ():
            for command in _EXEC_START.findall(unit.read_text(errors="replace")):
                words = _words(command.replace("%%", "%"))
                if words:
                    yield words[0], str(unit), _CRON_PATH


def _of_crontab(case: Case) -> Iterator[tuple[str, str, str]]:
    environment = process.child_environment({}, case.environment.variables)
    try:
        done = process.run_short(["crontab", "-l"], timeout_s=_CRONTAB_TIMEOUT_S, env=environment)
    except (OSError, TimedOut):
        return
    path = _CRON_PATH
    for line in done.stdout.splitlines() if done.exit_code == 0 else ():
        named = _PATH.match(line)
        path = named[1] if named is not None else path
        called = None if line.lstrip().startswith("#") else _SCHEDULE.match(line)
        program = _program(_words(called[1].replace(r"\%", "%"))) if called is not None else None
        if program is not None:
            yield program, "the crontab", path


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def _program(words: list[str]) -> str | None:
    """Return what has to be there for a line that calls gwctl: itself, or the Python that it is a module of."""
    at = next((n for n, word in enumerate(words) if Path(word).name == "gwctl"), None)
    if at is None:
        return None
    return words[at - 2] if at >= 2 and words[at - 1] == "-m" else words[at]


def _is_there(program: str, path: str) -> bool:
    if "/" in program:
        # What systemd is to put in the place of a specifier is not known here.
        return "%" in program or os.access(program, os.X_OK)
    return shutil.which(program, path=path) is not None
