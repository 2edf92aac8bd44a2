"""`secret` and `notify`: a profile's secrets and its notifications."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from gwctl.cli.call import Call, SuggestingGroup, global_options, offering, verb
from gwctl.cli.output import Outcome
from gwctl.credentials import Secret, check_name, doubt_of, find
from gwctl.errors import Configuration, CredentialsMissing, Unavailable, Usage
from gwctl.system_keyring import delete_from_keyring, store_in_keyring

if TYPE_CHECKING:
    from gwctl.integrations.notify import Message, Way


@click.group("secret", cls=SuggestingGroup)
@global_options
def secret() -> None:
    """Manage `password`, `totp_secret`, `notify_webhook`, `notify_webhook_token` and `notify_urls`."""


@secret.command("set")
@click.argument("name", shell_complete=offering("secrets"))
@verb
def set_secret(call: Call, *, name: str) -> Outcome:
    """Store a secret in the keyring; ask for it, or read it from stdin if that is not a terminal."""
    name = check_name(name)
    if sys.stdin.isatty():
        if call.no_input:
            raise Usage("--no-input, but nothing on stdin", hint=f"gwctl secret set {name} < FILE")
        value = str(click.prompt(name, hide_input=True, confirmation_prompt=True, err=True))
    else:
        value = sys.stdin.readline().rstrip("\r\n")
    if not value:
        raise Usage(f"{name} is empty", hint=f"gwctl secret set {name} < FILE")
    store_in_keyring(call.paths, name, Secret(value))
    return Outcome({"name": name, "source": "keyring"}, f"stored {name} of {call.profile_name} in the keyring")


@secret.command("delete")
@click.argument("name", shell_complete=offering("secrets"))
@verb
def delete_secret(call: Call, *, name: str) -> Outcome:
    """Remove a secret from the keyring."""
    name = check_name(name)
    delete_from_keyring(call.paths, name)
    return Outcome({"name": name}, f"removed {name} of {call.profile_name}")


@secret.command("check")
@click.argument("name", default="password", shell_complete=offering("secrets"))
@verb
def check(call: Call, *, name: str) -> Outcome:
    """Show which source has a secret, without showing the secret."""
    from gwctl.supervisor.attempt import check_totp, sources_of

    name = check_name(name)
    settings = call.settings()
    found = find(name, settings, sources_of(call.environment))
    if found is None:
        raise CredentialsMissing(
            f"no source has a {name}",
            hint=f"{call.command('secret set ' + name)}, or GWCTL_{name.upper()}_FILE",
        )
    if name == "totp_secret":
        check_totp(settings, found)
    doubt = doubt_of(found)
    text = f"{name}: {found.source}" + (f"; {doubt}" if doubt else "")
    return Outcome({"name": name, "source": found.source, **({"doubt": doubt} if doubt else {})}, text)


@click.group("notify", cls=SuggestingGroup)
@global_options
def notify() -> None:
    """Test notifications."""


@notify.command("test")
@verb
def test(call: Call) -> Outcome:
    """Send a test message by every configured way and show each result; exit 69 if one failed."""
    from gwctl.integrations.notify import ways_of
    from gwctl.lifecycle.preflight import look_for_ways
    from gwctl.supervisor.wiring import trial

    settings = call.settings()
    ways = ways_of(settings, look_for_ways(call.target(), settings), call.environment.variables)
    if not ways:
        raise Configuration(
            f"profile {settings.profile!r} has no notifications configured",
            hint=f"{call.command('secret set notify_webhook')}, or notify_command in config.toml",
        )
    results = asyncio.run(_send(ways, trial(settings.profile)))
    failed = [result for result in results if not result["ok"]]
    lines = [
        f"{result['way']}: {'sent' if result['ok'] else 'FAILED'}: {result['said']} "
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
