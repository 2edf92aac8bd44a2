"""What the verbs answer while a session is ready. The tests share one sandbox and leave it unchanged."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from cli_fakes import Home, one_line_with_hint, wait_for
from contract_checks import check_envelope, imported

HEALTHY_UP_BOUND_S = 1.0
"""The contract says 0.3 s; a test machine may be busy with other tests."""

OPTIONAL = type(None)
STATUS_KEYS: dict[str, Any] = {
    "profile": str,
    "phase": str,
    "reason": str,
    "person_needed": OPTIONAL,
    "ready": bool,
    "since": str,
    "sandbox": bool,
    "mode": str,
    "username": OPTIONAL,
    "show_username": bool,
    "paused": OPTIONAL,
    "planned": {"logins_from": OPTIONAL, "relogin_at": OPTIONAL},
    "gateway": {
        "pid": int,
        "port": int,
        "base_url": str,
        "ca_file": str,
        "release": str,
        "uptime_s": float,
        "rss_bytes": int,
        "restarts": int,
    },
    "isolation": {"kind": str, "open_to": list, "reason": OPTIONAL},
    "door": OPTIONAL,
    "session": {
        "authenticated": bool,
        "connected": bool,
        "competing": bool,
        "user_id": int,
        "sso_expires_s": float,
        "server_name": str,
        "last_tickle_age_s": float,
        "sso": bool,
    },
    "supervisor": {"pid": int, "uptime_s": float, "rss_bytes": int, "health_url": str},
    "login": {
        "last_at": str,
        "last_outcome": str,
        "rejected": int,
        "rejected_limit": int,
        "locked": bool,
        "shared_with": list,
    },
    "next": {"what": str, "in_s": float},
    "last_error": OPTIONAL,
    "drift": list,
    "question": OPTIONAL,
    "tickles": {"last_s": float, "median_s": float, "worst_s": float, "recent_s": list},
    "budget": {
        budgeted: {"hour": int, "per_hour": int, "day": int, "per_day": int}
        for budgeted in ("reauthenticate", "resume", "login", "restart")
    },
}
PHASES = {
    *("stopped", "starting", "logging_in", "awaiting_second_factor", "ready", "degraded", "recovering", "backoff"),
    *("locked_out", "stopping", "paused"),
}


def check_shape(value: dict[str, Any], shape: dict[str, Any]) -> None:
    """Assert that an object has exactly the keys and types of the contract."""
    assert set(value) == set(shape)
    for key, kind in shape.items():
        if isinstance(kind, dict):
            check_shape(value[key], kind)
        else:
            assert type(value[key]) is kind, (key, value[key])


def test_status_has_exactly_the_keys_of_the_contract(sandbox: Home) -> None:
    """The data of a ready status has exactly the contract's keys and ours, each of the right type."""
    envelope = check_envelope(sandbox.gwctl("status", "--json"), "status", 0)
    status = envelope["data"]
    check_shape(status, STATUS_KEYS)
    assert (status["phase"], status["ready"], status["sandbox"]) == ("ready", True, True)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", status["since"])
    assert status["gateway"]["base_url"] == f"https://localhost:{sandbox.port}/v1/api"


def test_a_stopped_status_has_the_same_keys(home: Home) -> None:
    """A stopped profile's status has the same keys, with null for what is not there, and exit code 3."""
    status = check_envelope(home.gwctl("status", "--json"), "status", 3)["data"]
    assert set(status) == set(STATUS_KEYS)
    for part in ("gateway", "session", "login"):
        assert set(status[part]) == set(STATUS_KEYS[part])
    assert (status["phase"], status["ready"], status["supervisor"], status["next"]) == ("stopped", False, None, None)
    assert status["phase"] in PHASES


def test_status_for_people(sandbox: Home) -> None:
    """The screen fits 80 columns except for addresses, and has no escape codes when it is not a terminal."""
    done = sandbox.gwctl("status").check(0)
    assert done.stdout.startswith("● default: ready · SANDBOX - ")
    assert "\x1b" not in done.stdout
    assert sandbox.gwctl("status", "--healthcheck").check(0).stdout == "ready\n"


