"""One set of checks for two gateways: the fake one must behave as the real one does.

The real one is a Standard Release zip, named in ``GWCTL_TEST_RELEASE_ZIP``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID
from rig import free_port
from websockets.sync.client import connect

from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.login_desk import proof_of
from gwctl.sandbox.settings import StandInConfig, build_standin_release
from gwctl.setting_keys import KEYS

DEADLINE_S = 30.0
DISPATCHER = "/sso/Dispatcher?forwardTo=22&RL=1&ip2loc=US"
KEYSTORE_PASSWORD = "keystore-password"
AUTH_DELAY_MS = 100
QUICK_JAVA = KEYS["java_options"].default
"""Without a second compiler the JVM starts at half the cost."""


@pytest.fixture(params=["standin", pytest.param("real", marks=pytest.mark.real_gateway)])
def release(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a release, unpacked into a gateway's folder."""
    if request.param == "real":
        archive = Path(os.environ["GWCTL_TEST_RELEASE_ZIP"])
    else:
        archive = build_standin_release(tmp_path / "standin.zip")
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(tmp_path / "gateway")
    return tmp_path / "gateway"


@pytest.fixture
def ibkr() -> Iterator[RunningStandIn]:
    with serve_in_thread(StandInConfig(admin_token="t")) as running:
        yield running


@dataclass
class Gateway:
    """A gateway process, with a client that verifies its certificate."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    web: httpx.Client

    def printed(self) -> str:
        return (self.folder / "printed.log").read_text(errors="replace")

    def logged(self) -> str:
        return "".join(path.read_text(errors="replace") for path in (self.folder / "logs").glob("gw.2*.log"))


def until(fact: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not fact():
        assert time.monotonic() < deadline_s, "the fact did not come true in time"


def answers(web: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return web.get("/", timeout=1.0).status_code > 0
    return False


def write_keystore(folder: Path) -> ssl.SSLContext:
    """Write a PKCS12 keystore and return a context that trusts only its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    protection = serialization.BestAvailableEncryption(KEYSTORE_PASSWORD.encode())
    (folder / "gwctl.p12").write_bytes(
        pkcs12.serialize_key_and_certificates(b"gwctl", key, certificate, None, protection)
    )
    return ssl.create_default_context(cadata=certificate.public_bytes(serialization.Encoding.PEM).decode())


@contextlib.contextmanager
def running(folder: Path, upstream: str, *, port: int | None = None, **settings: Any) -> Iterator[Gateway]:
    """Run the release in ``folder`` by its run.sh, in a new process group, which is killed at the end."""
    root = folder / "root"
    conf = yaml.safe_load((root / "conf.yaml").read_text())
    conf |= {
        "listenPort": port or free_port(),
        "sslCert": "gwctl.p12",
        "sslPwd": KEYSTORE_PASSWORD,
        "proxyRemoteHost": upstream,
        "proxyRemoteSsl": False,
        "authDelay": AUTH_DELAY_MS,
        "ips": {"allow": ["127.0.0.1"], "deny": ["0.0.0.1"]},
        **settings,
    }
    trusted = write_keystore(root)
    (root / "conf.yaml").write_text(yaml.safe_dump(conf))
    environment = {key: os.environ[key] for key in ("PATH", "JAVA_HOME", "HOME") if key in os.environ}
    with (folder / "printed.log").open("wb") as printed:
        process = subprocess.Popen(
            ["bash", "bin/run.sh", "root/conf.yaml"],
            cwd=folder,
            env={**environment, "GWCTL_PYTHON": sys.executable, "JAVA_TOOL_OPTIONS": QUICK_JAVA},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    listen_port = conf["listenPort"] if isinstance(conf["listenPort"], int) else 1
    base = f"https://localhost:{listen_port}"
    try:
        with httpx.Client(base_url=base, verify=trusted, timeout=DEADLINE_S, trust_env=False) as web:
            yield Gateway(folder, listen_port, process, web)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=DEADLINE_S)


@pytest.fixture
def gateway(release: Path, ibkr: RunningStandIn) -> Iterator[Gateway]:
    with running(release, ibkr.url) as started:
        until(lambda: answers(started.web))
        yield started


def log_in(web: httpx.Client) -> dict[str, str]:
    """Log in as the page does, and return the cookies that the page sets."""
    init = web.post("/sso/Authenticator", data={"ACTION": "INIT", "USER": "sandbox", "MODE": "paper"}).json()
    form = {"ACTION": "COMPLETEAUTH", "AUTH_ID": init["auth_id"], "PROOF": proof_of("sandbox", init["nonce"])}
    cookies: dict[str, str] = web.post("/sso/Authenticator", data=form).json()["cookies"]
    return cookies


