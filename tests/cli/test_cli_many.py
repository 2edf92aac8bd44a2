"""Several profiles on one machine: separate ports, and status, start, stop and wait for all at once."""

from __future__ import annotations

import json
import os
import signal
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from cli_fakes import Home, free_port, one_line_with_hint, wait_for

from gwctl.cli.all_profiles import table
from gwctl.environment import Environment
from gwctl.lifecycle.profile import Profile
from gwctl.lifecycle.status import blank_status
from gwctl.session_status import Status

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SANDBOX = ("up", "--all", "--sandbox")


class Machine(Home):
    """A home with several profiles, none of which takes its port from the environment."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        del self.variables["GWCTL_PORT"]

    def create(self, *names: str, port: int | None = None) -> None:
        """Create profiles, each on a port that is free now, or all on the same one."""
        for name in names:
            self.gwctl("profile", "create", name, "--port", str(port or free_port())).check(0)

    def profiles(self) -> dict[str, Any]:
        """Return the profiles of config.toml."""
        profiles: dict[str, Any] = tomllib.loads((self.home / "config.toml").read_text())["profiles"]
        return profiles

    def look(self) -> dict[str, dict[str, Any]]:
        """Return each profile's status object."""
        data = self.gwctl("status", "--all", "--json").envelope["data"]
        return {one["profile"]: one for one in data["profiles"]}


def a_machine(folder: Path) -> Iterator[Machine]:
    machine = Machine(folder)
    try:
        yield machine
    finally:
        machine.gwctl("down", "--all", "--quiet")
    assert machine.left() == []


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Yield a home without profiles."""
    yield from a_machine(tmp_path)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Yield a home with two sandbox profiles, `one` and `two`; tests that share it leave no others."""
    for machine in a_machine(tmp_path_factory.mktemp("pair")):
        machine.create("one", "two")
        machine.gwctl(*SANDBOX).check(0)
        yield machine


@pytest.fixture
def ready(pair: Machine) -> Machine:
    """Return the pair, both ready again after any test."""
    pair.gwctl(*SANDBOX, "--quiet").check(0)
    return pair


# Ports.


def test_creates_at_the_same_moment_choose_different_ports(machine: Machine) -> None:
    """Five simultaneous `profile create` without a port: five profiles, five ports from 5000 up, one complete file."""
    machine.write_config("# mine\n[profiles.old]\nport = 5001 # stays\n")
    calls = [machine.start("profile", "create", f"p{number}", "--json") for number in range(5)]
    answers = [(call.communicate(timeout=60), call.returncode) for call in calls]
    assert [code for _, code in answers] == [0] * 5, answers
    profiles = machine.profiles()
    ports = {name: table["port"] for name, table in profiles.items()}
    assert len(ports) == 6
    assert len(set(ports.values())) == 6
    assert min(ports.values()) >= 5000
    assert (machine.home / "config.toml").read_text().startswith("# mine\n[profiles.old]\nport = 5001 # stays\n")
    told = {json.loads(stdout)["data"]["settings"]["port"]["value"] for (stdout, _), _ in answers}
    assert told == set(ports.values()) - {5001}


def test_a_port_that_somebody_holds_is_passed_over(machine: Machine) -> None:
    """A new profile gets no port that another program holds, and no profile's health port."""
    machine.gwctl("profile", "create", "a").check(0)
    first = machine.profiles()["a"]["port"]
    machine.gwctl("profile", "set", "a", f"health_port={first + 2}").check(0)
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind(("127.0.0.1", first + 1))
            held.listen()
        except OSError:
            pass  # another process holds it, which is just as good
        machine.gwctl("profile", "create", "b").check(0)
    assert machine.profiles()["b"]["port"] > first + 2


