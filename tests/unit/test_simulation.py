from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from facts import current
from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).parents[1]))

from simulation.calendars import REGIONS, WEEKEND
from simulation.chart import chart
from simulation.fleet import NIGHTS, one_night, peak, without_chance
from simulation.many import Fleet
from simulation.plans import PLANNERS
from simulation.quiet import Answer, skip
from simulation.rates import Rate, Rates, load_rates
from simulation.report import by_cause, page
from simulation.run import Account, Options, account, live
from simulation.tally import Tally, Total

from gwctl.core import recovery
from gwctl.core.machine import Snapshot, step
from gwctl.core.messages import Checked, Event, GatewayAnswers, StartWanted, TimeOut
from gwctl.core.policy import Policy
from gwctl.session_status import Verdict
from gwctl.supervisor.request_pace import PACE_AT_ONCE, PACE_EACH_S

DAY_S = 86_400.0
SCRIPT = Path(__file__).parents[2] / "scripts" / "simulate"


@pytest.fixture(scope="module")
def rates() -> Rates:
    return load_rates()


def hard(rates: Rates, times: float) -> Rates:
    """Return rates with which faults come so many times as often."""
    return {name: replace(one, value=one.value * times) if one.unit == "a year" else one for name, one in rates.items()}


def ready(policy: Policy) -> tuple[Snapshot, float]:
    """Return a snapshot whose session has just been seen."""
    snapshot, now = Snapshot(), 1000.0
    events: tuple[Event, ...] = (StartWanted(), GatewayAnswers(0), Checked(0, Verdict.READY))
    for event in events:
        snapshot, _ = step(snapshot, event, policy, now)
    return snapshot, now


@pytest.mark.parametrize("seed", [1, 4])
def test_skipping_changes_nothing(rates: Rates, seed: int) -> None:
    """A stretch of hard days has the same outages, counts and requests to the last bit, skipped or stepped through."""
    hard_rates = hard(rates, 20.0)
    skipped, stepped = (
        live(account(seed, hard_rates, Options(skipping=skipping)), DAY_S) for skipping in (True, False)
    )
    assert skipped == stepped
    assert len(skipped.outages) > 3


def test_a_skip_stops_before_a_threshold_and_the_core_crosses_it() -> None:
    """What a snapshot knows the age of is not skipped over: ``calm_at`` follows from ``quiet_s`` on, and not before."""
    policy = Policy()
    snapshot, now = ready(policy)
    answer = Answer(Verdict.READY, "", 0.0625)
    skipped = skip(snapshot, policy, answer, now + 5000.0)
    assert skipped is not None
    assert now + policy.quiet_s - policy.check_interval_s - 1 < skipped.last_at < now + policy.quiet_s
    assert skipped.snapshot.spent == snapshot.spent
    stepped = snapshot
    while min(stepped.timers.values()) < now + policy.quiet_s - answer.latency_s:
        timer = min(stepped.timers, key=lambda one: stepped.timers[one])
        due = stepped.timers[timer]
        stepped, _ = step(stepped, TimeOut(timer=timer), policy, due)
        stepped, _ = step(stepped, Checked(0, Verdict.READY), policy, due + answer.latency_s)
    assert stepped == skipped.snapshot


def test_what_changes_the_snapshot_is_never_skipped() -> None:
    """A check that would begin a cure, warn, or count something is left to the core."""
    policy = Policy()
    snapshot, now = ready(policy)
    for verdict in set(Verdict) - {Verdict.READY}:
        assert skip(snapshot, policy, Answer(verdict, "", 0.0625), now + 5000.0) is None


def test_a_seed_tells_everything(rates: Rates) -> None:
    """The same seed gives the same account; another seed gives another."""
    one, again, other = (live(account(seed, rates), 20 * DAY_S) for seed in (3, 3, 6))
    assert one == again
    assert one.outages != other.outages


@pytest.fixture(scope="module")
def bad_years(rates: Rates) -> Total:
    bad = hard(rates, 8.0)
    bad |= {name: replace(rates[name], value=80.0) for name in ("refusing", "password_changed")}
    total = Total()
    for seed in range(4):
        total.add(live(account(seed, bad), 24 * DAY_S))
    return total


