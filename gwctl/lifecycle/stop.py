"""Stop a profile: supervisor, gateway, browser and sandbox; this always reaches stopped (law 10)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gwctl.errors import GwctlError, ProfileHeld, TimedOut
from gwctl.lifecycle.profile import SILENT, Observer, Profile, run
from gwctl.supervisor.control import NoSupervisor, SupervisorClient, SupervisorHangs, SupervisorRecord

if TYPE_CHECKING:
    from gwctl.process import Identity

STOP_TIMEOUT_S = 30.0
LOCK_TIMEOUT_S = 60.0
UNRECORDED_AFTER_S = 1.0
SUPERVISOR_GRACE_S = 10.0
LOOK_EVERY_S = 0.02


def stop(profile: Profile, *, keep_session: bool = False, observer: Observer = SILENT) -> bool:
    """Stop the profile, or with ``keep_session`` all but its gateway, and return whether anything of it ran.

    Raise TimedOut if part of it is still running.
    """
    paths = profile.paths
    if not paths.profile_dir.is_dir():
        return False
    was = _stop_recorded(profile, observer, keep_session=keep_session)
    return _stop_what_is_left(profile, observer, keep_session=keep_session) or was


def _stop_recorded(profile: Profile, observer: Observer, *, keep_session: bool) -> bool:
    """Stop the supervisor named in the record and return whether there was one."""
    from gwctl import process
    from gwctl.state_file import read_json

    raw, _ = read_json(profile.paths.supervisor_state_file)
    identity = process.Identity.from_json((raw or {}).get("identity"))
    if raw is None or identity is None or not process.is_ours(identity):
        return False
    record = SupervisorRecord.load(profile.paths)
    try:
        if record is not None:
            # systemd sets SERVICE_RESULT for its ExecStop, also on a reboot, which no person asked for.
            by_person = "SERVICE_RESULT" not in profile.environment.variables
            SupervisorClient(record).command("stop", {"keep_session": keep_session, "by_person": by_person})
    except (NoSupervisor, SupervisorHangs):
        observer.say("the supervisor does not answer; stopping its process")
        _end(profile, identity, keep_session=keep_session)
        return True
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    while process.is_alive(identity):
        if time.monotonic() > deadline_s:
            observer.say("the supervisor did not exit in time; killing it")
            _end(profile, identity, keep_session=keep_session)
            break
        time.sleep(LOOK_EVERY_S)  # until the process ends or the deadline passes
    return True


def _end(profile: Profile, identity: Identity, *, keep_session: bool) -> None:
    """End a supervisor that does not end by itself; its gateway stays, for a later logout or to be kept.

    If the gateway is kept, kill the supervisor at once: on SIGTERM it would log out and end the gateway.
    """
    from gwctl import process
    from gwctl.supervisor.profile_lock import unrecorded_stand_ins

    spared = [*process.inhabitants(profile.paths.gateway_dir), *unrecorded_stand_ins(profile.paths)]
    grace_s = 0.0 if keep_session else SUPERVISOR_GRACE_S
    run(process.stop_alone(identity, spared=spared, grace_s=grace_s))


def _stop_what_is_left(profile: Profile, observer: Observer, *, keep_session: bool) -> bool:
    """Take the supervisor's lock, end a process that holds it without a record, and stop what has no supervisor."""
    from filelock import FileLock, Timeout

    lock = FileLock(profile.paths.supervisor_lock, mode=0o600)
    deadline_s = time.monotonic() + LOCK_TIMEOUT_S
    was = False
    while True:
        try:
            with lock.acquire(timeout=UNRECORDED_AFTER_S):
                if keep_session and gateway_runs(profile):
                    profile.paths.supervisor_state_file.unlink(missing_ok=True)
                    return was
                return run(_clear(profile)) or was
        except Timeout:
            # It holds the lock: it was about to write its record, or the record was lost.
            stopped = _stop_recorded(profile, observer, keep_session=keep_session)
            was = stopped or _stop_unrecorded(profile, observer, keep_session=keep_session) or was
        if time.monotonic() > deadline_s:
            raise ProfileHeld("another gwctl holds the profile", hint=profile.command("down"))


def gateway_runs(profile: Profile) -> bool:
    """Return whether a gateway of the profile runs that a supervisor could take over."""
    from gwctl.gateway import launch
    from gwctl.supervisor.profile_lock import unrecorded_gateway

    paths = profile.paths
    return paths.profile_dir.is_dir() and (
        launch.adopt(paths) is not None or bool(unrecorded_gateway(paths, _port(profile)))
    )


def _stop_unrecorded(profile: Profile, observer: Observer, *, keep_session: bool) -> bool:
    from gwctl.supervisor.profile_lock import unrecorded_supervisors

    found = unrecorded_supervisors(profile.paths)
    for one in found:
        observer.say(f"the supervisor (pid {one.pid}) lost its record; stopping its process")
        _end(profile, one, keep_session=keep_session)
    return bool(found)


async def _clear(profile: Profile) -> bool:
    from gwctl import process
    from gwctl.gateway import launch
    from gwctl.gateway.firewalled import unload_firewall
    from gwctl.supervisor.profile_lock import unrecorded_gateway, unrecorded_stand_ins
    from gwctl.supervisor.registration import remove_socket
    from gwctl.supervisor.sandbox_process import StandInRecord, stop_stand_in

    paths = profile.paths
    found = StandInRecord.load(paths) is not None
    running = launch.adopt(paths)
    if running is not None:
        found = True
        _log_out(profile, running.port)
    report = await launch.clear_leftovers(paths, grace_s=5.0)
    await stop_stand_in(paths)
    lost = [*unrecorded_stand_ins(paths), *unrecorded_gateway(paths, _port(profile))]
    lost_report = await process.stop(lost, grace_s=5.0)
    survivors = (*report.survivors, *lost_report.survivors)
    if survivors:
        pids = " ".join(str(one.pid) for one in survivors)
        raise TimedOut(f"these gateway processes do not exit: {pids}", hint=f"kill -9 {pids}")
    unload_firewall(paths)  # also of a gateway whose record was lost
    left = SupervisorRecord.load(paths)
    remove_socket(paths, None if left is None else left.control)
    paths.supervisor_state_file.unlink(missing_ok=True)
    return found or bool(lost or report.ended or report.killed)


def _port(profile: Profile) -> int:
    """Return the port of a gateway whose record is lost: the one it was started with, as far as known."""
    from gwctl.setting_keys import KEYS

    try:
        return int(profile.settings()["port"])
    except GwctlError:
        return int(KEYS["port"].default)


def _log_out(profile: Profile, port: int) -> None:
    import contextlib

    from gwctl.http_requests import RequestFailed, request, trust_only

    with contextlib.suppress(RequestFailed, OSError):
        trust = trust_only(profile.paths.ca_file)
        request("POST", f"https://localhost:{port}/v1/api/logout", timeout_s=3.0, trust=trust)