def test_set_changes_its_keys_only(machine: Machine) -> None:
    """`profile set` keeps comments, other keys and other profiles, and creates a missing table."""
    before = "[profiles.a] # first\nport = 5200 # of a\nusername = 'u'\n\n[profiles.b]\nport = 5300\n"
    machine.write_config(before)
    done = machine.gwctl("profile", "set", "a", "port=5300", "mode=live").check(0)
    assert "b has that port too, so only one of them can run" in done.stdout
    text = (machine.home / "config.toml").read_text()
    assert text.startswith("[profiles.a] # first\nport = 5300 # of a\nusername = 'u'\n")
    assert machine.profiles() == {"a": {"port": 5300, "username": "u", "mode": "live"}, "b": {"port": 5300}}
    machine.gwctl("profile", "set", "default", "port=5400").check(0)
    assert machine.profiles()["default"] == {"port": 5400}
    assert "unknown profile 'c'" in one_line_with_hint(machine.gwctl("profile", "set", "c", "port=5900").check(78))
    shown = {one["profile"]: one for one in machine.gwctl("profile", "list", "--json").envelope["data"]["details"]}
    assert {name: one["port_shared_with"] for name, one in shown.items()} == {"a": ["b"], "b": ["a"], "default": []}
    assert (shown["a"]["port"], shown["a"]["mode"], shown["a"]["phase"]) == (5300, "live", "stopped")
    listed = machine.gwctl("profile", "list").check(0).stdout.splitlines()
    assert listed[1].split() == ["a", "5300", "LIVE", "u", "stopped;", "port", "also", "of", "b"]


def test_a_port_that_another_profile_uses(ready: Machine) -> None:
    """The second `up` exits with 69 and names the port's owner; its hint solves it. The same for a health port."""
    port = ready.profiles()["one"]["port"]
    ready.create("third", port=port)
    try:
        done = ready.gwctl("--profile", "third", "up", "--sandbox").check(69)
        said = one_line_with_hint(type(done)(done.exit_code, "", done.stderr))
        assert f"port {port} of profile 'third' is in use by profile 'one'" in said
        command = said.splitlines()[-1].partition(", or ")[0].split()
        assert command[:4] == ["gwctl", "profile", "set", "third"]
        ready.gwctl(*command[1:]).check(0)
        assert ready.profiles()["third"]["port"] not in {one["port"] for one in (ready.profiles()[n] for n in PAIR)}
        health = int(ready.look()["two"]["supervisor"]["health_url"].rpartition(":")[2])
        ready.gwctl("profile", "set", "third", f"health_port={health}").check(0)
        envelope = ready.gwctl("--profile", "third", "up", "--sandbox", "--json").check(69).envelope
        assert f"health port {health} of profile 'third' is in use by profile 'two'" in envelope["error"]["message"]
        assert envelope["error"]["hint"].startswith("gwctl profile set third health_port=0,")
    finally:
        ready.gwctl("--profile", "third", "down").check(0)
        ready.gwctl("profile", "delete", "third").check(0)
    assert all(one["ready"] for one in ready.look().values())


PAIR = ("one", "two")


# Shown.


def blank(name: str, **known: Any) -> Status:
    return cast("Status", {**blank_status(Profile(name, Environment({"GWCTL_HOME": "/h"})), 65535), **known})


def test_the_widest_table_is_80_columns() -> None:
    """With the longest name, phase, reason and next step, no line exceeds 80 columns and no reason is cut."""
    reason = "IBKR cannot be reached: " + "no answer within 5 s, " * 8 + "then none"
    wide = blank("n" * 64, phase="awaiting_second_factor", reason=reason, since="2020-01-01T00:00:00Z")
    wide |= {"mode": "live", "username": "u" * 64}
    wide["login"] |= {"rejected": 9, "rejected_limit": 9, "locked": True}
    wide["next"] = {"what": "reauthenticate", "in_s": 0.0}
    rows = list(table([(wide, 150), (blank("two", phase="ready", ready=True, sandbox=True), 0)]))
    assert max(len(row) for row in rows) <= 80
    assert " ".join(" ".join(row.split()) for row in rows[2:6]).startswith(" ".join(reason.split()))
    assert "1 of 2 ready" in rows[-1]
    assert "LIVE, …" in rows[1]
    assert "SANDBOX" in next(row for row in rows if row.startswith("● two"))
    assert list(table([])) == ["no profiles: config.toml has none, and no profile has run"]


