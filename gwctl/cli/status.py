"""``gwctl status``: one screen."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome
from gwctl.cli.spelling import megabytes
from gwctl.errors import GwctlError
from gwctl.paths import Paths
from gwctl.state_file import read_json
from gwctl.supervisor.control import SupervisorClient, SupervisorHangs

READY, STOPPED, CANNOT_TELL, NOT_READY = 0, 3, 4, 150


@click.command("status")
@click.option("--healthcheck", is_flag=True, help="Print one word and exit 0 or 1, for containers.")
@click.option("--watch", is_flag=True, help="Draw it live, with the last day, until Ctrl-C; a line a change elsewhere.")
@click.option("--web", is_flag=True, help="Open the page for it in the browser, and print its address.")
@click.option("--all", "every", is_flag=True, help="Show a table of all profiles.")
@verb
def command(call: Call, *, healthcheck: bool, watch: bool, web: bool, every: bool) -> Outcome:
    """Show phase and reason, session, gateway, supervisor, login budget, and what happens next.

    With --all, of every profile in config.toml and every other that has run. The exit code is then the gravest: 4 if
    one cannot be told, else 150 if one runs and is not ready, else 3 if one of config.toml is stopped, else 0.
    """
    if every:
        from gwctl.cli.many import check_all, show_all

        check_all(call, every=every, healthcheck=healthcheck, web=web)
        return show_all(call, watch=watch)
    if healthcheck:
        status, code = look_always(call)
        word = "hung" if code == CANNOT_TELL else status["phase"]
        return Outcome({"phase": word}, word, 0 if code == READY else 1)
    if web:
        return _open_page(call)
    if watch:
        from gwctl.cli.watch import watch as watch_it

        return watch_it(call, look_always)
    status, code = look_always(call)
    return Outcome(status, render(status), code)


def _open_page(call: Call) -> Outcome:
    from gwctl.cli.page import open_page
    from gwctl.cli.reaching import require_supervisor

    return open_page(call, str(require_supervisor(call).status()["supervisor"]["health_url"]) + "/")


def look_always(call: Call) -> tuple[dict[str, Any], int]:
    """Return what ``look`` does, and of a supervisor that hangs what is known of it, with code 4."""
    try:
        return look(call)
    except SupervisorHangs as error:
        # Not "stopped": the gateway may serve on. Nobody can say, which is what the exit code says.
        reason = f"{error.message}; {call.command('down')} ends it"
        return {**stopped_status(call), "phase": "degraded", "reason": reason, "last_error": reason}, CANNOT_TELL


def look(call: Call) -> tuple[dict[str, Any], int]:
    """Return the profile's status and the contract's exit code; raise SupervisorHangs when nobody can tell."""
    found = SupervisorClient.find_with_status(call.paths)
    if found is not None:
        status = found[1]
        return status, READY if status["ready"] else NOT_READY
    status = stopped_status(call)
    if _gateway_is_alone(call.paths):
        status["phase"] = "degraded"
        status["reason"] = f"the gateway runs without a supervisor; {call.command('up')} takes it over"
        status["drift"] = _drift_of_gateway(call)
        return status, NOT_READY
    return status, STOPPED


def _gateway_is_alone(paths: Paths) -> bool:
    if not paths.gateway_state_file.exists():
        return False
    from gwctl.gateway.launch import adopt

    return adopt(paths) is not None


def _drift_of_gateway(call: Call) -> list[dict[str, Any]]:
    from gwctl.supervisor.drift import drift_of_gateway

    with contextlib.suppress(GwctlError):  # what is wrong with the settings is the reason already
        return [one.to_json() for one in drift_of_gateway(call.paths, call.settings())]
    return []


def stopped_status(call: Call) -> dict[str, Any]:
    """Return the status of a profile without a supervisor, from what is on disk."""
    paths = call.paths
    at_s, text = _last_end(paths)
    port: int | None = None
    limit = 3
    try:
        settings = call.settings()
        port, limit = settings["port"], settings["rejected_limit"]
    except GwctlError as error:
        text = f"{error.message} ({error.hint})" if error.hint else error.message
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s)) if at_s else None
    known = {"reason": text or "not running", "since": since, "login": _login(paths, limit), "last_error": text}
    return {**blank_status(call, port), **known}


def blank_status(call: Call, port: int | None) -> dict[str, Any]:
    """Return the status of a profile of which nothing is known."""
    return {
        "profile": call.profile_name,
        "phase": "stopped",
        "reason": "not running",
        "ready": False,
        "since": None,
        "sandbox": False,
        "gateway": {
            "pid": None,
            "port": port,
            "base_url": f"https://localhost:{port}/v1/api" if port else None,
            "ca_file": str(call.paths.ca_file),
            "release": None,
            "uptime_s": None,
            "rss_bytes": None,
            "restarts": 0,
        },
        "session": {
            "authenticated": False,
            "connected": False,
            "competing": False,
            "user_id": None,
            "sso_expires_s": None,
            "server_name": None,
            "last_tickle_age_s": None,
        },
        "supervisor": None,
        "login": _no_login(3),
        "next": None,
        "last_error": None,
        "drift": [],
        "question": None,
        "tickles": None,
        "budget": None,
    }


def _last_end(paths: Paths) -> tuple[float | None, str | None]:
    """Return when and why the last supervisor ended, as far as that is written down."""
    ended, _ = read_json(paths.last_end_file)
    match ended:
        case {"at_s": int() | float() as at_s, "text": str() | None as text}:
            return float(at_s), text
        case _:
            return None, None


def _login(paths: Paths, limit: int) -> dict[str, Any]:
    if paths.ledger_file.exists():
        from gwctl.supervisor.ledger import Ledger

        return Ledger(paths.ledger_file).summary(limit)
    return _no_login(limit)


def _no_login(limit: int) -> dict[str, Any]:
    return {"last_at": None, "last_outcome": None, "rejected": 0, "rejected_limit": limit, "locked": False}


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.0f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def render(status: dict[str, Any]) -> str:
    """Return the screen; readable at 80 columns and without colour."""
    gateway, session, supervisor, login = (status[name] for name in ("gateway", "session", "supervisor", "login"))
    mark = "●" if status["ready"] else "○"
    sandbox = " · sandbox" if status.get("sandbox") else ""
    rows = [f"{mark} {status['profile']}: {status['phase']} - {status['reason']}{sandbox}"]
    if gateway["pid"]:
        rows.append(f"  gateway     {gateway['base_url']}")
        rows.append(
            f"              pid {gateway['pid']} · up {_duration(gateway['uptime_s'])} · "
            f"{megabytes(gateway['rss_bytes'])} · restarts {gateway['restarts']} · release {gateway['release']}"
        )
        words = [word for word in ("authenticated", "connected", "competing") if session[word]]
        tickled = session["last_tickle_age_s"]
        age = "" if tickled is None else f" · tickled {_duration(tickled)} ago"
        rows.append(f"  session     {' · '.join(words) or 'none'}{age}")
    if supervisor:
        rows.append(
            f"  supervisor  pid {supervisor['pid']} · up {_duration(supervisor['uptime_s'])} · "
            f"{megabytes(supervisor['rss_bytes'])} · {supervisor['health_url']}"
        )
    locked = " · LOCKED, a person is needed" if login["locked"] else ""
    last = f" · last {login['last_outcome']} at {login['last_at']}" if login["last_at"] else ""
    rows.append(f"  login       {login['rejected']} of {login['rejected_limit']} refusals in 24 h{last}{locked}")
    # A supervisor of an earlier version says nothing of it.
    rows += [
        f"  settings    {one['text']}\n              to apply it: {one['remedy']}" for one in status.get("drift", [])
    ]
    if status["next"]:
        rows.append(f"  next        {status['next']['what']} in {_duration(status['next']['in_s'])}")
    return "\n".join(rows)
