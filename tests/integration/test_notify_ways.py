"""The three ways of notifying a person, with a real HTTP server, a real program and the real Apprise."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from canaries import Canaries
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import asdict
from processes import children_with, words_of
from webhook import Webhook, a_webhook

from gwctl import process
from gwctl.config import load
from gwctl.credentials import Found, Secret
from gwctl.environment import Environment
from gwctl.errors import Configuration
from gwctl.integrations import notify, notify_child
from gwctl.integrations.notify import (
    MOST_WAITING,
    ChildWay,
    CommandWay,
    Delivery,
    DeliveryQueue,
    Message,
    find_secrets,
    ways_of,
)
from gwctl.version import VERSION

MESSAGE = Message(
    event="locked_out",
    severity="critical",
    profile="default",
    title="gwctl default: locked out",
    text="default: IBKR says that the account is locked. Next: gwctl login --explain",
    at="2026-11-22T21:13:55.000Z",
    version=VERSION,
)
TOKEN, PATH_TOKEN = "Heron-Bearer-7719", "Plover-Path-3381"
CANARIES = Canaries({"token": TOKEN, "path": PATH_TOKEN})
ENVIRON = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


def found(**secrets: str) -> dict[str, Found]:
    return {name: Found(Secret(value), "a test") for name, value in secrets.items()}


def webhook_way(webhook: Webhook, **environ: str) -> ChildWay:
    secrets = found(notify_webhook=f"{webhook.url}/{PATH_TOKEN}", notify_webhook_token=TOKEN)
    return ChildWay("webhook", "a test", secrets, {**ENVIRON, **environ})


def apprise_way(*urls: str) -> ChildWay:
    return ChildWay("apprise", "a test", found(notify_urls="\n".join(urls)), ENVIRON)


def send(way: ChildWay | CommandWay) -> Delivery:
    return asyncio.run(way.send(MESSAGE))


def children_left() -> list[str]:
    return [words_of(child) for child in children_with("notify_child")]


# A webhook.


def test_a_webhook_gets_the_message_and_the_token() -> None:
    """A POST of JSON with exactly the documented fields; the token is in its own header."""
    with a_webhook() as webhook:
        assert send(webhook_way(webhook)) == Delivery(ok=True, said="answered 200")
    ((path, headers, body),) = webhook.requests
    assert path == f"/{PATH_TOKEN}"
    assert body == asdict(MESSAGE)
    assert list(body) == ["event", "severity", "profile", "title", "text", "at", "version"]
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("answers", "headers", "said", "tries"),
    [
        ([204], {}, "answered 204", 1),
        ([500], {}, "answered 500", 3),
        ([503, 429, 200], {}, "answered 200", 3),
        (["close"], {}, "the connection broke", 3),
        (["close", 200], {}, "answered 200", 2),
        (["hang"], {}, "no answer within 0.2 s", 3),
        (["hang", 200], {}, "answered 200", 2),
        ([404], {}, "answered 404", 1),
        ([401], {}, "answered 401", 1),
        ([302], {"location": "/elsewhere"}, "answered 302, and a redirect is not followed", 1),
        ([429], {"retry-after": "3600"}, "answered 429", 1),
        ([429], {"retry-after": "tomorrow"}, "answered 429", 3),
    ],
)
def test_what_may_pass_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, answers: list[int | str], headers: dict[str, str], said: str, tries: int
) -> None:
    """A server error or no answer: two more tries; a final error or a request to wait: only one."""
    monkeypatch.setattr(notify_child, "ANSWER_S", 0.2)
    monkeypatch.setattr(notify_child, "PAUSES_S", (0.01, 0.02))
    with a_webhook(*answers, **headers) as webhook:
        job = {"way": "webhook", "message": asdict(MESSAGE), "secrets": {"notify_webhook": f"{webhook.url}/hook"}}
        reply = notify_child.work(job)
    assert (reply.ok, reply.said) == (said.startswith("answered 2"), said)
    assert [path for path, _, _ in webhook.requests] == ["/hook"] * tries


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for an unreachable server does not contain the URL."""
    monkeypatch.setattr(notify_child, "PAUSES_S", (0.01, 0.02))
    with a_webhook() as webhook:
        url = f"{webhook.url}/{PATH_TOKEN}"
    reply = notify_child.work({"way": "webhook", "message": asdict(MESSAGE), "secrets": {"notify_webhook": url}})
    assert (reply.ok, reply.said) == (False, "no connection")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a self-signed certificate of 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "webhook")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file


def test_https_is_verified(certificate: Path) -> None:
    """An untrusted certificate gets neither message nor token; with its root it gets both."""
    with a_webhook(certificate=certificate) as webhook:
        assert send(webhook_way(webhook)) == Delivery(ok=False, said="its certificate is not trusted")
        assert webhook.requests == []
        assert send(webhook_way(webhook, SSL_CERT_FILE=str(certificate))).ok
        assert webhook.events == ["locked_out"]


