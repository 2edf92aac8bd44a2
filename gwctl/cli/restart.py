"""``gwctl restart``: a new gateway process, the same session."""

from __future__ import annotations

import contextlib
import time

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome
from gwctl.cli.parsing import Seconds
from gwctl.cli.terminal import Terminal
from gwctl.errors import GwctlError, TryAgain
from gwctl.lifecycle.reach import require_supervisor


def _not_followed(call: Call) -> list[str]:
    """Return which of this call's own variables the gateway does not follow: its supervisor has others."""
    from gwctl.supervisor.drift import down_then_up, drift_of_gateway

    with contextlib.suppress(GwctlError):  # settings that cannot be used are said by the supervisor
        settings = call.settings()
        remedy = down_then_up(settings)
        return [
            f"{one.text}; the supervisor has the variables it was started with; to apply it: {remedy}"
            for one in drift_of_gateway(call.paths, settings)
            if settings.values[one.setting].source.startswith("$")
        ]
    return []


@click.command("restart")
@click.option(
    "--timeout", "timeout_s", type=Seconds(1), default=180, show_default=True, metavar="S", help="Seconds to wait."
)
@verb
def command(call: Call, *, timeout_s: float) -> Outcome:
    """Restart the gateway and wait until the supervisor has restored the session."""
    from gwctl.lifecycle.follow import follow_until_ready

    began_s = time.time()
    client = require_supervisor(call.target())
    before = client.status()
    if before["gateway"]["pid"] is None:
        raise TryAgain(f"there is no gateway to restart now: {before['reason']}", hint=call.command("wait"))
    since = int(client.command("restart")["n"])
    with Terminal(call) as terminal:
        status = follow_until_ready(call.target(), client, terminal, timeout_s=timeout_s, since=since, began_s=began_s)
    for text in _not_followed(call):
        call.say(text)
    return Outcome(status, "" if call.quiet else f"ready: {status['gateway']['base_url']}")
