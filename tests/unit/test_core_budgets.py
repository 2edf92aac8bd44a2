"""Each recovery step has limits that survive the process, and each machine its own random numbers."""

from __future__ import annotations

import json

import pytest
from cores import gateway_comes_back, ready, running
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from supervisor_fakes import SUCCESS, SWALLOWED, Core

from gwctl.core.budget import Budget, Budgeted, Spent, uniform
from gwctl.core.kept import LONGEST_PAUSE_S, recall, remember
from gwctl.core.messages import (
    CountsRecalled,
    GatewayAnswers,
    GatewayEnded,
    GatewayGone,
    LoginDone,
    LoginResult,
    LoginWanted,
    Process,
    Recovery,
    RestartWanted,
    Resume,
    ResumeDone,
    StartGateway,
    SubmitBegun,
    Timer,
    Warn,
)
from gwctl.core.policy import Policy
from gwctl.core.tables import Snapshot
from gwctl.session_status import Verdict
from gwctl.times import DAY_S, HOUR_S

times_s = st.lists(st.floats(0.0, 2 * DAY_S), max_size=60).map(sorted)
budgets = st.builds(Budget, st.integers(1, 10), st.integers(1, 40))


@given(times=times_s, budget=budgets, now=st.floats(0.0, 3 * DAY_S))
def test_whatever_was_spent_no_hour_and_no_day_exceeds_the_budget(
    times: list[float], budget: Budget, now: float
) -> None:
    """A caller that waits whenever there is no room stays within the budget of any hour and any day."""
    spent = Spent()
    climbed: list[float] = []
    for at in [at for at in times if at <= now]:
        if spent.room_in_s(Budgeted.LOGIN, budget, at) == 0.0:
            spent = spent.plus(Budgeted.LOGIN, at)
            climbed.append(at)
    for at in climbed:
        assert sum(1 for other in climbed if 0.0 <= at - other < HOUR_S) <= budget.per_hour
        assert sum(1 for other in climbed if 0.0 <= at - other < DAY_S) <= budget.per_day


@given(times=times_s, budget=budgets)
def test_room_comes_when_it_was_said_to_come(times: list[float], budget: Budget) -> None:
    """There is room after the named number of seconds, and not before."""
    spent = Spent({Budgeted.LOGIN: tuple(times)}, calm_at=-1.0)
    now = times[-1] if times else 0.0
    wait_s = spent.room_in_s(Budgeted.LOGIN, budget, now)
    assert spent.room_in_s(Budgeted.LOGIN, budget, now + wait_s + 0.001) == 0.0
    if wait_s > 1.0:
        assert spent.room_in_s(Budgeted.LOGIN, budget, now + wait_s - 1.0) > 0.0


def _drop_and_log_in(core: Core) -> None:
    core.see(Verdict.NO_SESSION)
    core.feed(replace(SUCCESS, epoch=core.snapshot.epoch, resumable=False))
    core.see(Verdict.READY)


def test_logins_without_end_wait_for_the_hour_and_say_so() -> None:
    """A session that is lost again and again costs twenty logins an hour, then a wait with a reason."""
    core = ready()
    core.snapshot = replace(core.snapshot, resumable=False, spent=Spent())
    for _ in range(20):
        _drop_and_log_in(core)
    before = core.logins
    actions = core.see(Verdict.NO_SESSION)
    assert any(isinstance(action, Warn) and action.code == "logged_in_often" for action in actions)
    assert core.logins == before
    assert core.snapshot.timers[Timer.LOGIN] > core.now
    first = core.snapshot.spent.times[Budgeted.LOGIN][0]
    assert core.snapshot.timers[Timer.LOGIN] == pytest.approx(first + HOUR_S)
    core.fire(Timer.LOGIN)
    assert core.logins == before + 1


@pytest.mark.parametrize("result", [LoginResult.ENVIRONMENT, LoginResult.TRANSIENT, LoginResult.IBKR_ILL])
def test_logins_that_send_nothing_cost_no_budget(result: LoginResult) -> None:
    """Hours of a browser that is being upgraded: growing pauses of a minute at most, and then a login at once."""
    core = ready()
    core.snapshot = replace(core.snapshot, resumable=False, spent=Spent())
    core.see(Verdict.NO_SESSION)
    pauses = []
    for _ in range(300):
        core.feed(LoginDone(core.snapshot.epoch, result, "it sent nothing", submits=0))
        if core.snapshot.process is Process.RECYCLING:
            gateway_comes_back(core)
            core.see(Verdict.NO_SESSION)
        else:
            pauses.append(core.snapshot.timers[Timer.LOGIN] - core.now)
            core.fire(Timer.LOGIN)
        assert core.snapshot.recovery is Recovery.LOGIN
    assert pauses[0] < pauses[1] <= max(pauses) <= 60.001
    assert core.snapshot.spent.times.get(Budgeted.LOGIN, ()) == ()


