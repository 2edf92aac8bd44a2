"""The fake IBKR's faults that chaos uses, tested at the fake IBKR itself; docs/sandbox.md describes them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from gwctl.errors import Usage
from gwctl.gateway.responses import judge_auth_status, judge_tickle, judge_validate
from gwctl.sandbox.account_settings import SANDBOX_PASSWORD, StandInConfig
from gwctl.sandbox.admin_client import act, set_scenario
from gwctl.sandbox.gateway.upstream import CookieJar, Upstream, UpstreamGone
from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.login import proof_of
from gwctl.session_status import Verdict

TOKEN = "admin-token"
DEADLINE_S = 10.0
DISPATCHER = "/sso/Dispatcher?forwardTo=22&RL=1&ip2loc=US"


@pytest.fixture
def ibkr() -> Iterator[RunningStandIn]:
    with serve_in_thread(StandInConfig(admin_token=TOKEN)) as running:
        yield running


@pytest.fixture
def web(ibkr: RunningStandIn) -> Iterator[httpx.Client]:
    """Yield a client that has logged in through one gateway: it has that gateway's cookie and the login's."""
    with httpx.Client(base_url=ibkr.url, timeout=DEADLINE_S, trust_env=False) as client:
        client.get("/sso/Login?forwardTo=22")
        log_in(client)
        assert client.get(DISPATCHER).status_code == 302
        client.post("/v1/api/iserver/auth/ssodh/init", json={"publish": True, "compete": True})
        yield client


def log_in(web: httpx.Client) -> None:
    init = web.post("/sso/Authenticator", data={"ACTION": "INIT", "USER": "sandbox", "MODE": "paper"}).json()
    proof = proof_of(SANDBOX_PASSWORD, init["nonce"])
    form = {"ACTION": "COMPLETEAUTH", "AUTH_ID": init["auth_id"], "PROOF": proof}
    answer: dict[str, Any] = web.post("/sso/Authenticator", data=form).json()
    for name, value in answer["cookies"].items():
        web.cookies.set(name, value, path="/")


def until(fact: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not fact():
        assert time.monotonic() < deadline_s, "the fact did not come true in time"


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("html", [False, True])
@pytest.mark.parametrize("status", [500, 502, 503, 599])
def test_an_error_is_of_the_status_and_the_kind_asked_for(
    ibkr: RunningStandIn, web: httpx.Client, status: int, *, html: bool
) -> None:
    """``http_error`` is any status, as JSON or as HTML, and gwctl reads each as an outage of IBKR."""
    set_scenario(ibkr.url, TOKEN, "http_error", params={"status": status, "html": html})
    answer = web.post("/v1/api/tickle")
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html" if html else "application/json")
    assert judge_tickle(answer.status_code, answer.content).verdict is Verdict.UPSTREAM_ILL
    set_scenario(ibkr.url, TOKEN, "http_error", on=False)
    assert web.post("/v1/api/tickle").status_code == 200


def test_wrong_types_say_nothing(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """``wrong_types`` is JSON with 200 on every path, and gwctl reads no session from it, neither good nor gone."""
    set_scenario(ibkr.url, TOKEN, "wrong_types")
    tickle, status = web.post("/v1/api/tickle"), web.post("/v1/api/iserver/auth/status")
    assert (tickle.status_code, status.status_code) == (200, 200)
    assert judge_tickle(200, tickle.content).verdict is Verdict.UPSTREAM_ILL
    assert judge_auth_status(200, status.content).verdict is Verdict.UPSTREAM_ILL


def test_a_huge_answer_is_as_large_as_asked_for(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """``huge`` answers only on the one path, with complete JSON of the size."""
    set_scenario(ibkr.url, TOKEN, "huge", params={"path": "/sso/validate", "megabytes": 2})
    assert len(web.get("/v1/api/sso/validate?gw=1").json()) == 2 << 20
    assert judge_tickle(200, web.post("/v1/api/tickle").content).verdict is Verdict.READY


def test_a_borrowed_session_is_renewed_and_not_ours(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """``borrowed``: neither authenticated nor competing, renewed, named; a login or `compete` does not help."""
    set_scenario(ibkr.url, TOKEN, "borrowed")
    tickle = web.post("/v1/api/tickle")
    said = judge_tickle(tickle.status_code, tickle.content)
    assert (said.verdict, said.authenticated, said.competing) == (Verdict.NOT_AUTHENTICATED, False, False)
    assert said.sso_expires_s is not None
    assert said.sso_expires_s > 300
    facts = judge_validate(200, web.get("/v1/api/sso/validate").content)
    assert facts is not None
    assert facts.client_app == "MobileTWS"
    web.post("/v1/api/iserver/auth/ssodh/init", json={"publish": True, "compete": True})
    log_in(web)
    assert web.get(DISPATCHER).status_code == 302
    assert web.post("/v1/api/iserver/auth/status").json()["authenticated"] is False


@pytest.mark.parametrize("way", ["resume", "login page"])
def test_a_new_gateway_gets_a_borrowed_session_back(ibkr: RunningStandIn, web: httpx.Client, way: str) -> None:
    """A freshly started gateway ends ``borrowed``: by a previous login, or by its empty jar."""
    set_scenario(ibkr.url, TOKEN, "borrowed")
    if way == "resume":
        assert web.get(DISPATCHER).status_code == 302
    else:
        httpx.get(f"{ibkr.url}/sso/Login", trust_env=False, timeout=DEADLINE_S)
    assert web.post("/v1/api/iserver/auth/status").json()["authenticated"] is True


def test_a_competitor_is_named(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """``competing`` names itself in ``sso/validate``; without it the session is the sandbox's own."""
    assert web.get("/v1/api/sso/validate").json()["CLIENT_APP"] == "sandbox"
    set_scenario(ibkr.url, TOKEN, "competing", params={"client_app": "WebTrader"})
    assert web.get("/v1/api/sso/validate").json()["CLIENT_APP"] == "WebTrader"


