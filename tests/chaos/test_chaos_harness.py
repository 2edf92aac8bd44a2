"""The harness finds what it looks for, and its random choices are repeatable."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos import laws, machine, report
from chaos.catalogue import BY_NAME, FAULTS
from chaos.drawing import PAIR_ONE_IN, ROUNDS_IN_A_WORLD, ROW_ONE_IN, Round, draw, draw_storms, may_overlap, worlds_of
from chaos.rounds import Announced, Result

SLEEPER = "import sys, time; print(1, flush=True); time.sleep(60)"


class Sleepers:
    """Idle processes with a folder and a name that the test chooses."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[str]] = []

    def start(self, folder: Path, *argv: str, program: str = "python3", **variables: str) -> int:
        """Start one, return its pid when it runs."""
        command = [program, "-c", SLEEPER, *argv]
        environ = {**os.environ, **variables}
        one = subprocess.Popen(
            command, executable=sys.executable, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True
        )
        self.running.append(one)
        assert one.stdout is not None
        assert one.stdout.readline() == "1\n"
        return one.pid


@pytest.fixture
def sleepers() -> Iterator[Sleepers]:
    made = Sleepers()
    yield made
    for one in made.running:
        one.kill()
        one.wait(10)
        assert one.stdout is not None
        one.stdout.close()


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    folder = tmp_path / "state" / "profiles" / "default"
    (folder / "gateway").mkdir(parents=True)
    return folder


def test_a_second_gateway_is_found(tmp_path: Path, profile: Path, sleepers: Sleepers) -> None:
    """Only exactly one gateway in the right folder is accepted; none, another and two are not."""
    gateway = profile / "gateway"
    assert laws.one_gateway(laws.of_home(tmp_path), gateway, 1)
    first = sleepers.start(gateway, "GatewayStart")
    assert laws.one_gateway(laws.of_home(tmp_path), gateway, first) == []
    assert laws.one_gateway(laws.of_home(tmp_path), gateway, first + 1)
    sleepers.start(gateway, "GatewayStart")
    assert laws.one_gateway(laws.of_home(tmp_path), gateway, first)


def test_a_second_supervisor_is_found(tmp_path: Path, profile: Path, sleepers: Sleepers) -> None:
    """Two supervisors are one too many, whichever of them answers."""
    first = sleepers.start(profile, "up", "--foreground")
    assert laws.one_supervisor(laws.of_home(tmp_path), profile, first) == []
    second = sleepers.start(profile, "up", "--foreground")
    assert laws.one_supervisor(laws.of_home(tmp_path), profile, first)
    assert laws.one_supervisor(laws.of_home(tmp_path), profile, second)


def test_a_browser_that_is_left_is_found(tmp_path: Path, sleepers: Sleepers) -> None:
    """A browser with the home in its arguments is found in any folder; other programs do not count."""
    sleepers.start(tmp_path)
    assert laws.browsers(laws.of_home(tmp_path)) == []
    left = sleepers.start(Path("/"), f"--user-data-dir={tmp_path}/login", program="chrome-headless-shell")
    assert [one.pid for one in laws.browsers(laws.of_home(tmp_path))] == [left]


def test_an_extra_submit_and_a_refused_one_are_found() -> None:
    """Only the submits since the round began count, and none of them may have been refused."""
    assert laws.submits_within(1, ["refused", "success"], 1) == []
    assert laws.submits_within(1, ["success", "success", "success"], 1)
    assert laws.submits_within(0, ["refused"], 1)


def test_a_defect_is_found() -> None:
    """An unexpected error is in the journal, and breaks a round that was ready in time."""
    assert laws.no_defect([{"kind": "phase", "phase": "ready"}]) == []
    assert laws.no_defect([{"kind": "defect", "where": "check", "error": "RuntimeError"}])


@pytest.mark.parametrize(
    "place", ["journal.jsonl", "logs/gateway.log", "gateway/logs/gw.2026-11-23.log", "new/deep/file"]
)
def test_a_secret_in_a_file_is_found(tmp_path: Path, profile: Path, place: str) -> None:
    """A secret anywhere in any file below the home is found, also within binary data."""
    file = profile / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"\xff\x00 nothing")
    wanted = {"the password": "canary-1234"}
    assert laws.no_secret_in_files(tmp_path, wanted) == []
    file.write_bytes(b"\xff\x00 Cookie: canary-1234;")
    assert laws.no_secret_in_files(tmp_path, wanted) == [f"the password is in {file.relative_to(tmp_path)}"]


