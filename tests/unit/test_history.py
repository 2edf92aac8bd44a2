"""The history report: every way a session can end and return; no time is invented or lost."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwctl.history.replay import ASLEEP, BEFORE, CLOCK_JUMPED, KILLED, LINES_LOST, MACHINE_DOWN
from gwctl.history.report import History, LastSign, calendar, tell
from gwctl.history.session_fold import State
from gwctl.times import utc_ms

BEGAN_S = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC).timestamp()
HOUR_S, DAY_S = 3600.0, 86_400.0


class Diary:
    """Writes entries as supervisors do: each numbers them from 1, ``at`` seconds after the first."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.n = 0

    def add(self, at: float, kind: str, **fields: object) -> Diary:
        self.n += 1
        self.entries.append({"n": self.n, "at": utc_ms(BEGAN_S + at), "kind": kind, **fields})
        return self

    def lose(self, lines: int = 1) -> Diary:
        self.n += lines
        return self

    def phase(self, at: float, phase: str, reason: str, event: str = "Checked", **fields: object) -> Diary:
        return self.add(at, "phase", phase=phase, reason=reason, event=event, **fields)

    def start(self, at: float, last_seen: float | None = None, **fields: object) -> Diary:
        self.n = 0
        seen = None if last_seen is None else utc_ms(BEGAN_S + last_seen)
        return self.add(at, "start", last_seen=seen, **fields)

    def up(self, at: float, ready: float) -> Diary:
        self.start(at).phase(at, "starting", "starting the gateway", "StartWanted")
        self.add(at + 1, "gateway", pid=7).phase(at + 1, "logging_in", "logging in")
        return self.add(ready - 1, "login", outcome="success", text="logged in", took_s=1.5).ready(ready)

    def ready(self, at: float) -> Diary:
        return self.phase(at, "ready", "authenticated")

    def down(self, at: float) -> Diary:
        self.phase(at, "stopping", "stopping", "StopWanted").phase(at + 1, "stopped", "stopped", "GatewayGone")
        return self.add(at + 2, "end", exit_code=0, code=None, text=None)

    def told(self, now: float, **how: Any) -> History:
        return tell(self.entries, now_s=BEGAN_S + now, zone=dt.UTC, **how)

    def told_alive(self, now: float, **how: Any) -> History:
        return self.told(now, last_sign=LastSign(BEGAN_S + now), **how)


def seconds(history: History) -> dict[State, float]:
    return {state: round(history.times[state], 3) for state in State if history.times[state]}


def outages(history: History) -> list[tuple[float, float | None, str, str]]:
    """Return each outage's start and end after the first entry, its cause and its recovery."""
    return [
        (
            round(one.began_s - BEGAN_S, 3),
            None if one.ended_s is None else round(one.ended_s - BEGAN_S, 3),
            one.cause,
            one.recovery,
        )
        for one in history.outages
    ]


def test_what_a_person_planned_is_no_outage() -> None:
    """A pause and the wait for the login hours count as stopped; the way back from them as a start."""
    diary = Diary().up(0, ready=10)
    diary.phase(110, "paused", "paused: TWS", "PauseWanted", planned="pause")
    diary.phase(210, "starting", "the pause is over: starting the gateway", "PauseOver").add(212, "gateway", pid=8)
    diary.phase(213, "logging_in", "logging in").ready(220)
    diary.phase(320, "recovering", "no session at IBKR")
    diary.phase(321, "backoff", "outside the login hours", planned="login_hours")
    diary.phase(421, "logging_in", "logging in", "TimeOut").ready(425)
    history = diary.told_alive(525)
    assert outages(history) == [(320, 321, "no session at IBKR", "stopped")]
    assert seconds(history) == {State.READY: 300.0, State.STARTING: 14.0, State.DOWN: 1.0, State.STOPPED: 200.0}
    assert history.restarts == ()


def test_nothing_is_told_of_an_empty_journal() -> None:
    """No entries: no time, no days, no state."""
    history = tell([], now_s=BEGAN_S, last_sign=LastSign(BEGAN_S))
    assert (history.state, history.days, history.began_s, history.uptime) == (None, (), None, None)