def test_nobody_listens_for_a_while(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """``refuse`` answers its own request, ends open connections, refuses new ones, and then all is as before."""
    with socket.create_connection(("127.0.0.1", ibkr.port), DEADLINE_S) as open_one:
        act(ibkr.url, TOKEN, "refuse", {"for_s": 1.0})
        assert _is_ended(open_one)
    until(lambda: not listens(ibkr.port))
    with pytest.raises(httpx.TransportError):
        web.post("/v1/api/tickle")
    until(lambda: listens(ibkr.port))
    assert web.post("/v1/api/tickle").status_code == 200
    with pytest.raises(Usage):
        act(ibkr.url, TOKEN, "refuse", {"for_s": "long"})


def _is_ended(connection: socket.socket) -> bool:
    """Wait for a connection's next event, and return whether it ended, by an abort or normally."""
    connection.settimeout(DEADLINE_S)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("leads_to", ["10.1.2.3", "93.184.216.34", None])
def test_a_name_that_leads_elsewhere_is_nobody(monkeypatch: pytest.MonkeyPatch, leads_to: str | None) -> None:
    """The fake gateway connects below ``.localhost`` only if that is loopback, and never to other names."""

    async def getaddrinfo(*_args: object, **_options: object) -> list[tuple[object, ...]]:
        if leads_to is None:
            raise socket.gaierror(socket.EAI_AGAIN, "no name server")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (leads_to, 80))]

    async def addresses() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        with pytest.raises(UpstreamGone):
            await Upstream("http://ibkr.localhost:80", CookieJar()).address()
        with pytest.raises(UpstreamGone):
            await Upstream("http://api.ibkr.com:80", CookieJar()).address()
        assert await Upstream("http://127.0.0.1:80", CookieJar()).address() == "127.0.0.1"

    asyncio.run(addresses())


def test_a_name_is_asked_for_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next call notices a missing resolver, and also one that is back."""
    answers = iter(["127.0.0.1", None, "127.0.0.1"])

    async def getaddrinfo(*_args: object, **_options: object) -> list[tuple[object, ...]]:
        address = next(answers)
        if address is None:
            raise socket.gaierror(socket.EAI_AGAIN, "no name server")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))]

    async def addresses() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        upstream = Upstream("http://ibkr.localhost:80", CookieJar())
        assert await upstream.address() == "127.0.0.1"
        with pytest.raises(UpstreamGone):
            await upstream.address()
        assert await upstream.address() == "127.0.0.1"

    asyncio.run(addresses())
