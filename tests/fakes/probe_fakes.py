"""Gateways as the probe asks them, named by how they behave."""

from __future__ import annotations

from collections.abc import Mapping

from gwctl.gateway.client import PortCheck
from gwctl.gateway.responses import AccountKind, AccountsAnswer, SessionAnswer, SsoFacts


class AnsweringGateway:
    """Says what it is told to say, at once."""

    login_type: int | None = None
    listed: AccountKind | None = None
    accounts_status: int | None = 200

    def __init__(self, said: SessionAnswer, door: PortCheck = PortCheck.OURS) -> None:
        self.said = said
        self.door = door
        self.calls: list[str] = []
        self.honours: bool | None = True
        self.knows_login = True
        self.app: str | None = None
        self.opening: SessionAnswer | None = None
        """What it says when it is to open the brokerage session, if not what it says of it."""

    async def validate(self) -> SsoFacts | None:
        self.calls.append("validate")
        return SsoFacts(None, None, self.login_type, self.app, None)

    async def accounts(self) -> AccountsAnswer:
        self.calls.append("accounts")
        return AccountsAnswer(self.accounts_status, self.listed)

    async def tickle(self, *, timeout_s: float | None = None) -> SessionAnswer:
        self.calls.append("tickle")
        return self.said

    async def auth_status(self, *, timeout_s: float | None = None) -> SessionAnswer:
        self.calls.append("auth_status")
        return self.said

    async def front_door(self, *, timeout_s: float | None = None) -> PortCheck:
        self.calls.append("knock")
        return self.door

    async def reauthenticate(self) -> bool:
        self.calls.append("reauthenticate")
        return self.knows_login

    async def ssodh_init(self, *, compete: bool) -> SessionAnswer:
        self.calls.append(f"ssodh_init {compete}")
        return self.said if self.opening is None else self.opening

    async def resume(self, cookies: Mapping[str, str]) -> bool | None:
        self.calls.append("resume")
        return self.honours
