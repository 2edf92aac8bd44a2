"""Starting and stopping: what is brought up, adopted and brought down again; nothing is ever left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_fakes import PROGRAM, Home, one_line_with_hint, wait_for
from processes import words_of
from rig import delete


@pytest.fixture
def ready(sandbox: Home) -> Home:
    """Return the module's sandbox, ready again after any test."""
    sandbox.gwctl("up", "--sandbox").check(0)
    return sandbox


def test_restart_gives_a_new_gateway_and_the_same_session(ready: Home) -> None:
    """`restart` returns with a new, ready gateway process and sends no password."""
    before, submits = ready.status(), ready.sandbox_submits()
    line = f"● default: ready · SANDBOX · https://localhost:{ready.port}/v1/api\n"
    done = ready.gwctl("restart").check(0)
    assert done.stdout == line
    assert "trying until" not in done.stderr, "what a person asked for is no trouble"
    after = ready.status()
    assert after["ready"]
    assert after["gateway"]["pid"] != before["gateway"]["pid"]
    assert after["supervisor"]["pid"] == before["supervisor"]["pid"]
    assert ready.sandbox_submits() == submits


def test_a_kept_session_is_adopted(ready: Home) -> None:
    """`down --keep-session` keeps the gateway; the next `up` adopts the same process without a password (law 4)."""
    pid, submits = ready.status()["gateway"]["pid"], ready.sandbox_submits()
    assert ready.gwctl("down", "--keep-session").check(0).stdout == "stopped (the gateway keeps running)\n"
    alone = json.loads(ready.gwctl("status", "--json").check(150).stdout)["data"]
    assert (alone["phase"], alone["supervisor"], alone["sandbox"]) == ("degraded", None, True)
    assert "gwctl up --sandbox takes it over" in alone["reason"]
    assert "SANDBOX" in ready.gwctl("status").check(150).stdout
    refused = one_line_with_hint(ready.gwctl("up").check(75))
    assert "still has a gateway running with the sandbox" in refused
    assert "to go on with it: gwctl up --sandbox" in refused
    assert "try: gwctl up --sandbox" in ready.gwctl("wait").check(75).stderr
    error = one_line_with_hint(ready.gwctl("profile", "delete", "default").check(75))
    assert "is running" in error
    assert "took over the running gateway" in ready.gwctl("up", "--sandbox").check(0).stderr
    assert ready.status()["gateway"]["pid"] == pid
    assert ready.sandbox_submits() == submits


def test_a_deleted_folder_leaves_the_sandbox_its_stand_in(ready: Home) -> None:
    """The running sandbox is reused and recorded again, so its session continues, and `down` leaves nothing."""
    before, submits = json.loads((ready.profile_dir / "sandbox.json").read_bytes()), ready.sandbox_submits()
    delete(ready.profile_dir)
    wait_for((ready.profile_dir / "sandbox.json").exists, 40, "the stand-in is recorded anew")
    ready.gwctl("wait").check(0)
    assert json.loads((ready.profile_dir / "sandbox.json").read_bytes()) == before
    # A supervisor that adopted its gateway has no cookies from a login, so it needs one.
    assert ready.sandbox_submits() <= submits + 1
    ready.gwctl("down").check(0)
    assert ready.left() == []


def test_a_live_profile_plays_a_live_account(ready: Home) -> None:
    """If the account kind changed meanwhile, the sandbox with the other kind is replaced, and its session too."""
    ready.gwctl("down", "--keep-session").check(0)
    ready.gwctl("up", "--sandbox", GWCTL_MODE="live").check(0)
    assert '"U1234567"' in ready.gwctl("api", "GET", "/portfolio/accounts").check(0).stdout
    assert len([one for one in ready.processes() if words_of(one).endswith("-m gwctl.sandbox")]) == 1
    ready.gwctl("down").check(0)
    assert ready.left() == []


@pytest.mark.law(10)
def test_down_twice(ready: Home) -> None:
    """`down` stops everything; a second one says so and exits with 0; status exits with 3."""
    assert ready.gwctl("down").check(0).stdout == "stopped\n"
    assert ready.left() == []
    assert ready.gwctl("down").check(0).stdout == "already stopped\n"
    assert ready.gwctl("down", "--json").check(0).envelope["data"] == {"profile": "default", "was_running": False}
    ready.gwctl("status").check(3)


