"""The process environment: what of it is ours, and what must not be inherited; its only reader."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from gwctl.errors import Configuration
from gwctl.known_words import nearest
from gwctl.ownership import TRUST_VARIABLE
from gwctl.paths import without_tilde
from gwctl.setting_keys import FILE_KEYS, KEYS, PROGRAM_KEYS, SECRET_KEYS, variable_of

DEFAULT_PROFILE = "default"
SECRET_PREFIXES = ("GWCTL_PASSWORD", "GWCTL_TOTP", "GWCTL_NOTIFY")
"""How the names of variables begin that may hold a secret of ours."""
SERVICE_MANAGER_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""For one process only, and not for its children."""


class Variable(Struct, frozen=True):
    """A variable of ours that is no setting and no secret; ``example`` is a value for it."""

    help: str
    example: str


READ = {
    "GWCTL_HOME": Variable("one folder for settings, releases, state, logs and cache", "/srv/gwctl"),
    "GWCTL_PROFILE": Variable("the profile to use where no `--profile` names one", "live"),
    TRUST_VARIABLE: Variable("use gwctl's folders even if other users could write to them, as in a container", "1"),
    "GWCTL_CA_FOLDER": Variable("where the container's image puts the certificate for other containers", "/srv/ca"),
}
"""The variables that a person sets."""
GIVEN = {
    "GWCTL_BASE_URL": Variable("to your programs: the API's address", "https://localhost:5000/v1/api"),
    "GWCTL_CA_FILE": Variable("to your programs: the gateway's certificate authority", "/home/me/…/ca.pem"),
    "GWCTL_EXEC": Variable("to the command of `gwctl exec`: the call that it belongs to", "4711"),
    "GWCTL_EVENT": Variable("to `notify_command`: what happened", "locked_out"),
    "GWCTL_SEVERITY": Variable("to `notify_command`: how bad it is", "critical"),
    "GWCTL_TITLE": Variable("to `notify_command`: a short text", "gwctl default: locked out"),
    "GWCTL_TEXT": Variable("to `notify_command`: the whole text", "default: IBKR says that …"),
    "GWCTL_CHALLENGE": Variable("to `second_factor_command`: the challenge to be answered", "482 913"),
    "GWCTL_PYTHON": Variable("to the sandbox's gateway: the Python that runs it", "/usr/bin/python3"),
}
"""The variables that gwctl gives to other programs, and accepts because those may start gwctl again."""
_OURS = frozenset(
    {*READ, *GIVEN}
    | {variable_of(key) for key, one in KEYS.items() if one.variable}
    | {variable_of(name) for name in SECRET_KEYS}
)
# Of this repository's tests, and what Kubernetes sets for a service that is named gwctl.
_NOT_OURS = re.compile(r"GWCTL_TEST_.*|GWCTL_(.*_)?(SERVICE_(HOST|PORT)(_.*)?|PORT_\d+_(TCP|UDP|SCTP)(_.*)?)")
_LINK = re.compile(r"(tcp|udp|sctp)://")
_PATH_KEYS = (*FILE_KEYS, *PROGRAM_KEYS)


class Environment:
    """The process environment; only this module reads it."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self.variables: Mapping[str, str] = os.environ if variables is None else variables

    def get(self, name: str) -> str | None:
        """Return a variable's value, or None if it is unset or empty."""
        return self.variables.get(name) or None

    @property
    def home(self) -> Path | None:
        """``GWCTL_HOME``."""
        home = self.get("GWCTL_HOME")
        return Path(home) if home else None

    @property
    def trusts_home(self) -> bool:
        """Whether gwctl uses its folders even if other users could write to them (``GWCTL_TRUST_HOME``)."""
        return self.flag(TRUST_VARIABLE)

    def require_known(self) -> None:
        """Raise Configuration for a variable of ours that there is not: a mistyped one would have no effect."""
        for name, value in self.variables.items():
            others = _NOT_OURS.fullmatch(name) or (name.endswith("_PORT") and _LINK.match(value))
            if name.startswith("GWCTL_") and name not in _OURS and not others:
                raise _unknown(name)

    def flag(self, name: str) -> bool:
        """Return whether a variable is set to anything other than a "no" value."""
        return (self.get(name) or "").lower() not in {"", "0", "false", "no", "off"}


def _unknown(name: str) -> Configuration:
    key = name.removeprefix("GWCTL_").lower()
    if key in KEYS:
        return Configuration(f"{key} cannot be set by the variable {name}", hint=f"write {key} into config.toml")
    near = nearest(key, [known.removeprefix("GWCTL_").lower() for known in sorted(_OURS)])
    hint = f"did you mean {variable_of(near)}?" if near else f"unset {name}"
    return Configuration(f"there is no variable {name}", hint=hint)


def own_environment(variables: Mapping[str, str] | None = None) -> Environment:
    """Return the process environment, or ``variables``, with absolute paths: the supervisor works in another folder.

    Raise Configuration for a relative path if the current folder is gone.
    """
    settled = dict(os.environ if variables is None else variables)
    for name in ("GWCTL_HOME", "CREDENTIALS_DIRECTORY"):
        if settled.get(name):
            settled[name] = _absolute(settled[name], name)
    for key in _PATH_KEYS:
        if value := settled.get(variable_of(key)):
            settled[variable_of(key)] = with_absolute_path(key, value, variable_of(key))
    return Environment(settled)


def with_absolute_path(key: str, value: str, name: str) -> str:
    """Return a setting's value, its path absolute if it is one; ``name`` is the setting's in an error.

    Raise Configuration for a relative path if the current folder is gone.
    """
    is_path = key in FILE_KEYS or (key in PROGRAM_KEYS and "/" in value and "://" not in value)
    return _absolute(value.strip(), name) if is_path and value.strip() else value


def _absolute(path: str, name: str) -> str:
    path = without_tilde(path)
    try:
        return str(Path(path).absolute())
    except FileNotFoundError:
        raise Configuration(
            f"{name} is the relative path {path}, and the current folder is gone",
            hint=f"set {name} to an absolute path",
        ) from None


@contextlib.contextmanager
def secrets_out_of_reach() -> Iterator[None]:
    """Remove the variables that hold our secrets from this process's environment for the duration of a ``with``.

    For libraries that start programs themselves: those programs inherit the environment (law 8).
    """
    taken = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(SECRET_PREFIXES)}
    try:
        yield
    finally:
        os.environ.update(taken)


def take_notification_variables() -> dict[str, str]:
    """Return how the service manager wants to be notified, and remove those variables from what children inherit."""
    return {name: value for name in SERVICE_MANAGER_VARIABLES if (value := os.environ.pop(name, None))}
