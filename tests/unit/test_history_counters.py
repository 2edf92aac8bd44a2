"""The counters: the journal's entries as they are written, and tickles."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwctl.core.budget import Budgeted
from gwctl.core.messages import LoginResult, Phase, RestartCause
from gwctl.history.alerts import Alerts
from gwctl.history.counters import Counters, Histogram, Launch, Since
from gwctl.history.replay import seconds_at
from gwctl.history.report import LastSign, tell
from gwctl.times import utc_ms

BEGAN_S = 1_700_000_000.0


class Life:
    """A supervisor's life: a clock, the entries so far, and the counters that saw them."""

    def __init__(self, **start: Any) -> None:
        self.now_s = 0.0
        self.numbers = Counters(lambda: self.now_s)
        self.desk = Alerts("default", lambda: BEGAN_S + self.now_s)
        self.entries: list[dict[str, Any]] = []
        self.write("start", **start)

    def write(self, kind: str, **fields: Any) -> None:
        entry = {"n": len(self.entries) + 1, "at": utc_ms(BEGAN_S + self.now_s), "kind": kind, **fields}
        self.entries.append(entry)
        self.numbers.saw(entry)
        self.desk.see(entry)

    def phase(self, phase: str, event: str = "Checked", *, after_s: float = 1.0) -> None:
        self.now_s += after_s
        self.write("phase", phase=phase, reason="because", event=event)

    def recoveries(self) -> dict[tuple[Budgeted, bool], int]:
        return {key: count for key, count in self.numbers.recoveries.items() if count}


def test_all_is_there_and_nothing_has_happened() -> None:
    """Every word of every enumeration has its counter from the start, at 0."""
    numbers = Life().numbers
    assert numbers.restarts == dict.fromkeys(RestartCause, 0)
    assert numbers.logins == dict.fromkeys(LoginResult, 0)
    assert numbers.starts == dict.fromkeys(Launch, 0)
    assert numbers.recoveries == dict.fromkeys(itertools.product(Budgeted, (False, True)), 0)
    assert (numbers.outages, numbers.tickle_failures) == (0, 0)
    assert numbers.outage_s == {False: 0.0, True: 0.0}
    assert set(numbers.time_to_ready) == set(Since)


def test_the_way_to_ready_and_back() -> None:
    """The first readiness counts from the start, each later one from the loss, and the loss counts as an outage."""
    life = Life()
    life.phase("starting", "StartWanted", after_s=2)
    life.phase("logging_in", after_s=3)
    life.phase("ready", after_s=5)
    life.phase("recovering", "GatewayEnded", after_s=100)
    life.phase("recovering", "GatewayAnswers", after_s=2)
    life.now_s += 1
    assert life.numbers.outage_s == {False: 3.0, True: 0.0}  # it grows while the outage lasts
    life.phase("ready", after_s=1)
    life.now_s += 1000
    to_ready = life.numbers.time_to_ready
    assert [(seen.sum, list(seen.cumulative())[-1][1]) for seen in to_ready.values()] == [(10.0, 1), (4.0, 1)]
    assert (life.numbers.outages, life.numbers.outage_s) == (1, {False: 4.0, True: 0.0})


def test_maintenance_has_an_account_of_its_own() -> None:
    """An outage that spans a maintenance window is split between inside and outside."""
    life = Life()
    life.phase("ready")
    life.phase("degraded")
    life.now_s += 10
    life.write("window", open=True, for_s=100)
    life.now_s += 100
    life.write("window", open=False)
    life.phase("ready", after_s=5)
    assert life.numbers.outage_s == {False: 15.0, True: 100.0}


def test_stopped_is_no_outage() -> None:
    """A requested stop is no outage; a supervisor that gives up has one."""
    asked, gave_up = Life(), Life()
    for life in (asked, gave_up):
        life.phase("ready")
    asked.phase("stopping", "StopWanted")
    asked.write("end", exit_code=0)
    gave_up.phase("stopping", "LoginDone")
    gave_up.write("end", exit_code=77)
    for life in (asked, gave_up):
        life.now_s += 50
    assert (asked.numbers.outages, asked.numbers.outage_s[False]) == (0, 0.0)
    assert (gave_up.numbers.outages, gave_up.numbers.outage_s[False]) == (1, 50.0)


@pytest.mark.parametrize(
    ("deeds", "expected"),
    [
        ([("cure", "reauthenticate", True), "ready"], {(Budgeted.REAUTHENTICATE, True): 1}),
        ([("cure", "reauthenticate", False)], {(Budgeted.REAUTHENTICATE, False): 1}),
        (
            [("cure", "reauthenticate", True), ("cure", "resume", True), "ready"],
            {(Budgeted.REAUTHENTICATE, False): 1, (Budgeted.RESUME, True): 1},
        ),
        (
            [("cure", "resume", False), ("login", "success"), "ready"],
            {(Budgeted.RESUME, False): 1, (Budgeted.LOGIN, True): 1},
        ),
        ([("login", "paused"), ("login", "ibkr_ill")], {(Budgeted.LOGIN, False): 1}),
        (
            [("restart", "hung"), ("cure", "resume", True), "ready"],
            {(Budgeted.RESTART, True): 1, (Budgeted.RESUME, True): 1},
        ),
        (
            [("login", "success"), ("restart", "never_authenticated"), ("login", "success"), "ready"],
            {(Budgeted.LOGIN, False): 1, (Budgeted.RESTART, True): 1, (Budgeted.LOGIN, True): 1},
        ),
        (
            [("restart", "ended"), ("restart", "ended"), "ready", "ready"],
            {(Budgeted.RESTART, False): 1, (Budgeted.RESTART, True): 1},
        ),
        ([("cure", "resume", True)], {}),  # still unknown
    ],
)
def test_a_cure_has_worked_when_the_session_is_ready(
    deeds: list[Any], expected: dict[tuple[Budgeted, bool], int]
) -> None:
    """A step has only worked once the session is ready; a step that another one had to follow has not."""
    life = Life()
    for deed in deeds:
        match deed:
            case ("cure", budgeted, ok):
                life.write("cure", rung=budgeted, ok=ok)
            case ("login", outcome):
                life.write("login", outcome=outcome)
            case ("restart", cause):
                life.write("restart", cause=cause)
            case phase:
                life.phase(phase)
    assert life.recoveries() == expected


