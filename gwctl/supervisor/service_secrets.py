"""What both the CLI and the supervisor ask about a login before it begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gwctl import process
from gwctl.config import Environment, Settings
from gwctl.credentials import Found, Secret, Sources
from gwctl.errors import Configuration
from gwctl.login.codes import BadSecret, Method, bytes_of

COMMAND_TIMEOUT_S = 30.0


def run_secret_command(argv: Sequence[str], variables: Mapping[str, str]) -> str:
    """Run a password command without a shell and return its stdout; raise ValueError if it fails.

    ``variables`` is the user's environment: what the program works with is in there.
    """
    env = process.command_environment(variables)
    done = process.run_short(list(argv), timeout_s=COMMAND_TIMEOUT_S, env=env)
    if done.exit_code != 0:
        raise ValueError(f"{argv[0]} ended with exit code {done.exit_code}")
    return done.stdout


def sources_of(
    environment: Environment,
    handed_over: Mapping[str, Found] | None = None,
    prompt: Callable[[str], str] | None = None,
) -> Sources:
    """Return where secrets are looked for, the user's own programs among them."""
    return Sources(environment, lambda argv: run_secret_command(argv, environment.variables), handed_over or {}, prompt)


def check_totp(settings: Settings, totp: Found | None) -> None:
    """Raise Configuration where codes are to be made of a TOTP secret and none can be: before a password is sent."""
    if totp is None or method_of(settings, has_totp=True) is not Method.TOTP:
        return
    try:
        bytes_of(totp.secret.reveal())
    except BadSecret as error:
        raise Configuration(f"{error}: {totp.source}", hint="copy it again from where IBKR shows it") from None


def ledger_secret(username: str, password: Secret) -> Secret:
    """Return what the ledger fingerprints: another username with the same password is another login."""
    return Secret(f"{username}\n{password.reveal()}")


def login_context(settings: Settings, *, has_totp: bool) -> str:
    """Return what a person may change after a login that only a person could mend (law 2 blocks by it)."""
    method = method_of(settings, has_totp=has_totp)
    second_factor = "none" if method is Method.AUTO else str(method)
    device = settings["second_factor_device"]
    return f"{settings['mode']}/{second_factor}" + (f"/{device}" if device else "")


def method_of(settings: Settings, *, has_totp: bool) -> Method:
    """Return how a second factor is given: as the profile says, else by what there is to give it with."""
    if settings["second_factor"]:
        return Method(settings["second_factor"])
    if has_totp:
        return Method.TOTP
    return Method.COMMAND if settings["second_factor_command"] else Method.AUTO
