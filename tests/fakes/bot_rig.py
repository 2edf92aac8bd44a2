"""What a bot does at the fake IBKR: it logs in, opens the brokerage session, asks for accounts, and listens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from gwctl.sandbox.ibkr import RunningStandIn
from gwctl.sandbox.login_desk import proof_of
from gwctl.sandbox.settings import SANDBOX_PASSWORD, SANDBOX_USERNAME

ACCOUNT = "DU1234567"
AAPL = 265598
DEADLINE_S = 20.0


def log_in(web: httpx.Client) -> dict[str, str]:
    """Log in as the page does; return the cookies that it sets, which the client has, too."""
    asked = {"ACTION": "INIT", "USER": SANDBOX_USERNAME, "MODE": "paper"}
    init = web.post("/sso/Authenticator", data=asked).json()
    proof = proof_of(SANDBOX_PASSWORD, init["nonce"])
    form = {"ACTION": "COMPLETEAUTH", "AUTH_ID": init["auth_id"], "PROOF": proof}
    cookies: dict[str, str] = web.post("/sso/Authenticator", data=form).json()["cookies"]
    for name, value in cookies.items():
        web.cookies.set(name, value, path="/")
    return cookies


class Bot:
    """A bot's calls, by REST."""

    def __init__(self, web: httpx.Client) -> None:
        self.web = web

    def call(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        """Call a path of the API; check the answer's status and return its JSON."""
        answer = self.web.request(method, f"/v1/api{path}", **more)
        assert answer.status_code == status, (path, answer.status_code, answer.text)
        return answer.json()

    def get(self, path: str, status: int = 200, **query: Any) -> Any:
        """Get a path with a query."""
        return self.call("GET", path, status, params=query)

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        """Post a JSON body."""
        return self.call("POST", path, status, json=body)

    def order(self, status: int = 200, **terms: Any) -> Any:
        """Order 10 AAPL at the market, or with other terms."""
        ticket = {"conid": AAPL, "side": "BUY", "orderType": "MKT", "tif": "DAY", "quantity": 10, **terms}
        return self.post(f"/iserver/account/{ACCOUNT}/orders", {"orders": [ticket]}, status)

    def until_filled(self, order_id: str) -> dict[str, Any]:
        """Return the status of an order once it is filled."""

        def filled() -> dict[str, Any] | None:
            told: dict[str, Any] = self.get(f"/iserver/account/order/status/{order_id}")
            return told if told["order_status"] == "Filled" else None

        return until(filled)


def until(fact: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    """Return the fact once there is one; fail after a while."""
    deadline_s = time.monotonic() + DEADLINE_S
    while (found := fact()) is None:
        assert time.monotonic() < deadline_s, "the fact did not come true in time"
        time.sleep(0.02)  # a fact of another process: nothing to wait on; bounded above
    return found


class Listener:
    """A bot's WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    def say(self, text: str | bytes) -> None:
        """Send a topic."""
        self._socket.send(text)

    def hear(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the next message of this kind; skip others."""
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            message: dict[str, Any] = json.loads(self._socket.recv(timeout=max(0.0, deadline_s - time.monotonic())))
            if is_it(message):
                return message

    def on(self, topic: str) -> dict[str, Any]:
        """Return the next message of a topic."""
        return self.hear(lambda message: message.get("topic") == topic)


@contextmanager
def listening(url: str, **more: Any) -> Iterator[Listener]:
    """Open a WebSocket; ``more`` is what the library takes: headers, TLS."""
    with connect(url, proxy=None, **more) as socket:
        yield Listener(socket)


@contextmanager
def listening_at(ibkr: RunningStandIn, cookies: dict[str, str]) -> Iterator[Listener]:
    """Open a WebSocket at the fake IBKR itself."""
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    with listening(f"ws://127.0.0.1:{ibkr.port}/v1/api/ws", additional_headers={"Cookie": cookie}) as listener:
        yield listener
