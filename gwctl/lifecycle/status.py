"""Return a profile's status, from its supervisor or from what is on disk, and wait for it."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Literal, cast

from gwctl.config import Settings
from gwctl.errors import GwctlError, NeedsPerson, Paused, TimedOut, TryAgain
from gwctl.lifecycle.profile import Profile
from gwctl.paths import Paths
from gwctl.session_status import Drift, LoginStatus, PauseStatus, Status
from gwctl.signals import checkpoint
from gwctl.state_file import read_json
from gwctl.supervisor.control import SupervisorClient, SupervisorHangs, SupervisorRecord
from gwctl.times import utc

READY, STOPPED, CANNOT_TELL, NOT_READY = 0, 3, 4, 150


def look_always(profile: Profile) -> tuple[Status, int]:
    """Do the same as ``look``; for a supervisor that hangs, return what is known, with exit code 4."""
    try:
        return look(profile)
    except SupervisorHangs as error:
        # Not "stopped": the gateway may still serve. The exit code says that the state is unknown.
        reason = f"{error.message}; {profile.command('down')} stops it"
        known: Status = {**stopped_status(profile), "phase": "degraded", "reason": reason, "last_error": reason}
        record = SupervisorRecord.load(profile.paths)
        return _of_kind(profile.paths, known, sandbox=record is not None and record.sandbox), CANNOT_TELL


def look(profile: Profile) -> tuple[Status, int]:
    """Return the profile's status and the contract's exit code; raise SupervisorHangs if the state is unknown."""
    found = SupervisorClient.find_with_status(profile.paths)
    if found is not None:
        status = found[1]
        return status, READY if status["ready"] else NOT_READY
    status = stopped_status(profile)
    if _gateway_is_alone(profile.paths):
        from gwctl.supervisor.served import serves_sandbox

        status["phase"] = "degraded"
        status["reason"] = f"the gateway runs without a supervisor; {profile.up_again()} takes it over"
        status["drift"] = _drift_of_gateway(profile)
        return _of_kind(profile.paths, status, sandbox=serves_sandbox(profile.paths)), NOT_READY
    return status, STOPPED


def _of_kind(paths: Paths, status: Status, *, sandbox: bool) -> Status:
    """Return the status of what still runs, which the settings do not know: the sandbox has logins of its own."""
    if not sandbox:
        return status
    from gwctl.login_ledger.ledger import Ledger

    login = Ledger(paths.sandbox_ledger_file).summary(status["login"]["rejected_limit"])
    return {**status, "sandbox": True, "username": None, "login": login}


def _gateway_is_alone(paths: Paths) -> bool:
    if not paths.gateway_state_file.exists():
        return False
    from gwctl.gateway.launch import adopt

    return adopt(paths) is not None


def _drift_of_gateway(profile: Profile) -> list[Drift]:
    from gwctl.supervisor.served import drift_of_gateway

    with contextlib.suppress(GwctlError):  # the reason already names what is wrong with the settings
        return [one.to_status() for one in drift_of_gateway(profile.paths, profile.settings())]
    return []


def stopped_status(profile: Profile) -> Status:
    """Return the status of a profile without a supervisor, from what is on disk."""
    paths = profile.paths
    at_s, text = _last_end(paths)
    port: int | None = None
    settings: Settings | None = None
    try:
        settings = profile.settings()
        port = settings["port"]
    except GwctlError as error:
        text = f"{error.message} ({error.hint})" if error.hint else error.message
    since = utc(at_s) if at_s else None
    status = blank_status(profile, port)
    status["reason"], status["since"], status["last_error"] = text or "not running", since, text
    status["login"] = _login(paths, settings)
    if settings is not None:
        status["mode"], status["username"] = settings["mode"], settings["username"]
        status["show_username"] = settings["show_username"]
    if paths.pause_file.exists():
        from gwctl.supervisor import kept_pause

        status["paused"] = cast("PauseStatus | None", kept_pause.describe(kept_pause.look(paths)))
    return status


def blank_status(profile: Profile, port: int | None) -> Status:
    """Return the status of a profile about which nothing is known; its ``mode`` is empty."""
    return {
        "profile": profile.name,
        "phase": "stopped",
        "reason": "not running",
        "ready": False,
        "since": None,
        "sandbox": False,
        "mode": "",
        "username": None,
        "show_username": True,
        "paused": None,
        "planned": {"logins_from": None, "relogin_at": None},
        "gateway": {
            "pid": None,
            "port": port,
            "base_url": f"https://localhost:{port}/v1/api" if port else None,
            "ca_file": str(profile.paths.ca_file),
            "release": None,
            "uptime_s": None,
            "rss_bytes": None,
            "restarts": 0,
        },
        "isolation": None,
        "door": None,
        "session": {
            "authenticated": False,
            "connected": False,
            "competing": False,
            "user_id": None,
            "sso_expires_s": None,
            "server_name": None,
            "last_tickle_age_s": None,
            "sso": False,
        },
        "supervisor": None,
        "login": _no_login(3),
        "next": None,
        "last_error": None,
        "person_needed": None,
        "drift": [],
        "question": None,
        "tickles": None,
        "budget": None,
    }


def _last_end(paths: Paths) -> tuple[float | None, str | None]:
    """Return when and why the last supervisor ended, as far as it recorded that."""
    ended, _ = read_json(paths.last_end_file)
    match ended:
        case {"at_s": int() | float() as at_s, "text": str() | None as text}:
            return float(at_s), text
        case _:
            return None, None


def _login(paths: Paths, settings: Settings | None) -> LoginStatus:
    limit = 3 if settings is None else int(settings["rejected_limit"])
    if paths.profiles_dir.exists() or paths.ledgers_dir.exists():
        from gwctl.login_ledger.ledger import Ledger

        return (Ledger.noted(paths) if settings is None else Ledger.of(settings)).summary(limit)
    return _no_login(limit)


def _no_login(limit: int) -> LoginStatus:
    return {
        "last_at": None,
        "last_outcome": None,
        "rejected": 0,
        "rejected_limit": limit,
        "locked": False,
        "shared_with": [],
    }


LOOK_EVERY_S = 0.2
ALONE_S = 2.0
"""For how long a person may just have mended what only a person can: the supervisor takes a moment to begin again."""
ASK_EVERY_S = 1.0
"""A question to the gateway about its session is one to IBKR."""

Wanted = Literal["ready", "portfolio", "stopped"]


def paused(profile: Profile, status: Status) -> Paused:
    """Return the error of a call that needs the session of a paused profile."""
    return Paused(f"profile {profile.name!r} is {status['reason']}", hint=profile.command("resume"))


def _is(status: Status, code: int, wanted: Wanted) -> bool:
    """Return whether the profile is as ``wanted``; for the portfolio, IBKR must know a login of the profile's kind."""
    if wanted == "stopped":
        return code == STOPPED
    return status["ready"] or (wanted == "portfolio" and status["session"].get("sso", False))