@pytest.mark.law(1)
def test_eight_ups_at_the_same_moment_start_one(ready: Home) -> None:
    """Eight simultaneous `up`: one supervisor, one gateway, one login, and each exits with 0 (law 1)."""
    ready.gwctl("down").check(0)
    calls = [ready.start("up", "--sandbox", "--json") for _ in range(8)]
    answers = [(call.communicate(timeout=60), call.returncode) for call in calls]
    assert [code for _, code in answers] == [0] * 8, answers
    seen = {
        (status["gateway"]["pid"], status["supervisor"]["pid"])
        for (stdout, _), _ in answers
        for status in [json.loads(stdout)["data"]]
    }
    assert len(seen) == 1
    supervisors = [one for one in ready.processes() if "--foreground" in words_of(one)]
    gateways = [one for one in ready.processes() if "root/conf.yaml" in words_of(one)]
    assert len(supervisors) == 1
    assert {one.pid for one in gateways if one.ppid() != 1 and one.name() == "bash"} or gateways
    assert len({os.getpgid(one.pid) for one in gateways}) == 1
    assert ready.sandbox_submits() == 1


@pytest.mark.law(9)
def test_damaged_state_of_a_stopped_profile(ready: Home) -> None:
    """With garbage in every state file `status` and `up` work, and report that the ledger was set aside."""
    ready.gwctl("down").check(0)
    names = ("supervisor.json", "gateway.json", "ledger.json", "ledger.sandbox.json", "last-end.json", "sandbox.json")
    for garbage in ("\x00not json", "[]", '{"pid": "x"}'):
        for name in (*names, "leaf.json"):
            (ready.profile_dir / name).write_text(garbage)
        ready.gwctl("status").check(3)
        ready.gwctl("down").check(0)
    for name in names:
        (ready.profile_dir / name).write_text("\x00not json")
    done = ready.gwctl("up", "--sandbox").check(0)
    assert "the damaged login ledger was moved" in done.stderr
    assert len(list(ready.profile_dir.glob("ledger.sandbox.json.damaged-*"))) >= 1


def test_down_reaches_stopped_without_any_record(ready: Home) -> None:
    """With all records damaged, `down` still ends everything, because it recognizes its own (laws 3 and 10)."""
    bystander = subprocess.Popen(["sleep", "100"], cwd=ready.profile_dir, start_new_session=True)
    try:
        for name in ("supervisor.json", "gateway.json", "sandbox.json"):
            (ready.profile_dir / name).write_text("\x00not json")
        ready.gwctl("down").check(0)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert ready.left() == []
    ready.gwctl("status").check(3)


@pytest.mark.law(10)
def test_down_ends_a_supervisor_that_hangs(ready: Home) -> None:
    """`down` ends a supervisor held by SIGSTOP, and its gateway (law 10)."""
    os.kill(ready.status()["supervisor"]["pid"], signal.SIGSTOP)
    done = ready.gwctl("down").check(0)
    assert "does not answer" in done.stderr
    assert ready.left() == []


def test_exec_brings_down_what_it_brought_up(home: Home) -> None:
    """`exec` on a stopped profile starts it, runs CMD, exits with CMD's code, and leaves nothing running."""
    script = 'curl -sf -X POST --cacert "$GWCTL_CA_FILE" "$GWCTL_BASE_URL/tickle" >/dev/null && exit 5'
    done = home.gwctl("exec", "--sandbox", "--", "sh", "-c", script)
    assert (done.exit_code, done.stdout) == (5, "")
    assert home.left() == []
    home.gwctl("status").check(3)


def test_exec_passes_term_on(home: Home) -> None:
    """SIGTERM to `exec` reaches CMD; the code is 143 and nothing is left."""
    call = home.start("exec", "--sandbox", "--", "sh", "-c", "echo begun; exec sleep 100")
    assert call.stdout is not None
    assert call.stdout.readline() == "begun\n"
    call.send_signal(signal.SIGTERM)
    call.communicate(timeout=30)
    assert call.returncode == 143
    assert home.left() == []


def test_exec_does_not_start_anything_for_a_missing_command(home: Home) -> None:
    """A missing CMD is detected before anything starts."""
    one_line_with_hint(home.gwctl("exec", "--sandbox", "--", "nowhere-at-all").check(69))
    assert not home.home.exists()


MOMENTS: dict[str, Callable[[Home], bool]] = {
    "the call began": lambda home: home.profile_dir.is_dir(),
    "the supervisor began": lambda home: bool(home.journal()),
    "the gateway answers": lambda home: any(entry["kind"] == "gateway" for entry in home.journal()),
    "the login goes on": lambda home: any(entry["kind"] == "step" for entry in home.journal()),
}