def test_login_is_spent_when_it_is_submitted() -> None:
    """Counted before the click and refunded by a report of no submit; without a report, it stays counted."""
    core = ready()
    core.snapshot = replace(core.snapshot, resumable=False, spent=Spent())
    core.see(Verdict.NO_SESSION)
    assert Budgeted.LOGIN not in core.snapshot.spent.times
    core.feed(SubmitBegun(core.snapshot.epoch))
    assert len(core.snapshot.spent.times[Budgeted.LOGIN]) == 1
    core.feed(replace(SWALLOWED, epoch=core.snapshot.epoch, submits=0))
    assert core.snapshot.spent.times[Budgeted.LOGIN] == ()
    core.fire(Timer.LOGIN)
    core.feed(SubmitBegun(core.snapshot.epoch))
    core.feed(SubmitBegun(core.snapshot.epoch))
    core.feed(replace(SWALLOWED, epoch=core.snapshot.epoch, submits=1))
    assert len(core.snapshot.spent.times[Budgeted.LOGIN]) == 1
    core.fire(Timer.LOGIN)
    core.feed(SubmitBegun(core.snapshot.epoch))
    core.feed(GatewayEnded(core.snapshot.epoch))
    assert len(core.snapshot.spent.times[Budgeted.LOGIN]) == 2


def test_person_may_log_in_whatever_is_spent() -> None:
    """The budget limits only what the loop does by itself."""
    core = ready()
    core.snapshot = replace(core.snapshot, spent=Spent({Budgeted.LOGIN: (core.now,) * 60}))
    before = core.logins
    core.feed(LoginWanted())
    assert core.logins == before + 1


def test_quiet_time_gives_the_hour_back_but_not_the_day() -> None:
    """After ten minutes without a problem, the hour's limit starts again; the day's does not."""
    core = ready()
    core.snapshot = replace(core.snapshot, spent=Spent({Budgeted.LOGIN: (core.now,) * 10}))
    core.now += core.policy.quiet_s + 1.0
    core.see(Verdict.READY)
    spent = core.snapshot.spent
    assert spent.room_in_s(Budgeted.LOGIN, Budget(10, 100), core.now) == 0.0
    assert spent.room_in_s(Budgeted.LOGIN, Budget(100, 10), core.now) > 0.0


def test_trouble_within_the_quiet_time_gives_nothing_back() -> None:
    """Ten minutes that a loss interrupts do not count as quiet."""
    core = ready()
    core.snapshot = replace(core.snapshot, spent=Spent({Budgeted.RESTART: (core.now,) * 12}))
    core.now += core.policy.quiet_s - 1.0
    core.see(Verdict.UPSTREAM_ILL)
    core.now += 2.0
    core.see(Verdict.READY)
    assert core.snapshot.spent.room_in_s(Budgeted.RESTART, core.policy.budgets[Budgeted.RESTART], core.now) > 0.0


def test_resume_that_is_spent_leads_to_a_login() -> None:
    """If a step has no room in its budget, the next one runs."""
    core = ready()
    core.snapshot = replace(core.snapshot, resumable=True, resume_tried=False)
    core.snapshot = replace(core.snapshot, spent=Spent({Budgeted.RESUME: (core.now,) * 20}))
    before = core.logins
    core.see(Verdict.NO_SESSION)
    assert core.count(Resume) == 0
    assert core.logins == before + 1


def test_spent_reauthentication_leads_to_a_login() -> None:
    """A brokerage session that is lost again and again is requested thirty times an hour at most."""
    core = ready()
    core.snapshot = replace(core.snapshot, spent=Spent({Budgeted.REAUTHENTICATE: (core.now,) * 30}))
    before = core.logins
    core.see(Verdict.BROKERAGE_GONE)
    assert core.logins == before + 1


def test_restarts_without_end_wait_a_minute_at_most() -> None:
    """After any number of restarts, the next one is at most a minute away; a person's restart clears the count."""
    core = ready()
    core.snapshot = replace(core.snapshot, spent=Spent({Budgeted.RESTART: (core.now,) * 12}), started_at=core.now)
    for _ in range(2):
        core.see(Verdict.HUNG)
    actions = core.feed(GatewayGone())
    assert any(isinstance(action, Warn) and action.code == "restarted_often" for action in actions)
    assert core.snapshot.process is Process.BACKOFF
    assert 0.0 < core.snapshot.timers[Timer.START] - core.now <= 60.0
    assert core.feed(RestartWanted()) == [StartGateway()]
    core.feed(GatewayAnswers(core.snapshot.epoch))
    core.feed(RestartWanted())
    assert Budgeted.RESTART not in core.snapshot.spent.times


# What survives the process.


