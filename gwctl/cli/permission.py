"""What is needed before a login: secrets, law 2's consent, a supervisor that is told to, and whom to tell of it."""

from __future__ import annotations

from collections.abc import Mapping

import click

from gwctl.cli.call import Call
from gwctl.config import Settings
from gwctl.credentials import Found
from gwctl.errors import CredentialsRejected, LockedOut, NeedsPerson, SecondFactorNeeded, WrongMode
from gwctl.supervisor.control import SupervisorClient


def wish_login(call: Call, client: SupervisorClient, found: Mapping[str, Found]) -> int:
    """Have a running supervisor log in now, and return the journal entry after which to look for what comes of it."""
    from gwctl.supervisor.handover import Handover, revealed

    secrets = Handover.make(call.environment, {}, found).secrets
    return int(client.command("login", {"secrets": revealed(secrets), "attended": call.may_ask})["n"])


def look_for_secrets(call: Call, settings: Settings) -> dict[str, Found]:
    """Return the secrets that were found, asking a person for the password last; raise CredentialsMissing."""
    from gwctl.credentials import doubt_of, find, require
    from gwctl.supervisor.service_secrets import check_totp, sources_of

    def ask(name: str) -> str:
        with call.display_paused():
            return str(click.prompt(f"{name} of {settings['username']}", hide_input=True, err=True))

    may_ask = call.may_ask and settings["username"] is not None
    sources = sources_of(call.environment, prompt=ask if may_ask else None)
    password = find("password", settings, sources)
    totp = find("totp_secret", settings, sources_of(call.environment))
    require(settings["username"], password, totp, settings.profile)
    check_totp(settings, totp)
    secrets = {name: one for name, one in (("password", password), ("totp_secret", totp)) if one is not None}
    for name, one in secrets.items():
        if (doubt := doubt_of(one)) is not None:
            with call.display_paused():
                call.say(f"the {name}: {doubt}")
    return secrets


def look_for_ways(call: Call, settings: Settings) -> dict[str, Found]:
    """Return the addresses at which somebody is told; raise Configuration where one cannot be used.

    The supervisor is handed them: when there is news, the keyring may be locked and a program may hang.
    """
    from gwctl.credentials import find
    from gwctl.integrations.notify import find_secrets
    from gwctl.supervisor.service_secrets import sources_of

    sources = sources_of(call.environment)
    return find_secrets(lambda name: find(name, settings, sources))


def check_law_2(call: Call, settings: Settings, found: Mapping[str, Found]) -> None:
    """Raise CredentialsRejected or LockedOut, before anything is started, where law 2 forbids the login."""
    from gwctl.supervisor.ledger import Ledger
    from gwctl.supervisor.service_secrets import ledger_secret, login_context

    ledger = Ledger(settings.paths.ledger_file)
    if not settings.paths.ledger_file.exists():
        return
    context = login_context(settings, has_totp="totp_secret" in found)
    secret = ledger_secret(str(settings["username"]), found["password"].secret)
    permission = ledger.permission(secret, context, int(settings["rejected_limit"]))
    if permission.allowed or permission.wait_s is not None:
        return
    if permission.code == SecondFactorNeeded.code and call.may_ask:
        # Nothing was refused, and now somebody is there.
        ledger.lift_block(code=SecondFactorNeeded.code)
        return
    kinds: tuple[type[NeedsPerson], ...] = (CredentialsRejected, SecondFactorNeeded, WrongMode)
    kind = next((one for one in kinds if one.code == permission.code), LockedOut)
    mend = "correct the password" if kind is CredentialsRejected else "mend the cause"
    hint = f"{mend}, or {call.command('login --reset-lockout')}"
    raise kind(permission.reason or "locked out", hint=hint)
