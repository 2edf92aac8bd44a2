"""Checks of the session: what runs, how it ended, secrets, logins and budgets. The findings contain no secret."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gwctl import process
from gwctl.credentials import Found, Sources, doubt_of, doubt_of_username, find, readers_of
from gwctl.doctor.case import Case, Finding, failed, not_checked, ok, warning
from gwctl.gateway.log_diagnosis import Cause, read_cause
from gwctl.process import Identity
from gwctl.session_status import together
from gwctl.setting_keys import NOTIFY_SECRETS, SECRET_KEYS, variable_of
from gwctl.supervisor.attempt import run_secret_command
from gwctl.supervisor.control import NoSupervisor, SupervisorClient, SupervisorHangs, SupervisorRecord
from gwctl.supervisor.profile_lock import unrecorded_gateway, unrecorded_stand_ins, unrecorded_supervisors
from gwctl.supervisor.served import drift_of_gateway, up_again
from gwctl.times import duration, readable, utc
from gwctl.version import VERSION

if TYPE_CHECKING:
    from gwctl.login.failures import FailureRecorder
    from gwctl.login_ledger.rules import LoginRecord

_ANSWER_TIMEOUT_S = 2.0
_COMMAND_TIMEOUT_S = 3.0
_CAN_SEE_LOCKS = Path("/proc/self/fd").exists()


def check_supervisor(case: Case) -> Iterator[Finding]:
    """Check that the supervisor answers, is not stuck, holds the profile's lock, and has this version."""
    raw = case.state_of(case.paths.supervisor_state_file)
    record = SupervisorRecord.from_json(raw)
    identity = Identity.from_json((raw or {}).get("identity"))
    if record is None or identity is None:
        yield ok(f"not running; {case.command(up_again(case.paths))} starts it")
        return
    up = case.command(up_again(case.paths))
    again = f"{case.command('down')}, then {up}"
    if not process.is_ours(identity):
        yield warning(f"it was killed (pid {identity.pid}) and left its record behind", up)
        return
    client = SupervisorClient(record)
    try:
        is_live = client.is_live(timeout_s=_ANSWER_TIMEOUT_S)
        case.status = client.status(timeout_s=_ANSWER_TIMEOUT_S)
    except (NoSupervisor, SupervisorHangs):
        yield failed(f"it runs (pid {identity.pid}) but does not answer", again)
        return
    if not is_live:
        yield failed(f"its event loop is stuck (pid {identity.pid})", again)
        return
    if _CAN_SEE_LOCKS and not process.has_open(identity, case.paths.supervisor_lock):
        yield warning(f"it does not hold the profile's lock (pid {identity.pid})", again)
        return
    version = _version_of_running(case)
    if version not in {None, VERSION}:
        keep = f"{case.command('down --keep-session')}, then {case.command(up_again(case.paths))}"
        yield warning(f"it has version {version}, but this is {VERSION}", keep)
        return
    yield ok(f"it answers (pid {identity.pid})")


def _version_of_running(case: Case) -> str | None:
    from gwctl.history.journal import read_entries

    started = [entry for entry in read_entries(case.paths) if entry["kind"] == "start"]
    return str(started[-1]["version"]) if started and "version" in started[-1] else None


def check_session(case: Case) -> Iterator[Finding]:
    """Ask the supervisor for the session's state; if it is not ready, look for the cause in the gateway's log."""
    status = case.status
    if status is None:
        yield not_checked("a running supervisor")
        return
    phase, reason = str(status["phase"]), str(status["reason"])
    if status["ready"]:
        yield ok(f"ready: {reason}")
        return
    uptime_s = status["gateway"]["uptime_s"]
    since_s = case.ports.wall_clock() - uptime_s if isinstance(uptime_s, int | float) else 0.0
    cause = read_cause(case.paths.gateway_dir, since_s=since_s)
    why = f"{phase}: {reason}" + ("" if cause is Cause.NONE else f"; {cause.text}")
    if phase == "locked_out":
        yield failed(why, f"{case.command('login --explain')}, then {case.command('login')}")
    elif phase == "awaiting_second_factor":
        yield warning(why, case.command("login"))
    elif phase == "paused":
        yield ok(f"{reason}; {case.command('resume')} ends the pause")
    elif phase == "backoff" and (planned := status.get("planned")) and planned["logins_from"]:
        yield ok(f"{reason}; {case.command('login')} logs in now")
    else:
        yield warning(why, case.command("wait"))


