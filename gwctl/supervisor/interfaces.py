"""What the loop acts through: the machine's clocks, a gateway, its session, a login, IBKR's calendar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from gwctl.core.messages import CauseRead, Checked, LoginDone

Witness = Callable[[dict[str, Any]], None]
"""Is given each journal entry as it is written, in the loop: it returns at once, and what it raises is logged only."""


class Clock(Protocol):
    """The machine's clocks, in seconds."""

    def now(self) -> float:
        """Return the monotonic time, by which everything is decided."""
        ...

    def wall(self) -> float:
        """Return the seconds since 1970."""
        ...

    def asleep(self) -> float:
        """Return how long the machine has slept since its start, which the monotonic clock does not count."""
        ...


class Calendar(Protocol):
    """IBKR's maintenance windows, in seconds since 1970."""

    def until(self, wall_s: float) -> float | None:
        """Return when the window now open ends; None if none is open."""
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
    """One gateway process, whatever release it is."""

    async def start(self, *, adopt: bool) -> None:
        """Return when it answers with our key; raise GwctlError, leaving nothing running, if it does not."""
        ...

    async def wait_ended(self) -> None:
        """Return when the process is gone."""
        ...

    async def stop(self, *, logout: bool, hard: bool = False) -> None:
        """End it, after a logout if asked, at once if ``hard``; nothing is left running. Safe when nothing runs."""
        ...

    def why(self) -> CauseRead:
        """Return why IBKR does not validate the login, as far as its own log says."""
        ...


@dataclass(frozen=True, slots=True)
class Reopening:
    """Whether the request to open the brokerage session was taken, and in IBKR's own words why not."""

    ok: bool
    said: str | None = None


class SessionPort(Protocol):
    """What can be asked of a gateway that answers. Every call has its own deadline."""

    async def check(self, *, tickle: bool) -> Checked:
        """Look at the session."""
        ...

    async def reauthenticate(self, *, compete: bool, handshake: bool) -> Reopening:
        """Open the brokerage session; with ``handshake`` by all that the gateway does after a login."""
        ...

    async def resume(self) -> bool:
        """Send the kept SSO cookies; return whether IBKR honours them."""
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
        """Drive the page to its end; the ledger is written before each submit.

        ``on_asked`` is given what IBKR asks for as a second factor, in words; ``on_submit`` is called once the ledger
        has what is about to be sent.
        """
        ...

    async def block(self, code: str, text: str) -> None:
        """Write down that the last password is not to be sent again until a person resets."""
        ...

    async def lift_block(self) -> None:
        """Take that back."""
        ...

    async def close(self) -> None:
        """End whatever login runs, its browser included."""
        ...


class Notifier(Protocol):
    """Whoever tells people what they should know."""

    def see(self, entry: dict[str, Any]) -> None:
        """Look at an entry of the journal, and return at once whatever becomes of it: it is a Witness."""
        ...

    def look(self, reason: str) -> None:
        """Look at how long the session has been gone, for ``reason``, and return at once; called now and then."""
        ...

    async def close(self, *, grace_s: float) -> None:
        """Leave what is under way ``grace_s`` seconds to come to its end, then end it."""
        ...


class ToNobody:
    """A notifier that tells nobody."""

    def see(self, entry: dict[str, Any]) -> None:
        """Do nothing."""

    def look(self, reason: str) -> None:
        """Do nothing."""

    async def close(self, *, grace_s: float) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What the loop acts through."""

    clock: Clock
    gateway: GatewayPort
    session: SessionPort
    login: LoginPort
    calendar: Calendar = field(default_factory=NoWindows)