def dispatch(web: httpx.Client, cookies: dict[str, str]) -> httpx.Response:
    return web.get(DISPATCHER, headers={"Cookie": "; ".join(f"{key}={value}" for key, value in cookies.items())})


def is_ready(web: httpx.Client) -> bool:
    answer = web.post("/v1/api/tickle")
    return answer.status_code == 200 and answer.json()["iserver"]["authStatus"]["authenticated"] is True


def test_what_it_answers_itself(gateway: Gateway, ibkr: RunningStandIn) -> None:
    """The gateway itself answers redirects, the demo page, reauthenticate before a login, and /clear."""
    web = gateway.web
    first = web.get("/")
    assert (first.status_code, first.headers["location"]) == (302, "/sso/Login?forwardTo=22&RL=1&ip2loc=US")
    other = web.get("/some/where?x=1")
    assert (other.status_code, other.headers["location"]) == (302, f"{ibkr.url}/some/where")
    for path in ("/demo", "/demo/", "/demo/index.html"):
        assert "localhost:5000/v1/api" in web.get(path).text
    assert web.get("/demo/gateway.demo.js").status_code == 200
    assert web.get("/demo/none.js").status_code == 302
    assert web.get("/demo/..%2f..%2fconf.yaml").status_code != 200
    assert web.post("/v1/api/iserver/reauthenticate").json() == {"error": "not logged in"}
    assert web.get("/clear").text == "cleared"
    assert ibkr.state.requests == {}


def test_status_never_answers(gateway: Gateway) -> None:
    """GET /status hangs while the gateway is well."""
    with pytest.raises(httpx.ReadTimeout):
        gateway.web.get("/status", timeout=0.5)
    assert answers(gateway.web)


def test_a_login_becomes_a_session(gateway: Gateway, ibkr: RunningStandIn) -> None:
    """The Dispatcher's 302 becomes the plain text, then the handshake opens the brokerage session."""
    web = gateway.web
    page = web.get("/sso/Login?forwardTo=22")
    assert (page.status_code, "xyz-field-username" in page.text) == (200, True)
    assert web.post("/v1/api/tickle").status_code == 401
    cookies = log_in(web)
    done = dispatch(web, cookies)
    assert (done.status_code, done.text) == (200, "Client login succeeds")
    until(lambda: is_ready(web))
    calls = ["sso/validate", "one/user", "ssodh/init", "ssodh/st", "iserver/auth/status", "iserver/auth/ssodh/init"]
    calls += ["iserver/auth/ssodh/response", "iserver/accounts"]
    until(lambda: all(ibkr.state.requests[f"/v1/portal/{call}"] == 1 for call in calls))
    assert web.post("/v1/api/iserver/reauthenticate").json() == {"message": "triggered"}
    until(lambda: ibkr.state.requests["/v1/portal/iserver/auth/status"] == 2)
    assert web.get("/v1/portal/portfolio/accounts").json()[0]["accountId"] == "DU1234567"
    assert web.post("/v1/api/logout").json() == {"status": True}
    assert web.post("/v1/api/tickle").status_code == 401


def test_the_jar_is_everybodys(gateway: Gateway, ibkr: RunningStandIn) -> None:
    """The cookies sent once to /sso serve every later caller, with or without cookies, until /clear."""
    gateway.web.get("/sso/Login")
    gateway.web.get("/sso/Login")
    assert ibkr.state.summary()["gateways"] == 1
    dispatch(gateway.web, log_in(gateway.web))
    gateway.web.cookies.clear()
    assert gateway.web.get("/v1/api/sso/validate").status_code == 200
    gateway.web.get("/clear")
    assert gateway.web.get("/v1/api/sso/validate").status_code == 401


def test_dead_cookies_do_not_log_in(gateway: Gateway, ibkr: RunningStandIn) -> None:
    """The Dispatcher with unknown cookies gives no success, and the live ones still work afterwards."""
    assert "Client login succeeds" not in dispatch(gateway.web, {"XYZAB": "dead", "XYZAB_AM.LOGIN": "dead"}).text
    assert ibkr.state.requests["/v1/portal/sso/validate"] == 0
    assert dispatch(gateway.web, log_in(gateway.web)).text == "Client login succeeds"


def test_a_killed_gateway_resumes(release: Path, ibkr: RunningStandIn) -> None:
    """After kill -9, a new gateway with the same cookies is ready without a login."""
    with running(release, ibkr.url) as first:
        until(lambda: answers(first.web))
        cookies = log_in(first.web)
        dispatch(first.web, cookies)
        until(lambda: is_ready(first.web))
    with running(release, ibkr.url) as second:
        until(lambda: answers(second.web))
        assert second.web.post("/v1/api/tickle").status_code == 401
        assert dispatch(second.web, cookies).text == "Client login succeeds"
        assert is_ready(second.web)
    assert [submit.outcome for submit in ibkr.state.desk.submits] == ["success"]