def test_all_that_are_ready(ready: Machine) -> None:
    """`status --all`: a line each and exit 0; `--json` has each status object, in config.toml's order."""
    done = ready.gwctl("status", "--all").check(0)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows[1:3]] == [["●", "one"], ["●", "two"]]
    assert [row[4] for row in rows[1:3]] == [str(ready.profiles()[name]["port"]) for name in PAIR]
    told = ready.gwctl("status", "--all", "--json").check(0).envelope
    assert list(told["data"]) == ["profiles"]
    assert [one["profile"] for one in told["data"]["profiles"]] == list(PAIR)
    alone = ready.gwctl("--profile", "one", "status", "--json").check(0).envelope["data"]
    assert told["data"]["profiles"][0].keys() == alone.keys()
    assert ready.gwctl("wait", "--all").check(0).stdout == "ready\n"


def test_watching_all_is_a_line_a_look(ready: Machine) -> None:
    """`status --all --watch --json` prints an object per second until interrupted."""
    call = ready.start("status", "--all", "--watch", "--json")
    assert call.stdout is not None
    lines = [json.loads(call.stdout.readline()) for _ in range(2)]
    call.send_signal(signal.SIGINT)
    call.communicate(timeout=20)
    assert [[one["profile"] for one in line["profiles"]] for line in lines] == [list(PAIR)] * 2