def test_a_child_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 7: a child that hangs ends after its bound, even if its parent is gone."""
    code = "from gwctl.integrations import notify_child as c; c.BOUND_S = 1; c.main()"
    with a_webhook("hang") as webhook:
        job = {"way": "webhook", "message": asdict(MESSAGE), "secrets": {"notify_webhook": webhook.url}}
        done = subprocess.run([sys.executable, "-c", code], input=json.dumps(job).encode(), check=False, timeout=30)
    assert done.returncode == -14


# Apprise.


def test_apprise_tells_every_address() -> None:
    """The real library notifies all URLs at once: a failing one is named by its number and affects no other."""
    with a_webhook() as dead:
        pass
    with a_webhook() as webhook:
        delivery = send(
            apprise_way(
                f"json://127.0.0.1:{webhook.port}/{PATH_TOKEN}",
                f"json://127.0.0.1:{dead.port}/{PATH_TOKEN}",
                PATH_TOKEN,
                f"json://127.0.0.1:{webhook.port}/x?verify=no json://127.0.0.1:{webhook.port}/two",
            )
        )
    assert delivery == Delivery(
        ok=False,
        said="sent to 2 of 5: number 2 was not reached (JSON); number 3 is not a URL that Apprise knows; "
        "number 4 turns certificate verification off, which gwctl does not allow",
    )
    assert {path for path, _, _ in webhook.requests} == {f"/{PATH_TOKEN}", "/two"}
    for body in webhook.bodies:
        assert (body["title"], body["message"], body["type"]) == (MESSAGE.title, MESSAGE.text, "failure")


# A program.


def test_a_program_is_told_by_its_environment(tmp_path: Path) -> None:
    """It gets the five variables and no secret; its exit code is its answer."""
    file = tmp_path / "program"
    file.write_text(f"#!/bin/sh\nenv >{tmp_path}/env\nexit $1\n")
    file.chmod(0o700)
    environ = {**ENVIRON, "GWCTL_PASSWORD": "p", "GWCTL_NOTIFY_WEBHOOK": PATH_TOKEN, "GWCTL_NOTIFY_URLS_FILE": "/f"}
    assert send(CommandWay([str(file), "0"], environ, "a test")).ok
    told = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if line[:5] == "GWCTL")
    assert told == {
        "GWCTL_EVENT": MESSAGE.event,
        "GWCTL_TEXT": MESSAGE.text,
        "GWCTL_PROFILE": "default",
        "GWCTL_SEVERITY": "critical",
        "GWCTL_TITLE": MESSAGE.title,
    }
    failed = send(CommandWay([str(file), "3"], environ, "a test"))
    assert failed == Delivery(ok=False, said="notify_command exited with code 3")
    assert "cannot start" in send(CommandWay(["/nowhere/program"], environ, "a test")).said


# All together.


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Yield the supervisor's log."""
    root = logging.getLogger("gwctl")
    before, root.propagate = root.propagate, True
    with caplog.at_level(logging.DEBUG, "gwctl"):
        yield caplog
    root.propagate = before


def test_a_hanging_way_delays_nobody(log: pytest.LogCaptureFixture) -> None:
    """While one webhook hangs, the other gets everything in order; the end is quick and leaves no process."""
    with a_webhook("hang") as hanging, a_webhook() as sound:

        async def story() -> float:
            outbox = DeliveryQueue([webhook_way(hanging), webhook_way(sound)])
            began_s = time.monotonic()
            for number in range(3):
                outbox.post(Message(**{**asdict(MESSAGE), "event": f"event_{number}"}))
            posted_s = time.monotonic() - began_s
            async with asyncio.timeout(30):
                while len(sound.requests) < 3 or not hanging.requests:  # noqa: ASYNC110 - a server in threads
                    await asyncio.sleep(0.02)
            began_s = time.monotonic()
            await outbox.close(grace_s=0.3)
            return max(posted_s, time.monotonic() - began_s - 0.3)

        assert asyncio.run(story()) < 1.0
        assert sound.events == ["event_0", "event_1", "event_2"]
        assert hanging.events == ["event_0"]
    assert children_left() == []
    assert [record.getMessage() for record in log.records if "before the end" in record.getMessage()] == [
        "webhook: did not send event_1 before the end",
        "webhook: did not send event_2 before the end",
        "webhook: did not send event_0 before the end",
    ]
    assert CANARIES.in_bytes(log.text.encode()) == []