def test_the_control_token_is_allowed_at_its_place_alone(tmp_path: Path, profile: Path) -> None:
    """The supervisor's token is only in its private record; in any other file it is a leak."""
    record = profile / "supervisor.json"
    record.write_text(json.dumps({"token": "control-5678"}))
    record.chmod(0o600)
    assert laws.no_secret_in_files(tmp_path, {}) == []
    record.chmod(0o644)
    assert laws.no_secret_in_files(tmp_path, {})
    record.chmod(0o600)
    (profile / "supervisor.log").write_text("Bearer control-5678")
    assert laws.no_secret_in_files(tmp_path, {})


def test_a_secret_in_arguments_or_environment_is_found(tmp_path: Path, sleepers: Sleepers) -> None:
    """A secret in any process's arguments or environment is found."""
    wanted = {"the password": f"canary-{os.getpid()}-a", "a cookie": f"canary-{os.getpid()}-b"}
    assert laws.no_secret_in_processes(wanted) == []
    first = sleepers.start(tmp_path, wanted["the password"])
    second = sleepers.start(tmp_path, GWCTL_OOPS=wanted["a cookie"])
    found = laws.no_secret_in_processes(wanted)
    assert sorted(found) == sorted(
        [f"the password is in cmdline of pid {first}", f"a cookie is in environ of pid {second}"]
    )


