"""The check of what starts gwctl unattended: systemd's units and the crontab point at a gwctl that is there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from gwctl.doctor.case import Case
from gwctl.doctor.finding import Finding, failed, ok
from gwctl.errors import TimedOut
from gwctl.gateway import process

_CRONTAB_TIMEOUT_S = 3.0
_EXEC_START = re.compile(r"^\s*ExecStart\s*=\s*[-@:+!]*(.+)$", re.MULTILINE)
_SCHEDULE = re.compile(r"\s*(?:@\w+|(?:\S+\s+){4}\S+)\s+(.+)")
_CRON_PATH = "/usr/bin:/bin"


def check_unattended(case: Case) -> Iterator[Finding]:
    """Look at each unit and each line of the crontab that starts gwctl."""
    programs = [*_of_units(case), *_of_crontab(case)]
    missing = [(program, where) for program, where in programs if not _is_there(program)]
    for program, where in missing:
        yield failed(f"{where} starts {program}, which is not there", "correct it: command -v gwctl", where=where)
    if not missing:
        yield ok(
            ", ".join(sorted({where for _, where in programs})) or "neither a unit nor a crontab line starts gwctl"
        )


def _of_units(case: Case) -> Iterator[tuple[str, str]]:
    home = case.environment.get("XDG_CONFIG_HOME") or f"{case.environment.get('HOME') or ''}/.config"
    for folder in (Path(home) / "systemd" / "user", *case.ports.unit_dirs):
        for unit in sorted(folder.glob("gwctl*.service")) if folder.is_dir() else ():
            for command in _EXEC_START.findall(unit.read_text(errors="replace")):
                yield command.split()[0].strip("\"'"), str(unit)


def _of_crontab(case: Case) -> Iterator[tuple[str, str]]:
    environment = process.child_environment({}, case.environment.variables)
    try:
        done = process.run_short(["crontab", "-l"], timeout_s=_CRONTAB_TIMEOUT_S, env=environment)
    except (OSError, TimedOut):
        return
    for line in done.stdout.splitlines() if done.exit_code == 0 else ():
        matched = None if line.lstrip().startswith("#") else _SCHEDULE.match(line)
        if matched is None:
            continue
        try:
            words = shlex.split(matched[1])
        except ValueError:
            continue
        for word in words:
            if Path(word).name == "gwctl":
                yield word, "the crontab"
                break


def _is_there(program: str) -> bool:
    if "/" in program:
        return "%" in program or os.access(program, os.X_OK)
    return shutil.which(program, path=_CRON_PATH) is not None