def test_the_laws_hold_over_bad_years(bad_years: Total) -> None:
    """Law 2 where everything happens eight times as often, refusals more: no lock-out, nothing refused sent twice."""
    assert bad_years.broken == []
    assert bad_years.counts["refusals"] > 10
    assert 0 < bad_years.worst_refusals < 10


@pytest.mark.parametrize("planner", range(len(PLANNERS)))
def test_plans_hold_in_bad_months(rates: Rates, planner: int) -> None:
    """With ten times the faults: no login outside the hours, none in a pause, no law broken, and a session else."""
    total = Total()
    for seed in range(planner, planner + 9, 3):
        total.add(live(account(seed, hard(rates, 10.0), Options(plans=PLANNERS[planner])), 60 * DAY_S))
    assert total.broken == []
    assert total.counts["pauses"] > 20
    assert total.worst_refusals < 10
    assert total.well_of_possible_s > 0.9 * total.possible_s


def test_a_plan_that_is_broken_is_told(rates: Rates, monkeypatch: pytest.MonkeyPatch) -> None:
    """A core that forgets the hours is caught by the simulation."""
    monkeypatch.setattr(recovery, "waits_for_hours", lambda _turn, _left_s: False)
    total = live(account(0, hard(rates, 10.0), Options(plans=PLANNERS[0])), 30 * DAY_S)
    assert any("a login outside the login hours" in text for text in total.broken)


def test_nine_refusals_are_reached_and_never_a_tenth(rates: Rates) -> None:
    """Where IBKR refuses again and again a day comes to the last refusal that locks nothing, and stays there."""
    bad = {**rates, "refusing": replace(rates["refusing"], value=500.0)}
    months = [live(account(seed, bad), 30 * DAY_S) for seed in (2, 7, 8, 9)]
    assert [month.broken for month in months] == [[]] * len(months)
    assert max(month.worst_refusals for month in months) == 9


def test_outages_have_causes_and_end(bad_years: Total) -> None:
    """No session is lost without a cause in the world, and our requests stay far below ten a second."""
    causes = {cause for cause, *_ in bad_years.outages}
    assert "unknown" not in causes
    assert {"reset", "maintenance", "crashed", "hung", "dropped", "brokerage", "competing", "reboot"} <= causes
    assert all(ended > began and ready_in_s >= 0 for _, began, ended, ready_in_s in bad_years.outages)
    assert bad_years.worst_10_s <= PACE_AT_ONCE + 10.0 / PACE_EACH_S
    assert 0.1 < bad_years.requests / bad_years.account_s < 0.3


def test_a_broken_law_is_told(rates: Rates) -> None:
    """The watch over law 2 can fail: a refused password that is submitted all the same is reported with its seed."""
    one = account(0, rates)
    one.door.password = "never-worked"
    for _ in range(10):
        one.door.write_submit()
        one.door.write_refusal()
    assert sum("was submitted again" in text for text in one.tally.total.broken) == 9
    assert "lock the account" in one.tally.total.broken[-1]
    assert one.tally.total.broken[0].startswith("seed 0, ")


def test_an_outage_that_has_no_cause_is_told(rates: Rates) -> None:
    """The tally calls a lost session unknown where the world had no part in it."""
    tally = Tally()
    tally.watch(100.0, well=True, ibkr_well=True, possible=True)
    tally.watch(200.0, well=False, ibkr_well=True, possible=True)
    tally.watch(203.0, well=True, ibkr_well=True, possible=True)
    assert tally.end(300.0).outages == [("unknown", 200.0, 203.0, 3.0)]
    assert tally.total.well_s == 197.0


def fleet(rates: Rates, name: str, *, by_chance: bool, profiles: int = 80) -> Fleet:
    night = next(one for one in NIGHTS if one.name == name)
    policy = Policy() if by_chance else without_chance(Policy())
    came = [one_night(seed, rates, night, policy) for seed in range(profiles)]
    assert not any(one.broken for one in came)
    submits = tuple(sorted(at for one in came for at in one.submits))
    ready_at = tuple(sorted(one.ready_at for one in came if one.ready_at is not None))
    return Fleet(night, by_chance, submits, ready_at, sum(one.ready_at is None for one in came), ())


