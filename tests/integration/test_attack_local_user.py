"""Attacks by another user of this machine: on what a killed supervisor leaves, and by homes and links made for us.

Each test plays an attack that once reached its aim, with real processes and another uid.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_fakes import Home, RealHome, a_home, a_real_home, one_line_with_hint, wait_for
from other_user import STRANGER, as_user

from gwctl.free_ports import port_is_free
from gwctl.http_requests import address_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="acting as another user is root's to do")
PASSWORD = f"canary{secrets.token_hex(12)}"


class Squatter:
    """A server at a freed port that poses as the supervisor, with everything in its record, and keeps what it gets."""

    def __init__(self, port: int, record: dict[str, str], status: dict[str, object]) -> None:
        self.heard: list[bytes] = []
        squatter = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                squatter.heard.append(f"{self.command} {self.path}\n{self.headers}".encode() + body)
                said = json.dumps(status if self.path == "/status" else {"ok": True, "n": 1}).encode()
                self.send_response(200)
                self.send_header("x-gwctl-instance", record["instance"])
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            do_GET = do_POST = _answer  # noqa: N815 - the names that the base class calls

            def log_message(self, *_args: object) -> None:
                """Keep quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer)
        self.port = self.server.server_port

    @contextlib.contextmanager
    def listening(self) -> Iterator[Squatter]:
        """Answer until the end."""
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()


def killed(home: Home) -> tuple[dict[str, str], int]:
    """Kill the supervisor so that it cleans nothing up; return its record and the port that it leaves."""
    record = json.loads((home.profile_dir / "supervisor.json").read_text())
    os.kill(record["pid"], signal.SIGKILL)
    wait_for(lambda: port_is_free(record["port"]), 10, "the port is free")
    return record, int(record["port"])


def posing(home: Home, phase: str) -> dict[str, object]:
    """Return a status that leads calls to a server of the stranger's, and to asking for the password."""
    status = home.status()
    status |= {"phase": phase, "ready": phase == "ready", "reason": "as planned", "person_needed": "login"}
    status["gateway"] |= {"base_url": "https://localhost:1/v1/api", "ca_file": "/evil.pem"}
    return status


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, real_release_zip: Path) -> Iterator[RealHome]:
    """Return a home with the real gateway."""
    with a_real_home(tmp_path_factory.mktemp("real"), real_release_zip) as home:
        yield home


@pytest.mark.real_gateway
@pytest.mark.browser
@pytest.mark.parametrize("phase", ["locked_out", "ready"])
def test_a_squatter_at_a_dead_supervisors_port_gets_nothing(real: RealHome, phase: str) -> None:
    """After kill -9 of the supervisor, whoever has its port is not asked: up is up, login logs in, api asks our own."""
    password = {"GWCTL_PASSWORD": real.account.password}
    real.gwctl("up", **password).check(0)
    status = posing(real, phase)
    record, port = killed(real)
    with Squatter(port, record, status).listening() as squatter:
        assert real.gwctl("status", "--json").envelope["data"]["phase"] == "degraded"  # a gateway without supervisor
        assert "not running" in one_line_with_hint(real.gwctl("api", "GET", "/tickle"))
        real.gwctl("up", **password).check(0)
        assert real.status()["supervisor"]["health_url"] != f"http://127.0.0.1:{port}"
        answer = json.loads(real.gwctl("api", "GET", "/tickle").check(0).stdout)
        assert answer["iserver"]["authStatus"]["authenticated"] is True
        real.gwctl("login", **password).check(0)
        real.gwctl("env").check(0)
        real.gwctl("down").check(0)
    assert squatter.heard == []


def look(port: int, path: str) -> str:
    """Return the beginning of a server's answer, headers included."""
    method = "POST" if path.startswith("/control") else "GET"
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}"
        connection.sendall(head.encode())
        answer = connection.makefile("rb")
        if path.endswith("/live"):
            return path + b"".join(answer.readline() for _ in range(12)).decode()
        return path + answer.read().decode()


def test_the_health_port_tells_strangers_little(tmp_path: Path) -> None:
    """Another user learns phase, reason and ready; no user ID, path, PID, record; and may command nothing."""
    with a_home(tmp_path) as home:
        home.gwctl("up", "--sandbox").check(0)
        port = int(home.status()["supervisor"]["health_url"].rpartition(":")[2])
        paths = ["/status", "/live", "/events?since=0", "/control/stop", "/livez", "/readyz", "/", "/profiles/live"]
        said = as_user(lambda: "".join(look(port, path) for path in paths))
        record = json.loads((home.profile_dir / "supervisor.json").read_text())
        status = home.status()
        for secret in (
            str(home.folder), record["token"], record["instance"], f'"{record["pid"]}"', str(status["gateway"]["pid"]),
            str(status["session"]["user_id"]), "instance",
        ):  # fmt: skip
            assert secret not in said
        assert '"phase": "ready"' in said
        assert "/control/stopHTTP/1.1 404" in said
        assert "/events?since=0HTTP/1.1 404" in said
        assert home.status()["ready"]


