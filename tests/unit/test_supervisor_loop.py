from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from supervisor_fakes import (
    SWALLOWED,
    AcceptingLogin,
    BrokenGateway,
    CrashingLogin,
    CrashingProbe,
    CrashingResume,
    DyingGateway,
    HangingProbe,
    NeverReadyGateway,
    RealClock,
    RejectingLogin,
    Session,
    SlowGateway,
    SoundGateway,
    StubbornGateway,
    Told,
    WaitingLogin,
)

from gwctl.core.messages import (
    CountsRecalled,
    Finish,
    LoginWanted,
    Phase,
    RestartWanted,
    StartWanted,
    StopWanted,
    TimeOut,
    Timer,
)
from gwctl.core.planned import LoginHours
from gwctl.core.policy import Policy
from gwctl.core.tables import Snapshot, phase_of
from gwctl.errors import JavaMissing, PortBusy
from gwctl.history.journal import Journal
from gwctl.session_status import Verdict
from gwctl.supervisor import loop as loop_module
from gwctl.supervisor.interfaces import GatewayPort, LoginPort, Ports, SessionPort
from gwctl.supervisor.loop import Loop

QUICK = Policy(
    check_interval_s=0.02,
    tickle_interval_s=0.2,
    hung_confirm_s=0.01,
    settle_expected_s=0.05,
    settle_check_s=0.01,
    settle_slow_check_s=0.02,
    start_pause_first_s=0.01,
    login_pause_first_s=0.01,
    reauthenticate_wait_s=0.05,
)


class Rig:
    """A loop over fakes, and everything it reported."""

    def __init__(
        self,
        tmp_path: Path,
        told: Told,
        gateway: GatewayPort,
        session: SessionPort,
        login: LoginPort,
        *,
        policy: Policy = QUICK,
    ) -> None:
        self.told = told
        self.journal = Journal(tmp_path / "journal.jsonl")
        self.changed = asyncio.Event()
        self.loop = Loop(policy, Ports(RealClock(), gateway, session, login), self.journal, self._on_change)

    def _on_change(self, _snapshot: Snapshot) -> None:
        self.changed.set()

    @property
    def phase(self) -> Phase:
        return phase_of(self.loop.snapshot)

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait for a fact of the loop, with a deadline."""
        async with asyncio.timeout(10):
            while not fact():
                self.changed.clear()
                await self.changed.wait()

    async def ready(self) -> None:
        await self.until(lambda: self.phase is Phase.READY)

    def kinds(self) -> list[str]:
        return [entry["kind"] for entry in self.journal.recent]


async def with_loop(rig: Rig, act: Callable[[], Awaitable[None]]) -> Finish:
    """Run the loop, act in parallel, stop it, and return how it ended; nothing may be left running."""
    run = asyncio.get_running_loop().create_task(rig.loop.run(StartWanted()))
    try:
        await act()
        rig.loop.post(StopWanted())
        async with asyncio.timeout(10):
            finish = await run
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return finish


def go(work: Coroutine[Any, Any, None]) -> None:
    """Run a test's own loop, bounded, and fail if asyncio complains."""
    complaints: list[dict[str, Any]] = []

    async def bounded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        async with asyncio.timeout(30):
            await work

    asyncio.run(bounded())
    assert complaints == []


def sound(tmp_path: Path) -> Rig:
    told = Told()
    session = Session(told)
    return Rig(tmp_path, told, SoundGateway(told), session, AcceptingLogin(told, session))


def test_kept_counts_are_there_before_what_waits(tmp_path: Path) -> None:
    """What is saved when a stop comes at once has the counts of the supervisor before."""

    async def story() -> None:
        rig = sound(tmp_path)
        rig.loop.post(StopWanted())
        rig.loop.take(CountsRecalled(kept={"failed_logins": 3, "blocked": True}))
        assert (rig.loop.snapshot.failed_logins, rig.loop.snapshot.blocked) == (3, True)

    go(story())


def test_what_happened_comes_before_a_timer_that_is_due(tmp_path: Path) -> None:
    """After a sleep, a login may be due that the login hours, just reported as over, forbid."""

    async def story() -> None:
        loop = sound(tmp_path).loop
        loop.take(CountsRecalled())
        loop.snapshot = replace(loop.snapshot, timers={Timer.LOGIN: loop.clock.now() - 1.0})
        loop.post(LoginHours(opens_at=loop.clock.now() + 3600.0))
        assert isinstance(await loop._next_event(), LoginHours)
        assert await loop._next_event() == TimeOut(timer=Timer.LOGIN)

    go(story())


