"""`up`, `down`, `restart`, `wait` and `status`: the verbs for sessions."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

import click

from gwctl.cli.call import Call, Seconds, verb
from gwctl.cli.output import Outcome, megabytes, ready_line, rows
from gwctl.cli.terminal import Terminal
from gwctl.errors import CredentialsMissing, GwctlError, TryAgain
from gwctl.lifecycle.status import CANNOT_TELL, READY, Wanted, look_always, paused, wait_for
from gwctl.session_status import Status, access, account_words, by_remedy, door_line, plan_rows, together
from gwctl.times import duration

if TYPE_CHECKING:
    from gwctl.lifecycle.profile import Profile


@click.command("up")
@click.option("--foreground", is_flag=True, help="Supervise in this process, for services and containers.")
@click.option("--sandbox", is_flag=True, help="Use the built-in sandbox: no account, no internet.")
@click.option("--fast", is_flag=True, help="With --sandbox: log in without a browser and without the gateway's delay.")
@click.option("--timeout", "timeout_s", type=Seconds(1), default=180, show_default=True, metavar="S",
              help="Seconds to wait for the session.")  # fmt: skip
@click.option("--paused", is_flag=True, help="Start without a session, as after `gwctl pause`: a standby.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="PORT", help="Port of the gateway.")
@click.option("--all", "every", is_flag=True, help="Bring up every profile in config.toml; --timeout applies to each.")
@click.option("--at-once", type=click.IntRange(1, 100), metavar="N",
              help="With --all: how many start and log in at a time.  [default: the number of cores]")  # fmt: skip
@click.option("--zero-when-final", is_flag=True,
              help="With --foreground: exit with 0 instead of 77 and 78, where a person must act, for service managers "
              "that restart after every other exit code.")  # fmt: skip
@click.option("--tether", type=click.IntRange(2), metavar="PID", help="Bring it down when process PID ends.")
@click.option("--handed-over", is_flag=True, hidden=True)
@verb
def up(  # noqa: PLR0913 - one argument an option
    call: Call,
    *,
    foreground: bool,
    sandbox: bool,
    fast: bool,
    timeout_s: float,
    paused: bool,
    port: int | None,
    every: bool,
    at_once: int | None,
    zero_when_final: bool,
    tether: int | None,
    handed_over: bool,
) -> Outcome:
    """Start the gateway, log in and keep the session alive in the background.

    Returns when the session is ready. If it is already ready, it says so and changes nothing. A paused profile stays
    paused; the exit code is 0 nevertheless.

    With --all, a failing profile does not stop the others; the exit code is the most severe: 77 before 78, 69, 1, 75.
    Ctrl-C stops what the call started.
    """
    from gwctl.lifecycle import start
    from gwctl.lifecycle.lease import holder_of

    if every or at_once is not None:
        from gwctl.cli.all_profiles import bring_up_all, check_all

        check_all(call, every=every, foreground=foreground, fast=fast, port=port, tether=tether, paused=paused)
        return bring_up_all(call, sandbox=sandbox, timeout_s=timeout_s, at_once=at_once)
    flags = {"port": port} if port is not None else {}
    if paused:
        from gwctl.lifecycle.pause import pause_if_not

        pause_if_not(call.target(flags), sandbox=sandbox)
    if foreground:
        from gwctl.cli.foreground import Ask, supervise, supervise_ending_final_with_zero

        begin = supervise_ending_final_with_zero if zero_when_final else supervise
        return begin(call, flags, Ask(sandbox, fast, handed_over, holder_of(tether)))
    try:
        with Terminal(call) as terminal:
            target, holder = call.target(flags), holder_of(tether)
            result = start.or_paused(
                target,
                lambda: start.up(
                    target, sandbox=sandbox, fast=fast, timeout_s=timeout_s, holder=holder, observer=terminal
                ),
            )
    except CredentialsMissing as missing:
        if flags or tether or not call.may_ask or not click.confirm(f"{missing.message}. Set it up now?", err=True):
            raise
        from gwctl.cli.setup_verb import Wishes, set_up

        return set_up(call, Wishes())
    status = result.status
    if not result.started:
        for texts, remedy in by_remedy(status.get("drift", [])):
            call.say("; ".join([*texts, remedy]))
    if status["phase"] == "paused":
        from gwctl.cli.pause_verbs import told_pause

        text = told_pause(call, status["reason"], running=True)
    else:
        text = ready_line(result.status, "ready" if result.started else "already ready")
        if result.started and sys.stdout.isatty():
            at_boot = "" if status["sandbox"] else f"; at boot: {call.command('service install')}"
            text += f'\nnext: eval "$({call.command("env")})" in your shell{at_boot}'
    notices = [] if status["sandbox"] else call.notices()
    return Outcome({**status, "started": result.started}, "" if call.quiet else text, notices=notices)


@click.command("down")
@click.option("--keep-session", is_flag=True, help="Keep the gateway and its session running.")
@click.option("--all", "every", is_flag=True, help="Stop every profile that ever ran.")
@click.option("--tether", type=click.IntRange(2), metavar="PID", help="Stop only what is held by process PID alone.")
@verb
def down(call: Call, *, keep_session: bool, every: bool, tether: int | None) -> Outcome:
    """Log out and stop the profile's supervisor, gateway and any browser."""
    from gwctl.lifecycle.stop import gateway_runs, stop

    if every:
        from gwctl.cli.all_profiles import bring_down_all, check_all

        check_all(call, every=every, tether=tether)
        return bring_down_all(call, keep_session=keep_session)
    if tether is not None:
        return _let_go(call, tether)
    was = stop(call.target(), keep_session=keep_session, observer=Terminal(call))
    text = "stopped" if was else "already stopped"
    data: dict[str, object] = {"profile": call.profile_name, "was_running": was}
    if keep_session:
        data["gateway_runs"] = gateway_runs(call.target())
        text += " (the gateway keeps running)" if data["gateway_runs"] else " (no gateway to keep)" if was else ""
    return Outcome(data, "" if call.quiet else text)


