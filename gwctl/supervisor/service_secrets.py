"""What both the CLI and the supervisor ask about a login before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from gwctl.config import SECRET_KEYS, Environment, Settings
from gwctl.credentials import Secret
from gwctl.gateway import process

COMMAND_TIMEOUT_S = 30.0


def run_secret_command(argv: Sequence[str]) -> str:
    """Run a password command without a shell and return its stdout; raise ValueError if it fails."""
    ours = tuple(f"GWCTL_{name.upper()}" for name in SECRET_KEYS)
    variables = {name: value for name, value in Environment().variables.items() if not name.startswith(ours)}
    done = process.run_short(list(argv), timeout_s=COMMAND_TIMEOUT_S, env=variables)
    if done.exit_code != 0:
        raise ValueError(f"{argv[0]} ended with exit code {done.exit_code}")
    return done.stdout


def ledger_secret(username: str, password: Secret) -> Secret:
    """Return what the ledger fingerprints: another username with the same password is another login."""
    return Secret(f"{username}\n{password.reveal()}")


def login_context(settings: Settings, *, has_totp: bool) -> str:
    """Return what a person may change after a login that only a person could mend (law 2 blocks by it)."""
    second_factor = "totp" if has_totp else settings["second_factor"] or "none"
    return f"{settings['mode']}/{second_factor}"
