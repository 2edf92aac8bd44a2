"""IBKR's maintenance windows are times of day in their time zones, with daylight saving time."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.config import load
from gwctl.environment import Environment
from gwctl.maintenance import REGIONS, BadWindow, Windows
from gwctl.supervisor.wiring import Order, calendar_of


def _wall_s(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _text(wall_s: float | None) -> str | None:
    return None if wall_s is None else datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M")


@pytest.mark.parametrize(
    ("window", "at", "until"),
    [
        # New York is five hours behind in winter, four in summer.
        ("23:45-01:45 America/New_York", "2026-11-25T04:44", None),
        ("23:45-01:45 America/New_York", "2026-11-25T04:45", "2026-11-25T06:45"),
        ("23:45-01:45 America/New_York", "2026-11-25T06:44", "2026-11-25T06:45"),
        ("23:45-01:45 America/New_York", "2026-11-25T06:45", None),
        ("23:45-01:45 America/New_York", "2026-07-25T03:45", "2026-07-25T05:45"),
        # The nights when the clock changes: forward (2 to 3 o'clock), and back.
        ("01:30-04:00 America/New_York", "2026-03-08T06:30", "2026-03-08T08:00"),
        ("01:30-04:00 America/New_York", "2026-11-01T05:30", "2026-11-01T09:00"),
        # A window entirely inside the skipped hour does not open at another time.
        ("Fri 23:00-Sat 03:00 America/New_York", "2026-11-28T03:59", None),
        ("Fri 23:00-Sat 03:00 America/New_York", "2026-11-28T04:00", "2026-11-28T08:00"),
        ("Fri 23:00-Sat 03:00 America/New_York", "2026-11-27T05:00", None),
        ("20:15-21:15 Asia/Hong_Kong", "2026-11-25T12:30", "2026-11-25T13:15"),
        ("Sat 01:00 - Mon 02:00 UTC", "2026-11-29T23:00", "2026-11-30T02:00"),
        # Overlapping windows count as one.
        ("north-america", "2026-11-28T04:50", "2026-11-28T08:00"),
    ],
)
def test_a_window_is_open_from_its_begin_to_its_end(window: str, at: str, until: str | None) -> None:
    """The stated end is the end, in the window's time zone."""
    assert _text(Windows.parse([window]).until(_wall_s(at))) == until


def test_the_next_change_is_an_opening_or_the_end() -> None:
    """Outside a window, its opening is next; inside, its end; without windows there is no change."""
    windows = Windows.parse(["23:45-01:45 America/New_York"])
    assert _text(windows.next_change(_wall_s("2026-11-25T12:00"))) == "2026-11-26T04:45"
    assert _text(windows.next_change(_wall_s("2026-11-26T05:00"))) == "2026-11-26T06:45"
    assert Windows.parse([]).next_change(0.0) is None
    assert Windows.parse([]).until(0.0) is None


@given(wall_s=st.floats(1.6e9, 2.2e9), region=st.sampled_from(sorted(REGIONS)))
def test_changes_lead_from_window_to_window(wall_s: float, region: str) -> None:
    """From any moment, the changes alternate, lie ahead, and are at most a day and a half apart."""
    windows = Windows.parse([region])
    for _ in range(6):
        was_open = windows.until(wall_s) is not None
        change_s = windows.next_change(wall_s)
        assert change_s is not None
        assert 0.0 < change_s - wall_s < 36 * 3600.0
        assert (windows.until(change_s + 0.01) is not None) is not was_open
        wall_s = change_s + 0.01


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("midnight", "must look like"),
        ("23:45-01:45", "must look like"),
        ("25:00-01:45 UTC", "not a time of day"),
        ("23:45-01:45 America/Nowhere", "unknown time zone"),
        ("23:45-01:45 ../../etc/passwd", "must look like"),
        ("23:00-Sat 03:00 UTC", "must name the day"),
        ("Mon-Fri 23:00-Sat 03:00 UTC", "must name the day"),
        ("Mon-Wed-Fri 07:00-09:00 UTC", "must be days"),
        ("10:00-10:00 UTC", "begins and ends at the same time"),
        ("Fri 10:00-Fri 09:00 UTC", "ends before"),
    ],
)
def test_what_is_no_window_is_named(text: str, why: str) -> None:
    """The error for an invalid window says what is wrong with it."""
    with pytest.raises(BadWindow, match=why):
        Windows.parse([text])


@given(st.text(max_size=40))
def test_any_text_is_a_window_or_a_bad_one(text: str) -> None:
    """Any text gives either a window or a BadWindow with a message."""
    with contextlib.suppress(BadWindow):
        assert Windows.parse([text]).windows


@pytest.mark.parametrize(
    ("config", "sandbox", "named"),
    [("", False, ["north-america"]), ("", True, []), ('[defaults]\nmaintenance = ["europe"]\n', True, ["europe"])],
)
def test_the_sandbox_never_closes(tmp_path: Path, config: str, *, sandbox: bool, named: list[str]) -> None:
    """Only IBKR closes at night; the sandbox has only the windows that a person configured."""
    (tmp_path / "config.toml").write_text(config)
    environment = Environment({"GWCTL_HOME": str(tmp_path)})
    order = Order(load("default", environment=environment), environment, sandbox=sandbox)
    assert calendar_of(order) == Windows.parse(named)
