"""The contract for scripts: verbs, envelope, exit codes, streams. Nothing here starts a gateway."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import signal
import socket
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from cli_fakes import Done, Home, one_line_with_hint, wait_for
from contract_checks import check_envelope, imported

VERBS = [
    *(
        ["up"],
        ["down"],
        ["restart"],
        ["status"],
        ["wait"],
        ["exec"],
        ["env"],
        ["api"],
        ["login"],
        ["tickle"],
        ["logs"],
        ["history"],
        ["doctor"],
    ),
    *(["release"], ["release", "install"], ["release", "list"], ["release", "use"], ["release", "verify"]),
    *(["release", "prune"], ["browser"], ["browser", "install"], ["profile"], ["profile", "list"]),
    *(["profile", "show"], ["profile", "create"], ["profile", "delete"]),
    *(["secret"], ["secret", "set"], ["secret", "delete"], ["secret", "check"], ["completion"], []),
    *(["service"], ["service", "install"], ["service", "uninstall"], ["service", "show"]),
    *(["notify"], ["notify", "test"]),
]
GLOBAL_OPTIONS = ("--profile", "--json", "--quiet", "--verbose", "--no-color", "--no-input")


def test_every_verb_has_help_with_the_global_options(home: Home) -> None:
    """Every verb of the contract answers --help on stdout with exit 0, lists each global option, changes nothing."""
    for verb in VERBS:
        done = home.gwctl(*verb, "--help").check(0)
        assert done.stderr == "", verb
        missing = [option for option in GLOBAL_OPTIONS if option not in done.stdout]
        assert not missing, (verb, missing)
    assert not home.home.exists()


def test_version(home: Home) -> None:
    """--version prints the name and the version."""
    assert re.fullmatch(r"gwctl, version \d+\.\d+\.\d+\n", home.gwctl("--version").check(0).stdout)


@pytest.mark.parametrize(
    ("argv", "command", "exit_code", "code"),
    [
        (["--nonsense"], "gwctl", 2, "usage"),
        (["stauts"], "gwctl", 2, "usage"),
        (["up", "--timeout", "soon"], "up", 2, "usage"),
        (["release", "instal"], "release", 2, "usage"),
        (["release"], "release", 2, "usage"),
        ([], "gwctl", 2, "usage"),
        (["api", "GET"], "api", 2, "usage"),
        (["release", "use", "nowhere"], "release use", 69, "release_missing"),
        (["tickle"], "tickle", 75, "gateway_unreachable"),
        (["wait"], "wait", 75, "try_again"),
        (["up"], "up", 78, "credentials_missing"),
        (["secret", "check"], "secret check", 78, "credentials_missing"),
        (["notify", "test"], "notify test", 78, "configuration"),
        (["--profile", "a/b", "status"], "status", 78, "configuration"),
        (["exec", "--", "/nowhere/program"], "exec", 69, "unavailable"),
    ],
)
def test_errors_are_envelopes(home: Home, argv: list[str], command: str, exit_code: int, code: str) -> None:
    """With --json every error, also a usage error, is one envelope with exactly the contract's keys."""
    done = home.gwctl(*argv, "--json") if "--" not in argv else home.gwctl("--json", *argv)
    envelope = check_envelope(done, command, exit_code)
    assert envelope["error"]["code"] == code
    assert envelope["error"]["hint"]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["down"], "down"),
        (["profile", "list"], "profile list"),
        (["profile", "show"], "profile show"),
        (["release", "list"], "release list"),
        (["release", "prune"], "release prune"),
        (["logs"], "logs"),
        (["completion", "bash"], "completion"),
        (["env"], "env"),
        (["login", "--reset-lockout"], "login"),
    ],
)
def test_answers_are_envelopes(home: Home, argv: list[str], command: str) -> None:
    """With --json every answer is one envelope whose data is an object."""
    envelope = check_envelope(home.gwctl(*argv, "--json"), command, 0)
    assert isinstance(envelope["data"], dict)
    assert envelope["error"] is None


def test_global_options_stand_before_or_after_the_verb(home: Home) -> None:
    """--json and --profile mean the same before or after the verb, also for subcommands."""
    home.gwctl("profile", "create", "other").check(0)
    for argv in (["--json", "--profile", "other", "status"], ["status", "--json", "--profile", "other"]):
        envelope = check_envelope(home.gwctl(*argv), "status", 3)
        assert envelope["data"]["profile"] == "other"
    for argv in (["--json", "release", "list"], ["release", "--json", "list"], ["release", "list", "--json"]):
        check_envelope(home.gwctl(*argv), "release list", 0)


def test_the_profile_comes_from_the_option_then_the_variable(home: Home) -> None:
    """--profile wins over GWCTL_PROFILE, which wins over `profile use` and the default."""
    home.gwctl("profile", "create", "one").check(0)
    home.gwctl("profile", "use", "one").check(0)
    assert home.gwctl("status", "--json").envelope["data"]["profile"] == "one"
    assert home.gwctl("status", "--json", GWCTL_PROFILE="two").envelope["data"]["profile"] == "two"
    done = home.gwctl("--profile", "one", "status", "--json", GWCTL_PROFILE="two")
    assert done.envelope["data"]["profile"] == "one"