def check_drift(case: Case) -> Iterator[Finding]:
    """Report the settings that changed since the running processes started."""
    if case.status is not None:
        if "drift" not in case.status:
            yield not_checked("a supervisor of this version")
            return
        found = [(str(one["setting"]), str(one["text"]), one["remedy"]) for one in case.status["drift"]]
    elif case.gateway is not None:
        found = [(one.setting, one.text, one.remedy) for one in drift_of_gateway(case.paths, case.known)]
    else:
        yield ok("nothing runs with outdated settings")
        return
    for _, text, remedy in found:
        yield warning(text, remedy)
    if not found:
        yield ok("everything that runs was started with the current settings")


def check_last_end(case: Case) -> Iterator[Finding]:
    """Report why the last supervisor ended, unless one is running."""
    if case.status is not None:
        yield ok("a supervisor is running")
        return
    match case.state_of(case.paths.last_end_file):
        case {"exit_code": int(code), "text": str() | None as text, "hint": str() | None as hint, "at_s": at_s} if code:
            when = readable(at_s, in_utc=True) + " UTC" if isinstance(at_s, int | float) else "?"
            cause = read_cause(case.paths.gateway_dir)
            why = "" if cause is Cause.NONE else f"; the gateway's log: {cause.text}"
            yield failed(f"it gave up at {when} with {code}: {text or 'no reason'}{why}", hint or case.command("up"))
        case {"text": str() | None as text}:
            yield ok(text or "it was stopped")
        case _:
            yield ok("no supervisor has ended yet")


def check_leftovers(case: Case) -> Iterator[Finding]:
    """Find processes of the profile that no supervisor owns. The check touches none of them."""
    paths = case.paths
    if not paths.profile_dir.is_dir():
        yield ok("nothing runs")
        return
    supervisor = Identity.from_json((case.state_of(paths.supervisor_state_file) or {}).get("identity"))
    is_supervised = supervisor is not None and process.is_ours(supervisor)
    gateway, stand_in = case.gateway, case.stand_in
    known = (supervisor, gateway.java if gateway else None, stand_in.identity if stand_in else None)
    recorded = {one.pid for one in known if one is not None}
    strays = {one.pid: f"supervisor (pid {one.pid})" for one in unrecorded_supervisors(paths)}
    strays |= {one.pid: f"sandbox (pid {one.pid})" for one in unrecorded_stand_ins(paths)}
    strays |= {one.pid: f"gateway (pid {one.pid})" for one in unrecorded_gateway(paths, case.port)}
    if not is_supervised:
        strays |= {one.pid: f"login's browser (pid {one.pid})" for one in _in_logins(paths.login_scratch_dir)}
    found = [what for pid, what in strays.items() if pid not in recorded]
    if found:
        yield failed(f"running without a record: {', '.join(found)}", case.command("down"))
    elif gateway is not None and not is_supervised:
        adopt = f"{case.command(up_again(case.paths))} adopts it, {case.command('down')} stops it"
        yield warning(f"the gateway (pid {gateway.java.pid}) runs without a supervisor", adopt)
    else:
        yield ok("no process runs without a record")


def _in_logins(folder: Path) -> list[Identity]:
    if not folder.is_dir():
        return []
    return [one for place in folder.iterdir() if place.is_dir() for one in process.inhabitants(place)]


def check_maintenance(case: Case) -> Iterator[Finding]:
    """Report whether one of IBKR's maintenance windows is open."""
    from gwctl.maintenance import Windows

    now_s = case.ports.wall_clock()
    windows = Windows.parse(case.known["maintenance"])
    until_s = windows.until(now_s)
    if until_s is not None:
        text = f"a maintenance window is open until {readable(until_s, in_utc=True)} UTC: logins may fail"
        yield warning(text, "wait; gwctl does")
        return
    next_s = windows.next_change(now_s)
    if next_s is None:
        yield ok("no maintenance window is set")
    else:
        yield ok(f"the next window opens at {readable(next_s, in_utc=True)} UTC")


def run_command(case: Case, argv: Sequence[str]) -> str:
    """Run a profile's command that prints a secret; raise OSError, ValueError or TimedOut."""
    return run_secret_command(argv, case.environment.variables, timeout_s=_COMMAND_TIMEOUT_S)


