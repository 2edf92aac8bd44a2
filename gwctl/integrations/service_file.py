"""The shared part of every service file: which profile and options it is for, and whether a person edited it.

Each file contains the options it was made with and a seal, which is a hash of the rest. The seal distinguishes a file
edited by hand, which gwctl leaves alone, from one that an older gwctl made.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum, auto
from typing import Any

from gwctl.errors import Configuration

_SEAL = re.compile(r"(gwctl-seal: )(-|[0-9a-f]{16})(?=$| )", re.MULTILINE)
_OPTIONS = re.compile(r"gwctl-options: (\{.*\})")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f]")
HOME_VARIABLES = ("GWCTL_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
"""The variables that say where gwctl's files are; a service without them would use another, empty home."""


class State(StrEnum):
    """How the installed file compares with what an install would write."""

    ABSENT = auto()
    CURRENT = auto()
    OUTDATED = auto()
    EDITED = auto()


@dataclass(frozen=True, slots=True)
class Options:
    """What a person chose at the install."""

    password_file: str | None = None
    totp_secret_file: str | None = None
    account: str | None = None
    sandbox: bool = False

    def over(self, earlier: Options) -> Options:
        """Return these options, with what is not given taken from ``earlier``."""
        return replace(earlier, **{one.name: value for one in fields(self) if (value := getattr(self, one.name))})

    def to_text(self) -> str:
        """Return the options as one line, without two hyphens in a row, which XML comments must not contain."""
        chosen = {one.name: value for one in fields(self) if (value := getattr(self, one.name))}
        return json.dumps(chosen).replace("--", r"-\u002d")

    def secret_files(self) -> dict[str, str]:
        """Return the file of each secret that has one."""
        files = {"password": self.password_file, "totp_secret": self.totp_secret_file}
        return {name: file for name, file in files.items() if file}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a service must run, and for which profile."""

    profile: str
    program: tuple[str, ...]
    """The command that starts this gwctl, without options."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """The ``HOME_VARIABLES`` that are set."""
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        for text in (*self.program, *self.variables.values(), *self.options.secret_files().values()):
            if _FORBIDDEN.search(text):
                raise Configuration(f"{text!r} contains a control character", hint="choose a path without one")

    def argv(self, *rest: str) -> list[str]:
        """Return the complete command line of a call for the profile."""
        return [*self.program, "--profile", self.profile, *rest]

    @property
    def sandbox_words(self) -> tuple[str, ...]:
        """Return the option of ``up`` for the sandbox, if it is wanted."""
        return ("--sandbox",) if self.options.sandbox else ()

    def variables_with_files(self) -> dict[str, str]:
        """Return the variables, including those that name the secrets' files."""
        files = {f"GWCTL_{name.upper()}_FILE": file for name, file in self.options.secret_files().items()}
        return {**self.variables, **files}


def _seal_of(text: str) -> str:
    return hashlib.sha256(_SEAL.sub(r"\1-", text, count=1).encode(errors="surrogateescape")).hexdigest()[:16]


def sealed(text: str) -> str:
    """Return ``text`` with its seal in place of the ``-`` in ``gwctl-seal: -``."""
    return _SEAL.sub(rf"\g<1>{_seal_of(text)}", text, count=1)


def is_as_made(text: str) -> bool:
    """Return whether some gwctl made the text and nobody changed it since."""
    found = _SEAL.search(text)
    return found is not None and found[2] == _seal_of(text)


def read_options(text: str | None) -> Options:
    """Return the options that a file was made with; none if they cannot be read."""
    found = _OPTIONS.search(text or "")
    if found is None:
        return Options()
    try:
        raw: dict[str, Any] = json.loads(found[1])
    except ValueError:
        return Options()
    words = {name: value for name, value in raw.items() if isinstance(value, str)}
    return Options(
        words.get("password_file"), words.get("totp_secret_file"), words.get("account"), raw.get("sandbox") is True
    )


def compare(found: str | None, wanted: str) -> State:
    """Return how the installed text compares with the wanted text."""
    if found is None:
        return State.ABSENT
    if found == wanted:
        return State.CURRENT
    return State.OUTDATED if is_as_made(found) else State.EDITED
