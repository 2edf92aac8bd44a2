"""What a call says of trouble while it waits for the session."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import pytest

from gwctl.environment import Environment
from gwctl.lifecycle.follow import _Story
from gwctl.lifecycle.profile import Observer, Profile
from gwctl.supervisor.control import SupervisorClient
from gwctl.times import utc


class Shown(Observer):
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def show(self, text: str, *, well: bool = True, until_s: float | None = None) -> None:
        """Keep a line."""
        self.lines.append(text)


@pytest.mark.parametrize(("old_s", "times"), [(5, 0), (3600, 1)])
def test_trouble_says_since_when_until_when_and_what_to_type(tmp_path: Path, old_s: int, times: int) -> None:
    """Trouble of the last minute has no beginning worth saying; what is older has."""
    observer = Shown()
    began_s = time.time() - old_s
    profile = Profile(environment=Environment({"GWCTL_HOME": str(tmp_path)}))
    story = _Story(profile, cast("SupervisorClient", None), observer)
    entry = {"kind": "phase", "phase": "backoff", "reason": "IBKR answers with errors", "at": utc(began_s)}
    before = _clock(time.time() + 120)
    story.tell(entry, time.monotonic() + 120)
    [line] = observer.lines
    assert any(line.endswith(f"; trying until {until}; gwctl doctor") for until in (before, _clock(time.time() + 120)))
    assert line.count(f" since {_clock(began_s)};") == times


def _clock(at_s: float) -> str:
    return time.strftime("%H:%M", time.localtime(at_s))
