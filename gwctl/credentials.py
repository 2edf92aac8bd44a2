"""Find secrets in their sources, and hold each in a Secret that does not print itself."""

from __future__ import annotations

import hashlib
import hmac
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from gwctl.config import Settings
from gwctl.environment import Environment
from gwctl.errors import Configuration, CredentialsMissing, Usage
from gwctl.known_words import suggestion
from gwctl.session_status import typed
from gwctl.setting_keys import SECRET_KEYS

_QUOTES = "\"'"


class Secret:
    """Hold one secret; only ``reveal`` returns it."""

    __slots__ = ("__value", "__weakref__")

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """Return the secret; call this only where the secret enters its pipe."""
        return self.__value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self.__value.encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash(Secret)


class Found(Struct, frozen=True):
    """A secret and the source it came from."""

    secret: Secret
    source: str


class RunCommand(Protocol):
    """Run a program without a shell and return its stdout; raise OSError or ValueError if it fails."""

    def __call__(self, argv: Sequence[str]) -> str:
        """Run the program."""
        ...


def fingerprint(secret: Secret, salt_hex: str) -> str:
    """Return a salted scrypt hash, for telling whether a password is the one used before."""
    return hashlib.scrypt(secret.reveal().encode(), salt=bytes.fromhex(salt_hex), n=2**14, r=8, p=1, dklen=32).hex()


def check_name(name: str) -> str:
    """Return the secret's normalized name; raise Usage if there is no such secret."""
    normal = name.replace("-", "_").lower()
    if normal not in SECRET_KEYS:
        raise Usage(f"unknown secret {name!r}", hint=suggestion(normal, SECRET_KEYS))
    return normal


def _read_file(path: Path, what: str) -> Secret:
    try:
        text = path.read_bytes().decode(errors="replace")
    except OSError as error:
        raise Configuration(f"cannot read the {what} from {path}: {error.strerror}", hint=f"ls -l {path}") from error
    if "\ufffd" in text:
        # The decoder's own error is left out: it contains the bytes that it could not decode.
        raise Configuration(f"cannot read the {what} from {path}: not UTF-8 text", hint=f"file {path}")
    if not _unmarked(text).strip("\r\n"):
        raise Configuration(f"the {what} file {path} is empty", hint=f"write the {what} into {path}")
    return Secret(_unmarked(text).strip("\r\n"))


def readers_of(file: Path) -> str | None:
    """Return which other users can read a secret's file, None if nobody can or it is no ordinary file."""
    try:
        found = file.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    if found.st_mode & stat.S_IROTH:
        return "every user of this machine"
    return "other users" if found.st_mode & stat.S_IRGRP else None


def _unmarked(text: str) -> str:
    """Return ``text`` without the invisible mark (BOM) that some editors put first."""
    return text.removeprefix("\ufeff")


_ACCOUNT_NUMBER = re.compile(r"D?[UFI]\d{5,9}", re.IGNORECASE)


def doubt_of_username(username: str) -> str | None:
    """Return what looks wrong with a username, or None: IBKR refuses it in the words for a wrong password."""
    if _ACCOUNT_NUMBER.fullmatch(username):
        return f"{username} looks like an account number; the username is what you type on IBKR's login page"
    if "@" in username:
        return f"{username} looks like an e-mail address; IBKR's usernames have no @"
    if len(username.split()) > 1:
        return f"{username!r} has a blank in it; IBKR's usernames have none"
    return None


def doubt_of(found: Found) -> str | None:
    """Return what looks wrong with a secret, or None; gwctl uses the secret unchanged either way."""
    text = found.secret.reveal()
    if len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES:
        return f"it is in quotes in its source ({found.source}), and gwctl sends the quotes too"
    if text != _unmarked(text):
        return f"it starts with an invisible mark (BOM) in its source ({found.source}), and gwctl sends the mark too"
    if "\n" in text.strip():
        return f"it has more than one line ({found.source}), and gwctl sends all of them"
    if text != text.strip():
        return f"it starts or ends with a blank ({found.source}), and gwctl sends the blank too"
    return None


class Sources(Struct, frozen=True):
    """The ports for finding secrets; ``handed_over`` holds those that another gwctl process sent through a pipe."""

    environment: Environment
    run_command: RunCommand | None = None
    handed_over: Mapping[str, Found] = field(default_factory=dict)
    prompt: Callable[[str], str] | None = None
    notes_keyring: bool = False
    """Whether a search of the keyring that finds nothing is noted and not repeated: for what starts often."""