def test_a_deliberate_stop_is_no_outage() -> None:
    """`up` and `down` leave starting, ready and stopped time, and only the first two count for the uptime."""
    history = Diary().up(0, 10).down(100).up(200, 210).told_alive(310)
    assert outages(history) == []
    assert seconds(history) == {State.STARTING: 10, State.READY: 190, State.STOPPED: 100}
    assert history.times.share == pytest.approx(190 / 200)
    assert (len(history.logins), history.restarts) == (2, ())


def test_a_killed_gateway_comes_back_by_a_restart_and_a_resume() -> None:
    """The cause is the first reason; the recovery lists the gateway action, then the session's, without failures."""
    diary = Diary().up(0, 10).phase(100, "recovering", "the gateway ended", "GatewayEnded").add(101, "gateway", pid=8)
    diary.phase(101, "recovering", "checking for a session")
    diary.add(101.5, "cure", rung="resume", ok=True, took_s=0.1).ready(103)
    history = diary.told_alive(200)
    assert outages(history) == [(100, 103, "the gateway ended", "restart, resume")]
    assert [one.reason for one in history.restarts] == ["the gateway ended"]
    assert seconds(history) == {State.READY: 187, State.DOWN: 3}


@pytest.mark.parametrize(
    ("deeds", "recovery"),
    [
        ([("cure", {"rung": "reauthenticate"})], "reauthenticate"),
        ([("cure", {"rung": "resume", "ok": False}), ("login", {"outcome": "success"})], "login"),
        ([("cure", {"rung": "resume", "ok": True})], "resume"),
        ([("login", {"outcome": "transient"})], "by itself"),
        ([], "by itself"),
        ([("phase", {"phase": "locked_out", "reason": "IBKR refused"})], "by hand"),
        ([("phase", {"phase": "locked_out", "reason": "no"}), ("login", {"outcome": "success"})], "by hand, login"),
    ],
)
def test_the_recovery_is_what_brought_it_back(deeds: list[tuple[str, dict[str, Any]]], recovery: str) -> None:
    """Each recovery step appears by its name, as do recoveries by IBKR itself and by a person."""
    diary = Diary().up(0, 10).phase(100, "recovering", "no session at IBKR")
    for kind, fields in deeds:
        diary.add(101, kind, **fields)
    assert outages(diary.ready(105).told_alive(200)) == [(100, 105, "no session at IBKR", recovery)]


def test_a_killed_supervisor_whose_gateway_was_adopted() -> None:
    """Time between the last sign of life and the next start is unknown, not down."""
    diary = Diary().up(0, 10).start(400, last_seen=100).phase(400, "starting", "taking over the running gateway")
    history = diary.add(400.5, "adopted", pid=7).ready(401).told_alive(500)
    assert outages(history) == [(100, 401, KILLED, "adopted")]
    assert history.outages[0].unknown_s == 300
    assert seconds(history) == {State.READY: 189, State.UNKNOWN: 300, State.DOWN: 1}
    assert history.restarts == ()


def test_a_machine_that_went_down() -> None:
    """Another boot distinguishes a machine that went down from a supervisor that was killed."""
    diary = Diary()
    diary.start(0, boot="one").add(1, "gateway", pid=1).ready(10).start(400, last_seen=100, boot="two").add(
        401, "gateway", pid=2
    )
    diary.phase(402, "logging_in", "logging in").add(403, "login", outcome="success", took_s=1).ready(404)
    assert outages(diary.told_alive(500)) == [(100, 404, MACHINE_DOWN, "restart, login")]


def test_without_a_begin_the_last_entry_is_the_last_sign() -> None:
    """A journal without a ``start``, or with a torn one, is read by its numbers."""
    diary = Diary().up(0, 10).add(50, "warning", code="x", text="y")
    diary.n = 0
    diary.phase(300, "starting", "taking over").add(301, "adopted", pid=7).ready(302)
    assert outages(diary.told_alive(400)) == [(50, 302, KILLED, "adopted")]