def test_bash_stays_the_parent_and_the_group_dies(gateway: Gateway) -> None:
    """run.sh does not exec: the group has more than one process, and SIGTERM to all of it ends it."""
    group = subprocess.run(["ps", "-o", "pid=", "--ppid", str(gateway.process.pid)], capture_output=True, check=True)
    assert group.stdout.strip()
    os.killpg(gateway.process.pid, signal.SIGTERM)
    until(lambda: gateway.process.poll() is not None)
    until(lambda: not answers(gateway.web))


def test_an_unreachable_upstream_is_never_answered(release: Path) -> None:
    """Without an upstream, a tickle hangs and the root still answers; together they show which side has the problem."""
    with running(release, f"http://127.0.0.1:{free_port()}") as gateway:
        until(lambda: answers(gateway.web))
        with pytest.raises(httpx.ReadTimeout):
            gateway.web.post("/v1/api/tickle", timeout=1.0)
        assert gateway.web.get("/", timeout=5.0).status_code == 302


def test_a_taken_port_is_printed_and_survived(release: Path, ibkr: RunningStandIn) -> None:
    """On a taken port it prints the known line and stays alive, serving nothing."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with running(release, ibkr.url, port=holder.getsockname()[1]) as gateway:
            until(lambda: "Server listen failed Address already in use" in gateway.printed())
            assert gateway.process.poll() is None


def test_a_bad_value_is_said_and_ends_it(release: Path, ibkr: RunningStandIn) -> None:
    """A bad value in conf.yaml is printed and logged with the property's name, and the gateway exits with 1."""
    with running(release, ibkr.url, listenPort="many") as gateway:
        assert gateway.process.wait(DEADLINE_S) == 1
        assert "property=listenPort" in gateway.logged()
        assert "Failed to load configuration file" in gateway.printed()


def test_a_keystore_it_cannot_open_is_not_printed(release: Path, ibkr: RunningStandIn) -> None:
    """With a wrong keystore password it prints nothing anywhere, serves nothing and does not exit."""
    with running(release, ibkr.url, sslPwd="wrong") as gateway:
        until(lambda: "config ../root/conf.yaml" in gateway.logged())
        with pytest.raises(subprocess.TimeoutExpired):
            gateway.process.wait(timeout=2.0)
        assert not answers(gateway.web)
        assert "failed" not in gateway.printed().lower()
        assert "ERROR" not in gateway.logged()


def test_a_deeper_config_is_not_found(release: Path, ibkr: RunningStandIn) -> None:
    """The config's folder must be one level deep: deeper, nothing is served."""
    shutil.copytree(release / "root", release / "deep" / "root")
    port = free_port()
    conf = yaml.safe_load((release / "deep" / "root" / "conf.yaml").read_text())
    (release / "deep" / "root" / "conf.yaml").write_text(yaml.safe_dump(conf | {"listenPort": port}))
    environment = {"PATH": os.environ["PATH"], "GWCTL_PYTHON": sys.executable}
    argv = ["timeout", "--signal=KILL", "4", "bash", "bin/run.sh", "deep/root/conf.yaml"]
    with (release / "printed.log").open("wb") as printed:
        process = subprocess.Popen(
            argv, cwd=release, env=environment, stdout=printed, stderr=printed, start_new_session=True
        )
    try:
        while process.poll() is None:
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.2)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=DEADLINE_S)


@pytest.mark.parametrize(
    ("ips", "statuses"),
    [
        ({"allow": ["10.*"], "deny": ["0.0.0.1"]}, [404, 404]),
        ({"allow": ["127.*"], "deny": ["127.0.0.1"]}, [404, 404]),
        ({"allow": ["10.*"]}, [302, 302]),
        ({"allow": ["127.0.*"], "deny": ["::1"]}, [302, 404]),
    ],
)
def test_who_may_connect(release: Path, ibkr: RunningStandIn, ips: dict[str, list[str]], statuses: list[int]) -> None:
    """Refused addresses get 404 with Access Denied; the lists have their quirks; the WebSocket is not guarded."""
    with running(release, ibkr.url, ips=ips) as gateway:
        until(lambda: "Open https" in gateway.printed())
        seen: list[httpx.Response] = []

        def got() -> bool:
            with contextlib.suppress(httpx.TransportError):
                seen.append(gateway.web.get("/"))
            return len(seen) == len(statuses)

        until(got)
        assert [answer.status_code for answer in seen] == statuses
        assert {answer.text for answer in seen if answer.status_code == 404} <= {"Access Denied"}


