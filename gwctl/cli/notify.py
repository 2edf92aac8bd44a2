"""``gwctl notify``: try who is told of what happens."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import click

from gwctl.cli.call import Call, global_options, verb
from gwctl.cli.output import Outcome
from gwctl.cli.parsing import SuggestingGroup
from gwctl.errors import Configuration, Unavailable

if TYPE_CHECKING:
    from gwctl.integrations.notify import Message, Way


@click.group("notify", cls=SuggestingGroup)
@global_options
def command() -> None:
    """Try who is told of what happens."""


@command.command("test")
@verb
def test(call: Call) -> Outcome:
    """Send one test message in every configured way and say how each went; 69 if one failed."""
    from gwctl.integrations.notify import ways_of
    from gwctl.lifecycle.preflight import look_for_ways
    from gwctl.supervisor.notifier import trial

    settings = call.settings()
    ways = ways_of(settings, look_for_ways(call.target(), settings), call.environment.variables)
    if not ways:
        raise Configuration(
            f"profile {settings.profile!r} tells nobody",
            hint=f"{call.command('secret set notify_webhook')}, or notify_command in config.toml",
        )
    results = asyncio.run(_send(ways, trial(settings.profile)))
    failed = [result for result in results if not result["ok"]]
    lines = [
        f"{result['way']}: {'told' if result['ok'] else 'FAILED'}: {result['said']} "
        f"({result['took_s']:.1f} s, {result['source']})"
        for result in results
    ]
    return Outcome(
        {"profile": settings.profile, "ways": results}, "\n".join(lines), Unavailable.exit_code if failed else 0
    )


async def _send(ways: list[Way], message: Message) -> list[dict[str, Any]]:
    async def send(way: Way) -> dict[str, Any]:
        began_s = time.monotonic()
        delivery = await way.send(message)
        took_s = round(time.monotonic() - began_s, 3)
        return {"way": way.name, "source": way.source, "ok": delivery.ok, "said": delivery.said, "took_s": took_s}

    return list(await asyncio.gather(*map(send, ways)))