def test_the_supervisor_listens_on_loopback_only(sandbox: Home) -> None:
    """By default only the health server listens, on 127.0.0.1: no port is open to other machines."""
    supervisor = sandbox.status()["supervisor"]
    listeners = [
        one.laddr for one in psutil.Process(supervisor["pid"]).net_connections() if one.status == psutil.CONN_LISTEN
    ]
    assert [f"http://{host}:{port}" for host, port in listeners] == [supervisor["health_url"]]
    assert supervisor["health_url"].startswith("http://127.0.0.1:")


def test_watching_the_status(sandbox: Home) -> None:
    """`status --watch --json` prints one object per line repeatedly; INT ends it with 130 and no more output."""
    call = sandbox.start("status", "--watch", "--json")
    assert call.stdout is not None
    for _ in range(2):
        check_shape(json.loads(call.stdout.readline()), STATUS_KEYS)
    call.send_signal(signal.SIGINT)
    stdout, stderr = call.communicate(timeout=20)
    assert (call.returncode, stderr) == (130, "")
    assert all(json.loads(line)["phase"] == "ready" for line in stdout.splitlines())


def test_up_again_touches_nothing(sandbox: Home, record_property: Callable[[str, object], None]) -> None:
    """`up` on a healthy profile says so, exits 0 in well under a second, and changes no file and no process."""
    before, pid = sandbox.fingerprint(), sandbox.status()["gateway"]["pid"]
    lengths_s = []
    for _ in range(5):
        began_s = time.perf_counter()
        done = sandbox.run_program("up", "--sandbox").check(0)
        lengths_s.append(time.perf_counter() - began_s)
        assert done.stdout == f"● default: already ready · SANDBOX · https://localhost:{sandbox.port}/v1/api\n"
        assert done.stderr == ""
    after = sandbox.fingerprint()
    # The supervisor keeps working meanwhile: what it writes itself does not count.
    own = ("/journal.jsonl", "/journal.seen", "/supervisor.log", "/sandbox.log", "/gateway.log")
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert not {name for name in changed if not name.endswith(own) and "/gateway/logs/" not in name}
    assert sandbox.status()["gateway"]["pid"] == pid
    median_s = statistics.median(lengths_s)
    record_property("healthy_up_median_s", round(median_s, 3))
    print(f"up on a healthy profile: median {median_s:.3f} s of 5")  # noqa: T201 - the figure is reported
    # Other tests running in parallel slow some calls down; a wait in the call itself would slow all of them.
    assert min(lengths_s) < HEALTHY_UP_BOUND_S


@pytest.mark.parametrize("argv", [["status"], ["up", "--sandbox"], ["wait"], ["status", "--json"], ["tickle"]])
def test_verbs_on_a_healthy_profile_import_little(sandbox: Home, argv: list[str]) -> None:
    """On a healthy profile `up`, `status`, `wait` and `tickle` load none of the large libraries."""
    assert imported(sandbox, *argv) == set()


def test_up_of_another_kind_or_port_is_refused(sandbox: Home) -> None:
    """A running sandbox is not used as a session at IBKR, nor one port for another; nothing is touched."""
    assert "is already running the sandbox" in one_line_with_hint(sandbox.gwctl("up", GWCTL_USERNAME="u").check(75))
    other = sandbox.port % 60_000 + 1
    error = one_line_with_hint(sandbox.gwctl("up", "--sandbox", "--port", str(other)).check(75))
    assert f"is already running on port {sandbox.port}" in error
    sandbox.gwctl("status").check(0)


