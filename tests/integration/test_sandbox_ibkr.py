"""The fake IBKR over HTTP: cookies, sessions, scenarios, pushes, and its life as a child process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest
from sandbox_admin import act, read_state, set_scenario
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from gwctl.errors import TryAgain, Usage
from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.login_desk import REFUSED, proof_of
from gwctl.sandbox.settings import SANDBOX_PASSWORD, StandInConfig

TOKEN = "admin-token"
DEADLINE_S = 10.0


@pytest.fixture
def ibkr() -> Iterator[RunningStandIn]:
    with serve_in_thread(StandInConfig(admin_token=TOKEN, heartbeat_s=0.05)) as running:
        yield running


@pytest.fixture
def web(ibkr: RunningStandIn) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ibkr.url, timeout=DEADLINE_S, trust_env=False) as client:
        yield client


def log_in(web: httpx.Client, password: str = SANDBOX_PASSWORD, mode: str = "paper") -> dict[str, Any]:
    """Do what the page does and return the last answer; the client then has the cookies."""
    init = web.post("/sso/Authenticator", data={"ACTION": "INIT", "USER": "sandbox", "MODE": mode}).json()
    form = {"ACTION": "COMPLETEAUTH", "AUTH_ID": init["auth_id"], "PROOF": proof_of(password, init["nonce"])}
    answer: dict[str, Any] = web.post("/sso/Authenticator", data=form).json()
    for name, value in answer.get("cookies", {}).items():
        web.cookies.set(name, value, path="/")
    return answer


def open_session(web: httpx.Client) -> None:
    assert log_in(web)["ok"] is True
    web.post("/v1/api/iserver/auth/ssodh/init", json={"publish": True, "compete": True})


def auth_status(web: httpx.Client) -> dict[str, Any]:
    status: dict[str, Any] = web.post("/v1/api/iserver/auth/status").json()
    return status


def until(fact: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not fact():
        assert time.monotonic() < deadline_s, "the fact did not come true in time"


@pytest.mark.parametrize("prefix", ["/v1/api", "/v1/portal"])
@pytest.mark.parametrize(
    "path", ["/tickle", "/sso/validate", "/one/user", "/iserver/auth/status", "/portfolio/accounts", "/none"]
)
def test_an_unknown_cookie_is_401_everywhere(web: httpx.Client, prefix: str, path: str) -> None:
    """Without a cookie, or with an invented one, every API path is 401."""
    assert web.get(prefix + path).status_code == 401
    assert web.get(prefix + path, headers={"Cookie": "XYZAB_AM.LOGIN=made-up; XYZAB=made-up"}).status_code == 401


def test_a_login_then_the_brokerage_session(web: httpx.Client) -> None:
    """After a login the API knows the cookie; ssodh/init opens the brokerage session; logout ends both."""
    log_in(web)
    assert web.post("/v1/api/tickle").json()["iserver"]["authStatus"]["authenticated"] is False
    opened = web.post("/v1/api/iserver/auth/ssodh/init", json={"publish": True, "compete": True}).json()
    assert opened["authenticated"] is True
    tickle = web.post("/v1/api/tickle").json()
    assert tickle["iserver"]["authStatus"]["connected"] is True
    assert 0 < tickle["ssoExpires"] <= 360_000
    validated = web.get("/v1/api/sso/validate").json()
    assert (validated["LOGIN_TYPE"], validated["USER_NAME"]) == (2, "sandbox")
    assert web.get("/v1/api/iserver/accounts").json()["accounts"] == ["DU1234567"]
    assert web.get("/v1/api/portfolio/accounts").json()[0]["accountId"] == "DU1234567"
    assert web.get("/v1/api/nothing/here").status_code == 404
    assert web.post("/v1/api/logout").json() == {"status": True}
    assert web.post("/v1/api/tickle").status_code == 401


def test_a_gateway_opens_the_brokerage_session_by_a_challenge(web: httpx.Client) -> None:
    """A client that names a machine gets a challenge, and only a response to one authenticates."""
    log_in(web)
    response = "/v1/portal/iserver/auth/ssodh/response"
    assert web.post(response, json={"response": "ab"}).status_code == 400
    wish = {"username": "sandbox", "machineId": "1a2b", "compete": True}
    challenge = web.post("/v1/portal/iserver/auth/ssodh/init", json=wish).json()["challenge"]
    assert int(challenge, 16) > 0
    assert auth_status(web)["authenticated"] is False
    assert web.post(response, json={"response": "ab"}).json()["authenticated"] is True


def test_the_dispatcher_redirects_only_a_living_login(web: httpx.Client) -> None:
    """A dead cookie gets the login page with 200, because a gateway takes every 302 as a successful login."""
    dispatcher = "/sso/Dispatcher?forwardTo=22&RL=1&ip2loc=US"
    dead = web.get(dispatcher, headers={"Cookie": "XYZAB=dead"})
    assert (dead.status_code, "xyz-field-username" in dead.text) == (200, True)
    log_in(web)
    assert web.get(dispatcher).status_code == 302


def test_the_page_loads_nothing_from_outside(web: httpx.Client) -> None:
    """The login page contains no address of another host and no input outside its templates."""
    page = web.get("/sso/Login?forwardTo=22").text
    assert "//" not in page.replace("// ", "")
    assert "<input" not in page.split("<template", 1)[0]


def test_admin_needs_the_token(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """Without the token the admin routes are 401 and change nothing; bad bodies are 400."""
    wish = {"name": "http_503", "on": True}
    assert web.get("/admin/state").status_code == 401
    assert web.post("/admin/scenario", json=wish, headers={"Authorization": "Bearer x"}).status_code == 401
    assert ibkr.state.scenarios == {}
    good = {"Authorization": f"Bearer {TOKEN}"}
    for body in (b"", b"[]", b'{"on": true}', b'{"name": "slow", "params": 7}', b'{"name": "slow", "on": "yes"}'):
        assert web.post("/admin/scenario", content=body, headers=good).status_code == 400
    answer = web.post("/admin/scenario", json={"name": "nonsense"}, headers=good)
    assert (answer.status_code, "http_503" in answer.json()["known"]) == (404, True)


def test_the_client_speaks_admin(ibkr: RunningStandIn) -> None:
    """The admin client switches scenarios, runs actions, reads the state, and turns errors into gwctl's own."""
    assert set_scenario(ibkr.url, TOKEN, "slow", params={"delay_ms": 1})["scenarios"]["slow"]["delay_ms"] == 1
    assert set_scenario(ibkr.url, TOKEN, "slow", on=False)["scenarios"] == {}
    assert act(ibkr.url, TOKEN, "drop_brokerage", {"how": "unauthenticated"})["sessions"]["brokerage"] != "none"
    assert read_state(ibkr.url, TOKEN)["account"]["username"] == "sandbox"
    with pytest.raises(Usage):
        set_scenario(ibkr.url, TOKEN, "nonsense")
    with pytest.raises(TryAgain):
        read_state(ibkr.url, "wrong")
    with pytest.raises(TryAgain):
        read_state("http://127.0.0.1:1", TOKEN)