def test_a_warning_before_the_begin_does_not_hide_what_is_known() -> None:
    """The first line of a supervisor may be a warning; the ``start`` after it still has the last sign of life."""
    diary = Diary().up(0, 10)
    diary.n = 0
    diary.add(300, "warning", code="damaged_state", text="set aside")
    diary.add(300, "start", last_seen=utc_ms(BEGAN_S + 250)).add(301, "adopted", pid=7).ready(302)
    assert outages(diary.told_alive(400)) == [(250, 302, KILLED, "adopted")]


def test_what_a_killed_supervisor_last_said_contradicts_its_journal() -> None:
    """If the last sign of life contradicts the last line, lines are missing, and the time is unknown."""
    diary = Diary().up(0, 10).start(400, last_seen=100, last_ready=False).ready(401)
    assert seconds(diary.told_alive(500)) == {State.UNKNOWN: 390, State.DOWN: 1, State.READY: 99}


def test_what_was_said_before_the_last_change_contradicts_nothing() -> None:
    """Two outages with a short session between them are two: the last sign of life was made during the first."""
    diary = Diary().up(0, 10).phase(100, "recovering", "no session at IBKR").ready(105)
    diary.start(120, last_seen=101, last_ready=False).phase(120, "starting", "taking over").add(121, "adopted", pid=7)
    assert outages(diary.ready(122).told_alive(200)) == [
        (100, 105, "no session at IBKR", "by itself"),
        (105, 122, KILLED, "adopted"),
    ]


def test_a_supervisor_that_died_and_nobody_came() -> None:
    """The state is known until its last sign of life, then unknown, and the outage continues."""
    diary = Diary().up(0, 10)
    history = diary.told(500, last_sign=LastSign(BEGAN_S + 100, ready=True))
    assert outages(history) == [(100, None, KILLED, "")]
    assert (history.state, seconds(history)) == (
        State.UNKNOWN,
        {State.READY: 90, State.UNKNOWN: 400},
    )
    assert outages(diary.told(500)) == [(10, None, KILLED, "")]


def test_a_supervisor_that_gave_up() -> None:
    """A supervisor that ended because a person is needed leaves an outage until a person starts it again."""
    diary = Diary().start(0, ever_ready=True).phase(0, "starting", "starting").add(1, "gateway", pid=7)
    diary.phase(5, "stopping", "IBKR refused the password", "LoginDone")
    diary.add(6, "end", exit_code=77, code="credentials_rejected", text="IBKR refused the password")
    assert outages(diary.told(100)) == [(5, None, "IBKR refused the password", "")]
    history = diary.up(200, 210).told_alive(300)
    assert outages(history) == [(5, 210, "IBKR refused the password", "by hand, login")]
    assert seconds(history) == {State.STARTING: 5, State.DOWN: 205, State.READY: 90}
    assert history.restarts == ()


def test_a_start_into_an_ill_ibkr_is_an_outage() -> None:
    """Starting is no outage as long as it goes well."""
    diary = (
        Diary()
        .start(0, ever_ready=True)
        .phase(2, "degraded", "IBKR cannot be reached")
        .phase(500, "logging_in", "logging in")
    )
    assert outages(diary.ready(510).told_alive(600)) == [(2, 510, "IBKR cannot be reached", "by itself")]


def test_a_stop_in_an_outage_ends_it() -> None:
    """An outage ends when a person stops the session."""
    diary = Diary().up(0, 10).phase(100, "degraded", "IBKR cannot be reached").down(150)
    assert outages(diary.told(900)) == [(100, 150, "IBKR cannot be reached", "stopped")]


def test_an_outage_in_a_maintenance_window() -> None:
    """An outage that touches an open window says so, others do not."""
    diary = Diary().up(0, 10).add(50, "window", open=True, for_s=3600).phase(60, "degraded", "503").ready(90)
    diary.add(100, "window", open=False, for_s=None).phase(200, "degraded", "503").ready(210)
    assert [one.maintenance for one in diary.told_alive(300).outages] == [True, False]


AT_IBKR: dict[str, Any] = {"at_ibkr": True}


