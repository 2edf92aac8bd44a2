"""``gwctl wait``: block until a fact."""

from __future__ import annotations

import time

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome
from gwctl.cli.parsing import Seconds
from gwctl.errors import TimedOut, TryAgain
from gwctl.lifecycle.status import STOPPED, look

LOOK_EVERY_S = 0.2


@click.command("wait")
@click.option(
    "--for",
    "wanted",
    type=click.Choice(["ready", "stopped"]),
    default="ready",
    show_default=True,
    help="The fact to wait for.",
)
@click.option(
    "--timeout", "timeout_s", type=Seconds(0), default=180, show_default=True, metavar="S", help="Seconds to wait."
)
@click.option("--all", "every", is_flag=True, help="Wait for every profile that `status --all` counts.")
@verb
def command(call: Call, *, wanted: str, timeout_s: float, every: bool) -> Outcome:
    """Wait until the session is ready, or the profile stopped; touches nothing."""
    if every:
        from gwctl.cli.many import check_all, wait_for_all

        check_all(call, every=every)
        return wait_for_all(call, wanted, timeout_s)
    deadline_s = time.monotonic() + timeout_s
    while True:
        status, code = look(call.target())
        if (wanted == "ready" and status["ready"]) or (wanted == "stopped" and code == STOPPED):
            return Outcome(status, "" if call.quiet else wanted)
        if wanted == "ready" and code == STOPPED:
            raise TryAgain(
                f"profile {call.profile_name!r} is stopped: nothing will make it ready", hint=call.command("up")
            )
        if time.monotonic() >= deadline_s:
            raise TimedOut(
                f"not {wanted} after {timeout_s:g} s: {status['phase']}, {status['reason']}",
                hint=call.command("status"),
            )
        time.sleep(min(LOOK_EVERY_S, max(0.0, deadline_s - time.monotonic())))  # between two looks