def test_a_listener_is_closed_and_its_process_lives(tmp_path: Path, sleepers: Sleepers) -> None:
    """The port of another process is closed from outside; the process keeps running."""
    script = (
        "import socket, time\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "print(listener.getsockname()[1], flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as listening:
        try:
            assert listening.stdout is not None
            port = int(listening.stdout.readline())
            socket.create_connection(("127.0.0.1", port), 5).close()
            machine.close_listener(listening.pid, port)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 5)
            assert machine.is_alive(listening.pid)
        finally:
            listening.kill()


def test_a_clock_goes_ahead_alone(tmp_path: Path) -> None:
    """An interpreter's wall clock moves ahead while it runs; its monotonic clock and other processes do not notice."""
    clock = machine.Clock.make(tmp_path)
    script = "import time\nwhile input(): print(time.time(), time.monotonic(), flush=True)"
    with subprocess.Popen(
        [clock.python, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None

        def ask() -> list[float]:
            other.stdin.write("?\n")  # type: ignore[union-attr] # it is a pipe
            other.stdin.flush()  # type: ignore[union-attr] # as above
            return [float(word) for word in other.stdout.readline().split()]  # type: ignore[union-attr] # as above

        before = ask()
        clock.put_ahead(3600)
        wall_s, monotonic_s = ask()
        other.stdin.write("\n")
        other.stdin.close()
    assert 3600 <= wall_s - before[0] < 3660
    assert monotonic_s - before[1] < 60
    assert abs(time.time() - before[0]) < 60


def test_nobody_elses_process_is_signalled(tmp_path: Path, sleepers: Sleepers) -> None:
    """Only processes that work below the world's folder get signals."""
    other = sleepers.start(Path("/"))
    machine.signal_within(tmp_path, other, signal.SIGKILL)
    assert machine.is_alive(other)
    ours = sleepers.start(tmp_path)
    machine.signal_within(tmp_path, ours, signal.SIGKILL)
    sleepers.running[-1].wait(10)
    assert not machine.is_alive(ours)


def test_the_drawing_can_be_repeated_and_leaves_nothing_out() -> None:
    """A seed gives the same rounds each time; each fault comes up, and about one round in four has two."""
    rounds = draw(7, 400, FAULTS)
    assert rounds == draw(7, 400, FAULTS)
    assert rounds != draw(8, 400, FAULTS)
    assert {fault for one in rounds[: len(FAULTS)] for fault in one.faults} >= set(FAULTS)
    pairs = sum(len(one.faults) == 2 for one in rounds)
    assert 0.7 < pairs / (len(rounds) / PAIR_ONE_IN) < 1.3
    for one in rounds:
        assert len(one.faults) == 1 or may_overlap(*one.faults)


def test_worlds_hold_every_round_once() -> None:
    """No round is lost between worlds, and all rounds fit their world, even if the gateway is replaced often."""
    rounds = draw(7, 400, FAULTS)
    worlds = list(worlds_of(rounds))
    assert [one for world in worlds for one in world] == rounds
    for world in worlds:
        assert len(world) <= ROUNDS_IN_A_WORLD
        forgot = [one.forgets for one in world]
        assert not any(one.needs_cookies and any(forgot[:place]) for place, one in enumerate(world))
        assert len({one.world for one in world}) == 1


def test_storms_hold_any_fault_in_any_order() -> None:
    """Many in a row, also repeated; each has its own world, and a minute more than its recoveries."""
    storms = draw_storms(7, 200, FAULTS)
    assert storms == draw_storms(7, 200, FAULTS)
    assert list(worlds_of(storms)) == [[one] for one in storms]
    assert {fault.name for one in storms for fault in one.faults} >= {
        "gateway_killed", "gateway_hung", "port_stolen", "supervisor_killed", "machine_asleep", "ibkr_429", "competing",
        "nightly_reset", "session_dropped",
    }  # fmt: skip
    rows = storms[ROW_ONE_IN - 1 :: ROW_ONE_IN]
    assert all(3 <= len(one.faults) <= 6 for one in storms if one not in rows)
    assert {one.name for one in rows} >= {"storm: 15 x gateway_killed", "storm: 15 x gateway_hung"}
    assert any(len(set(one.faults)) < len(one.faults) for one in storms)
    assert all(one.bound_s >= 60.0 + max(fault.bound_s for fault in one.faults) for one in storms)


def test_a_pause_of_our_own_that_is_too_long_is_found() -> None:
    """An announced pause is at most a minute, unless IBKR has refused a login or too many were sent."""
    login = {"rejected": 0, "last_outcome": "success"}
    budget = {"login": {"hour": 1, "per_hour": 20, "day": 1, "per_day": 60}}
    status = {"ready": False, "reason": "x", "login": login, "budget": budget}
    for follows, broken, theirs in [
        ({"what": "start", "in_s": 59.0}, False, False),
        ({"what": "start", "in_s": 2760.0}, True, False),
        ({"what": "login", "in_s": 900.0}, True, False),
        ({"what": "check", "in_s": 240.0}, False, False),
    ]:
        announced = Announced()
        announced.hear({**status, "next": follows})
        assert (bool(announced.broken), announced.theirs_s > 0) == (broken, theirs)
    announced = Announced()
    announced.hear({**status, "login": {**login, "rejected": 1}, "next": {"what": "login", "in_s": 900.0}})
    assert (announced.broken, announced.theirs_s) == ([], 900.0)


def test_a_lost_cookie_costs_one_submit_more() -> None:
    """Recovery from a killed gateway may send a password only if another fault costs the cookies."""
    killed, supervisor = BY_NAME["gateway_killed"], BY_NAME["supervisor_killed"]
    assert Round(1, (killed,), 0).submits == 0
    assert Round(1, (supervisor,), 0).submits == 0
    assert Round(1, (supervisor, killed), 0).submits == 1
    assert Round(1, (supervisor, killed), 0).bound_s > supervisor.bound_s + killed.bound_s


def test_a_broken_round_is_told_with_its_replay() -> None:
    """The report names what broke and how to replay it; a session that never came back has no time."""
    good = Result(Round(1, (BY_NAME["gateway_killed"],), 0), 1.25)
    bad = Result(Round(2, (BY_NAME["gateway_killed"],), 0), None, ["two gateways"])
    table = report.table([good, bad])
    assert "1.25" in table
    assert "never" in table
    assert "1 BROKEN" in table
    told = report.broken([good, bad], "scripts/chaos --seed 7")
    assert "two gateways" in told
    assert "scripts/chaos --seed 7 --round 2" in told
    assert "round 1" not in told