def test_one_that_hangs_delays_no_other(ready: Machine) -> None:
    """With a supervisor held by SIGSTOP the code is 4, that profile is degraded, and the other shown as usual."""
    pid = ready.look()["one"]["supervisor"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        done = ready.gwctl("status", "--all", "--json").check(4)
    finally:
        os.kill(pid, signal.SIGCONT)
    one, two = done.envelope["data"]["profiles"]
    assert (one["phase"], "does not answer" in one["reason"]) == ("degraded", True)
    assert two["ready"]
    wait_for(lambda: ready.gwctl("status", "--all").exit_code == 0, 20, "ready again")


@pytest.mark.parametrize(
    "argv",
    [
        ["status", "--all", "--healthcheck"],
        ["status", "--all", "--profile", "one"],
        ["up", "--all", "--port", "5000"],
        ["up", "--at-once", "2"],
    ],
)
def test_what_all_excludes(machine: Machine, argv: list[str]) -> None:
    """`--all` with an option for a single profile is a usage error."""
    assert "--all" in one_line_with_hint(machine.gwctl(*argv).check(2))


def test_without_profiles(machine: Machine) -> None:
    """Without profiles, status exits with 3, up with 78 and down with 0."""
    machine.gwctl("status", "--all").check(3)
    assert "has no profiles" in one_line_with_hint(machine.gwctl(*SANDBOX).check(78))
    machine.gwctl("down", "--all").check(0)
    assert machine.gwctl("wait", "--all", "--for", "stopped").check(0).stdout == "stopped\n"
    machine.write_config("not = [toml")
    machine.gwctl("down", "--all").check(0)


# Refused.


@pytest.mark.parametrize(
    ("variables", "argv"),
    [
        ({"GWCTL_PORT": "5000"}, ["--sandbox"]),
        ({"GWCTL_USERNAME": "u"}, []),
        ({"GWCTL_PASSWORD_FILE": "/canary"}, []),
        ({"GWCTL_TOTP_SECRET": "canary"}, []),
        ({"CREDENTIALS_DIRECTORY": "."}, []),
    ],
)
def test_what_is_one_profiles_is_not_given_to_all(machine: Machine, variables: dict[str, str], argv: list[str]) -> None:
    """A port, username or password in the environment is refused: IBKR would get one account's for another."""
    machine.write_config("[profiles.a]\nusername = 'a'\n[profiles.b]\nusername = 'b'\n")
    (machine.folder / "password").write_text("canary")
    said = one_line_with_hint(machine.gwctl("up", "--all", *argv, **variables).check(78))
    assert f"{next(iter(variables))} would apply to every profile" in said
    assert "canary" not in said
    assert machine.left() == []


def test_one_username_is_not_logged_in_twice(machine: Machine) -> None:
    """Two profiles with one username would end each other's session: the second is refused before anything starts."""
    users = {"a": "Same", "b": "same"}
    machine.write_config("".join(f"[profiles.{n}]\nusername = '{u}'\nport = {free_port()}\n" for n, u in users.items()))
    told = machine.gwctl("up", "--all", "--json").check(78).envelope["data"]["profiles"]
    assert ["password for Same" in told[0]["error"]["message"], "same username" in told[1]["error"]["message"]] == [
        True
    ] * 2
    assert machine.left() == []


# Started and stopped in an order that saves logins.


def test_the_next_one_starts_while_the_gateway_of_the_last_waits(machine: Machine) -> None:
    """`--at-once 1`: a login is over when IBKR has answered, three seconds before the session is there."""
    machine.variables["GWCTL_AUTH_DELAY_MS"] = "3000"
    machine.create("a", "b")
    machine.gwctl(*SANDBOX, "--at-once", "1").check(0)
    journals = {
        name: [
            json.loads(line)
            for line in supervisor_of(machine, name).with_name("journal.jsonl").read_text().splitlines()
        ]
        for name in ("a", "b")
    }
    [logged_in] = [one["at"] for one in journals["a"] if one["kind"] == "login"]
    ready = next(one["at"] for one in journals["a"] if one.get("phase") == "ready")
    assert logged_in < journals["b"][0]["at"] < ready


def test_all_that_run_already_are_left_alone(ready: Machine) -> None:
    """A second `up --all` is quick, starts no process and changes nothing; with --quiet it prints nothing."""
    before = ready.look()
    done = ready.gwctl(*SANDBOX).check(0)
    assert done.stdout.count("already ready · ") == 2
    assert done.stdout.endswith("2 of 2 profiles ready\n")
    quiet = ready.gwctl(*SANDBOX, "--quiet").check(0)
    assert (quiet.stdout, quiet.stderr) == ("", "")
    assert {name: one["supervisor"]["pid"] for name, one in ready.look().items()} == {
        name: one["supervisor"]["pid"] for name, one in before.items()
    }
    told = ready.gwctl(*SANDBOX, "--json").check(0).envelope
    assert [(one["profile"], one["exit_code"], one["data"]["started"]) for one in told["data"]["profiles"]] == [
        ("one", 0, False),
        ("two", 0, False),
    ]


def test_the_code_is_the_gravest(ready: Machine) -> None:
    """One running and not ready: 150. One in config.toml stopped: 3, and wait does not block. A folder: no matter."""
    leftover = ready.home / "state" / "profiles" / "leftover"
    leftover.mkdir()
    assert "2 of 3 ready" in ready.gwctl("status", "--all").check(0).stdout
    leftover.rmdir()
    ready.gwctl("--profile", "two", "down", "--keep-session").check(0)
    assert ready.gwctl("status", "--all").check(150).stdout.count("without a supervisor") == 1
    ready.gwctl("--profile", "two", "down").check(0)
    assert "1 of 2 ready" in ready.gwctl("status", "--all").check(3).stdout
    assert "stopped: two" in one_line_with_hint(ready.gwctl("wait", "--all").check(75))


def test_one_failing_does_not_stop_the_others(pair: Machine) -> None:
    """No port, no browser, an invalid setting: each is reported, the rest gets ready, the most severe code counts."""
    pair.gwctl("--profile", "two", "down").check(0)
    config = pair.home / "config.toml"
    before = config.read_text()
    failing = f"[profiles.same]\nport = {pair.profiles()['one']['port']}\n"
    failing += f"[profiles.nobrowser]\nport = {free_port()}\nbrowser = '/no/such'\n"
    config.write_text(f"{before}{failing}[profiles.wrong]\nport = 'five'\n")
    try:
        done = pair.gwctl(*SANDBOX, "--json", "--at-once", "1").check(78)
        assert done.stderr == ""
        told = done.envelope
        profiles = {one["profile"]: one for one in told["data"]["profiles"]}
        codes = {name: one["exit_code"] for name, one in profiles.items()}
        assert codes == {"one": 0, "two": 0, "same": 69, "nobrowser": 69, "wrong": 78}
        assert profiles["two"]["data"]["started"]
        assert told["error"]["code"] == "configuration"
        assert "2 of 5 profiles ready; wrong: port = 'five'" in told["error"]["message"]
        config.write_text(before + failing)
        done = pair.gwctl(*SANDBOX, "--quiet").check(69)
        same, nobrowser = sorted(done.stderr.splitlines(), key=lambda line: "browser" in line)
        assert "profile 'same': port" in same
        assert "in use by profile 'one'; try: gwctl profile set same port=" in same
        assert "profile 'nobrowser': " in nobrowser
        assert done.stdout == ""
    finally:
        config.write_text(before)
        pair.gwctl("--profile", "nobrowser", "down").check(0)
        pair.gwctl("profile", "delete", "nobrowser").check(0)
    assert {name: one["ready"] for name, one in pair.look().items()} == {"one": True, "two": True}


def supervisor_of(home: Home, name: str) -> Path:
    return home.home / "state" / "profiles" / name / "supervisor.json"


def interrupted(machine: Machine, first: str, last: str) -> None:
    """Interrupt `up --all` once it says how its first profile is, and the supervisor of its last one runs."""
    call = machine.start(*SANDBOX, "--at-once", "1")
    assert call.stdout is not None
    assert next(line for line in call.stdout if first in line)
    wait_for(supervisor_of(machine, last).exists, 60, "the last one's supervisor runs")
    call.send_signal(signal.SIGINT)
    _, stderr = call.communicate(timeout=80)
    assert call.returncode == 130
    assert "stopped what this command had started" in stderr


def test_ctrl_c_stops_what_the_call_started_and_nothing_else(pair: Machine) -> None:
    """INT with one of ours ready and one starting: 130, both gone; a profile that ran before keeps its session."""
    pair.gwctl("--profile", "two", "down").check(0)
    pair.create("later")
    kept = pair.look()["one"]["supervisor"]["pid"]
    interrupted(pair, "● two: ready", "later")
    try:
        phases = {name: (one["phase"], (one["supervisor"] or {}).get("pid")) for name, one in pair.look().items()}
        assert phases == {"one": ("ready", kept), "two": ("stopped", None), "later": ("stopped", None)}
        works_in = {Path(one.cwd()).relative_to(pair.home / "state" / "profiles").parts[0] for one in pair.processes()}
        assert works_in == {"one"}
    finally:
        pair.gwctl("profile", "delete", "later").check(0)


def test_ctrl_c_stops_a_paused_profile_that_the_call_started(machine: Machine) -> None:
    """A paused profile's supervisor was started as well: it stops, and the pause stays for the next start."""
    machine.create("a", "b")
    machine.gwctl("--profile", "a", "pause", "--reason", "by hand").check(0)
    interrupted(machine, "paused: by hand (profile a)", "b")
    found = machine.look()
    assert {name: one["phase"] for name, one in found.items() if name in {"a", "b"}} == {"a": "stopped", "b": "stopped"}
    assert found["a"]["paused"]["reason"] == "by hand"
    assert machine.left() == []


def test_a_paused_profile_is_counted_as_paused(machine: Machine) -> None:
    """`up --all` says how many are ready and how many paused, exits with 0, and knows what it has started."""
    machine.create("a", "b")
    machine.gwctl("--profile", "a", "pause").check(0)
    told = machine.gwctl(*SANDBOX, "--json").check(0).envelope["data"]["profiles"]
    assert [(one["profile"], one["data"]["phase"], one["data"]["started"]) for one in told] == [
        ("a", "paused", True),
        ("b", "ready", True),
    ]
    assert machine.gwctl(*SANDBOX).check(0).stdout.splitlines()[-1] == "1 of 2 profiles ready, 1 paused"
    told = machine.gwctl(*SANDBOX, "--json").check(0).envelope["data"]["profiles"]
    assert [one["data"]["started"] for one in told] == [False, False]


def test_term_reaches_each_call_under_way(machine: Machine) -> None:
    """TERM while all of them are starting: 143, one envelope, nothing left."""
    machine.create("a", "b")
    call = machine.start(*SANDBOX, "--json", "--at-once", "2")
    for name in ("a", "b"):
        wait_for(supervisor_of(machine, name).exists, 60, f"the supervisor of {name} runs")
    call.send_signal(signal.SIGTERM)
    stdout, stderr = call.communicate(timeout=80)
    assert (call.returncode, stderr) == (143, "")
    assert json.loads(stdout)["error"]["code"] == "terminated"
    assert machine.left() == []
