"""The base of the login's browser tests: a TLS server with its own key, in front of the fake IBKR or a test's page."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import hashlib
import ipaddress
import json
import os
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gwctl.credentials import Secret
from gwctl.login.browser import Browser, find_browser, find_window_browser, started
from gwctl.login.codes import Kind, Question
from gwctl.login.outcome import LoginJob, LoginReport, Step
from gwctl.login.page import Page
from gwctl.login.worker import do_task
from gwctl.login.worker_client import LoginWorker
from gwctl.sandbox.fake_gateway import GatewayApp
from gwctl.sandbox.gateway_conf import Conf, WebApp
from gwctl.sandbox.gateway_upstream import CookieJar, GatewayLog, Handshake, Upstream
from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.listening import bound_socket
from gwctl.sandbox.serving import quiet_server
from gwctl.sandbox.settings import Account, Mode, PageOptions, StandInConfig, fixture

USERNAME = "someuser7"
PASSWORD = "correct-horse-9"


def job(
    base_url: str, username: str = "", password: str = "", *, totp_secret: str | None = None, **values: Any
) -> LoginJob:
    """Return a login's job from plain texts."""
    secret = None if totp_secret is None else Secret(totp_secret)
    return LoginJob(base_url, username, Secret(password), totp_secret=secret, **values)


@dataclass(frozen=True)
class Key:
    """A key for localhost, ready to serve with, and its pin."""

    context: ssl.SSLContext
    pin: str


def make_key(folder: Path) -> Key:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    spki = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Key(context, base64.b64encode(hashlib.sha256(spki).digest()).decode())