@pytest.mark.each_value
@pytest.mark.parametrize("moment", list(MOMENTS))
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_interrupted_leaves_nothing(home: Home, moment: str, number: signal.Signals) -> None:
    """INT or TERM at any moment of `up` undoes it: exit 130 or 143, one line, no process, no supervisor record."""
    call = home.start("up", "--sandbox")
    wait_for(lambda: MOMENTS[moment](home), 30, moment)
    call.send_signal(number)
    stdout, stderr = call.communicate(timeout=60)
    assert (call.returncode, stdout) == ({signal.SIGINT: 130, signal.SIGTERM: 143}[number], ""), stderr
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1].startswith(("gwctl: interrupted", "gwctl: terminated"))
    assert home.left() == []
    home.gwctl("status").check(3)


def test_a_second_interrupt_does_not_stop_the_stopping(home: Home) -> None:
    """A second and third Ctrl-C do not interrupt the clean-up."""
    call = home.start("up", "--sandbox")
    assert call.stderr is not None
    wait_for(lambda: MOMENTS["the gateway answers"](home), 30, "the gateway answers")
    call.send_signal(signal.SIGINT)
    for line in call.stderr:
        if "stopping what this command started" in line:
            break
    call.send_signal(signal.SIGINT)
    call.send_signal(signal.SIGTERM)
    _, stderr = call.communicate(timeout=60)
    assert (call.returncode, "Traceback" in stderr) == (130, False)
    assert home.left() == []


def test_an_interrupted_up_on_a_running_profile_stops_nothing(ready: Home) -> None:
    """Ctrl-C undoes only what the call itself started."""
    pid = ready.status()["gateway"]["pid"]
    ready.gwctl("sandbox", "on", "http_503").check(0)
    wait_for(lambda: not ready.status()["ready"], 20, "not ready")
    call = ready.start("up", "--sandbox")
    assert call.stderr is not None
    call.stderr.readline()
    call.send_signal(signal.SIGINT)
    call.communicate(timeout=30)
    assert call.returncode == 130
    ready.gwctl("sandbox", "off", "http_503").check(0)
    ready.gwctl("wait").check(0)
    assert ready.status()["gateway"]["pid"] == pid


@pytest.mark.law(6)
def test_up_that_times_out_says_what_goes_on(home: Home) -> None:
    """After `up --timeout`: exit 75 and one line with the last phase; the supervisor keeps trying until `down`."""
    done = home.gwctl("up", "--sandbox", "--timeout", "1", GWCTL_AUTH_DELAY_MS="20000").check(75)
    assert "not ready after 1 s" in done.stderr
    assert "the supervisor keeps trying" in done.stderr
    home.gwctl("status").check(150)
    assert home.gwctl("down").check(0).stdout == "stopped\n"


@pytest.mark.wide
def test_relative_paths_mean_where_the_user_stands(home: Home) -> None:
    """A relative GWCTL_HOME is relative to the user's folder, also for the supervisor, which works elsewhere."""
    home.gwctl("up", "--sandbox", GWCTL_HOME="home").check(0)
    home.gwctl("status").check(0)
    assert home.gwctl("env", GWCTL_HOME="home").stdout == home.gwctl("env").stdout
    assert sorted(path.name for path in home.folder.iterdir()) == ["home"]


def test_foreground_supervises_in_the_process_itself(home: Home) -> None:
    """`up --foreground --json` streams one object per line, is the supervisor, and TERM ends everything with 143."""
    call = home.start("up", "--sandbox", "--foreground", "--json")
    assert call.stdout is not None
    phases = []
    for line in call.stdout:
        entry = json.loads(line)
        assert isinstance(entry, dict)
        if entry["kind"] == "phase":
            phases.append(entry["phase"])
        if phases[-1:] == ["ready"]:
            break
    assert phases[0] == "starting"
    assert home.status()["supervisor"]["pid"] == call.pid
    assert "another gwctl supervises" in one_line_with_hint(home.gwctl("up", "--sandbox", "--foreground").check(75))
    call.send_signal(signal.SIGTERM)
    stdout, stderr = call.communicate(timeout=30)
    assert (call.returncode, stderr) == (143, "")
    assert all(isinstance(json.loads(line), dict) for line in stdout.splitlines())
    assert home.left() == []


def test_a_supervisor_without_its_handover_does_nothing(home: Home, tmp_path: Path) -> None:
    """A supervisor whose parent ended before the handover ends, instead of supervising another home."""
    done = subprocess.run(
        [*PROGRAM, "up", "--foreground", "--handed-over"],
        env={**os.environ, "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 75
    assert list(tmp_path.iterdir()) == []