@given(
    times=st.dictionaries(st.sampled_from(Budgeted), st.lists(st.floats(-DAY_S + 1, 0.0), max_size=5).map(sorted)),
    failed=st.integers(0, 50),
    pause_s=st.floats(1.0, LONGEST_PAUSE_S - 10.0),
    reboot_s=st.floats(-1e6, 1e6),
)
def test_what_is_remembered_is_recalled_by_another_clock(
    times: dict[Budgeted, list[float]], failed: int, pause_s: float, reboot_s: float
) -> None:
    """Counts and pauses survive a reboot, after which the monotonic clock starts again."""
    now = 1_000_000.0
    spent = Spent({budgeted: tuple(now + at for at in listed) for budgeted, listed in times.items()}, now - 5.0)
    snapshot = replace(Snapshot(), spent=spent, failed_logins=failed, login_not_before=now + pause_s)
    snapshot = replace(snapshot, often=True, take_overs=failed, took_over_at=now - pause_s)
    kept = json.loads(json.dumps(remember(snapshot, 700_000_000.0, now)))
    then = recall(Snapshot(), kept, 700_000_000.0 - reboot_s, now + reboot_s)
    assert (then.failed_logins, then.often, then.take_overs) == (failed, True, failed)
    assert then.took_over_at is not None
    assert now + reboot_s - then.took_over_at == pytest.approx(pause_s, abs=0.01)
    assert then.login_not_before - (now + reboot_s) == pytest.approx(pause_s, abs=0.01)
    for budgeted in Budgeted:
        expected = list(times.get(budgeted, []))
        assert [at - now - reboot_s for at in then.spent.times.get(budgeted, ())] == pytest.approx(expected, abs=0.01)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    kept=st.dictionaries(
        st.sampled_from(
            ["spent", "calm_at", "failed_logins", "login_not_before", "took_over_at", "take_overs", "often"]
        ),
        json_values | st.dictionaries(st.sampled_from([str(budgeted) for budgeted in Budgeted]), json_values),
    )
)
def test_a_damaged_memory_never_stops_the_start_nor_holds_it_for_ever(kept: dict[str, object]) -> None:
    """With any content in the file, a supervisor starts, and its next login is some hours away at most."""
    snapshot = recall(Snapshot(), kept, 0.0, 5000.0)
    assert snapshot.login_not_before <= 5000.0 + LONGEST_PAUSE_S
    assert snapshot.failed_logins >= 0
    assert snapshot.take_overs >= 0
    assert snapshot.took_over_at is None or snapshot.took_over_at <= 5000.0
    assert all(at <= 5000.0 for at in snapshot.spent.times[Budgeted.LOGIN])


def test_a_failed_login_counts_on_in_the_next_process() -> None:
    """A supervisor that is killed in its pause does not log in at once when it starts again."""
    core = running()
    core.see(Verdict.NO_SESSION)
    core.feed(replace(SWALLOWED, epoch=core.snapshot.epoch))
    kept = remember(core.snapshot, 0.0, core.now)
    again = running()
    again.feed(CountsRecalled(kept=kept, wall_minus_monotonic_s=again.now - core.now))
    before = again.logins
    again.see(Verdict.NO_SESSION)
    assert again.logins == before
    assert again.snapshot.timers[Timer.LOGIN] > again.now


# Random numbers.


@given(seed=st.integers(0, 2**64 - 1), draw=st.integers(0, 10_000))
def test_chance_lies_between_nought_and_one(seed: int, draw: int) -> None:
    """Every number of every machine lies in [0, 1), and is repeatable."""
    assert 0.0 <= uniform(seed, draw) < 1.0
    assert uniform(seed, draw) == uniform(seed, draw)


def test_neighbouring_seeds_spread_evenly() -> None:
    """Ten thousand machines with consecutive seeds fill every tenth of the range evenly."""
    tenths = [0] * 10
    for seed in range(10_000):
        tenths[int(uniform(seed, 0) * 10)] += 1
    assert all(880 < count < 1120 for count in tenths), tenths


def test_machines_that_fail_together_do_not_try_again_together() -> None:
    """The same failure at the same time causes different pauses on different machines, none above the maximum."""
    pauses = set()
    for seed in range(50):
        core = running(Policy(seed=seed))
        core.see(Verdict.NO_SESSION)
        core.feed(LoginDone(core.snapshot.epoch, LoginResult.TRANSIENT, "it failed"))
        pauses.add(core.snapshot.timers[Timer.LOGIN] - core.now)
    assert len(pauses) == 50
    assert all(5.0 * 0.75 < pause <= 5.0 for pause in pauses)


def test_resumed_session_costs_a_resume() -> None:
    """Each step that runs is counted as its own kind."""
    core = ready()
    core.snapshot = replace(core.snapshot, resumable=True, resume_tried=False)
    core.see(Verdict.NO_SESSION)
    core.feed(ResumeDone(core.snapshot.epoch, ok=True))
    assert len(core.snapshot.spent.times[Budgeted.RESUME]) == 1
