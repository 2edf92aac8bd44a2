"""The play account of the sandbox; imports the standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

Mode = Literal["paper", "live"]

SANDBOX_USERNAME: Final = "sandbox"
SANDBOX_PASSWORD: Final = "sandbox"  # noqa: S105 - a play account: its password is documented, it opens nothing


@dataclass(frozen=True, slots=True)
class Account:
    """One IBKR user as the stand-in knows it; its secrets do not print themselves."""

    username: str = SANDBOX_USERNAME
    password: str = field(default=SANDBOX_PASSWORD, repr=False)
    mode: Mode = "paper"
    totp_secret: str | None = field(default=None, repr=False)

    @property
    def account_id(self) -> str:
        """The account's number: IBKR's paper accounts begin ``DU``, live ones ``U``."""
        return "DU1234567" if self.mode == "paper" else "U1234567"

    @property
    def login_type(self) -> int:
        """What ``sso/validate`` calls ``LOGIN_TYPE``: 2 is paper (IBKR's reference), 1 is live."""
        return 2 if self.mode == "paper" else 1

    @property
    def user_id(self) -> int:
        """The number that IBKR gives the user."""
        return 132329622