def test_what_waits_is_bounded(log: pytest.LogCaptureFixture) -> None:
    """A way that hangs for hours uses limited memory: the oldest messages are dropped, and the log says so."""

    class HangingWay:
        name = source = "hanging"

        async def send(self, _message: Message) -> Delivery:
            await asyncio.Event().wait()
            raise AssertionError

    async def story() -> None:
        outbox = DeliveryQueue([HangingWay()])
        for _ in range(MOST_WAITING + 3):
            outbox.post(MESSAGE)
        await asyncio.sleep(0)
        await outbox.close(grace_s=0)

    asyncio.run(story())
    assert log.text.count("the queue is full") == 3
    assert log.text.count("before the end") == MOST_WAITING


def test_a_way_with_a_defect_is_not_the_others(log: pytest.LogCaptureFixture) -> None:
    """An exception of a way is logged by its type only, and the next message is sent."""

    class BrokenWay:
        name = source = "broken"

        async def send(self, _message: Message) -> Delivery:
            raise ValueError(TOKEN)

    async def story() -> None:
        outbox = DeliveryQueue([BrokenWay()])
        outbox.post(MESSAGE)
        outbox.post(MESSAGE)
        await outbox.close(grace_s=5)

    asyncio.run(story())
    assert log.text.count("broken: did not send locked_out: ValueError") == 2
    assert TOKEN not in log.text


def test_a_child_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that is late, or that the system killed, is a failure in one line."""
    with a_webhook("hang") as webhook:
        monkeypatch.setattr(notify, "TIMEOUT_S", 0.1)
        assert send(webhook_way(webhook)) == Delivery(ok=False, said="no answer within 0.1 s")
        monkeypatch.undo()

        async def killed() -> Delivery:
            sending = asyncio.create_task(webhook_way(webhook).send(MESSAGE))
            await asyncio.to_thread(webhook.hanging.acquire, timeout=20)
            (child,) = children_with("notify_child")
            child.kill()
            return await sending

        assert asyncio.run(killed()) == Delivery(ok=False, said="gwctl's child process exited with code -9")


# What is configured.


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://hooks.example.com/x", None),
        ("https://user:password@example.com:8443/x?y=z", None),
        ("http://127.0.0.1:9/x", None),
        ("http://127.8.8.8/x", None),
        ("http://localhost:9/x", None),
        ("http://[::1]:9/x", None),
        ("http://192.168.1.2/Plover-Path-3381", "neither https nor on this machine"),
        ("http://localhost.example.com/Plover-Path-3381", "neither https nor on this machine"),
        ("ftp://127.0.0.1/Plover-Path-3381", "neither https nor on this machine"),
        ("Plover-Path-3381", "is not a URL"),
        ("https:///Plover-Path-3381", "is not a URL"),
        ("https://example.com:99999/Plover-Path-3381", "is not a URL"),
        ("https://example.com/ Plover-Path-3381", "is not a URL"),
        ("https://[example/Plover-Path-3381", "is not a URL"),
    ],
)
def test_addresses_that_may_be_used(url: str, said: str | None) -> None:
    """Any host may have https, only this machine http; an error names the source and no part of the URL."""
    secrets = found(notify_webhook=url)
    if said is None:
        assert find_secrets(secrets.get) == secrets
        return
    with pytest.raises(Configuration, match=said) as caught:
        find_secrets(secrets.get)
    assert "(a test)" in caught.value.message
    assert CANARIES.in_bytes(f"{caught.value.message} {caught.value.hint}".encode()) == []


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "täglich", ""])
def test_tokens_that_no_header_may_have(token: str) -> None:
    """A token that could smuggle in another header is rejected and not repeated."""
    with pytest.raises(Configuration, match="not allowed in a header") as caught:
        find_secrets(found(notify_webhook_token=token).get)
    assert not token or token not in caught.value.message


def test_ways_are_those_that_are_configured(tmp_path: Path) -> None:
    """None if none is configured; each has its source; none prints its URL."""
    settings = load("default", environment=Environment({"GWCTL_HOME": str(tmp_path)}))
    assert ways_of(settings, {}, ENVIRON) == []
    (tmp_path / "config.toml").write_text('[defaults]\nnotify_command = ["true"]\n')
    settings = load("default", environment=Environment({"GWCTL_HOME": str(tmp_path)}))
    secrets = found(notify_webhook=f"https://example.com/{PATH_TOKEN}", notify_webhook_token=TOKEN, notify_urls="x://y")
    ways = ways_of(settings, secrets, ENVIRON)
    assert [way.name for way in ways] == ["command", "webhook", "apprise"]
    assert ways[0].source.startswith("[defaults] in ")
    assert CANARIES.in_bytes(repr(ways).encode()) == []


def test_a_child_of_the_users_knows_no_address() -> None:
    """Law 8: no child gets our URLs, from any variable."""
    environ = {f"GWCTL_NOTIFY_{name}": PATH_TOKEN for name in ("WEBHOOK", "WEBHOOK_TOKEN", "URLS", "URLS_FILE")}
    assert process.environment_of(process.Child.OURS, environ, environ) == {}
    assert process.environment_of(process.Child.HOOK, environ, environ) == {}
