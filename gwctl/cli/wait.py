"""``gwctl wait``: block until a fact."""

from __future__ import annotations

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome
from gwctl.cli.parsing import Seconds
from gwctl.lifecycle.wait import Wanted, wait_for


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
def command(call: Call, *, wanted: Wanted, timeout_s: float, every: bool) -> Outcome:
    """Wait until the session is ready, or the profile stopped; touches nothing."""
    if every:
        from gwctl.cli.many import check_all, wait_for_all

        check_all(call, every=every)
        return wait_for_all(call, wanted, timeout_s)
    return Outcome(wait_for(call.target(), wanted, timeout_s=timeout_s), "" if call.quiet else wanted)