def find(name: str, settings: Settings, sources: Sources) -> Found | None:
    """Return the secret ``name`` from the first source that has it, in the order of the contract; None if none has it.

    Raise Configuration when a configured source fails: using the next one could log in with a secret that the user did
    not mean.
    """
    name = check_name(name)
    searches = (
        _find_in_files,
        _find_by_command,
        _find_in_keyring,
        _find_in_variable,
        _find_handed_over,
        _look_again,
        _ask,
    )
    for search in searches:
        found = search(name, settings, sources)
        if found is not None:
            return found
    return None


def _find_in_files(name: str, settings: Settings, sources: Sources) -> Found | None:
    directory = sources.environment.get("CREDENTIALS_DIRECTORY")
    if directory and (Path(directory) / name).exists():
        return Found(_read_file(Path(directory) / name, name), f"$CREDENTIALS_DIRECTORY/{name}")
    setting = settings.values[f"{name}_file"]
    if setting.value is None:
        return None
    by_variable = setting.source.startswith("$")
    return Found(_read_file(Path(setting.value), name), setting.source if by_variable else f"{name}_file")


def _find_by_command(name: str, settings: Settings, sources: Sources) -> Found | None:
    command = settings[f"{name}_command"]
    if not command or sources.run_command is None:
        return None
    try:
        text = _unmarked(sources.run_command(command))
        # Not splitlines: it would cut a password at ten more signs, such as U+2028.
        output = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    except (OSError, ValueError) as error:
        why = f"{command[0]}: {error.strerror}" if isinstance(error, OSError) and error.strerror else error
        raise Configuration(f"{name}_command failed: {why}", hint=f"run {command[0]} by hand") from None
    # Only a password's first line counts: `pass` and similar tools print notes below it. URLs may be one per line.
    value = "\n".join(output).strip() if name == "notify_urls" else "".join(output[:1])
    if "\ufffd" in value:  # what its bytes were decoded to; sent, it would count as a refused password
        raise Configuration(f"{name}_command did not print UTF-8 text", hint=f"run {command[0]} by hand")
    if not value:
        raise Configuration(f"{name}_command printed nothing", hint=f"run {command[0]} by hand")
    return Found(Secret(value), f"{name}_command")


def _find_in_keyring(name: str, settings: Settings, sources: Sources) -> Found | None:
    from gwctl.system_keyring import read_keyring

    stored = read_keyring(settings.paths, name, noting=sources.notes_keyring)
    return Found(Secret(stored), "keyring") if stored else None


def _look_again(name: str, settings: Settings, sources: Sources) -> Found | None:
    """Look into the keyring once more for what a login cannot do without: an entry may not be of gwctl's making."""
    return _find_in_keyring(name, settings, replace(sources, notes_keyring=False)) if name == "password" else None


def _find_in_variable(name: str, _settings: Settings, sources: Sources) -> Found | None:
    value = sources.environment.get(f"GWCTL_{name.upper()}")
    return Found(Secret(_unmarked(value)), f"$GWCTL_{name.upper()}") if value else None


def _find_handed_over(name: str, _settings: Settings, sources: Sources) -> Found | None:
    return sources.handed_over.get(name)


def _ask(name: str, _settings: Settings, sources: Sources) -> Found | None:
    typed = sources.prompt(name) if sources.prompt is not None else None
    return Found(Secret(typed), "prompt") if typed else None


class Credentials(Struct, frozen=True):
    """What one login needs."""

    username: str
    password: Secret
    totp_secret: Secret | None
    password_source: str

    @property
    def username_doubt(self) -> str | None:
        """What looks wrong with the username, or None."""
        return doubt_of_username(self.username)

    @property
    def password_doubt(self) -> str | None:
        """What looks wrong with the password, or None."""
        return doubt_of(Found(self.password, self.password_source))


def require(
    username: str | None, password: Found | None, totp: Found | None, profile: str, usual: str = "default"
) -> Credentials:
    """Return complete credentials; raise CredentialsMissing naming what is missing."""
    if not username:
        raise CredentialsMissing(
            f"profile {profile!r} has no username",
            hint=f"{typed(profile, 'setup', usual)}, or set GWCTL_USERNAME (or try: gwctl up --sandbox)",
        )
    if password is None:
        raise CredentialsMissing(
            f"no source has a password for {username}",
            hint=f"{typed(profile, 'setup', usual)}, or set GWCTL_PASSWORD_FILE",
        )
    return Credentials(username, password.secret, totp.secret if totp else None, password.source)