@pytest.mark.parametrize(
    ("phase", "reason", "event", "fields", "maintenance"),
    [
        ("degraded", "IBKR cannot be reached", "Checked", AT_IBKR, True),
        ("recovering", "no session at IBKR", "Checked", AT_IBKR, True),
        ("backoff", "the page did not load", "LoginDone", AT_IBKR, True),
        ("degraded", "as an older version wrote it", "Checked", {}, True),
        ("recovering", "the gateway does not answer", "Checked", {"at_ibkr": False}, False),
        ("degraded", "another client has the session", "Checked", {"at_ibkr": False}, False),
        ("locked_out", "IBKR refused the password", "LoginDone", {"at_ibkr": False}, False),
        ("recovering", "the gateway ended", "GatewayEnded", {}, False),
        ("recovering", "restarting the gateway as asked", "RestartWanted", {}, False),
        ("backoff", "port 5000 is busy", "GatewayFellOver", {}, False),
        ("logging_in", "logging in", "LoginWanted", {}, False),
    ],
)
def test_maintenance_is_named_where_it_can_be_the_cause(
    phase: str, reason: str, event: str, *, fields: dict[str, Any], maintenance: bool
) -> None:
    """In an open window, an outage is maintenance's only if it began with what IBKR's side can do."""
    diary = Diary().up(0, 10).add(50, "window", open=True, for_s=3600)
    diary.phase(60, phase, reason, event, **fields).phase(70, "degraded", "503", **AT_IBKR).ready(90)
    assert [one.maintenance for one in diary.told_alive(300).outages] == [maintenance]


def test_a_machine_that_slept_or_a_killed_supervisor_is_no_maintenance() -> None:
    """Maintenance neither sends a machine to sleep nor kills a supervisor, whatever is found afterwards."""
    slept = Diary().up(0, 10).add(20, "window", open=True, for_s=7200).add(4000, "clock", asleep_s=3600, jumped_s=3600)
    slept.phase(4002, "recovering", "no session at IBKR", **AT_IBKR).ready(4010)
    killed = Diary().up(0, 10).add(20, "window", open=True, for_s=7200).start(400, last_seen=100)
    killed.phase(401, "degraded", "IBKR cannot be reached", **AT_IBKR).ready(402)
    for diary in (slept, killed):
        assert [one.maintenance for one in diary.told_alive(5000).outages] == [False]


def test_the_history_counts_from_the_first_ready_session() -> None:
    """What came before it is neither an outage nor part of the uptime; its logins are listed."""
    diary = Diary().start(0).phase(1, "degraded", "IBKR cannot be reached").add(500, "login", outcome="transient")
    history = diary.told_alive(600)
    assert (history.began_s, history.outages, history.days, seconds(history)) == (None, (), (), {})
    history = diary.ready(1000).phase(1100, "degraded", "503").ready(1110).told_alive(2000)
    assert history.began_s == BEGAN_S + 1000
    assert outages(history) == [(1100, 1110, "503", "by itself")]
    assert seconds(history) == {State.READY: 990, State.DOWN: 10}
    assert len(history.logins) == 1


@pytest.mark.parametrize(
    ("stretches_s", "since_s", "uptime"),
    [
        ([(10, DAY_S)], 0.0, None),  # less than a day
        ([(10, DAY_S + 10)], 0.0, 1.0),
        ([(10, 600), (DAY_S, 1.5 * DAY_S)], 0.0, None),  # stopped most of the time
        ([(10, 3 * DAY_S)], 2 * DAY_S, 1.0),
        ([(10, 3 * DAY_S)], 2 * DAY_S + HOUR_S, None),  # a day is known, but less was asked for
        ([(10, 3 * DAY_S), (3.5 * DAY_S, 4 * DAY_S)], 3 * DAY_S, 1.0),
    ],
)
def test_an_uptime_needs_a_day(stretches_s: list[tuple[float, float]], since_s: float, uptime: float | None) -> None:
    """No share is given of less than a day, nor of a day that is not over; how long it was ready is known."""
    diary = Diary()
    for began_s, ended_s in stretches_s:
        diary.start(began_s).ready(began_s).down(ended_s)
    history = diary.told(stretches_s[-1][1], since_s=BEGAN_S + since_s)
    assert history.uptime == (None if uptime is None else pytest.approx(uptime))
    assert history.times[State.READY] > 0
    assert history.days[-1].uptime is None
    assert [day.uptime is not None for day in history.days[1:-1]] == [True] * len(history.days[1:-1])