def test_env_is_for_a_real_shell(sandbox: Home) -> None:
    """`eval "$(gwctl env)"` in sh gives curl what it needs: the URL, and our CA for verification."""
    script = sandbox.gwctl("env").check(0).stdout
    call = 'curl -s -S -w "\\n%{http_code}" -X POST --cacert "$GWCTL_CA_FILE" "$GWCTL_BASE_URL/tickle"'
    ways = {
        "ours alone": call,
        "the bundle": call.replace("$GWCTL_CA_FILE", "$SSL_CERT_FILE"),
        "ibind's": call.replace("$GWCTL_CA_FILE", "$IBIND_CACERT").replace("$GWCTL_BASE_URL/", "${IBIND_REST_URL}"),
    }
    for way, command in ways.items():
        done = subprocess.run(
            ["sh", "-euc", f"{script}\n{command}"],
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, (way, done.stderr)
        body, _, code = done.stdout.rpartition("\n")
        assert (code, json.loads(body)["iserver"]["authStatus"]["authenticated"]) == ("200", True), way


def test_env_has_exactly_the_variables_of_the_contract(sandbox: Home) -> None:
    """`env --json` has the contract's variables; the bundle also verifies other sites, and ws and https agree."""
    data = check_envelope(sandbox.gwctl("env", "--json"), "env", 0)["data"]
    assert set(data) == {
        *("GWCTL_BASE_URL", "GWCTL_CA_FILE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"),
        *("CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
        *("IBIND_REST_URL", "IBIND_WS_URL", "IBIND_CACERT", "NO_PROXY", "no_proxy"),
    }
    assert data["IBIND_WS_URL"] == f"wss://localhost:{sandbox.port}/v1/api/ws"
    with open(data["SSL_CERT_FILE"], encoding="utf-8") as bundle, open(data["GWCTL_CA_FILE"], encoding="utf-8") as ours:  # noqa: PTH123 - strings from JSON
        text = bundle.read()
        assert text.count("BEGIN CERTIFICATE") > 100
        assert ours.read().strip() in text


STAND_IN_DOCKER = """#!/bin/sh
# Takes the options that `gwctl env --docker` gives, and runs the command with the variables that they set alone.
[ "$1" = run ] && shift
while :; do
  case $1 in
    --env=*) set -- "$@" "${1#--env=}" && variables=$((variables + 1)) ;;
    --network=host | --user=* | --volume=*) ;;
    *) break ;;
  esac
  shift
done
[ "$1" = IMAGE ] && shift
exec python3 -c '
import os, sys
count = int(sys.argv[1])
variables = dict(one.split("=", 1) for one in sys.argv[-count:])
os.execvpe(sys.argv[2], sys.argv[2:-count], {**variables, "PATH": os.environ["PATH"]})
' "$variables" "$@"
"""


def test_env_for_a_container(sandbox: Home, tmp_path: Path) -> None:
    """`docker run $(gwctl env --docker) IMAGE` has the files it names, but no key; curl can verify the gateway."""
    docker = tmp_path / "docker"
    docker.write_text(STAND_IN_DOCKER)
    docker.chmod(0o755)
    options = sandbox.gwctl("env", "--docker").check(0).stdout.split()
    assert options == check_envelope(sandbox.gwctl("env", "--docker", "--json"), "env", 0)["data"]["options"]
    variables = sandbox.gwctl("env", "--json").envelope["data"]
    assert [one.removeprefix("--env=") for one in options if one.startswith("--env=")] == [
        f"{name}={value}" for name, value in variables.items()
    ]
    files = {value for value in variables.values() if value.startswith("/")}
    assert {one for one in options if one.startswith("--volume=")} == {f"--volume={file}:{file}:ro" for file in files}
    assert all(Path(file).is_file() and "PRIVATE KEY" not in Path(file).read_text() for file in files)
    assert {"--network=host", f"--user={os.getuid()}:{os.getgid()}"} <= set(options)
    typed = """docker run $GIVEN IMAGE sh -c 'curl -fsS "$GWCTL_BASE_URL/portfolio/accounts"'"""
    done = subprocess.run(
        ["sh", "-euc", typed],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "GIVEN": " ".join(options)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["accountId"] == "DU1234567"


def test_env_for_a_container_is_words_or_nothing(sandbox: Home, tmp_path: Path) -> None:
    """A path that a shell would split is refused, but not as JSON; one that docker would split is refused in both."""
    for name, code in (("with space", 0), ("with:colon", 78)):
        home = str(tmp_path / name)
        refused = sandbox.gwctl("env", "--docker", GWCTL_HOME=home).check(78)
        assert refused.stdout == ""
        one_line_with_hint(refused)
        sandbox.gwctl("env", "--docker", "--json", GWCTL_HOME=home).check(code)
    one_line_with_hint(sandbox.gwctl("env", "--docker", "--dotenv").check(2))


def test_env_follows_the_port_that_is_used(sandbox: Home) -> None:
    """A running profile's address is the one it was started with, even after the settings changed."""
    data = sandbox.gwctl("env", "--json", GWCTL_PORT="5999").envelope["data"]
    assert data["GWCTL_BASE_URL"] == f"https://localhost:{sandbox.port}/v1/api"


def test_api_prints_the_body(sandbox: Home) -> None:
    """`api` prints the body of a 2xx; with --json status and parsed body; the path may have its prefix."""
    for path in ("/portfolio/accounts", "portfolio/accounts", "/v1/api/portfolio/accounts"):
        body = json.loads(sandbox.gwctl("api", "GET", path).check(0).stdout)
        assert body[0]["accountId"] == "DU1234567"
    data = check_envelope(sandbox.gwctl("api", "get", "/portfolio/accounts", "--json"), "api", 0)["data"]
    assert (data["status"], data["body"]) == (200, body)
    data = sandbox.gwctl("api", "POST", "/iserver/auth/status", "--data", "{}", "--json").check(0).envelope["data"]
    assert data["body"]["authenticated"] is True


def test_api_refusals(sandbox: Home) -> None:
    """A non-2xx exits with 1 and the body on stderr, in JSON too; an unusual path is sent correctly."""
    done = sandbox.gwctl("api", "GET", "/nowhere").check(1)
    assert (done.stdout, "returned 404" in done.stderr) == ("", True)
    assert json.loads(done.stderr.splitlines()[0])["statusCode"] == 404
    done = sandbox.gwctl("api", "GET", "/nowhere", "--json")
    assert check_envelope(done, "api", 1)["error"]["code"] == "http_error"
    assert json.loads(done.stderr)["statusCode"] == 404
    for odd in ("/no where", "/nö?q=ü b"):
        assert "returned 404" in sandbox.gwctl("api", "GET", odd).check(1).stderr
    assert "--data is not JSON" in one_line_with_hint(sandbox.gwctl("api", "POST", "/x", "--data", "{").check(2))
    sandbox.gwctl("api", "BREW", "/coffee").check(2)


def test_tickle_hides_the_session_key(sandbox: Home) -> None:
    """`tickle` prints the answer without the session key, which is as sensitive as a cookie."""
    body = json.loads(sandbox.gwctl("tickle").check(0).stdout)
    assert body["iserver"]["authStatus"]["authenticated"] is True
    assert body["session"] == "…"
    assert check_envelope(sandbox.gwctl("tickle", "--json"), "tickle", 0)["data"]["tickle"]["session"] == "…"


def test_wait_returns_at_once_when_ready(sandbox: Home) -> None:
    """`wait` on a ready profile returns its status; waiting for stopped ends with the timeout and 75."""
    assert sandbox.gwctl("wait").check(0).stdout == "ready\n"
    check_envelope(sandbox.gwctl("wait", "--json"), "wait", 0)
    error = one_line_with_hint(sandbox.gwctl("wait", "--for", "stopped", "--timeout", "0").check(75))
    assert "not stopped after 0 s: ready" in error


def test_logs_of_a_running_profile(sandbox: Home) -> None:
    """`logs` shows both logs and names each line's log; -n and the log options select; --json is one envelope."""
    both = sandbox.gwctl("logs").check(0).stdout
    assert {line.partition("|")[0].strip() for line in both.splitlines()} == {"supervisor", "gateway"}
    one = sandbox.gwctl("logs", "--supervisor", "-n", "1").check(0).stdout
    assert one.count("\n") == 1
    lines = check_envelope(sandbox.gwctl("logs", "--json", "--gateway"), "logs", 0)["data"]["lines"]
    assert {line["log"] for line in lines} == {"gateway"}


def test_exec_leaves_a_running_profile_running(sandbox: Home) -> None:
    """`exec` on a running profile gives CMD the variables, passes its exit code and output on, and stops nothing."""
    pid = sandbox.status()["gateway"]["pid"]
    script = 'printf "%s" "$GWCTL_BASE_URL"; printf oops >&2; exit 7'
    done = sandbox.gwctl("exec", "--sandbox", "--", "sh", "-c", script, GWCTL_PASSWORD="canary-exec")
    assert (done.exit_code, done.stdout, done.stderr) == (7, f"https://localhost:{sandbox.port}/v1/api", "oops")
    done = sandbox.gwctl("exec", "--sandbox", "--", "env", GWCTL_PASSWORD="canary-exec", GWCTL_TOTP_SECRET="canary-2")
    assert "canary" not in done.check(0).stdout
    assert sandbox.status()["gateway"]["pid"] == pid


def test_exec_without_the_dashes(sandbox: Home) -> None:
    """Everything after CMD belongs to CMD, also options that gwctl has too."""
    done = sandbox.gwctl("exec", "--sandbox", "echo", "--json", "-q", "--timeout", "x").check(0)
    assert done.stdout == "--json -q --timeout x\n"


def test_exec_says_what_cannot_be_run(sandbox: Home) -> None:
    """A missing or non-executable CMD exits with 69 and one line."""
    assert "no executable program 'nowhere-at-all' found" in one_line_with_hint(
        sandbox.gwctl("exec", "--sandbox", "--", "nowhere-at-all").check(69)
    )
    text = sandbox.folder / "no-program"
    text.write_text("not a program")
    text.chmod(0o755)
    assert "cannot run " in one_line_with_hint(sandbox.gwctl("exec", "--sandbox", "--", str(text)).check(69))


def test_secrets_are_found_and_never_shown(sandbox: Home) -> None:
    """`secret check` names the source and never the secret."""
    file = sandbox.folder / "secret-file"
    file.write_text("canary-file\n")
    for variables, source in (
        ({"GWCTL_PASSWORD": "canary-variable"}, "$GWCTL_PASSWORD"),
        ({"GWCTL_PASSWORD": "canary-variable", "GWCTL_PASSWORD_FILE": "secret-file"}, "$GWCTL_PASSWORD_FILE"),
    ):
        done = sandbox.gwctl("secret", "check", "--json", **variables)
        assert check_envelope(done, "secret check", 0)["data"] == {"name": "password", "source": source}
        assert "canary" not in done.stdout + done.stderr
    assert "unknown secret 'pin'" in one_line_with_hint(sandbox.gwctl("secret", "check", "pin").check(2))


def test_a_person_can_log_in_again_now(sandbox: Home) -> None:
    """`login` in the running sandbox ends ready after one more submit."""
    submits = sandbox.sandbox_submits()
    assert sandbox.gwctl("login").check(0).stdout == "logged in\n"
    assert sandbox.sandbox_submits() == submits + 1


def test_not_ready_is_150(sandbox: Home) -> None:
    """While IBKR does not answer, status exits with 150; the profile becomes ready by itself afterwards."""
    sandbox.gwctl("sandbox", "on", "http_503").check(0)
    status = wait_for(lambda: (sandbox.status(),) if not sandbox.status()["ready"] else None, 20, "not ready")[0]
    assert status["phase"] in PHASES - {"ready", "stopped"}
    check_envelope(sandbox.gwctl("status", "--json"), "status", 150)
    sandbox.gwctl("status", "--healthcheck").check(1)
    one_line_with_hint(sandbox.gwctl("wait", "--timeout", "0").check(75))
    sandbox.gwctl("sandbox", "off", "http_503").check(0)
    sandbox.gwctl("wait", "--timeout", "60").check(0)


def test_cannot_tell_is_4(sandbox: Home) -> None:
    """If a supervisor accepts and does not answer, status exits with 4 and says so, never `ready` or `stopped`."""
    pid = sandbox.status()["supervisor"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        status = check_envelope(sandbox.gwctl("status", "--json"), "status", 4)["data"]
        health = sandbox.gwctl("status", "--healthcheck").check(1)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert set(status) == set(STATUS_KEYS)
    assert (status["phase"], status["ready"]) == ("degraded", False)
    assert f"pid {pid}" in status["reason"]
    assert health.stdout == "hung\n"
    sandbox.gwctl("wait", "--timeout", "60").check(0)
