"""What a client of the gateway sees, the same for every side: when the session answers, and how fast requests are."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import statistics
import time
from dataclasses import dataclass

STATUS = "/v1/api/iserver/auth/status"
LOOK_EVERY_S = 0.1
"""IBKR allows ten requests a second (gateway-facts.md)."""
ANSWER_WITHIN_S = 1.0
"""A gateway that hangs keeps its connections open and says nothing."""


def _unverified() -> ssl.SSLContext:
    """Return a context that verifies nothing: the release as shipped has a certificate that no client can verify."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def answers(port: int) -> bool:
    """Say whether anything answers HTTPS on the port."""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        _ask(port, "/")
        return True
    return False


def is_ready(port: int) -> bool:
    """Say whether the session is authenticated and connected, as a client that asks now is told."""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        status, body = _ask(port, STATUS)
        said = json.loads(body) if status == 200 else {}
        return isinstance(said, dict) and said.get("authenticated") is True and said.get("connected") is True
    return False


def _ask(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=ANSWER_WITHIN_S, context=_unverified())
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"User-Agent": "bench", "Host": f"localhost:{port}"})
        answer = connection.getresponse()
        return answer.status, answer.read()


def wait_ready(port: int, within_s: float) -> float | None:
    """Return the seconds until the session is ready, None if it is not ready ``within_s``."""
    began_s = time.monotonic()
    while not is_ready(port):
        if time.monotonic() - began_s > within_s:
            return None
        time.sleep(LOOK_EVERY_S)  # what is measured, not what is waited for: the same for every side
    return time.monotonic() - began_s


@dataclass(frozen=True)
class Traffic:
    """How a client's requests went: latencies in milliseconds, requests a second over one kept connection."""

    median_ms: float
    p99_ms: float
    a_second: float
    failed: int


def traffic(port: int, requests: int, *, a_second: float | None = None) -> Traffic:
    """Make ``requests`` over one kept connection, as fast as they are answered or at a pace, and time each.

    IBKR allows ten a second for each session; the stand-in has no limit.
    """
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=_unverified())
    took_s, failed, began_s = [], 0, time.monotonic()
    with contextlib.closing(connection):
        for number in range(requests):
            if a_second is not None:
                time.sleep(max(0.0, began_s + number / a_second - time.monotonic()))  # a pace, not a wait
            asked_s = time.monotonic()
            connection.request("GET", STATUS, headers={"User-Agent": "bench", "Host": f"localhost:{port}"})
            answer = connection.getresponse()
            answer.read()
            took_s.append(time.monotonic() - asked_s)
            failed += answer.status != 200
    whole_s = time.monotonic() - began_s
    ordered = sorted(took_s)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return Traffic(statistics.median(ordered) * 1000, p99 * 1000, requests / whole_s, failed)
