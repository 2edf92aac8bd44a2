"""``gwctl secret``: put secrets into the keyring, and say where they are found; never show one."""

from __future__ import annotations

import sys
from typing import Any

import click

from gwctl.cli.call import Call, global_options, verb
from gwctl.cli.output import Outcome
from gwctl.cli.parsing import SuggestingGroup
from gwctl.credentials import check_name, doubt_of, find, import_keyring
from gwctl.errors import CredentialsMissing, Unavailable, Usage

_NO_KEYRING = "pipx inject gwctl keyring, or put the secret into a file and set GWCTL_{}_FILE"


@click.group("secret", cls=SuggestingGroup)
@global_options
def command() -> None:
    """Manage `password` and `totp_secret`, and `notify_webhook`, `notify_webhook_token` and `notify_urls`."""


def _keyring(name: str) -> Any:  # noqa: ANN401 - an optional library without types
    try:
        return import_keyring()
    except ImportError:
        raise Unavailable("the keyring extra is not installed", hint=_NO_KEYRING.format(name.upper())) from None


@command.command("set")
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


@command.command("delete")
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


@command.command("check")
@click.argument("name", default="password")
@verb
def check(call: Call, *, name: str) -> Outcome:
    """Say which source has a secret, never what it is."""
    from gwctl.supervisor.service_secrets import check_totp, sources_of

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