def check_secrets(case: Case) -> Iterator[Finding]:
    """Report the source of each secret and any problem with it, never its value."""
    if case.is_sandbox:
        yield ok("the sandbox has a built-in test account")
        return
    settings = case.known
    if not settings["username"]:
        yield failed("no username is set", f"gwctl profile create {case.profile} --username NAME")
        return
    sources = Sources(case.environment, lambda argv: run_command(case, argv))
    found = {name: one for name in SECRET_KEYS if (one := find(name, settings, sources)) is not None}
    findings = [fault for name in SECRET_KEYS for fault in _faults_of_file(case, name)]
    if (doubt := doubt_of_username(settings["username"])) is not None:
        remedy = f"gwctl profile set {case.profile} username=NAME"
        findings.append(warning(f"the username: {doubt}", remedy, where=settings.values["username"].source))
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
    """Return the files that the settings name for secrets; if they cannot be read, those that variables name."""
    if case.settings is not None:
        named = {name: case.settings[f"{name}_file"] for name in SECRET_KEYS}
    else:
        named = {name: case.environment.get(f"{variable_of(name)}_FILE") for name in SECRET_KEYS}
    return {name: Path(file) for name, file in named.items() if file}


def _faults_of_file(case: Case, name: str) -> Iterator[Finding]:
    file = files_of_secrets(case).get(name)
    who = None if file is None else readers_of(file)
    if who is not None:
        make = failed if who.startswith("every") else warning
        yield make(f"{who} can read the {name}'s file", f"chmod 600 {shlex.quote(str(file))}", where=file)


def check_login(case: Case) -> Iterator[Finding]:
    """Report how the last login ended, the refusals in 24 hours, and whether a person must unlock the login."""
    from gwctl.login_ledger.ledger import machine_uptime
    from gwctl.login_ledger.rules import SUCCESS, LoginRecord, Now, describe

    ledger = case.ledger
    looked = ledger.look()
    shared = together(ledger.account.shared_with)
    if looked is None and ledger.exists:
        yield not_checked(f"a readable {ledger.file.name}")
        return
    record = looked or LoginRecord()
    limit = min(int(case.known["rejected_limit"]), ledger.account.limit)
    login = describe(record, limit, Now(case.ports.wall_clock(), machine_uptime()))
    refusals = ", ".join(filter(None, (f"{login['rejected']} of {limit} refusals in 24 h", shared)))
    last = f"last {login['last_outcome']} at {login['last_at']}" if login["last_at"] else "none yet"
    kept = _since_success(case, record)
    if login["locked"]:
        blocked = record.block.reason if record.block else None
        why = record.locked_reason or blocked or "IBKR refused the username or the password, or too many logins"
        yield failed(
            f"locked: {why} ({refusals})",
            f"fix the cause ({case.command('login --explain')}), then: {case.command('login --reset-lockout')}",
        )
    elif kept is not None:
        todo = kept.todo.replace("gwctl ", case.command(""))
        yield warning(f"the login at {kept.at} failed: {kept.what}; {refusals}", todo)
    elif login["last_outcome"] in {SUCCESS, None} or (case.status is not None and case.status["ready"]):
        yield ok(f"{last}; {refusals}")
    else:
        yield warning(f"{last}; {refusals}", case.command("login --explain"))


def _since_success(case: Case, record: LoginRecord) -> FailureRecorder | None:
    """Return the evidence of the last failed login; None if a login has succeeded since, or the session is ready."""
    from gwctl.login.failures import latest
    from gwctl.login_ledger.rules import SUCCESS

    if case.status is not None and case.status["ready"]:
        return None
    kept = latest(case.paths.evidence_dir)
    succeeded = max((utc(one.at_s) for one in record.submits if one.outcome == SUCCESS), default="")
    return None if kept is None or kept.at is None or kept.at <= succeeded else kept


def check_budget(case: Case) -> Iterator[Finding]:
    """Report whether a recovery action must wait because its budget is spent."""
    from gwctl.core.budget import Budgeted, default_budgets
    from gwctl.core.kept import recall
    from gwctl.core.tables import Snapshot

    raw = case.state_of(case.paths.budget_file)
    if raw is None:
        yield ok("no budget is spent")
        return
    now = time.monotonic()
    kept = recall(Snapshot(), raw, case.ports.wall_clock() - now, now)
    limits = {budgeted: budget for budgeted, budget in default_budgets().items() if budgeted is not Budgeted.RESTART}
    spent = {budgeted: kept.spent.room_in_s(budgeted, budget, now) for budgeted, budget in limits.items()}
    exhausted = [f"{budgeted} for {duration(room_s)}" for budgeted, room_s in spent.items() if room_s > 0]
    pause_s = kept.login_not_before - now
    wait = f"wait; {case.command('status')} shows the reason"
    if exhausted:
        yield warning(f"budget spent, waiting: {', '.join(exhausted)}", wait)
    elif pause_s > 0:
        yield warning(f"the next login is in {duration(pause_s)}, after {kept.failed_logins} failed logins", wait)
    else:
        yield ok("every recovery action has budget left")