@pytest.mark.parametrize("name", ["reset", "ill", "relapse", "europe"])
def test_jitter_flattens_the_peak_at_the_door(rates: Rates, name: str) -> None:
    """A fleet that loses its sessions together comes back one by one: an eighth of the logins in the worst second."""
    together, one_by_one = (fleet(rates, name, by_chance=by_chance) for by_chance in (False, True))
    assert together.lost == one_by_one.lost == 0
    assert peak(together.submits, 10.0) > 0.9 * len(together.submits)
    assert peak(one_by_one.submits, 10.0) < 0.25 * len(one_by_one.submits)
    assert peak(together.submits, 1.0) > 4 * peak(one_by_one.submits, 1.0)


def test_each_rate_has_a_source_or_is_a_guess(rates: Rates) -> None:
    """No number of the model hides where it comes from."""
    assert all(bool(one.source) is not one.guess and one.what and one.unit for one in rates.values())
    for fields in ({}, {"source": "somewhere", "guess": True}):
        with pytest.raises(ValueError, match="either a source or a guess"):
            Rate("x", "s", 1.0, None, **fields)  # type: ignore[arg-type] # wrong on purpose


def test_the_calendar_knows_midnights_and_summer_time() -> None:
    """Windows and midnights are local: an hour earlier in summer, seen from Greenwich."""
    winter, summer = (datetime(2026, month, 1, 12, tzinfo=UTC).timestamp() for month in (1, 7))
    america = REGIONS[0]
    assert datetime.fromtimestamp(america.next_midnight(winter), UTC).hour == 5
    assert datetime.fromtimestamp(america.next_midnight(summer), UTC).hour == 4
    begins, ends = WEEKEND.next_after(summer)
    assert datetime.fromtimestamp(begins, UTC).strftime("%a %H:%M") == "Sat 03:00"
    assert ends - begins == 4 * 3600


def test_a_killed_supervisor_ends_no_session(rates: Rates) -> None:
    """Law 4: the next call adopts the gateway; nobody logs in, and a client never loses its session."""
    calm = {name: replace(one, value=0.0) if one.unit == "a year" else one for name, one in rates.items()}
    one: Account = account(0, calm)
    one.start_supervisor()
    one.run_until(3600.0)
    logins, session = len(one.door.submits), one.world.session
    one.world.kill_supervisor()
    assert current(one.life) is None
    one.run_until(3600.0 + 400.0)
    assert one.life is not None
    assert (len(one.door.submits), one.world.session) == (logins, session)
    assert one.world.is_usable


def test_the_page_and_the_chart_tell_the_results(rates: Rates, bad_years: Total) -> None:
    """The page has every cause, every rate and every plan; the chart is an image a browser can read."""
    fleets = [fleet(rates, "reset", by_chance=by_chance, profiles=20) for by_chance in (False, True)]
    planned = live(account(0, rates, Options(plans=PLANNERS[0])), 30 * DAY_S)
    text = page(bad_years, planned, fleets, rates, "scripts/simulate")
    assert all(setting in text for one in PLANNERS for setting in (*one.login_hours, *one.relogin_at))
    (pauses,) = [line for line in text.splitlines() if line.startswith("| pauses ")]
    assert int(pauses.split("|")[2]) == planned.counts["pauses"] > 0
    assert all(one.what in text for one in rates.values())
    assert all(one.what in text for one in by_cause(bad_years.outages))
    root = ET.fromstring(chart(bad_years, fleets))  # noqa: S314 - our own text
    words = "".join(root.itertext())
    assert "nightly reset" in words
    assert "Logins a second" in words


def test_the_script_prints_its_help() -> None:
    """The script finds its package from wherever it is called."""
    done = subprocess.run([sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, check=True, cwd="/")
    assert "--profiles" in done.stdout
