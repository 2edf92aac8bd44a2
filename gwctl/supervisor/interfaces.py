"""The loop's ports: the machine's clocks, a gateway, its session, a login, IBKR's calendar."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct, field

from gwctl.core.messages import CauseRead, Checked, LoginDone
from gwctl.gateway.client import PortCheck
from gwctl.gateway.responses import AccountsAnswer, SessionAnswer, SsoFacts
from gwctl.login_hours import LoginPlan

Witness = Callable[[dict[str, Any]], None]
"""Called in the loop with each journal entry as it is written; returns at once, and its errors are only logged."""


class Clock(Protocol):
    """The machine's clocks, in seconds."""

    def now(self) -> float:
        """Return the monotonic time, which all decisions use."""
        ...

    def wall(self) -> float:
        """Return the seconds since 1970."""
        ...

    def asleep(self) -> float:
        """Return how long the machine has slept since its boot; the monotonic clock does not count it."""
        ...


class Calendar(Protocol):
    """IBKR's maintenance windows, in seconds since 1970."""

    def until(self, wall_s: float) -> float | None:
        """Return when the open window ends; None if none is open."""
        ...

    def next_change(self, wall_s: float) -> float | None:
        """Return when the next window opens or the open one ends; None if never."""
        ...


class NoWindows:
    """A calendar without windows."""

    def until(self, _wall_s: float) -> float | None:
        """Return None: no window is ever open."""
        return None

    def next_change(self, _wall_s: float) -> float | None:
        """Return None: nothing ever changes."""
        return None


class Plan(Protocol):
    """What a person planned, in seconds since 1970."""

    def opens_at(self, wall_s: float) -> float | None:
        """Return when the login hours begin again; None while they last, or if there are none."""
        ...

    def next_login(self, wall_s: float) -> float | None:
        """Return the next planned login after ``wall_s``; None if none is planned."""
        ...

    def next_change(self, wall_s: float) -> float | None:
        """Return when one of both changes, or a planned login must be announced; None if never."""
        ...

    def words(self, wall_s: float) -> str:
        """Return a time for people."""
        ...


class GatewayPort(Protocol):
    """One gateway process, of any release."""

    async def start(self, *, adopt: bool) -> None:
        """Return when the gateway answers with our key; raise GwctlError and leave nothing running if it does not."""
        ...

    async def wait_ended(self) -> None:
        """Return when the process is gone."""
        ...

    async def stop(self, *, logout: bool, hard: bool = False) -> None:
        """Stop it, after a logout if ``logout``, at once if ``hard``; leave nothing running. Safe when nothing runs."""
        ...

    def why(self) -> CauseRead:
        """Return why IBKR does not validate the login, from the gateway's log."""
        ...


class Reopening(Struct, frozen=True):
    """Whether IBKR accepted the request to open the brokerage session, and if not, its own words."""

    ok: bool
    said: str | None = None


class AskGateway(Protocol):
    """The part of the gateway's client that a check needs; each call has its own deadline."""

    async def tickle(self, *, timeout_s: float | None = None) -> SessionAnswer:
        """Tickle."""
        ...

    async def auth_status(self, *, timeout_s: float | None = None) -> SessionAnswer:
        """Request the brokerage session's state, which is cheaper than a tickle."""
        ...

    async def front_door(self, *, timeout_s: float | None = None) -> PortCheck:
        """Probe whether the gateway itself answers, even if IBKR does not."""
        ...

    async def validate(self) -> SsoFacts | None:
        """Return facts about the session's login."""
        ...

    async def accounts(self) -> AccountsAnswer:
        """Request the accounts, which show whether they are paper or live."""
        ...

    async def reauthenticate(self) -> bool:
        """Let the gateway repeat its handshake."""
        ...

    async def ssodh_init(self, *, compete: bool) -> SessionAnswer:
        """Open the brokerage session."""
        ...

    async def resume(self, cookies: Mapping[str, str]) -> bool | None:
        """Send SSO cookies; return whether IBKR accepts them, None if it did not say."""
        ...


class SessionPort(Protocol):
    """Requests to a gateway that answers. Every call has its own deadline."""

    async def check(self, *, tickle: bool) -> Checked:
        """Check the session."""
        ...

    async def reauthenticate(self, *, compete: bool, handshake: bool, early: bool) -> Reopening:
        """Open the brokerage session; with ``handshake`` by all steps that the gateway takes after a login.

        ``early``: the gateway's own handshake follows in any case, so that one request is all.
        """
        ...

    async def resume(self) -> bool:
        """Send the kept SSO cookies; return whether IBKR accepts them."""
        ...


class LoginPort(Protocol):
    """One login at a time."""

    async def log_in(
        self,
        *,
        first: bool,
        on_step: Callable[[str], None],
        on_asked: Callable[[str], None],
        on_submit: Callable[[], None],
    ) -> LoginDone:
        """Run the login to its end; write the ledger before each submit.

        ``on_asked`` gets IBKR's request for a second factor, in words; ``on_submit`` is called as soon as the ledger
        has recorded the next submit.
        """
        ...

    async def block(self, code: str, text: str) -> None:
        """Record that the last password must not be sent again until a person resets it."""
        ...

    async def lift_block(self) -> None:
        """Undo ``block``."""
        ...

    async def close(self) -> None:
        """End the running login, including its browser."""
        ...


class Notifier(Protocol):
    """Sends notifications to people."""

    def see(self, entry: dict[str, Any]) -> None:
        """Handle a journal entry and return at once; this is a Witness."""
        ...

    def look(self, reason: str) -> None:
        """Check how long the session has been gone, for ``reason``, and return at once; called periodically."""
        ...

    async def close(self, *, grace_s: float) -> None:
        """Give pending messages ``grace_s`` seconds to finish, then end them."""
        ...


class ToNobody:
    """A notifier that sends nothing."""

    def see(self, entry: dict[str, Any]) -> None:
        """Do nothing."""

    def look(self, reason: str) -> None:
        """Do nothing."""

    async def close(self, *, grace_s: float) -> None:
        """Do nothing."""


class Ports(Struct, frozen=True):
    """The ports of one loop."""

    clock: Clock
    gateway: GatewayPort
    session: SessionPort
    login: LoginPort
    calendar: Calendar = field(default_factory=NoWindows)
    plan: Plan = field(default_factory=LoginPlan)