def test_a_supervisor_after_one_that_was_killed_begins_in_an_outage() -> None:
    """The session was ready and nobody stopped it: an outage as in `gwctl history`, counted from the start."""
    life = Life(last_seen=utc_ms(BEGAN_S - 30), last_ready=True)
    life.phase("starting", "StartWanted", after_s=0)
    life.phase("ready", after_s=5)
    history = tell(life.entries, now_s=BEGAN_S + 9, last_sign=LastSign(BEGAN_S + 9))
    assert [one.length_s for one in history.outages] == [5.0]
    assert (life.numbers.outages, life.numbers.outage_s[False]) == (1, 5.0)
    assert life.numbers.time_to_ready[Since.START].sum == 5.0


def test_starts_by_their_end() -> None:
    """A gateway that was launched, one that was adopted, and each failed start."""
    life = Life()
    life.phase("backoff", "GatewayFellOver")
    life.phase("starting", "TimeOut")
    life.phase("backoff", "GatewayFellOver")
    life.write("gateway", pid=1)
    life.phase("recovering", "GatewayFellOver")  # it ran, and ended: not a start
    life.write("adopted", pid=1)
    life.phase("stopping", "GatewayCannotStart")
    assert life.numbers.starts == {Launch.LAUNCHED: 1, Launch.ADOPTED: 1, Launch.FAILED: 3}


def test_restarts_and_logins_by_their_word() -> None:
    """Each word of the two enumerations has its own counter."""
    life = Life()
    for cause in RestartCause:
        life.write("restart", cause=str(cause), reason="in words")
    for result in LoginResult:
        life.write("login", outcome=str(result))
    assert life.numbers.restarts == dict.fromkeys(RestartCause, 1)
    assert life.numbers.logins == dict.fromkeys(LoginResult, 1)


def test_tickles() -> None:
    """Answered ones go into the histogram, others are failures."""
    numbers = Life().numbers
    for took_s in (0.02, 0.025, 7.0, 9.0, None):
        numbers.ticked(took_s)
    counts = dict(numbers.tickle_latency.cumulative())
    assert (counts[0.01], counts[0.025], counts[5.0], counts[8.0], counts[float("inf")]) == (0, 2, 2, 3, 4)
    assert numbers.tickle_failures == 1
    assert numbers.tickle_latency.sum == pytest.approx(16.045)


@settings(deadline=None)
@given(st.lists(st.floats(0, 20, allow_nan=False)))
def test_a_histogram_counts_what_is_at_most_its_bound(values: list[float]) -> None:
    """Each bucket holds all values up to its bound, and the last one everything."""
    histogram = Histogram((1.0, 2.0, 10.0))
    for value in values:
        histogram.see(value)
    for bound, count in histogram.cumulative():
        assert count == sum(value <= bound for value in values)
    assert histogram.sum == pytest.approx(sum(values))


phases = st.tuples(
    st.sampled_from([str(phase) for phase in Phase]),
    st.sampled_from(["Checked", "TimeOut", "StopWanted", "GatewayEnded", "LoginDone", "GatewayFellOver"]),
)
windows = st.booleans()
starts = st.fixed_dictionaries({}, optional={name: st.booleans() for name in ("last_ready", "ever_ready", "attended")})
ends = st.sampled_from([None, 0, 1, 69, 77])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 100), phases | windows), max_size=30), ends, st.integers(1, 100), starts)
def test_the_numbers_agree_with_the_history(
    happened: list[tuple[int, tuple[str, str] | bool]], end: int | None, rest_s: int, start: dict[str, bool]
) -> None:
    """A supervisor's outages and their length are those of `gwctl history`, and so is the one that alerts wait for.

    Alerts also wait for a profile's first session.
    """
    life = Life(**start)
    for after_s, what in happened:
        if isinstance(what, tuple):
            life.phase(*what, after_s=after_s)
        else:
            life.now_s += after_s
            life.write("window", open=what, for_s=60)
    if end is not None:
        life.now_s += 1
        life.write("end", exit_code=end, text="over")
    life.now_s += rest_s
    now_s = BEGAN_S + life.now_s
    history = tell(life.entries, now_s=now_s, last_sign=LastSign(now_s))
    assert seconds_at(life.entries[0], "at") == BEGAN_S
    assert life.numbers.outages == len(history.outages)
    assert sum(life.numbers.outage_s.values()) == pytest.approx(sum(one.length_s for one in history.outages))
    lasting = [one.began_s for one in history.outages if one.ended_s is None]
    if history.began_s is not None:
        assert life.desk.to_json()["away_s"] == (lasting[0] if lasting else None)