def _let_go(call: Call, pid: int) -> Outcome:
    """Stop what was brought up for a process, unless others hold or keep it too."""
    from gwctl.lifecycle.lease import holder_of, let_go

    holder = holder_of(pid)
    stopped = holder is None or let_go(call.target(), holder, started=True, observer=Terminal(call))
    text = "stopped" if stopped else "left running: others hold it"
    return Outcome({"profile": call.profile_name, "stopped": stopped}, "" if call.quiet else text)


def _not_followed(call: Call) -> str:
    """Return which variables of this call the gateway does not follow, because its supervisor has others."""
    from gwctl.supervisor.served import down_then_up, drift_of_gateway

    with contextlib.suppress(GwctlError):  # the supervisor reports unusable settings
        settings = call.settings()
        found = [
            one.text
            for one in drift_of_gateway(call.paths, settings)
            if settings.values[one.setting].source.startswith("$")
        ]
        if found:
            told = f"to apply {'it' if len(found) == 1 else 'them'}: {down_then_up(settings)}"
            return "; ".join([*found, "the supervisor still uses the variables from its start", told])
    return ""


@click.command("restart")
@click.option(
    "--timeout", "timeout_s", type=Seconds(1), default=180, show_default=True, metavar="S", help="Seconds to wait."
)
@verb
def restart(call: Call, *, timeout_s: float) -> Outcome:
    """Restart the gateway and wait until the supervisor has restored the session."""
    from gwctl.lifecycle.follow import follow_until_ready
    from gwctl.lifecycle.reach import require_supervisor

    began_s = time.time()
    client = require_supervisor(call.target())
    before = client.status()
    if before["gateway"]["pid"] is None:
        if before["phase"] == "paused":
            raise paused(call.target(), before)
        raise TryAgain(f"no gateway to restart now: {before['reason']}", hint=call.command("wait"))
    since = int(client.command("restart")["n"])
    with Terminal(call) as terminal:
        status = follow_until_ready(call.target(), client, terminal, timeout_s=timeout_s, since=since, began_s=began_s)
    if text := _not_followed(call):
        call.say(text)
    return Outcome(status, "" if call.quiet else ready_line(status))


@click.command("wait")
@click.option(
    "--for",
    "wanted",
    type=click.Choice(["ready", "portfolio", "stopped"]),
    default="ready",
    show_default=True,
    help="State to wait for.",
)
@click.option(
    "--timeout", "timeout_s", type=Seconds(0), default=180, show_default=True, metavar="S", help="Seconds to wait."
)
@click.option("--all", "every", is_flag=True, help="Wait for every profile that `status --all` counts.")
@verb
def wait(call: Call, *, wanted: Wanted, timeout_s: float, every: bool) -> Outcome:
    """Wait until the session is ready or the profile is stopped; changes nothing.

    For reading alone, --for portfolio waits until IBKR knows the login, with or without a brokerage session.
    """
    if every:
        from gwctl.cli.all_profiles import check_all, wait_for_all

        check_all(call, every=every)
        return wait_for_all(call, wanted, timeout_s)
    return Outcome(wait_for(call.target(), wanted, timeout_s=timeout_s), "" if call.quiet else wanted)


