"""Codes by time (TOTP): when one may be used, and which."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

PERIOD_S = 30
MARGIN_S = 8.0
TRIES = 2


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


@dataclass(frozen=True, slots=True)
class CodePlan:
    """Use the code of 30 s window number ``window``, after ``wait_s`` seconds."""

    window: int
    wait_s: float


def plan_code(now_s: float, used_window: int | None, tries: int) -> CodePlan | None:
    """Return when the next code may be used, or None when ``tries`` codes were enough.

    A code has at least ``MARGIN_S`` left when it is used and comes from a later window than ``used_window``: IBKR
    refuses a code near the rollover and one that is used twice.
    """
    if tries >= TRIES:
        return None
    window = int(now_s // PERIOD_S)
    if (window + 1) * PERIOD_S - now_s < MARGIN_S:
        window += 1
    if used_window is not None and window <= used_window:
        window = used_window + 1
    return CodePlan(window, max(0.0, window * PERIOD_S - now_s))


class BadSecret(ValueError):
    """No code can be made of the TOTP secret; the text says why, without it."""


def code_at(secret: str, window: int) -> str:
    """Return the code of ``window``; raises BadSecret, whose text does not hold the secret."""
    import pyotp

    class IssuedTotp(pyotp.TOTP):
        """A TOTP whose secret somebody else has chosen: how long it is, is IBKR's decision (pyotp wants 112 bits)."""

        def byte_secret(self) -> bytes:
            return base64.b32decode(self.secret + "=" * (-len(self.secret) % 8), casefold=True)

    plain = "".join(secret.split()).replace("-", "").rstrip("=")
    try:
        if not plain:
            raise BadSecret("the TOTP secret is empty")
        return IssuedTotp(plain, interval=PERIOD_S).at(datetime.fromtimestamp(window * PERIOD_S, tz=UTC))
    except binascii.Error:
        raise BadSecret("the TOTP secret is not base32 text") from None


class CodeSource:
    """Hands out the codes of one login: at most ``TRIES``, no two from one window."""

    def __init__(self, secret: str, clock: Clock, *, used_window: int | None = None) -> None:
        self._secret = secret
        self._clock = clock
        self._tries = 0
        self.used_window = used_window

    def check(self) -> None:
        """Raise BadSecret now, before a password is spent on a login that cannot be finished."""
        code_at(self._secret, 0)

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
