"""The system's keyring, and a note of where it had nothing.

The library searches for the backends of every system: a quarter of a CPU second and 8 MB in each process that asks it.
So a search that finds nothing is noted and not repeated, until `gwctl secret` or `gwctl setup` stores that secret, or
another environment could lead to another keyring. The first note wins over the second, so that none has to be locked.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from gwctl.environment import secrets_out_of_reach
from gwctl.errors import CredentialsMissing, GwctlError, Unavailable
from gwctl.paths import Paths
from gwctl.state_file import make_private_dir
from gwctl.version import VERSION, adding

if TYPE_CHECKING:
    from gwctl.credentials import Secret

_LEADS_TO_KEYRING = ("DBUS_SESSION_BUS_ADDRESS", "HOME", "PYTHON_KEYRING_BACKEND", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR")
"""Variables by which the library finds a keyring."""


def import_keyring() -> ModuleType:
    """Return the keyring library; raise ImportError if it is not installed.

    While it loads, the library searches for the backends of every system and starts compilers for that.
    """
    with secrets_out_of_reach():
        import keyring
        import keyring.errors
    return keyring


def read_keyring(paths: Paths, name: str, *, noting: bool = False) -> str | None:
    """Return the keyring's entry; None if there is none or the library is not installed.

    With ``noting``, a search that finds nothing is noted, and a noted one is not repeated. Without it, the keyring is
    searched and nothing is changed.
    """
    if noting and not _kept_file(paths, name).exists() and _nothing_file(paths, name).exists():
        return None
    try:
        keyring = import_keyring()
    except ImportError:
        return None
    try:
        with secrets_out_of_reach():
            value = keyring.get_password(f"gwctl:{paths.profile}", name)
    except keyring.errors.KeyringError:
        return None
    if not value and noting:
        with contextlib.suppress(GwctlError, OSError):  # without the note, the next call searches again
            _note(_nothing_file(paths, name))
    return str(value) if value else None


def store_in_keyring(paths: Paths, name: str, secret: Secret) -> None:
    """Store a secret of a profile in the keyring; raise Unavailable if there is none that takes it, DiskTrouble."""
    hint = f"put the {name} into a file, then: gwctl profile set {paths.profile} {name}_file=FILE"
    with _keyring_at_work(hint) as keyring:
        _note(_kept_file(paths, name))
        keyring.set_password(f"gwctl:{paths.profile}", name, secret.reveal())


def delete_from_keyring(paths: Paths, name: str) -> None:
    """Remove a secret of a profile from the keyring; raise CredentialsMissing if it is not there, and Unavailable."""
    with _keyring_at_work(f"gwctl secret check {name}") as keyring:
        try:
            keyring.delete_password(f"gwctl:{paths.profile}", name)
        except keyring.errors.PasswordDeleteError:
            raise CredentialsMissing(f"{name} is not in the keyring", hint=f"gwctl secret check {name}") from None
    with contextlib.suppress(OSError):  # at worst, the next call searches
        _kept_file(paths, name).unlink(missing_ok=True)


@contextlib.contextmanager
def _keyring_at_work(hint: str) -> Iterator[ModuleType]:
    """Yield the keyring library, our secrets out of reach of what it starts; raise Unavailable if it cannot be used."""
    try:
        keyring = import_keyring()
    except ImportError:
        raise Unavailable("the keyring library is not installed", hint=f"{adding('keyring')}; or {hint}") from None
    try:
        with secrets_out_of_reach():
            yield keyring
    except (keyring.errors.KeyringError, ImportError):  # a backend that a variable names may not be there
        raise Unavailable("no usable keyring", hint=hint) from None


def _kept_file(paths: Paths, name: str) -> Path:
    return paths.keyring_notes_dir / f"{name}-kept"


def _nothing_file(paths: Paths, name: str) -> Path:
    leads = [VERSION, sys.prefix, *(f"{one}={os.environ.get(one)}" for one in _LEADS_TO_KEYRING)]
    return paths.keyring_notes_dir / f"{name}-nothing-{hashlib.sha256(repr(leads).encode()).hexdigest()[:16]}"


def _note(file: Path) -> None:
    make_private_dir(file.parent)
    file.touch(mode=0o600)
