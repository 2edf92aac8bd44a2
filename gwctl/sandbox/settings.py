"""What the stand-in for IBKR is told when it starts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Final

from gwctl.errors import Configuration, Usage
from gwctl.sandbox.account import Account

PAGE_VARIANTS: Final = ("current", "legacy")
"""IBKR's page since March 2023, and the one before."""


@dataclass(frozen=True, slots=True)
class PageOptions:
    """How the login page looks and behaves: a file of ``fixtures/login`` and its flags.

    ``form_on_load`` is the load of the page, counted by gateway, from which on its form comes: 2 is after one reload.
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
        """Return these options with every override that is not None; raise Usage for a page that there is not."""
        changed = dataclasses.replace(self, **{key: value for key, value in overrides.items() if value is not None})
        if changed.variant not in PAGE_VARIANTS:
            raise Usage(f"no login page is called {changed.variant!r}", hint=f"one of: {', '.join(PAGE_VARIANTS)}")
        if type(changed.form_on_load) is not int or changed.form_on_load < 1:
            raise Usage(f"form_on_load cannot be {changed.form_on_load!r}", hint="1 or more; 2 is after one reload")
        return changed


@dataclass(frozen=True, slots=True)
class StandInConfig:
    """Everything the stand-in needs; ``admin_token`` opens ``/admin``, port 0 is any free one."""

    admin_token: str = field(repr=False)
    account: Account = field(default_factory=Account)
    port: int = 0
    page: PageOptions = field(default_factory=PageOptions)
    idle_timeout_s: float = 360.0
    heartbeat_s: float = 10.0
    locked_at_refusals: int = 10

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``from_json`` reads back; it holds secrets."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: object) -> StandInConfig:
        """Return the config in one JSON object; raise Configuration for anything unknown or missing."""
        if not isinstance(value, dict):
            raise Configuration("the stand-in's configuration is not a JSON object")
        try:
            parts = dict(value)
            if not parts.get("admin_token"):
                raise Configuration("the stand-in's configuration has no admin_token")
            if "account" in parts:
                parts["account"] = Account(**parts["account"])
            if "page" in parts:
                parts["page"] = PageOptions(**parts["page"])
            return cls(**parts)
        except TypeError as error:
            # The text names the key alone; values may be secrets.
            raise Configuration(f"the stand-in's configuration is wrong: {error}") from None
