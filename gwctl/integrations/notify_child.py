"""Send one message by a webhook or Apprise, in a child process: ``python -m gwctl.integrations.notify_child``.

The job, secrets included, comes through stdin; the answer is one line of JSON. Nothing that a library prints is passed
on, because it may contain a URL.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from gwctl.httpx_import import httpx

BOUND_S = 25
"""This process ends after this time, even if its parent was killed."""
ANSWER_S = 5.0
"""The time limit for connecting, and again for the answer."""
PAUSES_S = (1.0, 3.0)
"""The pauses between tries; a server that asks for a longer one gets it."""
LAST_TRY_S = 14.0
"""No try begins later than this after the first, so that each ends within BOUND_S."""
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
APPRISE_S = 20.0
APPRISE_AGAIN_S = 2.0


# A webhook.


class Reply(Struct, frozen=True):
    """The result of one try."""

    ok: bool
    said: str
    may_pass: bool = False
    retry_after_s: float = 0.0


def tell_webhook(secrets: Mapping[str, str], message: Mapping[str, str]) -> Reply:
    """POST the message as JSON; retry after a pause on errors that may pass; a receiver may get the message twice."""
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
            # Plain back-off: no signal says when a receiver has recovered, and this process has nothing else to do.
            time.sleep(pause_s)  # nothing to wait on: the receiver named the pause (Retry-After), or gets ours
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
        # OpenSSL's words: only their presence is checked.
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
    """Notify every URL at the same time; retry once if one is not reached."""
    import logging
    from concurrent.futures import ThreadPoolExecutor, wait

    import apprise

    logging.disable(logging.CRITICAL)
    asset = apprise.AppriseAsset(app_id="gwctl", async_mode=False, secure_logging=True, storage_mode="memory")
    kind = {"critical": apprise.NotifyType.FAILURE, "warning": apprise.NotifyType.WARNING}.get(
        message["severity"], apprise.NotifyType.INFO
    )

    def tell(url: str) -> str | None:
        """Return what went wrong, or None."""
        service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        if service is None:
            return "is not a URL that Apprise knows"
        if not service.verify_certificate:
            return "turns certificate verification off, which gwctl does not allow"
        for pause_s in (0.0, APPRISE_AGAIN_S):
            # None before the first try; otherwise the back-off before the one retry, in a thread for this URL only.
            time.sleep(pause_s)  # nothing to wait on: no signal says when a service has recovered
            with contextlib.suppress(Exception):  # an error in one service does not affect the others
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
    counted = f"sent to {len(urls) - len(wrong)} of {len(urls)}"
    return Reply(ok=bool(urls) and not wrong, said=": ".join([counted, "; ".join(wrong)] if wrong else [counted]))


# The process.


def work(job: Mapping[str, Any]) -> Reply:
    """Return the result; report only the type of an exception from a library."""
    try:
        if job["way"] == "webhook":
            return tell_webhook(job["secrets"], job["message"])
        return tell_apprise(job["secrets"], job["message"])
    except Exception as error:  # noqa: BLE001 - its text may contain a URL
        return Reply(ok=False, said=f"unexpected: {type(error).__name__}")


def main() -> None:
    """Do the job on stdin and exit, even if threads still wait."""
    signal.alarm(BOUND_S)
    reply = work(json.loads(sys.stdin.readline()))
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps({"ok": reply.ok, "said": reply.said}) + "\n")
        sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
