from __future__ import annotations

import pytest
from msgspec.structs import replace

from gwctl.core.messages import Phase, Process, Recovery, Session, Timer
from gwctl.core.policy import Policy
from gwctl.core.tables import PROCESS_TABLE, SESSION_TABLE, Arrow, ImpossibleTransition, Snapshot, Turn, phase_of

# Listed a second time on purpose: a transition changes in both places or not at all.
PROCESS_ARROWS = """
stopped   -START->        starting
stopped   -STOP->         stopped
starting  -ANSWERS->      running
starting  -FELL_OVER->    backoff
starting  -CANNOT_START-> fatal
starting  -LOST->         recycling
starting  -STOP->         stopping
running   -LOST->         recycling
running   -RESTART->      recycling
running   -STOP->         stopping
recycling -GONE->         backoff
recycling -STOP->         stopping
backoff   -START->        starting
backoff   -STOP->         stopping
stopping  -GONE->         stopped
stopping  -STOP->         stopping
fatal     -STOP->         stopping
fatal     -GONE->         stopped
stopped   -PAUSE->        paused
starting  -PAUSE->        pausing
running   -PAUSE->        pausing
recycling -PAUSE->        pausing
backoff   -PAUSE->        paused
pausing   -GONE->         paused
pausing   -STOP->         stopping
paused    -START->        starting
paused    -STOP->         stopping
"""
SESSION_ARROWS = """
{seen} -RESET->     logged_out
{seen} -READY->     authenticated
{seen} -OTHER->     competing
{seen} -ILL->       unreachable
{seen} -MISSING->   logged_out
{seen} -BEGIN->     logging_in
logging_in -ASKED-> awaiting_second_factor
logging_in -FORBIDDEN-> locked_out
awaiting_second_factor -RESET->     logged_out
awaiting_second_factor -ASKED->     awaiting_second_factor
awaiting_second_factor -BEGIN->     logging_in
awaiting_second_factor -MISSING->   logged_out
awaiting_second_factor -FORBIDDEN-> locked_out
locked_out -RESET->     locked_out
locked_out -READY->     authenticated
locked_out -OTHER->     locked_out
locked_out -ILL->       locked_out
locked_out -MISSING->   locked_out
locked_out -BEGIN->     logging_in
{without} -HANDED_OVER->            awaiting_manual_login
awaiting_manual_login -RESET->       awaiting_manual_login
awaiting_manual_login -READY->       authenticated
awaiting_manual_login -OTHER->       awaiting_manual_login
awaiting_manual_login -ILL->         awaiting_manual_login
awaiting_manual_login -MISSING->     awaiting_manual_login
awaiting_manual_login -BEGIN->       logging_in
awaiting_manual_login -HANDED_BACK-> logged_out
"""
SEEN = ("logged_out", "logging_in", "authenticated", "competing", "unreachable")
GROUPS = {"{seen}": SEEN, "{without}": tuple(state for state in SEEN if state != "authenticated")}


def arrows(text: str) -> dict[tuple[str, Arrow], str]:
    listed = {}
    for line in text.strip().splitlines():
        before, arrow, after = line.split()
        for state in GROUPS.get(before, (before,)):
            listed[state, Arrow[arrow.removeprefix("-").removesuffix("->")]] = after
    return listed


PROCESS_EXPECTED = arrows(PROCESS_ARROWS)
SESSION_EXPECTED = arrows(SESSION_ARROWS)


def turn_at(**fields: object) -> Turn:
    return Turn(replace(Snapshot(), **fields), Policy(), 0.0)


@pytest.mark.parametrize("arrow", list(Arrow), ids=lambda arrow: arrow.name)
@pytest.mark.parametrize("state", list(Process))
def test_process_arrow(state: Process, arrow: Arrow) -> None:
    """The process table holds exactly the transitions listed here; any other raises and changes nothing."""
    turn = turn_at(process=state)
    expected = PROCESS_EXPECTED.get((state, arrow))
    if expected is None:
        with pytest.raises(ImpossibleTransition, match=f"process {state} has no arrow {arrow.name}"):
            turn.move_process(arrow)
        assert turn.snapshot.process is state
    else:
        turn.move_process(arrow)
        assert turn.snapshot.process == expected


@pytest.mark.parametrize("arrow", list(Arrow), ids=lambda arrow: arrow.name)
@pytest.mark.parametrize("state", list(Session))
def test_session_arrow(state: Session, arrow: Arrow) -> None:
    """The session table holds exactly the transitions listed here; any other raises and changes nothing."""
    turn = turn_at(session=state)
    expected = SESSION_EXPECTED.get((state, arrow))
    if expected is None:
        with pytest.raises(ImpossibleTransition, match=f"session {state} has no arrow {arrow.name}"):
            turn.move_session(arrow)
        assert turn.snapshot.session is state
    else:
        turn.move_session(arrow)
        assert turn.snapshot.session == expected


def test_every_state_has_a_row() -> None:
    """A state without a row would be a dead end."""
    assert set(PROCESS_TABLE) == set(Process)
    assert set(SESSION_TABLE) == set(Session)


@pytest.mark.parametrize("state", list(Process))
def test_stop_has_an_arrow_from_every_state(state: Process) -> None:
    """Law 10 begins here: every state can be stopped."""
    assert Arrow.STOP in PROCESS_TABLE[state]


RUNNING_PHASES = {
    Session.AUTHENTICATED: Phase.READY,
    Session.AWAITING_SECOND_FACTOR: Phase.AWAITING_SECOND_FACTOR,
    Session.COMPETING: Phase.DEGRADED,
    Session.UNREACHABLE: Phase.DEGRADED,
    Session.LOCKED_OUT: Phase.LOCKED_OUT,
    Session.AWAITING_MANUAL_LOGIN: Phase.LOCKED_OUT,
}


@pytest.mark.parametrize("ever_ready", [False, True], ids=["never-ready", "was-ready"])
@pytest.mark.parametrize("waits", [False, True], ids=["", "login-timer"])
@pytest.mark.parametrize("recovery", [None, *Recovery])
@pytest.mark.parametrize("session", list(Session))
@pytest.mark.parametrize("process", list(Process))
def test_phase_of(
    process: Process, session: Session, recovery: Recovery | None, *, waits: bool, ever_ready: bool
) -> None:
    """The phase follows from both machines, and is ready for a running, authenticated one only."""
    timers = {Timer.LOGIN: 5.0} if waits else {}
    snapshot = Snapshot(process=process, session=session, recovery=recovery, timers=timers, ever_ready=ever_ready)
    phase = phase_of(snapshot)
    assert (phase is Phase.READY) == (process is Process.RUNNING and session is Session.AUTHENTICATED)
    early = Phase.RECOVERING if ever_ready else Phase.STARTING
    if process is Process.RUNNING and session in RUNNING_PHASES:
        expected = RUNNING_PHASES[session]
    elif process is Process.RUNNING and waits:
        expected = Phase.BACKOFF
    elif process is Process.RUNNING:
        logs_in = session is Session.LOGGING_IN and (recovery in {Recovery.LOGIN, Recovery.SETTLE} or not ever_ready)
        expected = Phase.LOGGING_IN if logs_in else early
    else:
        expected = {
            Process.STOPPED: Phase.STOPPED,
            Process.STARTING: early,
            Process.RECYCLING: Phase.RECOVERING,
            Process.BACKOFF: Phase.BACKOFF,
            Process.STOPPING: Phase.STOPPING,
            Process.FATAL: Phase.STOPPING,
            Process.PAUSING: Phase.PAUSED,
            Process.PAUSED: Phase.PAUSED,
        }[process]
    assert phase is expected
