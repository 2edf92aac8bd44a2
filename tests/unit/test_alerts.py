"""Notifications: which journal entries are notified and how often, by tables and by random hours."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.core.messages import Phase
from gwctl.history.alerts import (
    KINDS,
    LONG_OUTAGE_S,
    OUTAGE_S,
    PER_HOUR,
    Alert,
    Alerts,
    Event,
    Severity,
    compose,
)
from gwctl.times import HOUR_S

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "notifications.md").read_text(encoding="utf-8")
STARTED = {"kind": "start", "last_seen": None}
READY = {"kind": "phase", "phase": "ready", "reason": "authenticated"}
LOST = {"kind": "phase", "phase": "recovering", "reason": "the gateway ended"}
BEGINS = {"kind": "phase", "phase": "starting", "reason": "starting the gateway"}
PAUSED = {"kind": "phase", "phase": "paused", "reason": "paused: TWS", "planned": "pause"}
HELD = {"kind": "phase", "phase": "backoff", "reason": "outside the login hours", "planned": "login_hours"}
SOON = {"kind": "warning", "code": "login_soon", "text": "gwctl logs in again at Mon 07:30"}
STOPS = {"kind": "phase", "phase": "stopping", "reason": "stopping", "event": "StopWanted"}
GIVES_UP = {"kind": "phase", "phase": "stopping", "reason": "no memory", "event": "GatewayCannotStart"}
LOCKED = {"kind": "phase", "phase": "locked_out", "reason": "IBKR says that the account is locked"}
PUSH = {"kind": "question", "what": "push", "text": "IBKR sends a notification: approve it", "wants_code": False}
CODE = {"kind": "question", "what": "app", "text": "IBKR asks for a code", "wants_code": True, "id": 1}
NEW_PAGE = {"kind": "warning", "code": "page_unknown_but_understood", "text": "username by autocomplete"}
OFTEN = {"kind": "warning", "code": "restarted_often", "text": "the budget is spent"}
LOGINS = {"kind": "warning", "code": "logged_in_often", "text": "the budget is spent"}
GAVE_UP = {"kind": "end", "exit_code": 77, "code": "credentials_rejected", "text": "IBKR refused the password"}
BUSY = {"kind": "end", "exit_code": 69, "code": "port_busy", "text": "port 5000 is held by java (pid 71)"}
STOPPED = {"kind": "end", "exit_code": 0, "code": None, "text": None}
NIGHT_S = 7 * HOUR_S
LOOK = "look"
"""What the supervisor does every half minute."""


class Life:
    """A desk with a clock that the test sets: entries, and seconds in between."""

    def __init__(self, profile: str = "default") -> None:
        self.now_s = 1_800_000_000.0
        self.desk = Alerts(profile, lambda: self.now_s)
        self.told: list[tuple[float, Alert]] = []

    def live(self, *happens: dict[str, Any] | float | str) -> list[str]:
        """Play the events and return those that were notified meanwhile."""
        before = len(self.told)
        for one in happens:
            if isinstance(one, dict):
                news = self.desk.see({"n": 1, "at": "2026-11-22T21:13:55.000Z", **one})
                self.told += [(self.now_s, each) for each in news]
            elif isinstance(one, str):
                self.told += [(self.now_s, each) for each in self.desk.look("IBKR does not answer", "")]
            else:
                self.now_s += one
        return [str(news.event) for _, news in self.told[before:]]

    def restart(self) -> None:
        """Continue in a new supervisor with what was kept on disk."""
        self.desk = Alerts("default", lambda: self.now_s, json.loads(json.dumps(self.desk.to_json())))


@pytest.mark.parametrize(
    ("happens", "told"),
    [
        ([STARTED, READY], []),
        ([STARTED, READY, LOST, 12, READY], []),
        ([STARTED, READY, LOST, OUTAGE_S - 1, READY], []),
        ([STARTED, READY, LOST, OUTAGE_S, READY], ["recovered"]),
        # A start that fails is an outage, as in `gwctl history`; one that goes well is none.
        ([STARTED, LOST, OUTAGE_S - 1, READY], []),
        ([STARTED, LOST, OUTAGE_S, READY], ["recovered"]),
        ([STARTED, BEGINS, OUTAGE_S, READY], []),
        ([STARTED, LOST, LONG_OUTAGE_S - 1, LOOK], []),
        ([STARTED, LOST, LONG_OUTAGE_S, LOOK, 60, LOOK, READY], ["long_outage", "recovered"]),
        ([STARTED, LOST, 60, STOPPED, NIGHT_S, LOOK], []),
        ([STARTED, READY, NIGHT_S, LOOK], []),
        ([STARTED, READY, LOST, LONG_OUTAGE_S - 1, LOOK], []),
        ([STARTED, READY, LOST, LONG_OUTAGE_S, LOOK, 30, LOOK, NIGHT_S, LOOK, READY], ["long_outage", "recovered"]),
        ([READY, LOST, NIGHT_S, LOOK, READY, LOST, NIGHT_S, LOOK], ["long_outage", "recovered", "long_outage"]),
        ([STARTED, READY, LOST, LOCKED, LONG_OUTAGE_S, LOOK], ["locked_out"]),
        ([STARTED, READY, LOST, LONG_OUTAGE_S, LOOK, LOCKED], ["long_outage", "locked_out"]),
        ([STARTED, READY, LOST, PUSH, LONG_OUTAGE_S, LOOK, LOOK], ["second_factor", "long_outage"]),
        ([STARTED, READY, LOST, -NIGHT_S, LOOK, LONG_OUTAGE_S, LOOK], ["long_outage"]),  # the clock was set back
        ([STARTED, READY, LOST, STOPPED, NIGHT_S, LOOK], []),
        ([STARTED, PUSH, 20, READY], ["second_factor", "recovered"]),
        ([STARTED, CODE, 20, READY], ["second_factor", "recovered"]),
        ([STARTED, READY, LOST, LOCKED], ["locked_out"]),
        ([STARTED, READY, LOST, LOCKED, 5, READY], ["locked_out", "recovered"]),
        ([STARTED, {**LOCKED, "person_needed": "manual_login"}], []),
        ([STARTED, GAVE_UP], ["needs_person"]),
        ([STARTED, READY, STOPPED], []),
        ([STARTED, READY, LOST, STOPS, LONG_OUTAGE_S, LOOK], []),
        ([STARTED, BEGINS, STOPS, LONG_OUTAGE_S, LOOK], []),
        # What a person planned is no outage; what goes wrong after it is one.
        ([STARTED, READY, PAUSED, NIGHT_S, LOOK, BEGINS, READY], []),
        ([STARTED, READY, LOST, HELD, NIGHT_S, LOOK, READY], []),
        ([STARTED, PAUSED, NIGHT_S, LOOK, BEGINS, LOST, LONG_OUTAGE_S, LOOK], ["long_outage"]),
        ([STARTED, READY, SOON, 600, READY, NIGHT_S, SOON], ["login_soon", "login_soon"]),
        ([STARTED, READY, OFTEN], ["restarted_often"]),
        ([STARTED, READY, LOGINS], ["logged_in_often"]),
        ([STARTED, READY, {"kind": "warning", "code": "folder_lost", "text": "deleted"}], []),
        ([STARTED, {"kind": "cure", "rung": "resume", "ok": True}, {"kind": "window", "open": True}], []),
        ([{"kind": "phase"}, {"kind": "question"}, {"kind": "warning"}, {}], []),
        # A new page is no outage: nothing is ready again after it.
        ([STARTED, NEW_PAGE, 20, READY, HOUR_S, LOST, NEW_PAGE, READY], ["page_unknown_but_understood"]),
        ([STARTED, NEW_PAGE, READY, 25 * HOUR_S, NEW_PAGE, READY], ["page_unknown_but_understood"] * 2),
        # The same, again.
        ([STARTED, READY, LOCKED, 60, LOST, LOCKED], ["locked_out"]),
        ([STARTED, READY, LOCKED, 60, READY, LOCKED], ["locked_out", "recovered", "locked_out"]),
        ([STARTED, READY, LOCKED, 60, {**LOCKED, "reason": "another"}], ["locked_out", "locked_out"]),
        ([STARTED, READY, LOCKED, NIGHT_S, LOCKED], ["locked_out", "locked_out"]),
        ([STARTED, PUSH, 100, PUSH], ["second_factor"]),
        ([STARTED, PUSH, 180, PUSH], ["second_factor", "second_factor"]),
        ([OFTEN, 60, READY, LOST, OFTEN, 60, READY, OFTEN, 60, READY], ["restarted_often", "recovered"]),
        ([OFTEN, NIGHT_S, OFTEN], ["restarted_often", "restarted_often"]),
        # A person who stops it knows; other numbers in the reason are no news.
        ([LOCKED, STOPPED, LOCKED], ["locked_out", "locked_out"]),
        ([BUSY, 300, {**BUSY, "text": "port 5000 is held by java (pid 8412)"}], ["needs_person"]),
    ],
)  # fmt: skip
def test_what_is_told(happens: list[dict[str, Any] | float | str], told: list[str]) -> None:
    """Each of these days is notified as the table says, by one supervisor and by a new one for each entry."""
    assert Life().live(*happens) == told
    life = Life()
    if LOST not in happens:
        # A new supervisor learns from the journal's `start` whether a session was ready before.
        for one in happens:
            life.live(one)
            life.restart()
        assert [str(news.event) for _, news in life.told] == told


def test_an_outage_counts_from_when_the_last_supervisor_was_seen() -> None:
    """A supervisor that was killed wrote no end: the time after its last sign of life is still an outage."""
    seen = {"kind": "start", "last_seen": "2027-01-15T07:00:00.000Z", "last_ready": True}
    life = Life()  # 2027-01-15 08:00 UTC
    assert life.live(seen, READY) == ["recovered"]
    assert life.told[0][1].text == "default: the session is ready again after 1 h 0 min. Next: gwctl history"
    assert Life().live({**seen, "last_seen": "2027-01-15T07:59:50.000Z"}, READY) == []
    assert Life().live({"kind": "start", "last_seen": "2027-01-15T07:00:00.000Z"}, READY) == []
    assert Life().live({**seen, "last_seen": "soon"}, READY) == []
    life = Life()
    assert life.live(seen, LOST, LOOK) == ["long_outage"]
    assert life.told[0][1].text == "default: no session for 1 h 0 min: IBKR does not answer. Next: gwctl status"
    life.restart()
    assert life.live({**seen, "last_ready": False}, LOST, LONG_OUTAGE_S, LOOK) == []
    # A start that is slow but goes well is no outage; that there is no session for so long is notified all the same.
    assert Life().live(STARTED, BEGINS, LONG_OUTAGE_S, LOOK) == ["long_outage"]
    # A supervisor without a session, or one that was stopped, does not show an outage.
    assert Life().live({**seen, "last_ready": False}, LOST, LOOK) == []


def test_an_outage_outlives_supervisors_that_are_killed_again_and_again() -> None:
    """The start of an outage is saved at once, and dropped as soon as the outage is over."""
    life = Life()
    life.live(STARTED, READY)
    life.desk.unkept = False
    life.live(LOST)
    assert life.desk.unkept
    for _ in range(2):
        life.live(LONG_OUTAGE_S / 2)
        life.restart()
        life.live({**STARTED, "last_ready": False}, LOST)
    assert life.live(LOOK) == ["long_outage"]
    life.desk.unkept = False
    assert life.live(READY) == ["recovered"]
    assert life.desk.unkept
    life.restart()
    assert life.live({**STARTED, "last_ready": False}, LOST, LOOK) == []
    life.live({"kind": "start", "last_seen": "2027-01-15T08:00:00.000Z", "last_ready": True})
    assert life.desk.unkept, "also one that began while nobody looked"


def test_giving_up_begins_an_outage() -> None:
    """A supervisor that stops although nobody asked it to has an outage from then on, as in `gwctl history`."""
    life = Life()
    assert life.live(STARTED, READY, GIVES_UP, 5, GAVE_UP) == ["needs_person"]
    life.restart()
    assert life.live(HOUR_S - 5, STARTED, READY) == ["recovered"]
    assert life.told[-1][1].text == "default: the session is ready again after 1 h 0 min. Next: gwctl history"


def test_the_words() -> None:
    """The text has the profile, the event and the next command, on one line, without account numbers."""
    life = Life("paper")
    life.live({**LOCKED, "reason": "account DU1234567\nor u7654321 is  locked."}, PUSH, CODE)
    locked, push, code = (news for _, news in life.told)
    assert locked.text == (
        "paper: account (account) or (account) is locked. Next: gwctl --profile paper login --explain"
    )
    assert (locked.title, locked.severity) == ("gwctl paper: locked out", Severity.CRITICAL)
    assert locked.at == "2026-11-22T21:13:55.000Z"
    assert push.text.endswith("approve it. Next: gwctl --profile paper status")
    assert code.text.endswith("a code. Next: gwctl --profile paper login")
    assert len(compose(Event.TEST, "x" * 5000, "default", "").text) < 400


def test_what_is_held_back_is_said_once() -> None:
    """An hour has its limit, with a reserve for critical events; then one notice, and the next hour starts again."""
    life = Life()
    answers = [life.live({**PUSH, "text": "x" * n}) for n in range(1, 40)]
    assert [told for told in answers if told] == [["second_factor"]] * 7 + [["held_back"]]
    assert life.live(LOCKED) == ["locked_out"]
    ends = [life.live({**GAVE_UP, "text": "y" * n}) for n in range(1, 40)]
    assert [told for told in ends if told] == [["needs_person"]] * 2
    life.restart()
    assert life.live({**PUSH, "text": "z"}) == []
    assert life.live(STOPPED, {**PUSH, "text": "z"}) == [], "a stop does not lift the limit, nor repeat the notice"
    assert life.live(HOUR_S, PUSH) == ["second_factor"]


@pytest.mark.parametrize(
    "kept",
    [
        {"told": [], "sent_s": {}, "open": 5, "away_s": "x"},
        {"told": {"nonsense:1": 1.0, "locked_out:1": "soon"}, "sent_s": ["x", None, True], "open": [[], 1]},
        {"away_s": float("nan"), "sent_s": [float("inf")]},
    ],
)  # fmt: skip
def test_a_file_that_somebody_edited(kept: dict[str, Any]) -> None:
    """Law 9: with any content in the file, the desk works as if nothing had been kept."""
    desk = Alerts("default", lambda: 1000.0, kept)
    assert [news.event for news in desk.see(LOCKED) + desk.see(READY)] == [Event.LOCKED_OUT, Event.RECOVERED]


ENTRIES = st.sampled_from([STARTED, READY, LOST, LOCKED, PUSH, CODE, OFTEN, LOGINS, GAVE_UP, STOPPED])
TEXTS = st.builds(lambda kind, text: {**kind, "text": text, "reason": text},
                  st.sampled_from([LOCKED, PUSH, GAVE_UP]), st.text(max_size=9))  # fmt: skip


@given(st.lists(ENTRIES | TEXTS | st.floats(0, 2000) | st.sampled_from(["restart", LOOK]), max_size=120))
def test_no_life_is_told_too_often(happens: list[dict[str, Any] | float | str]) -> None:
    """In any hour there are at most so many notifications, and one notice that others are held back."""
    life = Life()
    for one in happens:
        if one == "restart":
            life.restart()
        else:
            life.live(one)
    for at_s, _ in life.told:
        hour = [news.event for other_s, news in life.told if 0 <= other_s - at_s < HOUR_S]
        assert hour.count(Event.HELD_BACK) <= 1
        assert len(hour) - hour.count(Event.HELD_BACK) <= PER_HOUR
    told = [news.text for _, news in life.told]
    assert all("\n" not in text and re.search(r"\bDU\d", text) is None for text in told)


@given(st.lists(ENTRIES.filter(lambda entry: entry not in (READY, STOPPED)) | st.floats(0, 600), max_size=60))
def test_nothing_is_told_twice_that_was_not_over(happens: list[dict[str, Any] | float]) -> None:
    """Without a ready session in between, the same text is repeated after its interval, and not before."""
    life = Life()
    life.live(*happens)
    last_s: dict[tuple[str, str], float] = {}
    for at_s, news in life.told:
        same = (news.event, news.text)
        if same in last_s:
            assert at_s - last_s[same] >= KINDS[news.event].again_s
        last_s[same] = at_s


def test_the_page_has_every_event() -> None:
    """docs/how-to/notifications.md has a row for each event, in the code's words, and for no others."""
    rows = {
        f"| `{event}` | {kind.severity} | {kind.title} | {kind.when} | `gwctl {kind.command}` |"
        for event, kind in KINDS.items()
    }
    assert set(KINDS) == set(Event)
    table = PAGE.split("## Events")[1].split("##")[0]
    assert {line for line in table.splitlines() if line.startswith("| `")} == rows
    hours = {kind.again_s / HOUR_S for kind in KINDS.values()} - {0.0, 1.0, KINDS[Event.SECOND_FACTOR].again_s / HOUR_S}
    assert all(f"{hour:g} hours" in PAGE for hour in hours)
    assert f"{PER_HOUR} an hour" in PAGE
    assert f"{OUTAGE_S / 60:g} minutes" in PAGE
    assert f"{LONG_OUTAGE_S / 60:g} minutes" in PAGE


def test_every_phase_is_known() -> None:
    """The phases that the desk knows by name are the core's."""
    assert {READY["phase"], LOST["phase"], LOCKED["phase"]} <= set(Phase)