def test_runs_to_ready_and_ends_clean(tmp_path: Path) -> None:
    """A healthy world: one start, one login, ready; then a logout, a stop, and nothing left."""

    async def story() -> None:
        rig = sound(tmp_path)
        finish = await with_loop(rig, rig.ready)
        assert finish == Finish(0)
        assert [call for call in rig.told.calls if call not in {"check", "tickle"}] == [
            "gateway.start",
            "login.first",
            "login.close",
            "gateway.logout+stop",
        ]
        lines = [json.loads(line) for line in rig.journal.file.read_text().splitlines()]
        assert [line["phase"] for line in lines if line["kind"] == "phase"][-3:] == ["ready", "stopping", "stopped"]
        assert next(line for line in lines if line["kind"] == "login")["outcome"] == "success"

    go(story())


def test_ended_gateway_is_seen_at_once_and_resumed(tmp_path: Path) -> None:
    """The end of the process is an event that does not wait for the next check."""

    async def story() -> None:
        told = Told()
        session = Session(told)
        gateway = SoundGateway(told)
        policy = Policy(check_interval_s=3600.0, tickle_interval_s=3600.0, settle_check_s=0.01)
        rig = Rig(tmp_path, told, gateway, session, AcceptingLogin(told, session), policy=policy)

        async def act() -> None:
            await rig.ready()
            gateway.ended.set()
            await rig.until(lambda: rig.loop.snapshot.restarts == 1 and rig.phase is Phase.READY)

        await with_loop(rig, act)
        assert told.count("resume") == 1
        assert told.count("login.first") == 1
        assert told.count("login") == 0

    go(story())


def test_dying_gateway_does_not_end_the_loop(tmp_path: Path) -> None:
    """A gateway that ends right after each of its first starts is started again until it stays."""

    async def story() -> None:
        told = Told()
        session = Session(told)
        rig = Rig(tmp_path, told, DyingGateway(told, lives=3), session, AcceptingLogin(told, session))
        await with_loop(rig, rig.ready)
        assert told.count("gateway.start") >= 2

    go(story())


def test_gateway_that_never_comes_up_ends_with_69(tmp_path: Path) -> None:
    """Three failed starts are enough if there was never a good one."""

    async def story() -> None:
        told = Told()
        session = Session(told)
        rig = Rig(tmp_path, told, NeverReadyGateway(told), session, AcceptingLogin(told, session))
        finish = await rig.loop.run(StartWanted())
        assert (finish.exit_code, finish.code) == (69, "gateway_failed")
        assert told.count("gateway.start") == 3
        assert told.calls[-1] == "gateway.stop"

    go(story())


@pytest.mark.parametrize("error", [PortBusy("port 5000 is held", hint="--port"), JavaMissing("no Java")])
def test_what_this_machine_lacks_ends_at_once(tmp_path: Path, error: PortBusy | JavaMissing) -> None:
    """Something missing is reported with its code and hint, without another try."""

    class LackingGateway(SoundGateway):
        async def start(self, *, adopt: bool) -> None:
            await super().start(adopt=adopt)
            raise error

    async def story() -> None:
        told = Told()
        session = Session(told)
        rig = Rig(tmp_path, told, LackingGateway(told), session, AcceptingLogin(told, session))
        finish = await rig.loop.run(StartWanted())
        assert finish == Finish(69, error.code, error.message, error.hint)
        assert told.count("gateway.start") == 1

    go(story())


def test_refused_login_ends_with_77_after_one_submit(tmp_path: Path) -> None:
    """Law 2 in the loop: one refused login, no second one."""

    async def story() -> None:
        told = Told()
        session = Session(told)
        rig = Rig(tmp_path, told, SoundGateway(told), session, RejectingLogin(told, session))
        finish = await rig.loop.run(StartWanted())
        assert (finish.exit_code, finish.code) == (77, "credentials_rejected")
        assert told.count("login.first") + told.count("login") == 1

    go(story())


@pytest.mark.parametrize("broken", ["start", "wait_ended", "stop"])
def test_defect_in_the_gateway_port_does_not_end_the_loop(tmp_path: Path, broken: str) -> None:
    """An error never ends the loop, and a stop still ends it (law 10)."""

    async def story() -> None:
        told = Told()
        session = Session(told)
        rig = Rig(tmp_path, told, BrokenGateway(told, broken), session, AcceptingLogin(told, session))
        finish = await with_loop(rig, rig.ready)
        assert finish == Finish(0)
        assert "defect" in rig.kinds()

    go(story())


