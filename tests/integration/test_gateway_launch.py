"""The race to readiness, adoption and the stop, with a small gateway of ours under a real bash."""

import asyncio
import dataclasses
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from gwctl import process
from gwctl.errors import GatewayFailed, JavaMissing, PortBusy, TimedOut
from gwctl.gateway.client import GatewayClient, PortCheck
from gwctl.gateway.launch import Runtime, adopt, clear_leftovers, find_unrecorded, launch
from gwctl.gateway.work_folder import GatewaySettings, PreparedHome, prepare_home
from gwctl.http_requests import NoConnection, RawAnswer, RequestFailed, Untrusted, request, trust_only
from gwctl.paths import Paths
from gwctl.session_status import Verdict

_SERVE = """\
import http.server, json, ssl, subprocess, sys, tempfile, yaml
from pathlib import Path
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.serialization import pkcs12
conf = yaml.safe_load(Path("root/conf.yaml").read_text())
key, leaf, _ = pkcs12.load_key_and_certificates((Path("root") / conf["sslCert"]).read_bytes(), conf["sslPwd"].encode())
pair = Path("pair.pem")
pair.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
                 + leaf.public_bytes(s.Encoding.PEM))
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length)
        status, body = 302, b""
        if "tickle" in self.path: status, body = 401, b"Access Denied"
        elif "echo" in self.path: status, body = 200, json.dumps([self.command, self.path, sent.decode()]).encode()
        elif "Dispatcher" in self.path:
            status, body = 200, b"Client login succeeds" if "A=b" in self.headers.get("Cookie", "") else b""
        elif "logout" in self.path: status, body = 200, b'{"status": true}\\nClient logout succeeded\\n'
        elif "reauthenticate" in self.path: status, body = 200, b'{"message":"triggered"}'
        elif "hang" in self.path: import time; time.sleep(60)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = answer
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    def handle_error(self, request, client_address): pass
server = Server(("0.0.0.0", conf["listenPort"]), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(pair)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""

_STRANGER = """\
import pathlib, socket, time, yaml
conf = yaml.safe_load(pathlib.Path("root/conf.yaml").read_text())
server = socket.create_server(("", conf["listenPort"]))
time.sleep(60)
"""


def _release(folder: Path, script: str) -> Path:
    for name in ("bin", "build", "dist", "root"):
        (folder / name).mkdir(parents=True)
    (folder / "bin/run.sh").write_text(script)
    (folder / "dist/serve.py").write_text(_SERVE)
    (folder / "dist/stranger.py").write_text(_STRANGER)
    (folder / "root/conf.yaml").write_text("listenPort: 5000\n")
    (folder / "gwctl-standin.json").write_text("{}")
    return folder


_GOOD = '"$GWCTL_PYTHON" dist/serve.py\n'


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found: int = server.getsockname()[1]
    return found


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    """Yield the paths of a profile, and stop its gateway after any test."""
    paths = Paths.for_profile("one", tmp_path / "home")
    yield paths
    for left in process.inhabitants(paths.gateway_dir):
        os.kill(left.pid, signal.SIGKILL)


def _prepare(tmp_path: Path, paths: Paths, port: int, script: str) -> tuple[PreparedHome, Runtime]:
    release = _release(tmp_path / "release", script)
    prepared = prepare_home(paths, release, GatewaySettings(port, "http://127.0.0.1:9"))
    return prepared, Runtime(release, None, os.environ, python=sys.executable)


def test_a_gateway_is_ready_when_it_answers_with_our_key(tmp_path: Path, paths: Paths, port: int) -> None:
    """Ready means our certificate and the redirect; the listener is watched, not its shell; stop ends both."""
    prepared, runtime = _prepare(tmp_path, paths, port, _GOOD)

    async def run() -> None:
        running = await launch(paths, prepared, runtime, deadline_s=30)
        assert running.shell is not None
        assert running.java.pid != running.shell.pid
        assert process.listens(running.java, port)
        assert paths.gateway_state_file.stat().st_mode & 0o777 == 0o600
        report = await running.stop(5)
        assert not report.survivors
        await asyncio.wait_for(running.wait_ended(), 5)

    asyncio.run(run())
    assert process.find_listener(port) is None
    assert process.inhabitants(paths.gateway_dir) == []


def test_the_client_speaks_to_our_key_only(tmp_path: Path, paths: Paths, port: int) -> None:
    """Each call is answered with its type, a hang ends at its deadline, a dead gateway gives no answer."""
    prepared, runtime = _prepare(tmp_path, paths, port, _GOOD)

    async def run() -> None:
        running = await launch(paths, prepared, runtime, deadline_s=30)
        async with GatewayClient(port, paths.ca_file, prepared.leaf.der, timeout_s=10) as client:
            assert await client.front_door() is PortCheck.OURS
            assert (await client.tickle()).verdict is Verdict.NO_SESSION
            assert await client.resume({"A": "b", "bad": "with\r\nnewline"})
            assert not await client.resume({"A": "other"})
            assert not await client.resume({})
            assert await client.reauthenticate()
            assert await client.logout()
            said = await client.request("POST", "/echo", json={"a": 1})
            assert json.loads(said.body) == ["POST", "/echo", '{"a":1}']
            with pytest.raises(TimedOut):
                await client.request("GET", "/hang", timeout_s=0.3)
            await running.stop(5)
            assert await client.front_door() is PortCheck.CLOSED
            assert (await client.tickle()).verdict is Verdict.UPSTREAM_ILL
            assert await client.validate() is None

    asyncio.run(run())


def test_the_command_lines_call_is_verified_and_bounded(tmp_path: Path, paths: Paths, port: int) -> None:
    """The small client verifies, passes method, path and body on, and reports when no gateway answers."""
    prepared, runtime = _prepare(tmp_path, paths, port, _GOOD)

    def call(method: str, path: str, ca_file: Path, body: bytes | None = None, timeout_s: float = 10) -> RawAnswer:
        url = f"https://localhost:{port}/v1/api/{path}"
        return request(method, url, timeout_s=timeout_s, body=body, trust=trust_only(ca_file))

    async def run() -> None:
        running = await launch(paths, prepared, runtime, deadline_s=30)
        said = await asyncio.to_thread(call, "POST", "echo", paths.ca_file, b'{"x": 1}')
        assert json.loads(said.body) == ["POST", "/v1/api/echo", '{"x": 1}']
        with pytest.raises(RequestFailed) as late:
            await asyncio.to_thread(call, "GET", "hang", paths.ca_file, timeout_s=0.3)
        assert late.value.late
        stranger = Paths.for_profile("other", tmp_path / "elsewhere")
        prepare_home(stranger, runtime.release_path, GatewaySettings(port, "http://127.0.0.1:9"))
        with pytest.raises(Untrusted):
            await asyncio.to_thread(call, "POST", "echo", stranger.ca_file, b"{}")
        async with GatewayClient(port, stranger.ca_file, prepared.leaf.der) as client:
            assert await client.front_door() is PortCheck.STRANGER
            assert (await client.tickle()).verdict is Verdict.UPSTREAM_ILL
        await running.stop(5)
        with pytest.raises(NoConnection):
            await asyncio.to_thread(call, "GET", "echo", paths.ca_file)

    asyncio.run(run())


def test_a_gateway_that_outlives_its_supervisor_is_adopted(tmp_path: Path, paths: Paths, port: int) -> None:
    """Another process proves it by the state file, notices its end, and may stop it; even if its shell was killed."""
    prepared, runtime = _prepare(tmp_path, paths, port, _GOOD)

    async def run() -> None:
        running = await launch(paths, prepared, runtime, deadline_s=30)
        known = adopt(paths)
        assert known == running
        assert known is not None
        assert known.spawned is None
        assert running.shell is not None
        os.kill(running.shell.pid, signal.SIGKILL)
        await asyncio.wait_for(process.wait_ended(running.shell), 5)
        orphan = adopt(paths)
        assert orphan is not None
        assert orphan.shell is None
        waiting = asyncio.create_task(orphan.wait_ended())
        os.kill(orphan.java.pid, signal.SIGKILL)
        await asyncio.wait_for(waiting, 5)
        assert adopt(paths) is None
        running._collect()

    asyncio.run(run())


def test_only_the_proven_is_adopted(tmp_path: Path, paths: Paths, port: int) -> None:
    """Another creation time, port or folder in the state file is not ours; a damaged file is set aside."""
    prepared, runtime = _prepare(tmp_path, paths, port, _GOOD)

    async def run() -> None:
        running = await launch(paths, prepared, runtime, deadline_s=30)
        for lie in (
            dataclasses.replace(running, java=structs.replace(running.java, created_s=1.0)),
            dataclasses.replace(running, java=structs.replace(running.java, cwd="/")),
            dataclasses.replace(running, port=1),
        ):
            paths.gateway_state_file.write_text(json.dumps(lie.to_json()))
            assert adopt(paths) is None
        paths.gateway_state_file.write_text("{")
        assert adopt(paths) is None
        assert list(paths.profile_dir.glob("gateway.json.damaged-*"))
        found = find_unrecorded(paths, port, runtime.release_path)
        assert found is not None
        assert found.java == running.java
        await running.stop(5)

    asyncio.run(run())


def test_a_busy_port_is_named_before_anything_is_started(tmp_path: Path, paths: Paths, port: int) -> None:
    """The message names the holder, the hint another port; nothing is started."""
    prepared, runtime = _prepare(tmp_path, paths, port, _GOOD)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PortBusy) as caught:
        asyncio.run(launch(paths, prepared, runtime, deadline_s=5))
    assert f"pid {os.getpid()}" in caught.value.message
    assert "GWCTL_PORT=" in (caught.value.hint or "")
    assert not paths.gateway_state_file.exists()


_LOSERS = {
    "ends": ("exit 3\n", GatewayFailed, "with code 3"),
    "refuses its options": ("echo 'Unrecognized VM option' >&2; exit 1\n", GatewayFailed, "options"),
    "cannot listen and stays": ("echo 'Server listen failed Address already in use' >&2; sleep 60\n", PortBusy, "port"),
    "never answers": ("sleep 60\n", TimedOut, "within 1 s"),
    "leaves an orphan": ("sleep 60 & exit 4\n", GatewayFailed, "with code 4"),
    "answers without our key": (
        '"$GWCTL_PYTHON" dist/stranger.py\n',
        TimedOut,
        "our key",
    ),
}


@pytest.mark.parametrize("name", _LOSERS)
def test_whoever_else_wins_the_race_leaves_nothing_running(tmp_path: Path, paths: Paths, port: int, name: str) -> None:
    """Exit, refusal and deadline are distinguished, and everything that was started is stopped."""
    script, kind, words = _LOSERS[name]
    prepared, runtime = _prepare(tmp_path, paths, port, script)
    with pytest.raises(kind, match=words):
        asyncio.run(launch(paths, prepared, runtime, deadline_s=1 if kind is TimedOut else 20))
    assert process.inhabitants(paths.gateway_dir) == []
    assert not paths.gateway_state_file.exists()


def test_a_cancelled_start_leaves_nothing_running(tmp_path: Path, paths: Paths, port: int) -> None:
    """Ctrl-C during the gateway's start stops what was started."""
    prepared, runtime = _prepare(tmp_path, paths, port, "sleep 60\n")

    async def run() -> None:
        starting = asyncio.create_task(launch(paths, prepared, runtime, deadline_s=30))
        while not paths.gateway_state_file.exists():  # noqa: ASYNC110 - a file has no event to wait for
            await asyncio.sleep(0.01)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    asyncio.run(asyncio.wait_for(run(), 30))
    assert process.inhabitants(paths.gateway_dir) == []


def test_leftovers_of_a_killed_starter_are_cleared(tmp_path: Path, paths: Paths, port: int) -> None:
    """What was recorded before it was ready is stopped by the next start, whether its shell is dead or not."""
    prepared, runtime = _prepare(tmp_path, paths, port, _GOOD)

    async def run() -> None:
        running = await launch(paths, prepared, runtime, deadline_s=30)
        assert running.shell is not None
        paths.gateway_state_file.write_text(json.dumps(running.to_json() | {"java": None}))
        os.kill(running.shell.pid, signal.SIGKILL)
        await asyncio.wait_for(process.wait_ended(running.shell), 5)
        assert running.is_alive()
        report = await clear_leftovers(paths, grace_s=5)
        assert running.java in report.ended
        assert not paths.gateway_state_file.exists()
        running._collect()

    asyncio.run(run())


def test_a_real_release_without_java_says_so(tmp_path: Path, paths: Paths, port: int) -> None:
    """Only the sandbox's gateway starts without Java."""
    prepared, runtime = _prepare(tmp_path, paths, port, _GOOD)
    (runtime.release_path / "gwctl-standin.json").unlink()
    with pytest.raises(JavaMissing):
        asyncio.run(launch(paths, prepared, runtime, deadline_s=5))
