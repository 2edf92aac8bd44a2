"""The second factor: how it is given, what is asked for, and codes by time (TOTP): when one may be used, and which."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from gwctl.login.selectors import Element

PERIOD_S = 30
MARGIN_S = 8.0
TRIES = 2


WRONG_CLOCK_S = 3.0
"""From this difference on the gateway's ``Date`` is believed and not this machine's clock; it is exact to a second."""


class Method(StrEnum):
    """How a second factor is given. AUTO: a notification is waited for, a code is given by whoever is there."""

    NONE = "none"
    TOTP = "totp"
    PUSH = "push"
    COMMAND = "command"
    PROMPT = "prompt"
    AUTO = "auto"

    @property
    def asks_for_codes(self) -> bool:
        """Whether a code comes from outside this login."""
        return self in {Method.COMMAND, Method.PROMPT, Method.AUTO}


class Kind(StrEnum):
    """What IBKR asks for."""

    APP = "app"
    SMS = "sms"
    VOICE = "voice"
    EMAIL = "email"
    TEMPORARY = "temporary"
    CARD = "card"
    CHALLENGE = "challenge"
    PUSH = "push"

    @property
    def text(self) -> str:
        """What it is called, for a person."""
        return _TEXTS[self]


_TEXTS = {
    Kind.APP: "a code of the authenticator app",
    Kind.SMS: "a code sent by SMS",
    Kind.VOICE: "a code given by telephone",
    Kind.TEMPORARY: "a temporary security code",
    Kind.EMAIL: "a code sent by e-mail",
    Kind.CARD: "a code of the security card",
    Kind.CHALLENGE: "the response to a challenge",
    Kind.PUSH: "the approval of a notification on the device",
}
KIND_OF: dict[Element, Kind] = {
    Element.CODE_APP: Kind.APP,
    Element.CODE: Kind.APP,
    Element.CODE_TEMPORARY: Kind.TEMPORARY,
    Element.CODE_EMAIL: Kind.EMAIL,
    Element.EMAIL_CHECK: Kind.EMAIL,
    Element.CODE_CARD: Kind.CARD,
    Element.CHALLENGE: Kind.CHALLENGE,
    Element.CHALLENGE_TEXT: Kind.CHALLENGE,
    Element.PUSH: Kind.PUSH,
}


@dataclass(frozen=True, slots=True)
class Question:
    """What IBKR asks for; ``again`` when a first answer was refused or, for a notification, nobody answered it."""

    kind: Kind
    challenge: str = ""
    again: bool = False


Answer = Callable[[Question], Awaitable[str | None]]
"""Tell whoever has to know of a question and return its code; None if there is none, and for a notification."""


async def nobody(_question: Question) -> None:
    """Answer nothing."""


class Clock(Protocol):
    """The time of day, and waiting for a later one."""

    def now_s(self) -> float:
        """Return seconds since 1970."""

    async def wait_s(self, duration_s: float) -> None:
        """Return after ``duration_s`` seconds."""


class SystemClock:
    """The machine's own clock."""

    def now_s(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    async def wait_s(self, duration_s: float) -> None:
        """Return after ``duration_s`` seconds."""
        await asyncio.sleep(duration_s)


class ShiftedClock:
    """Another clock, so many seconds ahead."""

    def __init__(self, clock: Clock, ahead_s: float) -> None:
        self._clock = clock
        self._ahead_s = ahead_s

    def now_s(self) -> float:
        """Return seconds since 1970."""
        return self._clock.now_s() + self._ahead_s

    async def wait_s(self, duration_s: float) -> None:
        """Return after ``duration_s`` seconds."""
        await self._clock.wait_s(duration_s)


@dataclass(frozen=True, slots=True)
class CodePlan:
    """Use the code of 30 s window number ``window``, after ``wait_s`` seconds."""

    window: int
    wait_s: float


def plan_code(now_s: float, used_window: int | None, tries: int) -> CodePlan | None:
    """Return when the next code may be used, or None when ``tries`` codes were enough.

    A code has at least ``MARGIN_S`` left when it is used, is not used before a clock that lags ``WRONG_CLOCK_S`` has
    reached its window, and comes from a later window than ``used_window``: IBKR refuses a code near the rollover and
    one that is used twice.
    """
    if tries >= TRIES:
        return None
    window = int(now_s // PERIOD_S)
    if (window + 1) * PERIOD_S - now_s < MARGIN_S:
        window += 1
    if used_window is not None and window <= used_window:
        window = used_window + 1
    return CodePlan(window, max(0.0, window * PERIOD_S + WRONG_CLOCK_S - now_s))


class BadSecret(ValueError):
    """No code can be made of the TOTP secret; the text says why, without it."""


def bytes_of(secret: str) -> bytes:
    """Return the key that a TOTP secret writes in base32; raises BadSecret, whose text does not hold the secret."""
    plain = "".join(secret.split()).replace("-", "").rstrip("=")
    if not plain:
        raise BadSecret("the TOTP secret is empty")
    try:
        return base64.b32decode(plain + "=" * (-len(plain) % 8), casefold=True)
    except ValueError:  # also for what is not ASCII
        raise BadSecret("the TOTP secret is not base32 text (letters A to Z and digits 2 to 7)") from None


def code_at(secret: str, window: int) -> str:
    """Return the code of ``window``; raises BadSecret, whose text does not hold the secret."""
    import pyotp

    class IssuedTotp(pyotp.TOTP):
        """A TOTP whose secret somebody else has chosen: how long it is, is IBKR's decision (pyotp wants 112 bits)."""

        def byte_secret(self) -> bytes:
            return bytes_of(self.secret)

    bytes_of(secret)
    return IssuedTotp(secret, interval=PERIOD_S).at(datetime.fromtimestamp(window * PERIOD_S, tz=UTC))


class CodeSource:
    """Hands out the codes of one login: at most ``TRIES``, no two from one window."""

    def __init__(self, secret: str, clock: Clock, *, used_window: int | None = None) -> None:
        self._secret = secret
        self._clock = clock
        self._tries = 0
        self.used_window = used_window

    def correct(self, ahead_s: float) -> None:
        """Go by a clock that is so many seconds ahead of ours: IBKR's, where ours is wrong."""
        self._clock = ShiftedClock(self._clock, ahead_s)

    def check(self) -> None:
        """Raise BadSecret now, before a password is spent on a login that cannot be finished."""
        code_at(self._secret, 0)

    @property
    def is_fresh(self) -> bool:
        """Whether the code that was handed out last is still good; a busy machine may have taken its time."""
        if self.used_window is None:
            return False
        return (self.used_window + 1) * PERIOD_S - self._clock.now_s() >= WRONG_CLOCK_S

    def take_back(self) -> None:
        """Note that the code that was handed out last was not sent; its window is left out all the same."""
        self._tries -= 1

    async def next_code(self) -> str | None:
        """Wait until a code is good and return it; None when no further one may be tried. Raises BadSecret."""
        plan = plan_code(self._clock.now_s(), self.used_window, self._tries)
        if plan is None:
            return None
        code = code_at(self._secret, plan.window)
        if plan.wait_s > 0:
            await self._clock.wait_s(plan.wait_s)
        self._tries += 1
        self.used_window = plan.window
        return code