@contextlib.contextmanager
def serve(make_app: Any, key: Key) -> Iterator[str]:
    """Serve ``make_app(port)`` over TLS in a thread and yield its base URL."""
    listener = bound_socket("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = quiet_server(make_app(port), key.context)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{port}"
    finally:
        server.end()
        thread.join(10)
        listener.close()
        assert not thread.is_alive()


@contextlib.contextmanager
def serve_gateway(upstream_url: str, key: Key, folder: Path) -> Iterator[str]:
    """Serve the fake gateway, freshly started, in front of ``upstream_url``."""

    def make(port: int) -> GatewayApp:
        web_apps = folder / f"webapps-{port}"
        shutil.copytree(fixture("release") / "root" / "webapps", web_apps)
        index = web_apps / "demo" / "index.html"
        index.write_text(index.read_text().replace("localhost:5000", f"localhost:{port}"))
        conf = Conf(
            folder=folder,
            listen_port=port,
            remote_host=upstream_url,
            auth_delay_ms=1,
            allow=("127.0.0.1",),
            deny=(),
            web_apps=(WebApp("demo", "index.html"),),
        )
        jar = CookieJar()
        upstream = Upstream(conf.remote_host, jar)
        return GatewayApp(conf, jar, upstream, Handshake(conf, upstream, GatewayLog(folder / "logs")), web_apps)

    with serve(make, key) as url:
        yield url


def clear_jar(url: str) -> None:
    """Make a gateway forget its cookies."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    answer = httpx.get(f"{url}/clear", verify=context, trust_env=False)
    assert answer.content.strip() == b"cleared"


class Places:
    """One gateway with a fake IBKR for each kind of account, all with one key, because starting them takes long.

    They end after everything that enters ``stack`` later: a server that ends before the browser leaves connections half
    closed.
    """

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.key = make_key(folder)
        self._folder = folder
        self._stack = stack.enter_context(contextlib.ExitStack())
        self._known: dict[tuple[Mode, str | None], tuple[RunningStandIn, str]] = {}

    def fresh(self, mode: Mode, totp_secret: str | None, **page: Any) -> tuple[RunningStandIn, str]:
        """Return the fake IBKR and the gateway's address, without any state from earlier users."""
        kind = (mode, totp_secret)
        if kind not in self._known:
            account = Account(USERNAME, PASSWORD, mode=mode, totp_secret=totp_secret)
            options = PageOptions(form_delay_ms=0, cookie_dialog=False)
            ibkr = self._stack.enter_context(serve_in_thread(StandInConfig("token", account, page=options)))
            self._known[kind] = ibkr, self._stack.enter_context(serve_gateway(ibkr.url, self.key, self._folder))
        ibkr, url = self._known[kind]
        clear_jar(url)
        ibkr.state.act("reset", {})
        # A used TOTP code stays used after a reset: each cell would wait for the next one.
        ibkr.state.desk._used_totps.clear()
        ibkr.state.set_scenario("login_page", on=True, parameters=page)
        return ibkr, url


@dataclass
class PageServer:
    """An ASGI application that shows one page, answers POSTs to /sso/Authenticator in turn, and counts them."""

    html: str
    answers: list[tuple[int, str]] = field(default_factory=list)
    status: int = 200
    posts: list[str] = field(default_factory=list)
    opened: int = 0
    demo_delay_s: float = 0.0
    delay_s: float = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"] == "/demo":
            await asyncio.sleep(self.demo_delay_s)
        if scope["method"] == "POST":
            await asyncio.sleep(self.delay_s)
        status, text, kind = self._answer(scope["method"], scope["path"], body.decode())
        headers = [(b"content-type", kind.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    def _answer(self, method: str, path: str, body: str) -> tuple[int, str, str]:
        if method == "POST" and path == "/sso/Authenticator":
            self.posts.append(body)
            status, text = self.answers.pop(0) if self.answers else (200, "{}")
            return status, text, "text/html" if text.startswith("<") else "application/json"
        if path == "/sso/Dispatcher":
            return 200, "Client login succeeds", "text/plain"
        if path == "/":
            self.opened += 1
            return self.status, self.html, "text/html"
        return 404, "", "text/plain"


def browser() -> Browser:
    return find_browser(os.environ.get("GWCTL_BROWSER"), os.environ)


def both_kinds() -> list[Browser]:
    """Return a Chromium without windows and a whole one: they treat some folders and answers differently."""
    return [browser(), find_window_browser(None, os.environ)]


@dataclass
class Login:
    """One login through a worker, and its observations."""

    report: LoginReport
    steps: list[Step]
    permits: int
    folder: Path
    questions: list[Question]


def log_in(
    job: LoginJob,
    pin: str,
    scratch: Path,
    *,
    permit: bool = True,
    answer: Callable[[Question], str | None] | None = None,
) -> Login:
    steps: list[Step] = []
    questions: list[Question] = []
    asked = 0

    async def reply(question: Question) -> str | None:
        questions.append(question)
        return None if answer is None else answer(question)

    async def ask() -> bool:
        nonlocal asked
        asked += 1
        return permit

    async def run() -> tuple[LoginReport, Path]:
        async with LoginWorker.start(browser(), pin, scratch, environ=os.environ) as worker:
            return await worker.run(job, steps.append, ask, reply), worker.folder

    report, folder = asyncio.run(run())
    assert not folder.exists()
    return Login(report, steps, asked, folder, questions)


class SameProcess:
    """A worker's parent in the worker's own process: it receives steps, and permits and answers at once."""

    def __init__(self, answer: Callable[[Question], str | None] | None, *, permit: bool) -> None:
        self.steps: list[Step] = []
        self.questions: list[Question] = []
        self.permits = 0
        self._answer = answer
        self._permit = permit
        self._next: Any = None

    def say(self, event: str, **values: Any) -> None:
        match event:
            case "step":
                self.steps.append(Step(values["name"], values["ms"]))
            case "may_submit":
                self.permits += 1
                self._next = self._permit
            case "question":
                question = Question(Kind(values["kind"]), values["challenge"], values["again"])
                self.questions.append(question)
                self._next = None if self._answer is None else self._answer(question)

    async def expect(self, _key: str, _deadline_s: float) -> Any:
        return self._next


class OneBrowser:
    """One real browser for many logins, each on a fresh page without the last one's cookies.

    Once its browser has started, a login runs as in a worker; it does not test what the worker is for, that a browser
    never outlives its login.
    """

    def __init__(self, pin: str, folder: Path, kind: Browser | None = None) -> None:
        self._folder = folder
        self._runner = asyncio.Runner()
        self._open = contextlib.AsyncExitStack()
        starting = started(kind or browser(), pin, folder / "profile", deadline_s=60.0)
        self._context = self._runner.run(self._open.enter_async_context(starting))

    def close(self) -> None:
        """Close the browser."""
        self._runner.run(self._open.aclose())
        self._runner.close()

    def log_in(
        self, job: LoginJob, *, permit: bool = True, answer: Callable[[Question], str | None] | None = None
    ) -> Login:
        """Log in and return the result."""
        return self._runner.run(self._log_in(job, SameProcess(answer, permit=permit)))

    async def _log_in(self, job: LoginJob, parent: SameProcess) -> Login:
        report = await do_task(parent, Page(self._context), json.loads(json.dumps(job.to_json())), 0.0)
        # What this login's pages still do must end before the next one's server could receive it.
        before = list(self._context.pages)
        await self._context.new_page()
        for page in before:
            await page.close()
        await self._context.clear_cookies()
        return Login(report, parent.steps, parent.permits, self._folder, parent.questions)


@contextlib.contextmanager
def one_browser(pin: str, folder: Path, kind: Browser | None = None) -> Iterator[OneBrowser]:
    """Yield a browser and close it afterwards."""
    running = OneBrowser(pin, folder, kind)
    try:
        yield running
    finally:
        running.close()