@pytest.mark.parametrize("code", [69, 77, 78])
def test_a_mistake_at_the_terminal_is_no_outage(code: int) -> None:
    """A start that a person waits for and that fails (a wrong port, a wrong password) is known to that person."""
    diary = Diary().up(0, 10).down(100)
    for attended in (True, False):
        diary.start(200, attended=attended).phase(201, "starting", "starting the gateway", "StartWanted")
        diary.phase(202, "stopping", "port 80 is not ours", "GatewayCannotStart", at_ibkr=False)
        diary.phase(203, "stopped", "port 80 is not ours", "GatewayGone", at_ibkr=False)
        diary.add(203, "end", exit_code=code, text="port 80 is not ours")
        assert len(diary.told(300).outages) == (0 if attended else 1)
    assert diary.told(300).state is State.DOWN


def test_a_start_at_the_terminal_into_an_ill_ibkr_is_an_outage() -> None:
    """IBKR's own trouble is no mistake; a session that a person's start had, and lost, is an outage, too."""
    diary = Diary().up(0, 10).down(100).start(200, attended=True).phase(201, "degraded", "503", **AT_IBKR).ready(300)
    diary.phase(400, "recovering", "the gateway ended", "GatewayEnded").ready(410)
    assert [one[:3] for one in outages(diary.told_alive(500))] == [(201, 300, "503"), (400, 410, "the gateway ended")]


def test_sleep_is_not_known() -> None:
    """Sleep is unknown time, and a session found lost at wake was not ready in between."""
    lived = Diary().up(0, 10).add(4000, "clock", asleep_s=3600, jumped_s=3600)
    assert outages(lived.told_alive(5000)) == [(400, 4000, ASLEEP, "by itself")]
    gone = Diary().up(0, 10).add(4000, "clock", asleep_s=3600, jumped_s=3600).phase(4002, "recovering", "no session")
    history = gone.add(4004, "login", outcome="success").ready(4005).told_alive(5000)
    assert outages(history) == [(400, 4005, ASLEEP, "login")]
    assert (history.times[State.UNKNOWN], history.times[State.DOWN]) == (3602, 3)


def test_sleep_that_is_told_late() -> None:
    """States during the machine's sleep are replaced."""
    diary = Diary().up(0, 10).phase(4000, "degraded", "IBKR cannot be reached")
    history = diary.add(4000.5, "clock", asleep_s=3600, jumped_s=3600).ready(4010).told_alive(5000)
    assert outages(history) == [(400.5, 4010, ASLEEP, "by itself")]


def test_a_clock_set_forward_is_not_known() -> None:
    """If the system cannot tell sleep from a clock change, the time in between is unknown."""
    history = Diary().up(0, 10).add(4000, "clock", asleep_s=0, jumped_s=3600).told_alive(5000)
    assert outages(history) == [(400, 4000, CLOCK_JUMPED, "by itself")]


def test_lost_lines_are_not_known() -> None:
    """With missing numbers the state is unknown, unless the next phase says that it lasted all the time."""
    lost = Diary().up(0, 10).lose(3).phase(500, "ready", "authenticated again", after_s=20.0).told_alive(600)
    assert outages(lost) == [(10, 500, LINES_LOST, "by itself")]
    assert lost.lost_lines == 3
    lasted = Diary().up(0, 10).lose(3).phase(500, "degraded", "503", after_s=490.0).ready(510).told_alive(600)
    assert outages(lasted) == [(500, 510, "503", "by itself")]


