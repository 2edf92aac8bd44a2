"""Checks of secrets, refused logins and budgets. The findings contain no secret."""

from __future__ import annotations

import shlex
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from gwctl.config import NOTIFY_SECRETS, SECRET_KEYS
from gwctl.credentials import Found, Sources, doubt_of, find
from gwctl.doctor.case import Case, Finding, failed, not_checked, ok, warning
from gwctl.times import duration

COMMAND_TIMEOUT_S = 3.0
_MINUTE_S = 60


def run_command(case: Case, argv: Sequence[str]) -> str:
    """Run a profile's command that prints a secret; raise OSError or ValueError if it fails or takes too long."""
    from gwctl.errors import TimedOut
    from gwctl.supervisor.attempt import run_secret_command

    try:
        return run_secret_command(argv, case.environment.variables, timeout_s=COMMAND_TIMEOUT_S)
    except TimedOut as error:
        raise ValueError(error.message) from None


def sources_of(case: Case) -> Sources:
    """Return the sources to search for secrets, without a prompt."""
    return Sources(case.environment, lambda argv: run_command(case, argv))


def check_secrets(case: Case) -> Iterator[Finding]:
    """Report the source of each secret, and any problem with it."""
    if case.is_sandbox:
        yield ok("the sandbox has a built-in test account")
        return
    settings = case.known
    if not settings["username"]:
        yield failed("no username is set", f"gwctl profile create {case.profile} --username NAME")
        return
    sources = sources_of(case)
    found = {name: one for name in SECRET_KEYS if (one := find(name, settings, sources)) is not None}
    findings = [fault for name in SECRET_KEYS for fault in _faults_of_file(case, name)]
    if "password" not in found:
        findings.append(
            warning(
                "no password is stored here; gwctl can only ask for it at a terminal",
                case.command("secret set password"),
            )
        )
    findings += _faults_of_text(found)
    method = settings["second_factor"]
    if method == "totp" and "totp_secret" not in found:
        findings.append(
            failed("second_factor is totp, but there is no TOTP secret", case.command("secret set totp_secret"))
        )
    if method == "command" and not settings["second_factor_command"]:
        findings.append(
            failed("second_factor is command, but second_factor_command is not set", "set it in config.toml")
        )
    yield from findings or [ok(", ".join(f"{name} from {one.source}" for name, one in found.items()))]


def _faults_of_text(found: dict[str, Found]) -> Iterator[Finding]:
    from gwctl.login.codes import BadSecret, code_at

    for name, one in found.items():
        text = one.secret.reveal()
        if name == "totp_secret":
            try:
                code_at(text, 0)
            except BadSecret as error:
                yield failed(f"{error} ({one.source})", "copy it again from IBKR's page")
        elif name not in NOTIFY_SECRETS and (doubt := doubt_of(one)) is not None:
            yield warning(f"the {name}: {doubt}", f"check {one.source}")


def files_of_secrets(case: Case) -> dict[str, Path]:
    """Return the files that the settings name for secrets."""
    named = {name: case.environment.get(f"GWCTL_{name.upper()}_FILE") for name in SECRET_KEYS}
    return {name: Path(file).expanduser() for name, file in named.items() if file}


def _faults_of_file(case: Case, name: str) -> Iterator[Finding]:
    file = files_of_secrets(case).get(name)
    if file is None or not file.is_file():
        return
    mode, remedy = file.stat().st_mode, f"chmod 600 {shlex.quote(str(file))}"
    if mode & stat.S_IROTH:
        yield failed(f"every user of this machine can read the {name}'s file", remedy, where=file)
    elif mode & stat.S_IRGRP:
        yield warning(f"other users can read the {name}'s file", remedy, where=file)


def check_login(case: Case) -> Iterator[Finding]:
    """Report how the last login ended, the refusals in 24 hours, and whether a person must unlock the login."""
    from gwctl.login.failures import latest
    from gwctl.login_ledger.ledger import describe, record_from
    from gwctl.login_ledger.ledger import machine_uptime as uptime
    from gwctl.login_ledger.rules import SUCCESS, Now

    file = case.paths.sandbox_ledger_file if case.is_sandbox else case.paths.ledger_file
    raw = case.state_of(file)
    if raw is None:
        yield not_checked(f"a readable {file.name}") if file.exists() else ok("none yet")
        return
    try:
        record = record_from(raw)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        yield not_checked(f"a readable {file.name}")
        return
    limit = int(case.known["rejected_limit"])
    login = describe(record, limit, Now(case.ports.wall_clock(), uptime()))
    refusals = f"{login['rejected']} of {limit} refusals in 24 h"
    last = f"last {login['last_outcome']} at {login['last_at']}" if login["last_at"] else "none yet"
    if login["locked"]:
        blocked = record.block.reason if record.block else None
        why = record.locked_reason or blocked or "IBKR refused the password, or refused too many logins"
        yield failed(
            f"locked: {why} ({refusals})",
            f"fix the cause ({case.command('login --explain')}), then: {case.command('login --reset-lockout')}",
        )
    elif login["rejected"] or login["last_outcome"] not in {SUCCESS, None}:
        kept = latest(case.paths.evidence_dir)
        what = f"{last}; {refusals}" + (f": {kept.what}" if kept is not None else "")
        yield warning(what, kept.todo if kept is not None and kept.todo else case.command("login --explain"))
    else:
        yield ok(f"{last}; {refusals}")


def check_budget(case: Case) -> Iterator[Finding]:
    """Report whether a recovery action must wait because its budget is spent."""
    from gwctl.core.budget import Rung
    from gwctl.core.policy import default_budgets
    from gwctl.core.tables import Snapshot, recall

    raw = case.state_of(case.paths.budget_file)
    if raw is None:
        yield ok("no budget is spent")
        return
    now = time.monotonic()
    kept = recall(Snapshot(), raw, case.ports.wall_clock() - now, now)
    limits = {rung: budget for rung, budget in default_budgets().items() if rung is not Rung.RESTART}
    spent = {rung: kept.spent.room_in_s(rung, budget, now) for rung, budget in limits.items()}
    exhausted = [f"{rung} for {duration(room_s)}" for rung, room_s in spent.items() if room_s > 0]
    pause_s = kept.login_not_before - now
    wait = f"wait; {case.command('status')} shows the reason"
    if exhausted:
        yield warning(f"budget spent, waiting: {', '.join(exhausted)}", wait)
    elif pause_s > 0:
        yield warning(f"the next login is in {duration(pause_s)}, after {kept.failed_logins} failed logins", wait)
    else:
        yield ok("every recovery action has budget left")
