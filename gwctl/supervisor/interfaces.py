"""The loop's ports: the machine's clocks, a gateway, its session, a login, IBKR's calendar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from gwctl.core.messages import CauseRead, Checked, LoginDone

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


@dataclass(frozen=True, slots=True)
class Reopening:
    """Whether IBKR accepted the request to open the brokerage session, and if not, its own words."""

    ok: bool
    said: str | None = None


class SessionPort(Protocol):
    """Requests to a gateway that answers. Every call has its own deadline."""

    async def check(self, *, tickle: bool) -> Checked:
        """Check the session."""
        ...

    async def reauthenticate(self, *, compete: bool, handshake: bool) -> Reopening:
        """Open the brokerage session; with ``handshake`` by all steps that the gateway takes after a login."""
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


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one loop."""

    clock: Clock
    gateway: GatewayPort
    session: SessionPort
    login: LoginPort
    calendar: Calendar = field(default_factory=NoWindows)
