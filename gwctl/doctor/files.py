"""Checks of files: settings, state, permissions, logs, and the units and crontab lines that start gwctl."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gwctl.config import load, profile_names
from gwctl.doctor.case import Case, Finding, failed, nearest, ok, warning
from gwctl.errors import GwctlError
from gwctl.integrations.service_managers import read_crontab
from gwctl.ownership import Untrusted
from gwctl.state_file import look_at_json
from gwctl.supervisor.served import up_again

_EXEC_START = re.compile(r"^\s*ExecStart\s*=\s*[-@:+!]*(.+)$", re.MULTILINE)
_SCHEDULE = re.compile(r"\s*(?:@\w+|(?:\S+\s+){4}\S+)\s+(.+)")
_PATH = re.compile(r"\s*PATH\s*=\s*[\"']?([^\"'\s]+)")
_CRON_PATH = "/usr/bin:/bin"
_NAMED_AT_MOST = 3
_LARGE_LOGS_BYTES = 500_000_000
_PUBLIC = frozenset({"ca.pem", "bundle.pem"})
"""Files that others may read: certificates without a key."""
_FOREIGN, _READABLE, _WRITABLE = "owned by another user", "readable by others", "writable by others"


def check_unattended(case: Case) -> Iterator[Finding]:
    """Check each systemd unit and each crontab line that starts gwctl."""
    programs = [*_of_units(case), *_of_crontab(case)]
    missing = [(program, where) for program, where, path in programs if not _is_there(program, path)]
    for program, where in missing:
        yield failed(f"{where} starts {program}, which does not exist", "correct it: command -v gwctl", where=where)
    if not missing:
        places = ", ".join(sorted({where for _, where, _ in programs}))
        yield ok(places or "no unit or crontab line starts gwctl")


def _of_units(case: Case) -> Iterator[tuple[str, str, str]]:
    home = case.environment.get("XDG_CONFIG_HOME") or f"{case.environment.get('HOME') or ''}/.config"
    for folder in (Path(home) / "systemd" / "user", *case.ports.unit_dirs):
        for unit in sorted(folder.glob("gwctl*.service")) if folder.is_dir() else ():
            for command in _EXEC_START.findall(unit.read_text(errors="replace")):
                words = _words(command.replace("%%", "%"))
                if words:
                    yield words[0], str(unit), _CRON_PATH


def _of_crontab(case: Case) -> Iterator[tuple[str, str, str]]:
    try:
        crontab = read_crontab(case.environment.variables)
    except GwctlError:
        return
    path = _CRON_PATH
    for line in crontab.splitlines():
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
    """Return the program that a line calling gwctl needs: gwctl itself, or the Python that runs it as a module."""
    at = next((n for n, word in enumerate(words) if Path(word).name == "gwctl"), None)
    if at is None:
        return None
    return words[at - 2] if at >= 2 and words[at - 1] == "-m" else words[at]


def _is_there(program: str, path: str) -> bool:
    if "/" in program:
        # gwctl cannot know what systemd will substitute for a specifier.
        return "%" in program or os.access(program, os.X_OK)
    return shutil.which(program, path=path) is not None


def check_home(case: Case) -> Iterator[Finding]:
    """Check that no other user could have written the settings, records and logs; if one could, read none of them."""
    try:
        case.paths.require_ours()
    except Untrusted as error:
        if case.environment.trusts_home:
            yield ok(f"{error.message.partition(':')[0]}; GWCTL_TRUST_HOME is set")
        else:
            yield failed(error.message, error.hint)
    else:
        yield ok("no other user can write there", where=case.paths.profile_dir)


def check_settings(case: Case) -> Iterator[Finding]:
    """Read the settings: ``config.toml``, environment variables, the profile."""
    case.settings = settings = load(case.profile, environment=case.environment)
    file = case.paths.config_file
    if case.profile not in profile_names(case.environment):
        yield warning(
            f"there is no profile {case.profile!r}: the defaults apply",
            f"gwctl profile create {case.profile}",
            where=file,
        )
        return
    given = sum(one.source != "built in" for one in settings.values.values())
    if file.exists() and _is_readable_by_others(file) and _names_secrets(case):
        yield warning(
            "other users can read where the secrets come from", f"chmod 600 {shlex.quote(str(file))}", where=file
        )
        return
    yield ok(f"{given} of {len(settings.values)} set, the others built in", where=file if file.exists() else None)


def _names_secrets(case: Case) -> bool:
    return any(case.known[name] for name in ("password_command", "totp_secret_command", "second_factor_command"))


def _is_readable_by_others(file: Path) -> bool:
    """Say whether another user could open ``file``: by its mode and by the modes of the folders above it."""
    if not file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return False
    return all(folder.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for folder in file.absolute().parents)


def check_permissions(case: Case) -> Iterator[Finding]:
    """Check mode and owner of every file of the profile, the authority and the releases."""
    paths = case.paths
    remedies = {_FOREIGN: f"sudo chown -R {_me()}", _READABLE: "chmod go=", _WRITABLE: "chmod go-w"}
    wrong: dict[str, list[Path]] = {what: [] for what in remedies}
    for folder in (paths.profile_dir, paths.ledgers_dir, paths.ca_dir, paths.releases_dir):
        for path in _below(folder):
            what = _fault_of(path, is_private=folder != paths.releases_dir and path.name not in _PUBLIC)
            if what is not None:
                wrong[what].append(path)
    for what, found in wrong.items():
        if found:
            yield failed(f"{_named(found)} {what}", f"{remedies[what]} {_quoted(found)}", where=found[0])
    used = {nearest(paths.profile_dir), nearest(paths.releases_dir)}
    shut = sorted(folder for folder in used if not os.access(folder, os.W_OK | os.X_OK))
    if shut and not wrong[_FOREIGN]:
        yield failed("gwctl cannot write to this folder", f"ls -ld {_quoted(shut)}", where=shut[0])
    if not shut and not any(wrong.values()):
        yield ok("only this user can access gwctl's files")


def _fault_of(path: Path, *, is_private: bool) -> str | None:
    try:
        status = path.lstat()
    except FileNotFoundError:  # deleted in the meantime
        return None
    if stat.S_ISLNK(status.st_mode):
        return None
    if status.st_uid != os.geteuid():
        return _FOREIGN
    if is_private and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return _READABLE
    return _WRITABLE if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None


def _me() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _below(folder: Path) -> Iterator[Path]:
    """Yield ``folder``, if it exists, and everything in it; do not follow links."""
    if folder.is_dir():
        yield folder
        for place, folders, names in os.walk(folder):
            yield from (Path(place, name) for name in (*folders, *names))


def _named(paths: list[Path]) -> str:
    names = ", ".join(path.name for path in paths[:_NAMED_AT_MOST])
    more = f" and {len(paths) - _NAMED_AT_MOST} more" if len(paths) > _NAMED_AT_MOST else ""
    return f"{names}{more} {'is' if len(paths) == 1 else 'are'}"


def _quoted(paths: list[Path]) -> str:
    return " ".join(shlex.quote(str(path)) for path in paths[:_NAMED_AT_MOST])


def check_state_files(case: Case) -> Iterator[Finding]:
    """Check that every state file can be read; the next program that uses a damaged one sets it aside."""
    paths = case.paths
    ledgers = sorted({case.ledger.file, paths.ledger_file, paths.sandbox_ledger_file})
    files = (
        *(paths.supervisor_state_file, paths.gateway_state_file, paths.gateway_served_file, paths.sandbox_state_file),
        *(*ledgers, paths.budget_file, paths.pause_file, paths.last_end_file),
        *(paths.journal_seen_file, paths.leaf_file.with_suffix(".json"), paths.ca_dir / "ca.json"),
        *(paths.chosen_port_file, paths.firewall_file),
    )
    seen = 0
    damaged = []
    for file in files:
        value, is_damaged = look_at_json(file)
        seen += value is not None
        if is_damaged or (value is not None and file in ledgers and not _is_ledger(value)):
            damaged.append(file)
    aside = sorted(file for folder in (paths.profile_dir, paths.ledgers_dir) for file in folder.glob("*.damaged-*"))
    if damaged:
        yield failed(
            f"{_named(damaged)} damaged; gwctl sets it aside and creates a new one",
            f"{case.command('down')}, then {case.command(up_again(case.paths))}",
            where=damaged[0],
        )
    if aside:
        yield warning(
            f"{_named(aside)} kept from earlier damage", f"inspect it, then: rm {_quoted(aside)}", where=aside[0]
        )
    if not damaged and not aside:
        yield ok(f"{seen} of {len(files)} exist and are readable" if seen else "none yet")


def _is_ledger(value: dict[str, Any]) -> bool:
    from gwctl.login_ledger.storage import DAMAGE, Stored

    try:
        Stored.from_json(value)
    except DAMAGE:
        return False
    return True


def check_logs(case: Case) -> Iterator[Finding]:
    """Check how large the logs, the journal and the evidence are."""
    paths = case.paths
    folders = (paths.logs_dir, paths.gateway_dir / "logs", paths.evidence_dir)
    sizes = {folder: sum(_size_bytes(file) for file in _below(folder)) for folder in folders}
    journal_bytes = _size_bytes(paths.journal_file) + _size_bytes(paths.journal_file.with_name("journal.jsonl.1"))
    all_bytes = sum(sizes.values()) + journal_bytes
    if all_bytes > _LARGE_LOGS_BYTES:
        largest = max(sizes, key=lambda one: sizes[one])
        remedy = f"{case.command('down')}, then delete the old ones in {shlex.quote(str(largest))}"
        yield warning(f"{all_bytes / 1e6:.0f} MB of logs, journal and evidence", remedy, where=largest)
        return
    yield ok(f"{all_bytes / 1e6:.1f} MB of logs, journal and evidence")


def _size_bytes(file: Path) -> int:
    try:
        status = file.lstat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
