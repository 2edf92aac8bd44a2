"""Times and durations have one form each, for machines and for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.times import duration, from_utc, utc, utc_ms


@pytest.mark.parametrize(
    ("seconds", "text", "compact"),
    [
        (0.0, "0.0 s", "0s"),
        (9.94, "9.9 s", "10s"),
        (9.96, "10 s", "10s"),
        (59.6, "1 min 0 s", "1m00s"),
        (125, "2 min 5 s", "2m05s"),
        (3_661, "1 h 1 min", "1h01m"),
        (90_000, "1 d 1 h", "1d01h"),
        (-3.0, "-3.0 s", "0s"),
    ],
)
def test_a_duration_has_two_units(seconds: float, text: str, compact: str) -> None:
    """Two units are as much as a person reads; a column that is narrow gets them without spaces."""
    assert duration(seconds) == text
    assert duration(seconds, compact=True) == compact


@given(st.integers(0, 4_000_000_000))
def test_what_is_written_is_read_again(at_s: int) -> None:
    """A state file's time comes back as it was, and the journal's form only adds the milliseconds."""
    assert from_utc(utc(at_s)) == at_s
    assert utc_ms(at_s + 0.25) == utc(at_s).replace("Z", ".250Z")


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-28", "2026-11-28T12:00:00+01:00"])
def test_another_form_is_refused(text: str) -> None:
    """What gwctl did not write is no time of its own."""
    with pytest.raises(ValueError, match=r"does not match|unconverted"):
        from_utc(text)
