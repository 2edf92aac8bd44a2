"""``gwctl down``: stop a profile."""

from __future__ import annotations

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome
from gwctl.cli.terminal import Terminal
from gwctl.lifecycle.lease import holder_of, let_go
from gwctl.lifecycle.stop import gateway_runs, stop


@click.command("down")
@click.option("--keep-session", is_flag=True, help="Leave the gateway and its session running.")
@click.option("--all", "every", is_flag=True, help="Stop every profile that has ever run.")
@click.option("--tether", type=click.IntRange(2), metavar="PID", help="Only end what nobody but process PID holds.")
@verb
def command(call: Call, *, keep_session: bool, every: bool, tether: int | None) -> Outcome:
    """Log out, and stop supervisor, gateway and any browser of the profile."""
    if every:
        from gwctl.cli.each import bring_down_all
        from gwctl.cli.many import check_all

        check_all(call, every=every, tether=tether)
        return bring_down_all(call, keep_session=keep_session)
    if tether is not None:
        return _let_go(call, tether)
    was = stop(call.target(), keep_session=keep_session, observer=Terminal(call))
    text = "stopped" if was else "already stopped"
    data: dict[str, object] = {"profile": call.profile_name, "was_running": was}
    if keep_session:
        data["gateway_runs"] = gateway_runs(call.target())
        text += " (the gateway goes on)" if data["gateway_runs"] else " (there was no gateway to keep)" if was else ""
    return Outcome(data, "" if call.quiet else text)


def _let_go(call: Call, pid: int) -> Outcome:
    """Stop what was brought up for a process, unless somebody else holds or keeps it, too."""
    holder = holder_of(pid)
    stopped = holder is None or let_go(call.target(), holder, started=True, observer=Terminal(call))
    text = "stopped" if stopped else "left running: others hold it"
    return Outcome({"profile": call.profile_name, "stopped": stopped}, "" if call.quiet else text)