def test_cors_as_shipped_and_closed(release: Path, ibkr: RunningStandIn) -> None:
    """Closed CORS refuses other origins with 403, preflights get an answer, and the page's own origin passes."""
    cors = {"origin.allowed": "https://localhost:7777", "allowCredentials": False}
    with running(release, ibkr.url, cors=cors) as gateway:
        until(lambda: answers(gateway.web))
        evil, own = {"Origin": "https://evil.example"}, {"Origin": "https://localhost:7777"}
        preflight = {"Access-Control-Request-Method": "POST"}
        assert gateway.web.post("/v1/api/tickle", headers=evil).status_code == 403
        assert gateway.web.options("/v1/api/tickle", headers=evil | preflight).status_code == 403
        assert gateway.web.post("/v1/api/tickle", headers=own).status_code == 401
        allowed = gateway.web.options("/v1/api/tickle", headers=own | preflight)
        assert allowed.status_code == 204
        assert allowed.headers["access-control-allow-origin"] == "https://localhost:7777"


def test_the_web_socket_is_relayed(release: Path, ibkr: RunningStandIn) -> None:
    """Pushes pass through as IBKR sends them, with the jar's cookies upstream, and the allow list does not guard it."""
    with running(release, ibkr.url) as gateway:
        until(lambda: answers(gateway.web))
        dispatch(gateway.web, log_in(gateway.web))
        until(lambda: is_ready(gateway.web))
        trusted = gateway.web._transport._pool._ssl_context  # type: ignore[attr-defined] # httpx shows its context nowhere
        address = f"wss://localhost:{gateway.port}/v1/api/ws"
        with connect(address, ssl=trusted, proxy=None) as pushes:
            seen: list[dict[str, Any]] = []
            while not any(message["topic"] == "sts" for message in seen):
                frame = pushes.recv(timeout=DEADLINE_S)
                assert isinstance(frame, bytes)
                seen.append(json.loads(frame))
            assert seen[-1]["args"]["authenticated"] is True
            pushes.send("tic")
            while seen[-1]["topic"] != "tic":
                seen.append(json.loads(pushes.recv(timeout=DEADLINE_S)))


@pytest.mark.waits
def test_a_login_that_never_authenticates_gives_up(release: Path, ibkr: RunningStandIn) -> None:
    """If validate is refused it retries every 3 s, then logs that it gives up."""
    ibkr.state.set_scenario("login_never_authenticates", on=True, parameters={})
    with running(release, ibkr.url) as gateway:
        until(lambda: answers(gateway.web))
        dispatch(gateway.web, log_in(gateway.web))
        until(lambda: "giving up ..." in gateway.logged())
        assert ibkr.state.requests["/v1/portal/sso/validate"] == 5
        assert is_ready(gateway.web) is False


def test_a_competitor_who_holds_on_stops_the_handshake(release: Path, ibkr: RunningStandIn) -> None:
    """While another client holds the session, each handshake is one attempt, and after five it logs that it stops."""
    ibkr.state.set_scenario("competing", on=True, parameters={"take_over": False})
    with running(release, ibkr.url) as gateway:
        until(lambda: answers(gateway.web))
        dispatch(gateway.web, log_in(gateway.web))

        def repeated(times: int) -> bool:
            return gateway.logged().count("chanllenge already sent") >= times

        for said in range(1, 6):
            until(partial(repeated, said))
            gateway.web.post("/v1/api/iserver/reauthenticate")
        until(lambda: "Reauthentication failed 5 times, stopping" in gateway.logged())


def test_faults_pass_through_the_gateway(gateway: Gateway, ibkr: RunningStandIn) -> None:
    """The gateway's client receives 503, 429, HTML and broken JSON from the IBKR side unchanged."""
    dispatch(gateway.web, log_in(gateway.web))
    for scenario, status in (("http_503", 503), ("html_503", 503), ("http_429", 429), ("bad_json", 200)):
        ibkr.state.set_scenario(scenario, on=True, parameters={})
        assert gateway.web.post("/v1/api/tickle").status_code == status
        ibkr.state.set_scenario(scenario, on=False, parameters={})


def test_its_temper_ends_by_its_own_demo_call(gateway: Gateway, ibkr: RunningStandIn) -> None:
    """Through a gateway too, the page ignores the form until that gateway has passed on the demo page's call."""
    ibkr.state.set_scenario("temperamental", on=True, parameters={})
    assert '"swallow": true' in gateway.web.get("/sso/Login").text
    assert gateway.web.get("/v1/api/portfolio/accounts").status_code == 401
    assert '"swallow": false' in gateway.web.get("/sso/Login").text