def test_drop_session(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """After drop_session the cookie is unknown."""
    open_session(web)
    act(ibkr.url, TOKEN, "drop_session")
    assert web.post("/v1/api/tickle").status_code == 401


def test_drop_brokerage_without_a_bridge(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """Without a bridge /iserver is 400, tickle has no authStatus, SSO lives, and ssodh/init repairs it."""
    open_session(web)
    act(ibkr.url, TOKEN, "drop_brokerage")
    refused = web.post("/v1/api/iserver/auth/status")
    assert (refused.status_code, refused.json()) == (400, {"error": "Bad Request: no bridge"})
    assert web.post("/v1/api/tickle").json()["iserver"] == {"error": "no bridge"}
    assert web.get("/v1/api/sso/validate").status_code == 200
    web.post("/v1/api/iserver/auth/ssodh/init", json={"publish": True, "compete": True})
    assert auth_status(web)["authenticated"] is True


@pytest.mark.parametrize("how", ["no_bridge", "unauthenticated"])
def test_a_reopened_brokerage_session_wants_the_accounts_first(
    ibkr: RunningStandIn, web: httpx.Client, how: str
) -> None:
    """After ``ssodh/init`` everything about orders and prices is 500 until a client has asked for the accounts."""
    open_session(web)
    act(ibkr.url, TOKEN, "drop_brokerage", {"how": how})
    web.post("/v1/api/iserver/auth/ssodh/init", json={"publish": True, "compete": True})
    refused = web.get("/v1/api/iserver/marketdata/snapshot")
    assert (refused.status_code, refused.json()["error"]) == (500, "Please query /accounts first")
    assert auth_status(web)["authenticated"] is True
    assert web.get("/v1/api/iserver/accounts").status_code == 200
    opened = web.get("/v1/api/iserver/marketdata/snapshot", params={"conids": "265598"})
    assert (opened.status_code, opened.json()) == (200, [{"conidEx": "265598", "conid": 265598}])


def test_a_flat_tickle_and_a_refused_way_of_asking(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """The answers that clients report from IBKR can be switched on."""
    open_session(web)
    set_scenario(ibkr.url, TOKEN, "flat_tickle")
    tickle = web.post("/v1/api/tickle").json()
    assert "iserver" not in tickle
    assert isinstance(tickle["authenticated"], bool)
    act(ibkr.url, TOKEN, "drop_brokerage")
    assert web.post("/v1/api/tickle").json()["error"] == "no bridge"
    set_scenario(ibkr.url, TOKEN, "method_refused", params={"status": 400})
    assert web.post("/v1/api/tickle").status_code == 400
    assert web.get("/v1/api/tickle").status_code == 200
    assert web.post("/v1/api/iserver/auth/ssodh/init", json={}).status_code == 200


def test_every_answer_is_an_error_for_a_while_after_a_login(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """``ill_after_login`` counts from each login and affects only the API: the login itself succeeds."""
    set_scenario(ibkr.url, TOKEN, "ill_after_login", params={"for_s": 600})
    assert web.post("/v1/api/tickle").status_code == 401, "nobody has logged in yet"
    open_session(web)
    assert web.post("/v1/api/tickle").status_code == 503
    assert web.get("/sso/Dispatcher").status_code == 302
    set_scenario(ibkr.url, TOKEN, "ill_after_login", params={"for_s": 0})
    assert web.post("/v1/api/tickle").status_code == 200


def test_drop_brokerage_unauthenticated_and_restore(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """The other way to lose it reports authenticated false; restore_brokerage restores it from IBKR's side."""
    open_session(web)
    act(ibkr.url, TOKEN, "drop_brokerage", {"how": "unauthenticated"})
    assert (auth_status(web)["authenticated"], auth_status(web)["connected"]) == (False, False)
    act(ibkr.url, TOKEN, "restore_brokerage")
    assert auth_status(web)["authenticated"] is True


@pytest.mark.parametrize(
    ("scenario", "status", "body"),
    [
        ("http_503", 503, ""),
        ("html_503", 503, "<!DOCTYPE html>"),
        ("http_429", 429, "Too Many"),
        ("bad_json", 200, '{"session": "9fe1c2'),
    ],
)
def test_faults_over_whole_answers(
    ibkr: RunningStandIn, web: httpx.Client, scenario: str, status: int, body: str
) -> None:
    """Each fault affects the API while it is on, and never the admin routes."""
    open_session(web)
    set_scenario(ibkr.url, TOKEN, scenario)
    answer = web.post("/v1/api/tickle")
    assert (answer.status_code, answer.text.startswith(body)) == (status, True)
    set_scenario(ibkr.url, TOKEN, scenario, on=False)
    assert web.post("/v1/api/tickle").json()["iserver"]["authStatus"]["authenticated"] is True


def test_faults_can_be_kept_to_one_part(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """With paths=sso the login page fails and the API does not."""
    open_session(web)
    set_scenario(ibkr.url, TOKEN, "http_503", params={"paths": "sso"})
    assert (web.get("/sso/Login").status_code, web.post("/v1/api/tickle").status_code) == (503, 200)


def test_slow_answers_come_late(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """A slow answer takes at least its delay."""
    set_scenario(ibkr.url, TOKEN, "slow", params={"delay_ms": 200})
    began_s = time.monotonic()
    assert web.post("/v1/api/tickle").status_code == 401
    assert time.monotonic() - began_s >= 0.2


def test_hang_answers_nothing_until_it_is_off(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """While `hang` is on a request gets no answer; when it is off the next one does."""
    set_scenario(ibkr.url, TOKEN, "hang")
    with pytest.raises(httpx.ReadTimeout):
        web.post("/v1/api/tickle", timeout=0.3)
    set_scenario(ibkr.url, TOKEN, "hang", on=False)
    assert web.post("/v1/api/tickle").status_code == 401


@pytest.mark.parametrize(("take_over", "competing"), [(True, False), (False, True)])
def test_competing_yields_to_a_take_over_or_not(
    ibkr: RunningStandIn, web: httpx.Client, *, take_over: bool, competing: bool
) -> None:
    """Another client shows as competing; compete:true takes the session back only if the other client lets go."""
    open_session(web)
    set_scenario(ibkr.url, TOKEN, "competing", params={"take_over": take_over})
    assert auth_status(web)["competing"] is True
    web.post("/v1/api/iserver/auth/ssodh/init", json={"publish": True, "compete": False})
    assert auth_status(web)["competing"] is True
    web.post("/v1/api/iserver/auth/ssodh/init", json={"publish": True, "compete": True})
    assert auth_status(web)["competing"] is competing


def test_login_never_authenticates(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """The login succeeds and the Dispatcher redirects, but validate is 401 and the brokerage session stays closed."""
    set_scenario(ibkr.url, TOKEN, "login_never_authenticates")
    open_session(web)
    assert web.get("/sso/Dispatcher").status_code == 302
    assert web.get("/v1/portal/sso/validate?gw=1").status_code == 401
    assert auth_status(web)["authenticated"] is False


def test_page_scenarios_reach_the_page(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """Banner, temperament and the page's flags are in the served page, without a way to inject markup."""
    set_scenario(ibkr.url, TOKEN, "maintenance_banner", params={"text": "<b>down</b>"})
    set_scenario(ibkr.url, TOKEN, "temperamental")
    set_scenario(ibkr.url, TOKEN, "login_page", params={"form_delay_ms": 10_000, "toggle": False})
    line = next(line for line in web.get("/sso/Login").text.splitlines() if line.startswith("const flags"))
    flags = json.loads(line.removeprefix("const flags = ").rstrip(";"))
    assert (flags["swallow"], flags["form_delay_ms"], flags["toggle"]) == (True, 10_000, False)
    assert flags["banner"] == "&lt;b&gt;down&lt;/b&gt;"


def test_the_demo_call_of_the_same_gateway_ends_the_temper(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """The page ignores the form until portfolio/accounts came with this page's cookie, logged in or not."""
    set_scenario(ibkr.url, TOKEN, "temperamental")
    assert '"swallow": true' in web.get("/sso/Login").text
    assert web.get("/v1/portal/portfolio/accounts").status_code == 401
    assert '"swallow": false' in web.get("/sso/Login").text
    with httpx.Client(base_url=ibkr.url, trust_env=False) as restarted:
        assert '"swallow": true' in restarted.get("/sso/Login").text


def test_submits_are_counted_with_their_outcomes(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """The admin sees each submit with time, mode and outcome, and nothing that was typed."""
    assert log_in(web, "wrong-pass") == {"error": REFUSED}
    log_in(web, mode="live")
    log_in(web)
    state = read_state(ibkr.url, TOKEN)
    assert [item["outcome"] for item in state["login"]["submits"]] == ["refused", "wrong_mode", "success"]
    assert state["login"]["refusals"] == 1
    assert "wrong-pass" not in json.dumps(state)
    assert state["requests"]["/sso/Authenticator"] == 6


def test_pushes_follow_the_brokerage_session(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """The socket sends the state at once, heartbeats in between, and sts at each change; tic gets an answer."""
    open_session(web)
    cookie = "; ".join(f"{name}={value}" for name, value in web.cookies.items())
    address = ibkr.url.replace("http", "ws") + "/v1/api/ws"
    with connect(address, additional_headers={"Cookie": cookie}, proxy=None) as socket:

        def next_of(topic: str, key: str) -> dict[str, Any]:
            deadline_s = time.monotonic() + DEADLINE_S
            while time.monotonic() < deadline_s:
                message: dict[str, Any] = json.loads(socket.recv(timeout=DEADLINE_S))
                if message["topic"] == topic and key in message:
                    return message
            raise AssertionError(topic)

        assert next_of("system", "success")["isPaper"] is True
        assert next_of("sts", "args")["args"]["authenticated"] is True
        assert next_of("system", "hb")["hb"] > 0
        act(ibkr.url, TOKEN, "drop_brokerage")
        assert next_of("sts", "args")["args"]["authenticated"] is False
        socket.send("tic")
        assert next_of("tic", "alive")["alive"] is True
    until(lambda: read_state(ibkr.url, TOKEN)["sessions"]["listeners"] == 0)


def test_no_pushes_for_strangers(ibkr: RunningStandIn) -> None:
    """A socket without the cookie of a live login is refused."""
    with pytest.raises(InvalidStatus), connect(ibkr.url.replace("http", "ws") + "/v1/api/ws", proxy=None):
        pass


@contextlib.contextmanager
def started_child(config: Mapping[str, Any] | None) -> Iterator[subprocess.Popen[bytes]]:
    """Start the fake IBKR as the supervisor does; after any test, no child is left."""
    child = subprocess.Popen(
        [sys.executable, "-m", "gwctl.sandbox"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with child:
        try:
            assert child.stdin is not None
            child.stdin.write(json.dumps(config).encode() + b"\n")
            child.stdin.flush()
            yield child
        finally:
            child.kill()


def port_of(child: subprocess.Popen[bytes]) -> int:
    assert child.stdout is not None
    port: int = json.loads(child.stdout.readline())["port"]
    return port


@pytest.mark.parametrize("with_a_hanging_request", [False, True])
def test_a_child_says_its_port_and_ends_on_term(*, with_a_hanging_request: bool) -> None:
    """The child prints one line with its port, serves, prints nothing else, and exits at once on SIGTERM."""
    with started_child(StandInConfig(admin_token=TOKEN).to_json()) as child:
        url = f"http://127.0.0.1:{port_of(child)}"
        assert read_state(url, TOKEN)["login"]["submits"] == []
        if with_a_hanging_request:
            set_scenario(url, TOKEN, "hang")
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{url}/v1/api/tickle", timeout=0.2, trust_env=False)
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=DEADLINE_S)
        assert (child.returncode, out, err) == (0, b"", b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_child_ends_quietly_while_it_is_still_starting(number: signal.Signals) -> None:
    """From its port's line on, a signal ends it with 0 and no word; a hang-up just after that line does not."""
    with started_child(StandInConfig(admin_token=TOKEN).to_json()) as child:
        port_of(child)
        child.send_signal(signal.SIGHUP)
        child.send_signal(number)
        out, err = child.communicate(timeout=DEADLINE_S)
        assert (child.returncode, out, err) == (0, b"", b"")


def test_what_connects_while_a_child_is_starting_gets_its_answer() -> None:
    """A request just after the port's line waits for the server and is answered."""
    with started_child(StandInConfig(admin_token=TOKEN).to_json()) as child:
        assert httpx.get(f"http://127.0.0.1:{port_of(child)}/sso/Login", timeout=DEADLINE_S, trust_env=False).is_success


def test_a_child_outlives_its_pipes_and_hang_ups() -> None:
    """If its parent closes all pipes and the session hangs up, it keeps serving."""
    with started_child(StandInConfig(admin_token=TOKEN).to_json()) as child:
        url = f"http://127.0.0.1:{port_of(child)}"
        for pipe in (child.stdin, child.stdout, child.stderr):
            assert pipe is not None
            pipe.close()
        os.kill(child.pid, signal.SIGHUP)
        assert read_state(url, TOKEN)["gateways"] == 0
        assert child.poll() is None


def test_a_child_listens_on_loopback_only(ibkr: RunningStandIn) -> None:
    """The fake IBKR is bound to 127.0.0.1: another address of this machine does not reach it."""
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.2:{ibkr.port}/admin/state", timeout=DEADLINE_S, trust_env=False)


@pytest.mark.parametrize("config", [None, {}, {"admin_token": "t", "page": {"variant": "../x"}}])
def test_a_child_refuses_a_bad_configuration(config: Mapping[str, Any] | None) -> None:
    """A bad configuration ends the child with 78 and one line on stderr."""
    with started_child(config) as child:
        out, err = child.communicate(timeout=DEADLINE_S)
        assert (child.returncode, out, err.count(b"\n")) == (78, b"", 1)


def test_a_child_says_that_its_port_is_taken(ibkr: RunningStandIn) -> None:
    """A taken port ends the child with 69 and one line on stderr."""
    with started_child(StandInConfig(admin_token=TOKEN, port=ibkr.port).to_json()) as child:
        _, err = child.communicate(timeout=DEADLINE_S)
        assert (child.returncode, err.count(b"\n")) == (69, 1)