def test_defect_while_recycling_leads_to_another_start(tmp_path: Path) -> None:
    """A failed stop does not leave the loop waiting for a gateway that is gone."""

    async def story() -> None:
        told = Told()
        session = Session(told)
        rig = Rig(tmp_path, told, BrokenGateway(told, "stop"), session, AcceptingLogin(told, session))

        async def act() -> None:
            await rig.ready()
            rig.loop.post(RestartWanted())
            await rig.until(lambda: rig.loop.snapshot.restarts == 1 and rig.phase is Phase.READY)

        await with_loop(rig, act)

    go(story())


def test_defects_in_the_login_port_do_not_end_the_loop(tmp_path: Path) -> None:
    """A login that crashes is a failed login; a close that crashes does not keep the gateway from stopping."""

    async def story() -> None:
        told = Told()
        session = Session(told)
        rig = Rig(tmp_path, told, SoundGateway(told), session, CrashingLogin(told, session))
        finish = await with_loop(rig, rig.ready)
        assert finish == Finish(0)
        assert told.calls[-2:] == ["login.close", "gateway.logout+stop"]

    go(story())


def test_crashing_check_is_followed_by_another(tmp_path: Path) -> None:
    """A crashed check counts as a bad result; the next one finds the truth."""

    async def story() -> None:
        told = Told()
        session = CrashingProbe(told, crashes=3)
        rig = Rig(tmp_path, told, SoundGateway(told), session, AcceptingLogin(told, session))
        await with_loop(rig, rig.ready)
        assert rig.kinds().count("defect") == 3
        assert told.count("login.first") == 0

    go(story())


def test_crashing_resume_is_followed_by_a_login(tmp_path: Path) -> None:
    """A recovery step that crashes has failed, and the next one runs."""

    async def story() -> None:
        told = Told()
        session = CrashingResume(told)
        rig = Rig(tmp_path, told, SoundGateway(told), session, AcceptingLogin(told, session))

        async def act() -> None:
            await rig.ready()
            session.verdict = Verdict.NO_SESSION
            await rig.until(lambda: told.count("login") == 1 and rig.phase is Phase.READY)

        await with_loop(rig, act)
        assert told.count("resume") == 1

    go(story())


def test_lost_brokerage_session_is_reauthenticated(tmp_path: Path) -> None:
    """The cheapest step runs and is recorded with its reason."""

    async def story() -> None:
        rig = sound(tmp_path)

        async def act() -> None:
            await rig.ready()
            rig.loop.session.verdict = Verdict.BROKERAGE_GONE  # type: ignore[attr-defined] # our fake
            await rig.until(lambda: rig.told.count("reauthenticate") == 1 and rig.phase is Phase.READY)

        await with_loop(rig, act)
        [recovery] = [entry for entry in rig.journal.recent if entry["kind"] == "cure"]
        assert recovery["rung"] == "reauthenticate"

    go(story())


def test_swallowed_login_is_tried_again_after_a_pause(tmp_path: Path) -> None:
    """A login that the page ignored is repeated after a pause."""

    async def story() -> None:
        told = Told()
        session = Session(told)
        rig = Rig(tmp_path, told, SoundGateway(told), session, AcceptingLogin(told, session, SWALLOWED))
        await with_loop(rig, rig.ready)
        assert (told.count("login.first"), told.count("login")) == (1, 1)

    go(story())


def test_stop_during_a_login_closes_the_login_before_the_gateway(tmp_path: Path) -> None:
    """Law 7: the browser is gone before the gateway that it uses."""

    async def story() -> None:
        told = Told()
        session = Session(told)
        login = WaitingLogin(told, session)
        rig = Rig(tmp_path, told, SoundGateway(told), session, login)

        async def act() -> None:
            await rig.until(lambda: rig.phase is Phase.AWAITING_SECOND_FACTOR)

        finish = await with_loop(rig, act)
        assert finish == Finish(0)
        ends = [call for call in told.calls if call in {"login ended", "login.close", "gateway.logout+stop"}]
        assert ends == ["login ended", "login.close", "gateway.logout+stop"]

    go(story())


def test_stop_during_a_start_ends_the_start(tmp_path: Path) -> None:
    """Law 10: a gateway that is just starting is stopped, not waited for."""

    async def story() -> None:
        told = Told()
        session = Session(told)
        rig = Rig(tmp_path, told, SlowGateway(told), session, AcceptingLogin(told, session))

        async def act() -> None:
            await rig.until(lambda: "gateway.start" in told.calls or rig.phase is Phase.STARTING)

        await with_loop(rig, act)
        assert "gateway.stop" in told.calls

    go(story())