def test_stdout_is_the_answer_and_errors_go_to_stderr(home: Home) -> None:
    """An answer leaves stderr empty, an error leaves stdout empty and is one line and a hint."""
    status = home.gwctl("status").check(3)
    assert status.stdout.startswith("○ default: stopped")
    assert status.stderr == ""
    error = one_line_with_hint(home.gwctl("restart").check(75))
    assert error == "profile 'default' is not running\ngwctl up"


def test_hints_name_the_profile(home: Home) -> None:
    """Commands to type name the requested profile."""
    home.gwctl("profile", "create", "two").check(0)
    assert one_line_with_hint(home.gwctl("--profile", "two", "tickle").check(75)).endswith("gwctl --profile two up")


def test_quiet_says_nothing_but_errors(home: Home) -> None:
    """-q drops messages for people, but never an error."""
    assert home.gwctl("down", "-q").check(0) == Done(0, "", "")
    assert home.gwctl("logs").check(0).stderr != ""
    assert home.gwctl("logs", "-q").check(0).stderr == ""
    assert home.gwctl("-q", "tickle").check(75).stderr.count("\n") == 1


def test_healthcheck_prints_one_word(home: Home) -> None:
    """`status --healthcheck` of a stopped profile prints one word and exits 1."""
    assert home.gwctl("status", "--healthcheck").check(1).stdout == "stopped\n"


def test_wait_on_a_stopped_profile_ends_at_once(home: Home) -> None:
    """A stopped profile never becomes ready: wait exits with 75; waiting for stopped ends at once."""
    assert "is stopped" in one_line_with_hint(home.gwctl("wait", "--timeout", "600").check(75))
    assert home.gwctl("wait", "--for", "stopped").check(0).stdout == "stopped\n"


def test_exit_codes_of_signals(home: Home) -> None:
    """A waiting call exits with 130 on INT and 143 on TERM, quickly and with one line."""
    log = home.profile_dir / "logs" / "supervisor.log"
    log.parent.mkdir(parents=True)
    log.write_text("begun\n")
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        follower = home.start("logs", "-f", "--supervisor")
        assert follower.stdout is not None
        assert follower.stdout.readline() == "begun\n"
        follower.send_signal(number)
        _, stderr = follower.communicate(timeout=20)
        assert (follower.returncode, "Traceback" in stderr) == (code, False)


def test_a_reader_that_has_gone_ends_the_stream(home: Home) -> None:
    """`gwctl logs -f | head -1` ends when head does, without a complaint."""
    log = home.profile_dir / "logs" / "supervisor.log"
    log.parent.mkdir(parents=True)
    log.write_text("begun\n")
    follower = home.start("logs", "-f", "--supervisor")
    assert follower.stdout is not None
    assert follower.stderr is not None
    follower.stdout.readline()
    follower.stdout.close()
    with log.open("a") as more:
        more.write("goes on\n")
    wait_for(lambda: follower.poll() is not None, 10, "the follower ends")
    assert (follower.returncode, follower.stderr.read()) == (0, "")
    follower.stderr.close()


def test_an_answer_in_a_terminal_without_unicode(home: Home) -> None:
    """If the terminal supports only ASCII, an answer loses its decorations only."""
    done = home.gwctl("status", PYTHONIOENCODING="ascii", PYTHONUTF8="0").check(3)
    assert done.stdout.startswith("? default: stopped")


@pytest.mark.parametrize(
    "argv", [["--help"], ["status"], ["status", "--json"], ["status", "--all"], ["wait", "--for", "stopped"]]
)
def test_quick_verbs_import_little(home: Home, argv: list[str]) -> None:
    """--help and status load none of the large libraries (design.md, Speed)."""
    assert imported(home, *argv) == set()


@contextlib.contextmanager
def a_last_answer(home: Home) -> Iterator[None]:
    """Put a supervisor there that answers one request and is gone."""
    status = {"profile": "default", "phase": "stopping", "reason": "stopping", "ready": False}

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(status).encode()
            self.send_response(200)
            self.send_header("x-gwctl-instance", "one")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Keep quiet."""

    class UnixServer(socketserver.UnixStreamServer):
        def get_request(self) -> tuple[socket.socket, Any]:
            return super().get_request()[0], ("", 0)

    home.profile_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, UnixServer(f"{folder}/control.sock", Answer) as server:
        record = {"pid": 1, "created_s": 1.0, "port": 1, "instance": "one", "sandbox": False}
        (home.profile_dir / "supervisor.json").write_text(
            json.dumps({**record, "token": "t", "control": server.server_address})
        )

        def answer_once() -> None:
            server.handle_request()
            server.server_close()

        once = threading.Thread(target=answer_once)
        once.start()
        yield
        once.join()


def test_a_supervisor_that_ends_while_it_is_waited_for(home: Home) -> None:
    """One that has answered and is gone at the next look has stopped: `wait --for stopped` is 0, and no error."""
    with a_last_answer(home):
        done = home.gwctl("wait", "--for", "stopped", "--timeout", "20").check(0)
    assert done.stdout == "stopped\n"
