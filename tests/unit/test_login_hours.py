"""Login hours and planned logins, in their time zones, and what the calendar reports to the core."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.config import load
from gwctl.core.messages import Event, Pause
from gwctl.core.planned import LoginHours, LoginPlanned, PauseOver
from gwctl.core.tables import Snapshot
from gwctl.environment import Environment
from gwctl.errors import Configuration
from gwctl.login_hours import LoginPlan
from gwctl.maintenance import BadWindow
from gwctl.supervisor.calendar_watch import CalendarWatch
from gwctl.supervisor.interfaces import NoWindows

WORK = "Mon-Fri 07:00-22:00 Europe/Zurich"
YEAR_S = 365 * 86_400.0


def wall(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def text(wall_s: float | None) -> str | None:
    return None if wall_s is None else datetime.fromtimestamp(wall_s, UTC).strftime("%a %H:%M")


@pytest.mark.parametrize(
    ("hours", "at", "opens"),
    [
        ([WORK], "2026-11-30T06:00", None),
        ([WORK], "2026-11-30T05:59", "Mon 06:00"),
        ([WORK], "2026-11-30T21:00", "Tue 06:00"),
        ([WORK], "2026-07-31T20:00", "Mon 05:00"),
        ([WORK, "Sat 10:00-12:00 Europe/Zurich"], "2026-11-28T09:30", None),
        ([WORK, "Sat 10:00-12:00 Europe/Zurich"], "2026-11-28T11:00", "Mon 06:00"),
        (["Mon,Wed 22:00-02:00 UTC"], "2026-12-01T01:00", None),
        (["Mon,Wed 22:00-02:00 UTC"], "2026-12-02T01:00", "Wed 22:00"),
        (["Fri-Mon 07:00-08:00 UTC"], "2026-11-29T08:30", "Mon 07:00"),
        ([], "2026-11-29T08:30", None),
    ],
)
def test_logins_are_allowed_within_the_hours_alone(hours: list[str], at: str, opens: str | None) -> None:
    """Outside them, the next opening is known; daylight saving time and weekdays are those of the hours' zone."""
    assert text(LoginPlan.parse(hours, []).opens_at(wall(at))) == opens


@given(at=st.floats(wall("2026-01-01T00:00"), wall("2026-01-01T00:00") + 3 * YEAR_S))
def test_the_hours_begin_again_when_they_say(at: float) -> None:
    """From any moment outside the hours, they are open at the announced time and not a second before it."""
    plan = LoginPlan.parse([WORK, "Sun 23:00-Mon 01:00 America/New_York"], [])
    opens_s = plan.opens_at(at)
    if opens_s is not None:
        assert opens_s > at
        assert plan.opens_at(opens_s) is None
        assert plan.opens_at(opens_s - 1.0) is not None


def test_a_planned_login_outside_the_hours_is_refused(tmp_path: Path) -> None:
    """It would never be made: the settings say so at once."""
    with pytest.raises(BadWindow, match="outside login_hours"):
        LoginPlan.parse([WORK], ["23:00 Europe/Zurich"])
    (tmp_path / "config.toml").write_text(
        f'[defaults]\nlogin_hours = "{WORK}"\nrelogin_at = "Sat 08:00 Europe/Zurich"\n'
    )
    with pytest.raises(Configuration, match=r"relogin_at = .* is not within login_hours"):
        load("default", environment=Environment({"GWCTL_HOME": str(tmp_path)}))


def test_a_planned_login_that_summer_time_moves_out_of_the_hours_is_not_planned() -> None:
    """In the weeks in which New York is five hours from Zurich, 07:30 there is 12:30 here: before the hours."""
    plan = LoginPlan.parse(["13:00-22:00 Europe/Zurich"], ["07:30 America/New_York"])
    assert text(plan.next_login(wall("2026-03-05T00:00"))) == "Thu 12:30"
    found = plan.next_login(wall("2026-03-18T00:00"))
    assert found is None or plan.opens_at(found) is None


class Watched:
    """A calendar watch whose clock the test moves; the machine's two clocks agree."""

    def __init__(self, plan: LoginPlan, at: str) -> None:
        self.wall_s = wall(at)
        self.snapshot = Snapshot()
        self.notes: list[str] = []
        self.watch = CalendarWatch(NoWindows(), plan, lambda kind, **_: self.notes.append(kind), self.wall_s)
        self.begun_s = self.wall_s

    def look(self, at: str) -> list[Event]:
        self.wall_s = wall(at)
        return self.watch.look(self.snapshot, self.wall_s - self.begun_s, self.wall_s)

    @property
    def next_look(self) -> str | None:
        return text(self.begun_s + self.watch.due_at)


def test_the_core_hears_of_the_hours_when_they_change() -> None:
    """Their end says when they begin again, in words; each is reported once."""
    watched = Watched(LoginPlan.parse([WORK], []), "2026-11-30T20:00")
    assert watched.look("2026-11-30T20:00") == []
    [closed] = watched.look("2026-11-30T21:01")
    assert isinstance(closed, LoginHours)
    assert closed.opens_at == wall("2026-12-01T06:00") - watched.begun_s
    assert closed.text == "outside the login hours, gwctl logs in at Tue 07:00 Europe/Zurich"
    watched.snapshot = Snapshot(logins_from=closed.opens_at)
    assert watched.look("2026-12-01T05:30") == []
    assert watched.next_look == "Tue 06:00"
    assert watched.look("2026-12-01T06:01") == [LoginHours(opens_at=None)]


def test_a_planned_login_is_announced_once_and_then_due_once() -> None:
    """Ten minutes before; however often the clock is read, and not again after it was set back."""
    watched = Watched(LoginPlan.parse([], ["07:30 Europe/Zurich"]), "2026-11-30T06:00")
    assert watched.look("2026-11-30T06:10") == []
    assert watched.next_look == "Mon 06:20"
    [announced] = watched.look("2026-11-30T06:21")
    assert announced == LoginPlanned(in_s=540.0, text=getattr(announced, "text", ""))
    assert "Mon 07:30 Europe/Zurich" in getattr(announced, "text", "")
    assert watched.look("2026-11-30T06:22") == []
    assert watched.look("2026-11-30T06:31") == [LoginPlanned()]
    assert watched.look("2026-11-30T06:32") == []


def test_a_planned_login_that_a_sleep_made_late_is_left_out() -> None:
    """A laptop that wakes at noon does not log in again for what was planned in the morning."""
    watched = Watched(LoginPlan.parse([], ["07:30 Europe/Zurich"]), "2026-11-30T06:00")
    assert watched.look("2026-11-30T11:00") == []


def test_a_pause_ends_at_its_time() -> None:
    """The wall clock decides, however the machine slept; without an end nothing happens."""
    watched = Watched(LoginPlan(), "2026-11-30T06:00")
    watched.snapshot = Snapshot(pause=Pause(until_s=wall("2026-11-30T08:00")))
    assert watched.look("2026-11-30T07:59") == []
    assert watched.look("2026-11-30T08:00") == [PauseOver(pause=watched.snapshot.pause)]
    watched.snapshot = Snapshot(pause=Pause())
    assert watched.look("2027-11-30T08:00") == []