def test_stubborn_gateway_does_not_keep_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 10: the wait for a stop that does not finish has a deadline."""
    monkeypatch.setattr(loop_module, "STOP_TIMEOUT_S", 0.05)

    async def story() -> None:
        told = Told()
        session = Session(told)
        rig = Rig(tmp_path, told, StubbornGateway(told), session, AcceptingLogin(told, session))
        assert await with_loop(rig, rig.ready) == Finish(0)

    go(story())


def test_keeping_the_gateway_ends_the_loop_and_not_the_gateway(tmp_path: Path) -> None:
    """``down --keep-session`` leaves a running gateway as it is."""

    async def story() -> None:
        rig = sound(tmp_path)

        async def act() -> None:
            await rig.ready()
            rig.loop.post(StopWanted(keep_gateway=True))

        await with_loop(rig, act)
        assert "gateway.stop" not in rig.told.calls
        assert "gateway.logout+stop" not in rig.told.calls

    go(story())


def test_hanging_check_is_one_check(tmp_path: Path) -> None:
    """Checks do not pile up behind one that hangs."""

    async def story() -> None:
        told = Told()
        session = HangingProbe(told)
        rig = Rig(tmp_path, told, SoundGateway(told), session, AcceptingLogin(told, session))

        async def act() -> None:
            await rig.until(lambda: session.in_flight == 1 and Timer.TICKLE in rig.loop.snapshot.timers)
            for _ in range(20):
                rig.loop.post(TimeOut(timer=Timer.CHECK))
                rig.loop.post(TimeOut(timer=Timer.TICKLE))
            await rig.until(rig.loop._events.empty)

        await with_loop(rig, act)
        assert session.most_in_flight == 1
        assert session.in_flight == 0

    go(story())


def test_login_as_asked_runs_in_a_ready_session(tmp_path: Path) -> None:
    """A person's login runs while the session is open."""

    async def story() -> None:
        rig = sound(tmp_path)

        async def act() -> None:
            await rig.ready()
            rig.loop.post(LoginWanted())
            await rig.until(lambda: rig.told.count("login") == 1 and rig.phase is Phase.READY)

        await with_loop(rig, act)

    go(story())


def test_event_that_the_core_refuses_is_lost_and_the_loop_looks_again(tmp_path: Path) -> None:
    """A defect of the core costs one event, never the loop."""

    async def story() -> None:
        rig = sound(tmp_path)

        async def act() -> None:
            await rig.ready()
            checks = rig.told.count("check")
            rig.loop.post("not an event at all")  # type: ignore[arg-type] # on purpose
            await rig.until(lambda: "defect" in rig.kinds() and rig.told.count("check") > checks)
            assert rig.phase is Phase.READY

        await with_loop(rig, act)

    go(story())


def test_listener_that_fails_does_not_end_the_loop(tmp_path: Path) -> None:
    """A failing listener does not stop the loop."""

    async def story() -> None:
        rig = sound(tmp_path)
        heard = rig.loop.on_change

        def deaf(snapshot: Snapshot) -> None:
            heard(snapshot)
            raise ValueError("a defect in a listener")

        rig.loop.on_change = deaf
        assert await with_loop(rig, rig.ready) == Finish(0)

    go(story())


def test_journal_that_cannot_be_written_does_not_end_the_loop(tmp_path: Path) -> None:
    """A full or broken disk loses lines, never the loop."""

    async def story() -> None:
        rig = sound(tmp_path)
        (tmp_path / "gone").write_text("a file where the journal's folder should be")
        rig.journal.file = tmp_path / "gone" / "journal.jsonl"
        assert await with_loop(rig, rig.ready) == Finish(0)
        assert "phase" in rig.kinds()

    go(story())


def test_loop_turns_though_nothing_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``/livez`` need not know for how long the loop has nothing to do."""
    monkeypatch.setattr(loop_module, "TURN_S", 0.01)

    async def story() -> None:
        told = Told()
        session = Session(told)
        rig = Rig(tmp_path, told, SlowGateway(told), session, AcceptingLogin(told, session))

        async def act() -> None:
            seen = {rig.loop.turned_at}
            async with asyncio.timeout(10):
                while len(seen) < 5:
                    await asyncio.sleep(0.005)  # between two checks of a fact, until the deadline
                    seen.add(rig.loop.turned_at)
            assert set(rig.loop.snapshot.timers) == {Timer.DEADLINE}, "nothing is due for minutes"

        await with_loop(rig, act)

    go(story())
