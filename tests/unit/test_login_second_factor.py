from __future__ import annotations

import asyncio

import pyotp
import pytest
from facts import current
from hypothesis import given
from hypothesis import strategies as st

from gwctl.login.codes import (
    MARGIN_S,
    PERIOD_S,
    WRONG_CLOCK_S,
    BadSecret,
    CodePlan,
    CodeSource,
    code_at,
    plan_code,
)

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


class SteppedClock:
    """A clock that moves only when somebody waits."""

    def __init__(self, now_s: float) -> None:
        self.time_s = now_s
        self.waits: list[float] = []

    def now_s(self) -> float:
        return self.time_s

    async def wait_s(self, duration_s: float) -> None:
        self.waits.append(duration_s)
        self.time_s += duration_s


def test_a_fresh_window_is_used_at_once() -> None:
    """A code with enough time left is used without waiting."""
    assert plan_code(3000.0 + WRONG_CLOCK_S, None, 0) == CodePlan(100, 0.0)
    assert plan_code(3000.0 + PERIOD_S - MARGIN_S, None, 0) == CodePlan(100, 0.0)


def test_a_code_is_not_used_before_a_lagging_clock_has_come_to_it() -> None:
    """A clock that is off by less than the corrected amount does not make a code one of the future."""
    assert plan_code(3000.5, None, 0) == CodePlan(100, WRONG_CLOCK_S - 0.5)


def test_a_code_about_to_expire_is_not_used() -> None:
    """With less than the margin left, the next window's code is used."""
    assert plan_code(3023.0, None, 0) == CodePlan(101, 7.0 + WRONG_CLOCK_S)


def test_a_window_is_used_once() -> None:
    """A code is never sent twice: after one from this window, the next window's is used."""
    assert plan_code(3001.0, 100, 1) == CodePlan(101, 29.0 + WRONG_CLOCK_S)


def test_two_codes_are_enough() -> None:
    """There is no third try."""
    assert plan_code(3000.0, 99, 2) is None


@given(now_s=st.floats(0, 4e9), used=st.none() | st.integers(0, 10**8), tries=st.integers(0, 1))
def test_every_plan_keeps_the_rules(now_s: float, used: int | None, tries: int) -> None:
    """At any time: enough is left when the code is used, and its window is later than the last used."""
    used = None if used is None else min(used, int(now_s // PERIOD_S) + 1)
    plan = plan_code(now_s, used, tries)
    assert plan is not None
    used_at_s = now_s + plan.wait_s
    assert (plan.window + 1) * PERIOD_S - used_at_s >= MARGIN_S - 1e-3
    assert plan.window * PERIOD_S + WRONG_CLOCK_S <= used_at_s + 1e-3
    assert used is None or plan.window > used
    assert plan.wait_s <= 2 * PERIOD_S + MARGIN_S + WRONG_CLOCK_S


def test_a_source_hands_out_two_different_codes_and_no_third() -> None:
    """One login sends at most two codes, the second from the next window."""
    clock = SteppedClock(3005.0)
    source = CodeSource(SECRET, clock)

    async def take() -> list[str | None]:
        return [await source.next_code() for _ in range(3)]

    codes = asyncio.run(take())
    totp = pyotp.TOTP(SECRET)
    assert codes == [totp.at(3000), totp.at(3030), None]
    assert clock.waits == [25.0 + WRONG_CLOCK_S]
    assert source.used_window == 101


def test_a_code_that_was_too_slow_is_not_sent_and_does_not_count() -> None:
    """On a slow machine a later window's code is used, and there are still two tries."""
    clock = SteppedClock(3005.0)
    source = CodeSource(SECRET, clock)

    async def take() -> list[str | None]:
        first = await source.next_code()
        assert current(source.is_fresh)
        clock.time_s += 23.0
        assert not source.is_fresh
        source.take_back()
        return [first, *[await source.next_code() for _ in range(3)]]

    totp = pyotp.TOTP(SECRET)
    assert asyncio.run(take()) == [totp.at(3000), totp.at(3030), totp.at(3060), None]


def test_a_second_login_does_not_repeat_the_first_ones_code() -> None:
    """The next login does not use the last login's window again."""
    clock = SteppedClock(3005.0)
    code = asyncio.run(CodeSource(SECRET, clock, used_window=100).next_code())
    assert code == pyotp.TOTP(SECRET).at(3030)


def test_a_secret_is_taken_as_people_copy_it() -> None:
    """Spaces, dashes and lower case in a secret change nothing."""
    assert code_at("jbsw y3dp-ehpk 3pxp JBSWY3DPEHPK3PXP", 100) == pyotp.TOTP(SECRET).at(3000)


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("not-base32-at-all-1890-and-long-enough", "base32"),
        (" - ", "empty"),
        ("\ufeffJBSWY3DPEHPK3PXP", "base32"),
        ("JBSWÜ3DPEHPK3PXP", "base32"),
        ("\u0408BSWY3DPEHPK3PXP", "base32"),
    ],
)
def test_a_bad_secret_is_said_without_showing_it(secret: str, why: str) -> None:
    """A secret that gives no code is an error that says why, without the secret (law 8)."""
    with pytest.raises(BadSecret, match=why) as caught:
        code_at(secret, 100)
    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_short_secret_works() -> None:
    """The issuer decides the secret's length: one of 16 letters gives the codes of every authenticator."""
    assert [code_at("JBSW Y3DP EHPK 3PXP", window) for window in (0, 1)] == ["282760", "996554"]
