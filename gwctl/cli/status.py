"""``gwctl status``: one screen."""

from __future__ import annotations

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome
from gwctl.cli.spelling import megabytes
from gwctl.errors import TryAgain
from gwctl.lifecycle.status import CANNOT_TELL, READY, look_always
from gwctl.session_status import Status


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
        status, code = look_always(call.target())
        word = "hung" if code == CANNOT_TELL else status["phase"]
        return Outcome({"phase": word}, word, 0 if code == READY else 1)
    if web:
        return _open_page(call)
    if watch:
        from gwctl.cli.watch import watch as watch_it

        return watch_it(call)
    status, code = look_always(call.target())
    return Outcome(status, render(status), code)


def _open_page(call: Call) -> Outcome:
    from gwctl.cli.page import open_page
    from gwctl.lifecycle.reach import require_supervisor

    supervisor = require_supervisor(call.target()).status()["supervisor"]
    if supervisor is None:
        raise TryAgain("the supervisor is just ending", hint=call.command("status"))
    return open_page(call, supervisor["health_url"] + "/")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.0f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def render(status: Status) -> str:
    """Return the screen; readable at 80 columns and without colour."""
    gateway, session, supervisor, login = status["gateway"], status["session"], status["supervisor"], status["login"]
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
