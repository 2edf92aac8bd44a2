"""A program of somebody's that uses ibind, and knows nothing of gwctl: all it is told is in its environment."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from ibind import CallbackSink, IbkrClient, IbkrWsClient, events

HEARD_WITHIN_S = 20.0


def ask() -> dict[str, Any]:
    """Return what the REST client is told."""
    client = IbkrClient(max_retries=1)
    return {
        "verified_by": client.cacert,
        "base_url": client.base_url,
        "healthy": client.check_health(),
        "authorised": client.check_auth_status(),
        "tickle": client.tickle().data,
        "status": client.authentication_status().data,
        "accounts": client.portfolio_accounts().data,
        "brokerage": client.receive_brokerage_accounts().data,
        "validate": client.validate().data,
    }


def listen(*cacert: str) -> dict[str, Any]:
    """Return what the WebSocket client hears first, or its error; ``cacert`` instead of what the environment has."""
    heard: dict[str, Any] = {}
    known = threading.Event()
    sink = CallbackSink()

    def on_status(event: events.AuthenticationStatus) -> None:
        heard.setdefault("authenticated", event.authenticated)
        known.set()

    def on_error(event: events.WsError) -> None:
        heard.setdefault("error", str(event.error))
        known.set()

    sink.on(events.AuthenticationStatus, on_status)
    sink.on(events.WsError, on_error)
    verifying: dict[str, Any] = {"cacert": cacert[0]} if cacert else {}
    client = IbkrWsClient(ibkr_client=IbkrClient(max_retries=1), sink=sink, **verifying)
    starter = threading.Thread(target=client.start, daemon=True)
    starter.start()
    known.wait(HEARD_WITHIN_S)
    client.shutdown()
    starter.join(HEARD_WITHIN_S)
    return heard


if __name__ == "__main__":
    told = {"ask": ask, "listen": listen}[sys.argv[1]](*sys.argv[2:])
    sys.stdout.write(json.dumps(told) + "\n")
