"""Repeated entries of an outage are written rarely, and do not count as lost."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from supervisor_fakes import Core, started

from gwctl.core.messages import GatewayCannotStart, Process, Timer
from gwctl.core.tables import phase_of
from gwctl.history.journal import AGAIN_S, WRITTEN, Folding, Journal
from gwctl.history.replay import Replay
from gwctl.history.session_fold import State

HOUR_S = 3600.0


def _night(core: Core, folding: Folding, hours: float) -> tuple[int, list[dict[str, object]]]:
    """Keep the port taken for some time; return the number of entries and those that were written."""
    entries, written = 0, []
    began = core.now
    while core.now < began + hours * HOUR_S:
        before = core.snapshot
        if core.snapshot.process is Process.BACKOFF:
            core.fire(Timer.START)
        else:
            text = f"port 5000 is held by python (pid {4000 + entries})"
            core.feed(GatewayCannotStart(core.snapshot.epoch, text, None, "port_busy", 69))
        if phase_of(core.snapshot) is not phase_of(before) or core.snapshot.reason != before.reason:
            entries += 1
            entry = {"n": entries, "at": "", "kind": "phase", "phase": str(core.phase), "reason": core.snapshot.reason}
            line = folding.take(entry, core.now)
            written += [] if line is None else [line]
    return entries, written


def test_port_that_is_taken_for_a_night_does_not_fill_the_journal() -> None:
    """Some five thousand tries in eight hours take some hundred lines, and the numbers add up."""
    core = started()
    core.snapshot = replace(core.snapshot, ever_ready=True)
    entries, written = _night(core, Folding(), 8.0)
    assert entries > 5000
    assert len(written) < 250
    told = sum(1 + int(str(line.get("folded", 0))) for line in written)
    assert told == int(str(written[-1]["n"]))


def _at(second: int) -> str:
    return (dt.datetime(2026, 3, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=second)).isoformat()


@given(
    st.lists(
        st.sampled_from([("ready", "authenticated"), ("backoff", "port 5000 is held"), ("recovering", "starting")]),
        max_size=200,
    )
)
def test_history_is_the_same_with_and_without_folding(phases: list[tuple[str, str]]) -> None:
    """Folding does not change when the session was up or down, and no line seems lost."""
    entries: list[dict[str, object]] = [{"n": 1, "at": _at(0), "kind": "start"}]
    for number, (phase, reason) in enumerate(phases, 2):
        at = _at(10 * number)
        entries.append({"n": number, "at": at, "kind": "phase", "phase": phase, "reason": reason, "after_s": 10.0})
    end = _at(10 * len(entries) + 20)
    entries.append({"n": len(entries) + 1, "at": end, "kind": "end", "exit_code": 0})
    folding = Folding()
    lines = [folding.take(entry, 10.0 * index) for index, entry in enumerate(entries)]
    stories = []
    for told in (entries, [line for line in lines if line is not None]):
        replay = Replay(dt.datetime.fromisoformat(end).timestamp() + 60.0)
        for entry in told:
            replay.take(entry)
        replay.finish()
        assert replay.lost_lines == 0
        states: list[list[object]] = []
        for stretch in replay.stretches:
            if states and states[-1][0] is stretch.state:
                states[-1][2] = stretch.ended_s
            else:
                states.append([stretch.state, stretch.began_s, stretch.ended_s])
        stories.append([one for one in states if one[0] is State.READY])
    assert stories[0] == stories[1]


def test_session_that_comes_and_goes_is_told_of_each_time() -> None:
    """Only repetitions without a session in between are folded."""
    folding = Folding()
    for number in range(200):
        phase = "ready" if number % 2 else "recovering"
        assert folding.take({"n": number, "at": "", "kind": "phase", "phase": phase, "reason": "x"}, number) is not None


def test_what_goes_on_is_told_of_now_and_then() -> None:
    """An entry that repeats for hours is in the journal every ten minutes."""
    folding = Folding()
    entry = {"n": 1, "at": "", "kind": "warning", "code": "c", "text": "t"}
    written = [second for second in range(7200) if folding.take(entry, float(second)) is not None]
    assert written[:WRITTEN] == list(range(WRITTEN))
    assert len(written) == WRITTEN + 7200 // AGAIN_S - 1


@pytest.mark.parametrize("kind", ["login", "cure", "gateway", "clock", "window", "end"])
def test_what_is_counted_is_never_folded(kind: str) -> None:
    """History and metrics count them."""
    folding = Folding()
    assert all(folding.take({"n": n, "at": "", "kind": kind, "text": "t"}, 0.0) is not None for n in range(100))


def test_followers_see_what_is_folded(tmp_path: Path) -> None:
    """Metrics, notifications and followers see every entry; only the file has fewer."""
    journal = Journal(tmp_path / "journal.jsonl", remembered=1000)
    for _ in range(100):
        journal.write("warning", code="c", text="t")
    last = journal.write("login", outcome="success")
    assert len(journal.since(0)) == 101
    lines = [json.loads(line) for line in journal.file.read_text().splitlines()]
    assert len(lines) == WRITTEN + 1
    assert lines[-1] == {**last, "folded": 100 - WRITTEN}
