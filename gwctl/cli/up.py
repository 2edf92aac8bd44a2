"""``gwctl up``: the one command."""

from __future__ import annotations

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome
from gwctl.cli.parsing import Seconds
from gwctl.cli.terminal import Terminal
from gwctl.lifecycle import start
from gwctl.lifecycle.lease import holder_of


@click.command("up")
@click.option("--foreground", is_flag=True, help="Supervise in this process, for units and containers.")
@click.option("--sandbox", is_flag=True, help="Use the built-in stand-in for IBKR: no account, no internet.")
@click.option("--timeout", "timeout_s", type=Seconds(1), default=180, show_default=True, metavar="S",
              help="Seconds to wait for the session.")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65535), metavar="PORT", help="Port of the gateway.")
@click.option("--all", "every", is_flag=True, help="Bring up every profile of config.toml; --timeout is for each.")
@click.option("--at-once", type=click.IntRange(1, 100), metavar="N",
              help="With --all: how many at a time; without it as many as there are cores.")  # fmt: skip
@click.option("--zero-when-final", is_flag=True,
              help="With --foreground: end with 0 instead of 77 and 78, which a person has to mend, for service "
              "managers that start anew whatever ends with another code.")  # fmt: skip
@click.option("--tether", type=click.IntRange(2), metavar="PID", help="Bring it down when process PID has ended.")
@click.option("--handed-over", is_flag=True, hidden=True)
@verb
def command(  # noqa: PLR0913 - one argument an option
    call: Call,
    *,
    foreground: bool,
    sandbox: bool,
    timeout_s: float,
    port: int | None,
    every: bool,
    at_once: int | None,
    zero_when_final: bool,
    tether: int | None,
    handed_over: bool,
) -> Outcome:
    """Start the gateway, log in, and keep the session alive in the background.

    Returns when the session is ready; on a healthy profile it says so and touches nothing.

    With --all one profile's failure does not stop the others; the exit code is the gravest: 77 before 78, 69, 1, 75.
    Ctrl-C stops again what the call started.
    """
    if every or at_once is not None:
        from gwctl.cli.each import bring_up_all
        from gwctl.cli.many import check_all

        check_all(call, every=every, foreground=foreground, port=port, tether=tether)
        return bring_up_all(call, sandbox=sandbox, timeout_s=timeout_s, at_once=at_once)
    flags = {"port": port} if port is not None else {}
    if foreground:
        from gwctl.cli.foreground import supervise, supervise_ending_final_with_zero

        begin = supervise_ending_final_with_zero if zero_when_final else supervise
        return begin(call, flags, sandbox=sandbox, handed_over=handed_over, holder=holder_of(tether))
    with Terminal(call) as terminal:
        up = start.up(
            call.target(flags), sandbox=sandbox, timeout_s=timeout_s, holder=holder_of(tether), observer=terminal
        )
    status = up.status
    word = "ready" if up.started else "already ready"
    text = f"{word}: {status['gateway']['base_url']} (profile {status['profile']})"
    if status.get("sandbox"):
        text += ", sandbox"
    if not up.started:
        for one in status.get("drift", []):
            call.say(f"{one['text']}; to apply it: {one['remedy']}")
    return Outcome({**status, "started": up.started}, "" if call.quiet else text)
