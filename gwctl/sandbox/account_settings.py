"""The fake IBKR's configuration: the account, its settings, the fixtures' location; and the sandbox release."""

from __future__ import annotations

import dataclasses
import importlib.resources
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from gwctl.errors import Configuration, ReleaseBroken, Usage
from gwctl.state_file import write_bytes


def fixture(name: str) -> Path:
    """Return the path of ``fixtures/NAME``; raise ReleaseBroken if gwctl was installed without it."""
    packaged = Path(str(importlib.resources.files("gwctl.sandbox"))) / "fixtures" / name
    if packaged.exists():
        return packaged
    checkout = Path(__file__).resolve().parents[2] / "fixtures" / name
    if checkout.exists():
        return checkout
    raise ReleaseBroken(f"gwctl was installed without its sandbox file {name}", hint="install gwctl again")


Mode = Literal["paper", "live"]

SANDBOX_USERNAME: Final = "sandbox"
SANDBOX_PASSWORD: Final = "sandbox"  # noqa: S105 - a test account: its password is public and opens nothing


@dataclass(frozen=True, slots=True)
class Account:
    """One user of the fake IBKR; its secrets never show in a repr."""

    username: str = SANDBOX_USERNAME
    password: str = field(default=SANDBOX_PASSWORD, repr=False)
    mode: Mode = "paper"
    totp_secret: str | None = field(default=None, repr=False)

    @property
    def account_id(self) -> str:
        """The account's number: IBKR's paper accounts start with ``DU``, live ones with ``U``."""
        return "DU1234567" if self.mode == "paper" else "U1234567"

    @property
    def login_type(self) -> int:
        """The ``LOGIN_TYPE`` in ``sso/validate``: 2 is paper (IBKR's reference), 1 is live."""
        return 2 if self.mode == "paper" else 1

    @property
    def user_id(self) -> int:
        """IBKR's number for the user."""
        return 132329622


PAGE_VARIANTS: Final = ("current", "legacy")
"""IBKR's page since March 2023, and its predecessor."""


@dataclass(frozen=True, slots=True)
class PageOptions:
    """How the login page looks and behaves: a file of ``fixtures/login`` and its flags.

    ``form_on_load`` is the number of the page load, counted per gateway, that first shows the form: 2 is after one
    reload.
    """

    variant: str = "current"
    form_delay_ms: int = 150
    form_never: bool = False
    cookie_dialog: bool = True
    cookie_dialog_returns: bool = False
    toggle: bool = True
    toggle_clears: bool = True
    two_step: bool = False
    form_on_load: int = 1

    def changed(self, overrides: dict[str, Any]) -> PageOptions:
        """Return these options with every override that is not None; raise Usage for an unknown page."""
        changed = dataclasses.replace(self, **{key: value for key, value in overrides.items() if value is not None})
        if changed.variant not in PAGE_VARIANTS:
            raise Usage(f"no login page is named {changed.variant!r}", hint=f"one of: {', '.join(PAGE_VARIANTS)}")
        if type(changed.form_on_load) is not int or changed.form_on_load < 1:
            raise Usage(f"form_on_load cannot be {changed.form_on_load!r}", hint="1 or more; 2 is after one reload")
        return changed


@dataclass(frozen=True, slots=True)
class StandInConfig:
    """The fake IBKR's configuration; ``admin_token`` opens ``/admin``, port 0 is any free port."""

    admin_token: str = field(repr=False)
    account: Account = field(default_factory=Account)
    port: int = 0
    page: PageOptions = field(default_factory=PageOptions)
    idle_timeout_s: float = 360.0
    heartbeat_s: float = 10.0
    locked_at_refusals: int = 10

    def to_json(self) -> dict[str, Any]:
        """Return the object for ``from_json``; it contains secrets."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: object) -> StandInConfig:
        """Return the config from a JSON object; raise Configuration for anything unknown or missing."""
        if not isinstance(value, dict):
            raise Configuration("the sandbox's configuration is not a JSON object")
        try:
            parts = dict(value)
            if not parts.get("admin_token"):
                raise Configuration("the sandbox's configuration has no admin_token")
            if "account" in parts:
                parts["account"] = Account(**parts["account"])
            if "page" in parts:
                parts["page"] = PageOptions(**parts["page"])
            return cls(**parts)
        except TypeError as error:
            # The text names only the key; values may be secrets.
            raise Configuration(f"the sandbox's configuration is invalid: {error}") from None


MARKER: Final = "gwctl-standin.json"
JAR: Final = "dist/gwctl-standin.jar"
# Packed into the jar as its __main__.py, not into the zip; under that name in an editable installation, pytest would
# treat it as one of our modules.
JAR_MAIN: Final = "dist/main.txt"
EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def build_standin_release(target_zip: Path) -> Path:
    """Write the sandbox release to ``target_zip``, the same bytes each time, and return it.

    Raises ReleaseBroken if gwctl was installed without its fixtures, DiskTrouble if the file cannot be written; after
    an error, an older file is unchanged.
    """
    root = fixture("release")
    contents = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    contents[JAR] = _zip({"__main__.py": contents.pop(JAR_MAIN)})
    write_bytes(target_zip, _zip(contents))
    return target_zip


def _zip(contents: dict[str, bytes]) -> bytes:
    """Return an archive without compression: its bytes would depend on zlib's version."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = 3
            entry.external_attr = (0o100755 if name.endswith(".sh") else 0o100644) << 16
            archive.writestr(entry, contents[name])
    return buffer.getvalue()