def wait_for(profile: Profile, wanted: Wanted = "ready", *, timeout_s: float = 180.0) -> Status:
    """Return the status once it is ``wanted``; raise TryAgain or NeedsPerson if nothing will make it so, and TimedOut.

    A session is ready once the gateway confirms it: IBKR may have dropped it since the supervisor's last check.
    """
    deadline_s = time.monotonic() + timeout_s
    alone_until_s = time.monotonic() + ALONE_S
    while True:
        checkpoint()
        status, code = look(profile)
        looks_ready = _is(status, code, wanted)
        if looks_ready and (wanted != "ready" or is_confirmed(profile)):
            return status
        if wanted != "stopped" and status["phase"] == "paused":
            raise paused(profile, status)
        if wanted != "stopped" and code == STOPPED:
            text = f"profile {profile.name!r} is stopped, and wait does not start it"
            raise TryAgain(text, hint=profile.up_again())
        hopeless = None if wanted == "stopped" else _never_ready(profile, status)
        if hopeless is None:
            alone_until_s = time.monotonic() + ALONE_S
        elif time.monotonic() > alone_until_s:
            raise hopeless
        if time.monotonic() >= deadline_s:
            text = f"not {wanted} after {timeout_s:g} s: {status['phase']}, {status['reason']}"
            raise TimedOut(text, hint=profile.command("status"))
        pause_s = ASK_EVERY_S if looks_ready else LOOK_EVERY_S
        time.sleep(min(pause_s, max(0.0, deadline_s - time.monotonic())))  # until the next look


def _never_ready(profile: Profile, status: Status) -> GwctlError | None:
    """Return why the profile gets ready by nobody's doing but a person's; None if it may by itself."""
    if status["supervisor"] is None:
        return TryAgain(f"profile {profile.name!r}: {status['reason']}", hint=profile.up_again())
    if status["phase"] == "locked_out" and status["person_needed"] != "manual_login":
        return NeedsPerson(f"a person is needed: {status['reason']}", hint=profile.command("login --explain"))
    return None


def is_confirmed(profile: Profile) -> bool:
    """Return whether the gateway itself says that the brokerage session is there; True where none is kept."""
    from gwctl.lifecycle.reach import ask

    with contextlib.suppress(GwctlError):  # settings that broke meanwhile: what runs has others
        if profile.settings()["ready_when"] == "portfolio":
            return True

    try:
        said = ask(profile, "GET", "/iserver/auth/status")
        facts = json.loads(said.body) if said.status == 200 else None
    except (GwctlError, ValueError, RecursionError):
        return False
    return isinstance(facts, dict) and facts.get("authenticated") is True and facts.get("connected") is True