def test_the_journal_may_begin_in_the_middle() -> None:
    """Once the oldest lines are gone, the history begins with the first known state."""
    diary = Diary().lose(100).add(0, "step", step="x").phase(50, "recovering", "gone").add(51, "gateway").ready(60)
    history = diary.told_alive(100)
    assert history.began_s == BEGAN_S + 50
    assert outages(history) == [(50, 60, "gone", "restart")]
    assert BEFORE not in [one.words for one in history.stretches]


def test_a_wrong_clock_ends_by_itself() -> None:
    """A timestamp in the future or long ago takes the time of the previous line; the rest is unchanged."""
    diary = Diary().up(0, 10).phase(9e8, "degraded", "503").ready(-9e8).phase(200, "degraded", "502").ready(230)
    history = diary.told_alive(300)
    assert outages(history) == [(200, 230, "502", "by itself")]
    assert seconds(history) == {State.READY: 260, State.DOWN: 30}


def test_the_sandbox_is_told_apart() -> None:
    """Sandbox time is marked, from its start to its end."""
    diary = Diary().start(0, sandbox=True).ready(10).phase(20, "degraded", "503").ready(30).down(40).up(100, 110)
    history = diary.add(150, "login", outcome="success").told_alive(200)
    assert [one.sandbox for one in history.outages] == [True]
    assert [one.sandbox for one in history.logins] == [False, False]
    assert history.stretches[-1].sandbox is False


def test_days_are_those_of_the_zone() -> None:
    """A day has 23, 24 or 25 hours, and an event counts for the day it began in."""
    zone = ZoneInfo("America/New_York")
    began_s = dt.datetime(2026, 10, 31, tzinfo=zone).timestamp()
    entries = [
        {"n": 1, "at": utc_ms(began_s), "kind": "start"},
        {"n": 2, "at": utc_ms(began_s), "kind": "phase", "phase": "ready", "reason": "authenticated"},
    ]
    now_s = dt.datetime(2026, 11, 2, 6, tzinfo=zone).timestamp()
    days = tell(entries, now_s=now_s, last_sign=LastSign(now_s), zone=zone).days
    assert [(day.date, day.times[State.READY] / HOUR_S) for day in days] == [
        ("2026-10-31", 24),
        ("2026-11-01", 25),
        ("2026-11-02", 6),
    ]


def test_since_cuts_the_time_and_keeps_outages_whole() -> None:
    """Times start there; an outage that reaches into them is shown from its beginning."""
    diary = Diary().up(0, 10).phase(100, "degraded", "503").ready(300).told_alive(400, since_s=BEGAN_S + 200)
    assert seconds(diary) == {State.DOWN: 100, State.READY: 100}
    assert outages(diary) == [(100, 300, "503", "by itself")]
    assert diary.logins == ()


# The laws of time, for any journal.

_TIMES = st.floats(-1e5, 1e6, allow_nan=False)
_LENGTHS = st.one_of(st.floats(0, 1e5), st.none(), st.just("x"), st.just(float("nan")))
_ODD = st.one_of(st.none(), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=1), st.booleans())
_PHASES = ["stopped", "starting", "logging_in", "awaiting_second_factor", "ready", "degraded", "recovering", "backoff"]
_KINDS: list[tuple[str, dict[str, st.SearchStrategy[Any]]]] = [
    (
        "phase",
        {
            "phase": st.one_of(st.sampled_from([*_PHASES, "locked_out", "stopping"]), _ODD),
            "reason": st.sampled_from(["a", "b", None]),
            "event": st.sampled_from(["Checked", "StopWanted", "LoginWanted", None]),
            "after_s": _LENGTHS,
            "at_ibkr": _ODD,
        },
    ),
    (
        "start",
        {
            "last_seen": st.one_of(_TIMES.map(lambda at: utc_ms(BEGAN_S + at)), _ODD),
            "last_ready": _ODD,
            "ever_ready": _ODD,
            "attended": _ODD,
            "boot": _ODD,
        },
    ),
    ("gateway", {}),
    ("adopted", {}),
    ("cure", {"rung": st.one_of(st.sampled_from(["resume", "reauthenticate"]), _ODD), "ok": _ODD}),
    ("login", {"outcome": st.one_of(st.just("success"), _ODD), "took_s": _LENGTHS}),
    ("window", {"open": _ODD, "for_s": _LENGTHS}),
    ("clock", {"asleep_s": _LENGTHS, "jumped_s": _LENGTHS}),
    ("end", {"exit_code": st.one_of(st.sampled_from([0, 75, 77]), _ODD), "text": _ODD}),
    ("warning", {}),
    ("something new", {}),
]


