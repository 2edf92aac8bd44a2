"""``gwctl login``: log in now."""

from __future__ import annotations

import time
from pathlib import Path

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome
from gwctl.cli.parsing import Seconds
from gwctl.cli.terminal import Terminal
from gwctl.credentials import Found
from gwctl.errors import GatewayUnreachable, SecondFactorNeeded, Usage
from gwctl.supervisor.control import SupervisorClient

TIMEOUT_S = 180.0
MANUAL_TIMEOUT_S = 600.0


@click.command("login")
@click.option("--reset-lockout", is_flag=True, help="Forget refusals, after a person has mended their cause.")
@click.option("--manual", is_flag=True, help="Open a window for a person, or print the address, and wait.")
@click.option("--probe", is_flag=True, help="Look at the login page and say what it is like; submit nothing.")
@click.option("--explain", is_flag=True, help="Say in plain words how the last failed login ended, and what to do.")
@click.option("--timeout", "timeout_s", type=Seconds(1), metavar="S",
              help=f"Seconds to wait.  [default: {TIMEOUT_S:g}; with --manual: {MANUAL_TIMEOUT_S:g}]")  # fmt: skip
@verb
def command(  # noqa: PLR0913 - one argument an option
    call: Call, *, reset_lockout: bool, manual: bool, probe: bool, explain: bool, timeout_s: float | None
) -> Outcome:
    """Log in now, in the running profile; with --reset-lockout also while it is stopped."""
    if sum((reset_lockout, manual, probe, explain)) > 1:
        raise Usage("--reset-lockout, --manual, --probe and --explain exclude each other", hint="gwctl login --help")
    if manual:
        from gwctl.lifecycle.manual_login import log_in_by_hand

        with Terminal(call) as terminal:
            status, was_needed = log_in_by_hand(call.target(), terminal, timeout_s=timeout_s or MANUAL_TIMEOUT_S)
        return Outcome(status, "" if call.quiet else "logged in" if was_needed else "already logged in")
    if probe:
        from gwctl.cli.login_probe import probe_page

        return probe_page(call, timeout_s=timeout_s)
    if explain:
        from gwctl.cli.login_explain import explain_last

        return explain_last(call)
    return _log_in(call, reset_lockout=reset_lockout, timeout_s=timeout_s or TIMEOUT_S)


def _log_in(call: Call, *, reset_lockout: bool, timeout_s: float) -> Outcome:
    from gwctl.lifecycle.follow import follow_until_ready
    from gwctl.lifecycle.preflight import check_law_2, look_for_secrets
    from gwctl.lifecycle.start import wish_login
    from gwctl.supervisor.ledger import Ledger

    began_s = time.time()
    client = SupervisorClient.find(call.paths)
    sandbox = client is not None and client.record.sandbox
    ledger_file = call.paths.sandbox_ledger_file if sandbox else call.paths.ledger_file
    if reset_lockout:
        if call.paths.profile_dir.is_dir():
            Ledger(ledger_file).reset()
        call.say("refused logins are forgotten")
    if client is None:
        if reset_lockout:
            return Outcome({"reset": True, "logged_in": False}, f"next: {call.command('up')}")
        raise GatewayUnreachable(f"profile {call.profile_name!r} is not running", hint=call.command("up"))
    found: dict[str, Found] = {}
    if not sandbox:
        settings = call.settings()
        found = look_for_secrets(call.target(), settings, Terminal(call))
    _lift_what_waits_for_a_person(ledger_file)
    if not sandbox:
        check_law_2(call.target(), settings, found, Terminal(call))
    since = wish_login(call.target(), client, found, Terminal(call))
    with Terminal(call) as terminal:
        status = follow_until_ready(call.target(), client, terminal, timeout_s=timeout_s, since=since, began_s=began_s)
    return Outcome(status, "" if call.quiet else "logged in")


def _lift_what_waits_for_a_person(ledger_file: Path) -> None:
    """Let a login be tried that no second factor was given for: nothing was refused, and now somebody is there."""
    from gwctl.supervisor.ledger import Ledger

    if ledger_file.exists():
        Ledger(ledger_file).lift_block(code=SecondFactorNeeded.code)
