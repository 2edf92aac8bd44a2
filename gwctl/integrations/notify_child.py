"""Tell one message by a webhook or by Apprise, in a process of its own: ``python -m gwctl.integrations.notify_child``.

The job, secrets included, comes through stdin; one line of JSON says how it went. Nothing that a library says is passed
on, for it may hold an address.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

BOUND_S = 25
"""After so long this process is no more, also where the one that started it was killed."""
ANSWER_S = 5.0
"""For the connection, and again for the answer."""
PAUSES_S = (1.0, 3.0)
"""The pauses between the tries; a server that wants to be left alone for longer is."""
LAST_TRY_S = 14.0
"""No try begins later than this after the first, so that each comes to its end within BOUND_S."""
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
APPRISE_S = 20.0
APPRISE_AGAIN_S = 2.0


# A webhook.


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one try."""

    ok: bool
    said: str
    may_pass: bool = False
    retry_after_s: float = 0.0


def tell_webhook(secrets: Mapping[str, str], message: Mapping[str, str]) -> Reply:
    """POST the message as JSON, again after a pause where what went wrong may pass; a receiver may get it twice."""
    from gwctl.httpx_import import internet_client

    began_s = time.monotonic()
    headers: dict[str, str] = {}
    if "notify_webhook_token" in secrets:
        headers["Authorization"] = f"Bearer {secrets['notify_webhook_token']}"
    with internet_client(ANSWER_S, headers) as client:
        reply = _post(client, secrets["notify_webhook"], message)
        for least_s in PAUSES_S:
            pause_s = max(least_s, reply.retry_after_s)
            late = time.monotonic() - began_s + pause_s > LAST_TRY_S
            if reply.ok or not reply.may_pass or late or pause_s > PAUSES_S[-1]:
                break
            # The back-off itself: nobody says when a receiver is well again, and this process has nothing else to do.
            time.sleep(pause_s)  # no fact to wait for: the receiver named the pause (Retry-After), or gets it
            reply = _post(client, secrets["notify_webhook"], message)
    return reply


def _post(client: httpx.Client, url: str, message: Mapping[str, str]) -> Reply:
    from gwctl.httpx_import import httpx

    try:
        with client.stream("POST", url, json=dict(message)) as response:
            status, wait = response.status_code, response.headers.get("retry-after", "")
    except httpx.TimeoutException:
        return Reply(ok=False, said=f"no answer within {ANSWER_S:g} s", may_pass=True)
    except httpx.ConnectError as error:
        # OpenSSL's words, of which only whether they are there is looked at.
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return Reply(ok=False, said="its certificate is not trusted")
        return Reply(ok=False, said="no connection", may_pass=True)
    except httpx.HTTPError:
        return Reply(ok=False, said="the connection broke", may_pass=True)
    if 200 <= status < 300:
        return Reply(ok=True, said=f"answered {status}")
    said = f"answered {status}" + (", and a redirect is not followed" if 300 <= status < 400 else "")
    return Reply(
        ok=False, said=said, may_pass=status in PASSING, retry_after_s=float(wait) if wait.isdecimal() else 0.0
    )


# Apprise.


def tell_apprise(secrets: Mapping[str, str], message: Mapping[str, str]) -> Reply:
    """Tell every address, all at the same time; one that is not reached is tried once more."""
    import logging
    from concurrent.futures import ThreadPoolExecutor, wait

    import apprise

    logging.disable(logging.CRITICAL)
    asset = apprise.AppriseAsset(app_id="gwctl", async_mode=False, secure_logging=True, storage_mode="memory")
    kind = {"critical": apprise.NotifyType.FAILURE, "warning": apprise.NotifyType.WARNING}.get(
        message["severity"], apprise.NotifyType.INFO
    )

    def tell(url: str) -> str | None:
        """Return what went wrong, None if nothing did."""
        service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        if service is None:
            return "is no address that Apprise knows"
        if not service.verify_certificate:
            return "switches the verification of certificates off, which gwctl does not do"
        for pause_s in (0.0, APPRISE_AGAIN_S):
            # None before the first try; the one repetition's back-off, in a thread that serves this address alone.
            time.sleep(pause_s)  # no fact to wait for: a service does not say when it is well again
            with contextlib.suppress(Exception):  # a service's own defect is not that of the others
                if service.notify(body=message["text"], title=message["title"], notify_type=kind):
                    return None
        return f"was not reached ({service.service_name})"

    urls = secrets["notify_urls"].split()
    pool = ThreadPoolExecutor(max_workers=16)
    told = [pool.submit(tell, url) for url in urls]
    wait(told, timeout=APPRISE_S)
    wrong: list[str] = []
    for number, one in enumerate(told, 1):
        said = one.result() if one.done() else f"did not answer within {APPRISE_S:g} s"
        if said is not None:
            wrong.append(f"number {number} {said}")
    counted = f"{len(urls) - len(wrong)} of {len(urls)} told"
    return Reply(ok=bool(urls) and not wrong, said=": ".join([counted, "; ".join(wrong)] if wrong else [counted]))


# The process.


def work(job: Mapping[str, Any]) -> Reply:
    """Return how it went; whatever a library raises is told by its kind alone."""
    try:
        if job["way"] == "webhook":
            return tell_webhook(job["secrets"], job["message"])
        return tell_apprise(job["secrets"], job["message"])
    except Exception as error:  # noqa: BLE001 - its text may hold an address
        return Reply(ok=False, said=f"unexpected: {type(error).__name__}")


def main() -> None:
    """Do the job on stdin and end, whatever threads still wait for somebody."""
    signal.alarm(BOUND_S)
    reply = work(json.loads(sys.stdin.readline()))
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps({"ok": reply.ok, "said": reply.said}) + "\n")
        sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