@st.composite
def an_entry(draw: st.DrawFn) -> dict[str, Any]:
    kind, fields = draw(st.sampled_from(_KINDS))
    at = draw(
        st.one_of(
            _TIMES.map(lambda at: utc_ms(BEGAN_S + at)),
            st.sampled_from(["", "yesterday", "0001-01-01"]),
        )
    )
    return {"at": at, "kind": kind, **{name: draw(value) for name, value in fields.items()}}


@st.composite
def a_journal(draw: st.DrawFn) -> list[dict[str, Any]]:
    entries = draw(st.lists(an_entry(), max_size=30))
    if draw(st.booleans()):
        entries.sort(key=lambda entry: str(entry["at"]))
    n = draw(st.integers(0, 3))
    for entry in entries:
        n = draw(st.sampled_from([n + 1] * 8 + [n + 3, 1]))
        entry["n"] = n
    return entries


@settings(deadline=None)
@given(a_journal(), st.one_of(st.none(), st.tuples(_TIMES, st.one_of(st.none(), st.booleans()))), _TIMES)
def test_time_is_neither_invented_nor_lost(
    entries: list[dict[str, Any]], sign: tuple[float, bool | None] | None, since: float
) -> None:
    """Stretches partition the time, days partition the stretches, outages are the time down or unknown."""
    now_s = BEGAN_S + 1e6
    last_sign = None if sign is None else LastSign(BEGAN_S + sign[0], sign[1])
    whole = tell(entries, now_s=now_s, last_sign=last_sign, zone=dt.UTC)
    for one, following in itertools.pairwise(whole.stretches):
        assert one.ended_s == following.began_s
    assert all(one.length_s > 0 for one in whole.stretches)
    if whole.stretches:
        assert whole.began_s is not None
        assert whole.times.span_s == pytest.approx(now_s - whole.began_s)
        assert whole.stretches[-1].ended_s == now_s
    for state in State:
        assert sum(day.times[state] for day in whole.days) == pytest.approx(whole.times[state])
    broken_s = whole.times[State.DOWN] + whole.times[State.UNKNOWN]
    assert sum(one.length_s for one in whole.outages) == pytest.approx(broken_s)
    assert sum(one.unknown_s for one in whole.outages) == pytest.approx(whole.times[State.UNKNOWN])
    assert all(0 <= one.unknown_s <= one.length_s + 1e-6 for one in whole.outages)
    ends = [bound for one in whole.outages for bound in (one.began_s, one.began_s + one.length_s)]
    assert ends == sorted(ends)
    assert all(one.ended_s is not None for one in whole.outages[:-1])
    assert whole.times.share is None or 0 <= whole.times.share <= 1
    assert whole.uptime in {None, whole.times.share}

    late = tell(entries, now_s=now_s, last_sign=last_sign, zone=dt.UTC, since_s=BEGAN_S + since)
    for state in State:
        assert late.times[state] <= whole.times[state] + 1e-6


@settings(deadline=None)
@given(
    st.floats(0, 2e9),
    st.floats(0, 40 * DAY_S),
    st.sampled_from(["UTC", "America/New_York", "Asia/Beirut", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu"]),
)
def test_days_partition_the_time_in_every_zone(began_s: float, length_s: float, name: str) -> None:
    """Days follow one another without gaps, even if a zone has no midnight or skips a day."""
    days = list(calendar(began_s, began_s + length_s, ZoneInfo(name)))
    if length_s:
        assert days[0][1] <= began_s
        assert days[-1][2] >= began_s + length_s
    assert all(one[2] == following[1] for one, following in itertools.pairwise(days))
    assert all(0 <= one[2] - one[1] <= 49 * HOUR_S for one in days)
