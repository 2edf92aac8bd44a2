"""``gwctl login``: log in now."""

from __future__ import annotations

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome
from gwctl.cli.parsing import Seconds
from gwctl.errors import GatewayUnreachable
from gwctl.supervisor.control import SupervisorClient


@click.command("login")
@click.option("--reset-lockout", is_flag=True, help="Forget refusals, after a person has mended their cause.")
@click.option(
    "--timeout", "timeout_s", type=Seconds(1), default=180, show_default=True, metavar="S", help="Seconds to wait."
)
@verb
def command(call: Call, *, reset_lockout: bool, timeout_s: float) -> Outcome:
    """Log in now, in the running profile; with --reset-lockout also while it is stopped."""
    from gwctl.cli.following import follow_until_ready, shown
    from gwctl.cli.up import check_law_2, look_for_secrets
    from gwctl.supervisor.handover import Handover, revealed
    from gwctl.supervisor.ledger import Ledger

    client = SupervisorClient.find(call.paths)
    sandbox = client is not None and client.record.sandbox
    if reset_lockout:
        ledger_file = call.paths.sandbox_ledger_file if sandbox else call.paths.ledger_file
        if call.paths.profile_dir.is_dir():
            Ledger(ledger_file).reset()
        call.say("refused logins are forgotten")
    if client is None:
        if reset_lockout:
            return Outcome({"reset": True, "logged_in": False}, f"next: {call.command('up')}")
        raise GatewayUnreachable(f"profile {call.profile_name!r} is not running", hint=call.command("up"))
    body: dict[str, object] = {}
    if not sandbox:
        settings = call.settings()
        found = look_for_secrets(call, settings)
        check_law_2(call, settings, found)
        secrets = Handover.make(call.environment, {}, found).secrets
        body = {"secrets": revealed(secrets)}
    since = int(client.command("login", body)["n"])
    with shown(call) as show:
        status = follow_until_ready(call, client, timeout_s=timeout_s, show=show, since=since)
    return Outcome(status, "" if call.quiet else "logged in")