def connect_to(file: Path) -> str:
    """Return what comes of connecting to a Unix socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            with address_of(file) as address:
                connection.connect(address)
        except OSError as error:
            return type(error).__name__
    return "connected"


def test_the_control_socket_is_closed_to_strangers(tmp_path: Path) -> None:
    """Another user cannot connect to the supervisor's socket, even where all folders on the way let him pass."""
    with a_home(tmp_path) as home:
        home.gwctl("up", "--sandbox").check(0)
        file = Path(json.loads((home.profile_dir / "supervisor.json").read_text())["control"])
        opened = [folder for folder in file.parents if folder.stat().st_uid == 0 and folder != Path("/")]
        modes = {folder: folder.stat().st_mode for folder in opened}
        try:
            for folder in opened:
                folder.chmod(modes[folder] | 0o755)
            tried = as_user(lambda: connect_to(file))
        finally:
            for folder, mode in modes.items():
                folder.chmod(mode)
        assert tried == "PermissionError"
        assert connect_to(file) == "connected"


VERBS = [
    ["up"], ["up", "--sandbox"], ["up", "--foreground"], ["up", "--all"], ["down"], ["down", "--all"], ["restart"],
    ["status"], ["status", "--all"], ["status", "--json"], ["wait"], ["exec", "--", "true"], ["env"],
    ["api", "GET", "/tickle"], ["login"], ["login", "--explain"], ["login", "--probe"], ["tickle"], ["logs"],
    ["history"], ["release", "list"], ["release", "verify"], ["release", "prune"], ["profile", "list"],
    ["profile", "show"], ["profile", "create", "other"], ["profile", "set", "default", "port=5001"],
    ["profile", "delete", "default"], ["secret", "check", "password"], ["sandbox", "show"], ["notify", "test"],
    ["service", "show", "--systemd"], ["browser", "show"], ["doctor", "--bundle", "report.zip"],
]  # fmt: skip


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a home as a stranger would: settings that run programs, a record, links in place of the logs."""
    top = tmp_path_factory.mktemp("planted")
    home = top / "home"
    profile = home / "state" / "profiles" / "default"
    (profile / "logs").mkdir(parents=True)
    (top / "victim").write_text("mine\n")
    ran = top / "ran"
    program = top / "program"
    program.write_text(f"#!/bin/sh\nid -u >>{ran}\nenv >>{ran}\necho password\n")
    program.chmod(0o755)
    (home / "config.toml").write_text(
        f'[defaults]\nusername = "reader"\njava = "{program}"\nbrowser = "{program}"\n'
        f'password_command = ["{program}"]\nnotify_command = ["{program}"]\nsecond_factor_command = ["{program}"]\n'
    )
    for name in ("supervisor.log", "start.log", "gateway.log", "sandbox.log"):
        (profile / "logs" / name).symlink_to(top / "victim")
    for name in ("journal.jsonl", "ledger.json"):
        (profile / name).symlink_to(top / "victim")
    record = {"pid": 1, "created_s": 1.0, "port": 1, "instance": "x", "sandbox": False, "token": "t"}
    (profile / "supervisor.json").write_text(json.dumps({**record, "control": str(top / "stranger.sock")}))
    for place, folders, files in os.walk(home):
        for name in (".", *folders, *files):
            os.lchown(Path(place, name), STRANGER, STRANGER)
    return top


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_home_by_a_stranger_is_not_used(planted: Path, verb: list[str]) -> None:
    """No verb runs a program that a stranger's settings name, follows his links, or reads his records: exit 78."""
    home = Home(planted, GWCTL_PASSWORD=PASSWORD)
    before = home.fingerprint()
    done = home.gwctl(*verb).check(78)
    text = done.envelope["error"]["message"] if "--json" in verb else one_line_with_hint(done)
    assert "belongs to nobody" in text
    assert not (planted / "ran").exists()
    assert (planted / "victim").read_text() == "mine\n"
    assert home.fingerprint() == before
    assert not (planted / "report.zip").exists()


def test_doctor_shows_a_strangers_home(planted: Path) -> None:
    """The doctor says whose it is and what to do, checks nothing in it, and runs nothing that it names."""
    done = Home(planted).gwctl("doctor", "--json").check(1)
    findings = {one["check"]: one for one in done.envelope["data"]["findings"]}
    assert findings["home"]["state"] == "failed"
    assert "belongs to nobody" in findings["home"]["what"]
    assert findings["home"]["remedy"]
    assert {findings[check]["state"] for check in ("settings", "state_files", "supervisor", "java", "secrets")} == {
        "not_checked"
    }
    assert not (planted / "ran").exists()


LINKS = [
    "logs/supervisor.log", "logs/start.log", "logs/gateway.log", "logs/sandbox.log", "journal.jsonl",
    "journal.seen", "ledger.sandbox.json", "supervisor.json", "gateway.json", "sandbox.json", "last-end.json",
    "control.sock", "leaf.pem",
]  # fmt: skip


@pytest.mark.parametrize("link", LINKS)
def test_a_link_in_a_files_place_is_not_followed(tmp_path: Path, link: str) -> None:
    """Whoever could once write to our folder left a link: nothing is written or read through it, by up or down."""
    with a_home(tmp_path) as home:
        victim = tmp_path / "victim"
        victim.write_text("mine\n")
        place = home.profile_dir / link
        place.parent.mkdir(parents=True)
        place.symlink_to(victim)
        for folder in (place.parent, *place.parent.parents):
            if folder.is_relative_to(home.home):
                folder.chmod(0o700)
        home.gwctl("up", "--sandbox")
        home.gwctl("down")
        assert victim.read_text() == "mine\n"
        assert home.left() == [] or link == "supervisor.json"
        place.unlink(missing_ok=True)
