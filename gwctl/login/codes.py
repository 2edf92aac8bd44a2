"""The second factor: how it is given, what IBKR asks for, and which TOTP code may be used when."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from gwctl.setting_values import Element

PERIOD_S = 30
MARGIN_S = 8.0
TRIES = 2


WRONG_CLOCK_S = 3.0
"""From this difference on, the gateway's ``Date`` is trusted instead of this machine's clock; it is exact to 1 s."""


class Method(StrEnum):
    """How a second factor is given. AUTO: wait for an approval of a notification, ask a person for a code."""

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
        """Its name, for a person."""
        return _TEXTS[self]


_TEXTS = {
    Kind.APP: "a code from the authenticator app",
    Kind.SMS: "a code sent by SMS",
    Kind.VOICE: "a code given by telephone",
    Kind.TEMPORARY: "a temporary security code",
    Kind.EMAIL: "a code sent by e-mail",
    Kind.CARD: "a code from the security card",
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


class Question(Struct, frozen=True):
    """What IBKR asks for; ``again`` if a first answer was refused or, for a notification, none came."""

    kind: Kind
    challenge: str = ""
    again: bool = False


Answer = Callable[[Question], Awaitable[str | None]]
"""Pass a question on and return the code; None if there is none, and for a notification."""


async def nobody(_question: Question) -> None:
    """Answer no question."""


class Clock(Protocol):
    """The time of day, and a wait for a later time."""

    def now_s(self) -> float:
        """Return seconds since 1970."""

    async def wait_s(self, duration_s: float) -> None:
        """Return after ``duration_s`` seconds."""


class SystemClock:
    """The machine's clock."""

    def now_s(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    async def wait_s(self, duration_s: float) -> None:
        """Return after ``duration_s`` seconds."""
        await asyncio.sleep(duration_s)


class ShiftedClock:
    """Another clock, ahead by a number of seconds."""

    def __init__(self, clock: Clock, ahead_s: float) -> None:
        self._clock = clock
        self._ahead_s = ahead_s

    def now_s(self) -> float:
        """Return seconds since 1970."""
        return self._clock.now_s() + self._ahead_s

    async def wait_s(self, duration_s: float) -> None:
        """Return after ``duration_s`` seconds."""
        await self._clock.wait_s(duration_s)


class CodePlan(Struct, frozen=True):
    """Use the code of 30 s window number ``window``, after ``wait_s`` seconds."""

    window: int
    wait_s: float


def plan_code(now_s: float, used_window: int | None, tries: int) -> CodePlan | None:
    """Return when the next code may be used, or None after ``tries`` codes.

    A code must have at least ``MARGIN_S`` left when it is used, must not be used before a clock that lags by
    ``WRONG_CLOCK_S`` has reached its window, and must come from a later window than ``used_window``: IBKR refuses a
    code near the rollover and a code that is used twice.
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
    """The TOTP secret gives no code; the text says why, without the secret."""


def bytes_of(secret: str) -> bytes:
    """Return the key that a TOTP secret encodes in base32; raises BadSecret, whose text does not contain the secret."""
    plain = "".join(secret.split()).replace("-", "").rstrip("=")
    if not plain:
        raise BadSecret("the TOTP secret is empty")
    try:
        return base64.b32decode(plain + "=" * (-len(plain) % 8), casefold=True)
    except ValueError:  # also if it is not ASCII
        raise BadSecret("the TOTP secret is not base32 text (letters A to Z and digits 2 to 7)") from None


def code_at(secret: str, window: int) -> str:
    """Return the code of ``window``; raises BadSecret, whose text does not contain the secret."""
    import pyotp

    class IssuedTotp(pyotp.TOTP):
        """A TOTP with a secret chosen by IBKR, of any length (pyotp wants 112 bits)."""

        def byte_secret(self) -> bytes:
            return bytes_of(self.secret)

    bytes_of(secret)
    # By the window, not by a time: IBKR's clock may be beyond the years that Python knows.
    return IssuedTotp(secret, interval=PERIOD_S).generate_otp(max(0, window))


class CodeSource:
    """Provides the codes of one login: at most ``TRIES``, never two from one window."""

    def __init__(self, secret: str, clock: Clock, *, used_window: int | None = None) -> None:
        self._secret = secret
        self._clock = clock
        self._tries = 0
        self.used_window = used_window

    def correct(self, ahead_s: float) -> None:
        """Use a clock that is ahead of ours by a number of seconds: IBKR's, if ours is wrong."""
        self._clock = ShiftedClock(self._clock, ahead_s)

    def check(self) -> None:
        """Raise BadSecret early, before a password is spent on a login that cannot be finished."""
        code_at(self._secret, 0)

    @property
    def is_fresh(self) -> bool:
        """Whether the last code is still valid; a busy machine may have been slow."""
        if self.used_window is None:
            return False
        return (self.used_window + 1) * PERIOD_S - self._clock.now_s() >= WRONG_CLOCK_S

    def take_back(self) -> None:
        """Note that the last code was not sent; its window is skipped all the same."""
        self._tries -= 1

    async def next_code(self) -> str | None:
        """Wait for a valid code and return it; None if no further one may be tried. Raises BadSecret."""
        plan = plan_code(self._clock.now_s(), self.used_window, self._tries)
        if plan is None:
            return None
        code = code_at(self._secret, plan.window)
        if plan.wait_s > 0:
            await self._clock.wait_s(plan.wait_s)
        self._tries += 1
        self.used_window = plan.window
        return code
