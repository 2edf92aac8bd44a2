"""What a service manager's file of ours says, whoever the manager is: for whom it is, and whether a person edited it.

Each file carries the options it was made with and a seal, a hash of the rest: one that was edited by hand is told from
one that an older gwctl made, and is left alone.
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
"""What says where gwctl's files are; a service that did not know of it would be about another, empty home."""


class State(StrEnum):
    """What is installed, beside what would be."""

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
        """Return these, what is not given being as it was ``earlier``."""
        return replace(earlier, **{one.name: value for one in fields(self) if (value := getattr(self, one.name))})

    def to_text(self) -> str:
        """Return what stands in the file: one line, without two hyphens in a row, which an XML comment cannot have."""
        chosen = {one.name: value for one in fields(self) if (value := getattr(self, one.name))}
        return json.dumps(chosen).replace("--", r"-\u002d")

    def secret_files(self) -> dict[str, str]:
        """Return the file of each secret that has one."""
        files = {"password": self.password_file, "totp_secret": self.totp_secret_file}
        return {name: file for name, file in files.items() if file}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a service is to run, and for whom."""

    profile: str
    program: tuple[str, ...]
    """This gwctl: the words before its options."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those of ``HOME_VARIABLES`` that are set."""
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        for text in (*self.program, *self.variables.values(), *self.options.secret_files().values()):
            if _FORBIDDEN.search(text):
                raise Configuration(f"{text!r} has a control character in it", hint="choose a path without one")

    def argv(self, *rest: str) -> list[str]:
        """Return the whole command line of a call about the profile."""
        return [*self.program, "--profile", self.profile, *rest]

    @property
    def sandbox_words(self) -> tuple[str, ...]:
        """The option of ``up`` that stands for the sandbox, if it is wanted."""
        return ("--sandbox",) if self.options.sandbox else ()

    def variables_with_files(self) -> dict[str, str]:
        """Return the variables, those that name the secrets' files among them."""
        files = {f"GWCTL_{name.upper()}_FILE": file for name, file in self.options.secret_files().items()}
        return {**self.variables, **files}


def _seal_of(text: str) -> str:
    return hashlib.sha256(_SEAL.sub(r"\1-", text, count=1).encode(errors="surrogateescape")).hexdigest()[:16]


def sealed(text: str) -> str:
    """Return ``text`` with its seal in the place of the ``-`` of ``gwctl-seal: -``."""
    return _SEAL.sub(rf"\g<1>{_seal_of(text)}", text, count=1)


def is_as_made(text: str) -> bool:
    """Say whether some gwctl made the text, and nobody changed it since."""
    found = _SEAL.search(text)
    return found is not None and found[2] == _seal_of(text)


def read_options(text: str | None) -> Options:
    """Return the options that a file was made with; none where that cannot be read."""
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
    """Return how what is installed stands to what would be."""
    if found is None:
        return State.ABSENT
    if found == wanted:
        return State.CURRENT
    return State.OUTDATED if is_as_made(found) else State.EDITED
