"""Checks of running processes: supervisor, session, how the last one ended, leftovers, and maintenance windows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gwctl import process
from gwctl.doctor.case import Case, Finding, failed, not_checked, ok, warning
from gwctl.gateway.launch import RunningGateway, recognised
from gwctl.gateway.log_diagnosis import Cause, read_cause
from gwctl.process import Identity
from gwctl.supervisor.control import NoSupervisor, SupervisorClient, SupervisorHangs, SupervisorRecord
from gwctl.supervisor.drift import drift_of_gateway
from gwctl.supervisor.profile_lock import unrecorded_gateway, unrecorded_stand_ins, unrecorded_supervisors
from gwctl.supervisor.sandbox_process import StandInRecord
from gwctl.times import readable
from gwctl.version import VERSION

_ANSWER_TIMEOUT_S = 2.0
_CAN_SEE_LOCKS = Path("/proc/self/fd").exists()


def check_supervisor(case: Case) -> Iterator[Finding]:
    """Check that a supervisor runs, answers, is not stuck, holds the profile's lock, and has this version."""
    raw = case.state_of(case.paths.supervisor_state_file)
    record = SupervisorRecord.from_json(raw)
    identity = Identity.from_json((raw or {}).get("identity"))
    if record is None or identity is None:
        yield ok(f"not running; {case.command('up')} starts it")
        return
    again = f"{case.command('down')}, then {case.command('up')}"
    if not process.is_ours(identity):
        yield warning(f"it was killed (pid {identity.pid}) and left its record behind", case.command("up"))
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
        keep = f"{case.command('down --keep-session')}, then {case.command('up')}"
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
    else:
        yield warning(why, case.command("wait"))


def check_drift(case: Case) -> Iterator[Finding]:
    """Report the settings that changed since the running processes started; ``allow_ips`` has a separate check."""
    if case.status is not None:
        if "drift" not in case.status:
            yield not_checked("a supervisor of this version")
            return
        found = [(str(one["setting"]), str(one["text"]), one["remedy"]) for one in case.status["drift"]]
    elif recognised(case.paths, RunningGateway.from_json(case.state_of(case.paths.gateway_state_file))) is not None:
        found = [(one.setting, one.text, one.remedy) for one in drift_of_gateway(case.paths, case.known)]
    else:
        yield ok("nothing runs with outdated settings")
        return
    changed = [(text, remedy) for setting, text, remedy in found if setting != "allow_ips"]
    for text, remedy in changed:
        yield warning(text, remedy)
    if not changed:
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
    gateway = recognised(paths, RunningGateway.from_json(case.state_of(paths.gateway_state_file)))
    stand_in = _stand_in(case)
    recorded = {one.pid for one in (supervisor, gateway.java if gateway else None, stand_in) if one is not None}
    strays = {one.pid: f"supervisor (pid {one.pid})" for one in unrecorded_supervisors(paths)}
    strays |= {one.pid: f"sandbox (pid {one.pid})" for one in unrecorded_stand_ins(paths)}
    strays |= {one.pid: f"gateway (pid {one.pid})" for one in unrecorded_gateway(paths, case.port)}
    if not is_supervised:
        strays |= {one.pid: f"login's browser (pid {one.pid})" for one in _in_logins(paths.login_scratch_dir)}
    found = [what for pid, what in strays.items() if pid not in recorded]
    if found:
        yield failed(f"running without a record: {', '.join(found)}", case.command("down"))
    elif gateway is not None and not is_supervised:
        adopt = f"{case.command('up')} adopts it, {case.command('down')} stops it"
        yield warning(f"the gateway (pid {gateway.java.pid}) runs without a supervisor", adopt)
    else:
        yield ok("no process runs without a record")


def _stand_in(case: Case) -> Identity | None:
    try:
        record = StandInRecord.from_json(case.state_of(case.paths.sandbox_state_file))
    except (KeyError, TypeError, ValueError):
        return None
    return None if record is None else record.identity


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