@click.command("status")
@click.option("--healthcheck", is_flag=True, help="Print one word and exit 0 or 1, for containers.")
@click.option(
    "--watch",
    is_flag=True,
    help="Update the status live until q or Ctrl-C; without a terminal, print each change.",
)
@click.option("--web", is_flag=True, help="Open the status page in a browser and print its URL.")
@click.option("--all", "every", is_flag=True, help="Show a table of all profiles.")
@verb
def status(call: Call, *, healthcheck: bool, watch: bool, web: bool, every: bool) -> Outcome:
    """Show phase and reason, session, gateway, supervisor, login budget, and what happens next.

    With --all, show every profile in config.toml and every other that has run. The exit code is then the most severe: 4
    if the state of one is unknown, else 150 if one runs and is not ready, else 3 if one in config.toml is stopped, else
    0. With --web and --all, the page shows all profiles.
    """
    if every:
        from gwctl.cli.all_profiles import a_running_profile, check_all, show_all

        check_all(call, every=every, healthcheck=healthcheck)
        return _show_page(call, a_running_profile(call), "profiles") if web else show_all(call, watch=watch)
    if healthcheck:
        status, code = look_always(call.target())
        word = "hung" if code == CANNOT_TELL else status["phase"]
        return Outcome({"phase": word}, word, 0 if code == READY else 1)
    if web:
        return _show_page(call, call.target(), "")
    if watch:
        from gwctl.cli.live import watch as watch_it

        return watch_it(call)
    status, code = look_always(call.target())
    return Outcome(status, render(status), code)


def _show_page(call: Call, profile: Profile, path: str) -> Outcome:
    from gwctl.cli.live import open_page
    from gwctl.isolation.socket_owner import can_tell_owners
    from gwctl.lifecycle.reach import require_supervisor

    client = require_supervisor(profile)
    supervisor = client.status()["supervisor"]
    if supervisor is None:
        raise TryAgain("the supervisor is just ending", hint=call.command("status"))
    # Where the system cannot tell the supervisor that the browser is ours, the page needs the token. It is no argument
    # of a program there: macOS gets the address through a pipe.
    token = "" if can_tell_owners() else f"#token={client.record.token}"
    return open_page(call, f"{supervisor['health_url']}/{path}{token}")


def render(status: Status) -> str:
    """Return the screen; readable at 80 columns and without color."""
    gateway, session, supervisor, login = status["gateway"], status["session"], status["supervisor"], status["login"]
    mark = "●" if status["ready"] else "○"
    account = account_words(status)
    lines = [f"{mark} {status['profile']}: {status['phase']}{' · ' if account else ''}{account} - {status['reason']}"]
    if gateway["pid"]:
        lines.append(f"  gateway     {gateway['base_url']}")
        lines.append(
            f"              pid {gateway['pid']} · up {duration(gateway['uptime_s'] or 0.0)} · "
            f"{megabytes(gateway['rss_bytes'])} · restarts {gateway['restarts']} · release {gateway['release']}"
        )
        if isolation := status.get("isolation"):
            lines.append(f"  access      {access(isolation)}")
        if door := status.get("door"):
            lines.append(f"  door        {door_line(door)}")
        words = [word for word in ("authenticated", "connected", "competing") if session[word]]
        tickled = session["last_tickle_age_s"]
        age = "" if tickled is None else f" · tickled {duration(tickled)} ago"
        lines.append(f"  session     {' · '.join(words) or 'none'}{age}")
    if supervisor:
        lines.append(
            f"  supervisor  pid {supervisor['pid']} · up {duration(supervisor['uptime_s'])} · "
            f"{megabytes(supervisor['rss_bytes'])} · {supervisor['health_url']}"
        )
    locked = " · LOCKED, a person is needed" if login["locked"] else ""
    last = f" · last {login['last_outcome']} at {login['last_at']}" if login["last_at"] else ""
    lines.append(f"  login       {login['rejected']} of {login['rejected_limit']} refusals in 24 h{last}{locked}")
    if shared := together(login.get("shared_with", [])):
        lines.append(f"              {shared}")
    # An earlier version's supervisor does not report this.
    for texts, remedy in by_remedy(status.get("drift", [])):
        lines += [f"  settings    {texts[0]}", *(f"              {text}" for text in [*texts[1:], remedy])]
    if status["next"]:
        what = status["next"]["what"].replace("_", " ")
        lines.append(f"  next        {what} in {duration(status['next']['in_s'])}")
    lines += [f"  {label:<10}  {text}" for label, text in plan_rows(status)]
    return rows(lines)
