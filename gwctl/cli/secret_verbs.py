"""`secret` and `notify`: secrets, and who is told of what happens."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from gwctl.cli.call import Call, global_options, verb
from gwctl.cli.output import Outcome
from gwctl.cli.parsing import SuggestingGroup
from gwctl.credentials import check_name, doubt_of, find, import_keyring
from gwctl.errors import Configuration, CredentialsMissing, Unavailable, Usage

if TYPE_CHECKING:
    from gwctl.integrations.notify import Message, Way

_NO_KEYRING = "pipx inject gwctl keyring, or put the secret into a file and set GWCTL_{}_FILE"


@click.group("secret", cls=SuggestingGroup)
@global_options
def secret() -> None:
    """Manage `password` and `totp_secret`, and `notify_webhook`, `notify_webhook_token` and `notify_urls`."""


def _keyring(name: str) -> Any:  # noqa: ANN401 - an optional library without types
    try:
        return import_keyring()
    except ImportError:
        raise Unavailable("the keyring extra is not installed", hint=_NO_KEYRING.format(name.upper())) from None


@secret.command("set")
@click.argument("name")
@verb
def set_(call: Call, *, name: str) -> Outcome:
    """Put a secret into the keyring; it is asked for, or read from stdin if that is no terminal."""
    name = check_name(name)
    keyring = _keyring(name)
    if sys.stdin.isatty():
        if call.no_input:
            raise Usage("--no-input and nothing on stdin", hint=f"gwctl secret set {name} < FILE")
        value = str(click.prompt(name, hide_input=True, confirmation_prompt=True, err=True))
    else:
        value = sys.stdin.readline().rstrip("\r\n")
    if not value:
        raise Usage(f"no {name} was given", hint=f"gwctl secret set {name} < FILE")
    try:
        keyring.set_password(f"gwctl:{call.profile_name}", name, value)
    except keyring.errors.KeyringError:
        raise Unavailable("the keyring cannot be used here", hint=_NO_KEYRING.format(name.upper())) from None
    return Outcome({"name": name, "source": "keyring"}, f"{name} of {call.profile_name} is in the keyring")


@secret.command("delete")
@click.argument("name")
@verb
def delete(call: Call, *, name: str) -> Outcome:
    """Remove a secret from the keyring."""
    name = check_name(name)
    keyring = _keyring(name)
    try:
        keyring.delete_password(f"gwctl:{call.profile_name}", name)
    except keyring.errors.KeyringError:
        raise CredentialsMissing(f"{name} is not in the keyring", hint=f"gwctl secret check {name}") from None
    return Outcome({"name": name}, f"{name} of {call.profile_name} is removed")


@secret.command("check")
@click.argument("name", default="password")
@verb
def check(call: Call, *, name: str) -> Outcome:
    """Say which source has a secret, never what it is."""
    from gwctl.supervisor.attempt import check_totp, sources_of

    name = check_name(name)
    settings = call.settings()
    found = find(name, settings, sources_of(call.environment))
    if found is None:
        raise CredentialsMissing(
            f"no {name} was found in any source",
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
    """Try who is told of what happens."""


@notify.command("test")
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
