"""Ways to notify a person: a program, a webhook, Apprise; and the queue of notifications."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import re
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import asdict

from gwctl import process
from gwctl.config import Settings
from gwctl.credentials import Found
from gwctl.errors import Configuration, GwctlError
from gwctl.setting_keys import NOTIFY_SECRETS
from gwctl.setting_values import is_loopback
from gwctl.version import adding

TIMEOUT_S = 30.0
"""How long one way may take to send one message."""
_TOKEN = re.compile(r"[\x21-\x7e]+")


class Message(Struct, frozen=True):
    """One notification, as a webhook receives it; ``at`` is in UTC, ``version`` is gwctl's."""

    event: str
    severity: str
    profile: str
    title: str
    text: str
    at: str
    version: str


class Delivery(Struct, frozen=True):
    """The result of sending one message: ``said`` is one line without a URL or token in it."""

    ok: bool
    said: str


class Way(Protocol):
    """One way to notify a person."""

    @property
    def name(self) -> str:
        """The way's name in the log."""
        ...

    @property
    def source(self) -> str:
        """Where the way is configured."""
        ...

    async def send(self, message: Message) -> Delivery:
        """Send the message within TIMEOUT_S; on cancellation, leave nothing running."""
        ...


@dataclass(frozen=True, slots=True)
class CommandWay:
    """Runs ``notify_command`` with the code, a line, the profile, severity and title in its environment."""

    argv: Sequence[str]
    environ: Mapping[str, str] = field(repr=False)
    source: str
    name: str = "command"

    async def send(self, message: Message) -> Delivery:
        """Run the program to its end."""
        told = {
            "GWCTL_EVENT": message.event,
            "GWCTL_TEXT": message.text,
            "GWCTL_PROFILE": message.profile,
            "GWCTL_SEVERITY": message.severity,
            "GWCTL_TITLE": message.title,
        }
        env = process.environment_of(process.Child.HOOK, self.environ, told)
        try:
            done = await process.run_async(self.argv, timeout_s=TIMEOUT_S, env=env)
        except OSError as error:
            return Delivery(ok=False, said=f"cannot start notify_command: {error.strerror}")
        except GwctlError as error:
            return Delivery(ok=False, said=f"notify_command: {error.message}")
        return Delivery(ok=done.exit_code == 0, said=f"notify_command exited with code {done.exit_code}")


@dataclass(frozen=True, slots=True)
class ChildWay:
    """Hands a message and its secrets to a child process, only through the child's stdin."""

    name: str
    source: str
    secrets: Mapping[str, Found]
    environ: Mapping[str, str] = field(repr=False)

    async def send(self, message: Message) -> Delivery:
        """Run the child to its end and return its answer."""
        job = {
            "way": self.name,
            "message": asdict(message),
            "secrets": {name: found.secret.reveal() for name, found in self.secrets.items()},
        }
        argv = [sys.executable, "-P", "-m", "gwctl.integrations.notify_child"]
        env = process.environment_of(process.Child.ONLINE, self.environ)
        try:
            done = await process.run_async(argv, timeout_s=TIMEOUT_S, env=env, fed=json.dumps(job).encode())
        except OSError as error:
            return Delivery(ok=False, said=f"cannot start a process: {error.strerror}")
        except GwctlError:
            return Delivery(ok=False, said=f"no answer within {TIMEOUT_S:g} s")
        try:
            answer: dict[str, Any] = json.loads(done.text)
            return Delivery(ok=answer["ok"] is True, said=str(answer["said"]))
        except (ValueError, KeyError, TypeError):
            return Delivery(ok=False, said=f"gwctl's child process exited with code {done.exit_code}")


# The configured ways.


def find_secrets(find: Callable[[str], Found | None]) -> dict[str, Found]:
    """Return the URLs and tokens that ``find`` has; raise Configuration if one is unusable."""
    found = {name: one for name in NOTIFY_SECRETS if (one := find(name)) is not None}
    if "notify_webhook" in found:
        _check_webhook(found["notify_webhook"])
    if "notify_webhook_token" in found:
        _check_token(found["notify_webhook_token"])
    if "notify_urls" in found and importlib.util.find_spec("apprise") is None:
        raise Configuration(
            f"notify_urls is set ({found['notify_urls'].source}), but Apprise is not installed",
            hint=adding("apprise"),
        )
    return found


def ways_of(settings: Settings, secrets: Mapping[str, Found], environ: Mapping[str, str]) -> list[Way]:
    """Return all configured ways."""
    ways: list[Way] = []
    command = settings.values["notify_command"]
    if command.value:
        ways.append(CommandWay(command.value, environ, command.source))
    if (webhook := secrets.get("notify_webhook")) is not None:
        ours = {name: secrets[name] for name in ("notify_webhook", "notify_webhook_token") if name in secrets}
        ways.append(ChildWay("webhook", webhook.source, ours, environ))
    if (urls := secrets.get("notify_urls")) is not None:
        ways.append(ChildWay("apprise", urls.source, {"notify_urls": urls}, environ))
    return ways


def _check_webhook(found: Found) -> None:
    """Raise Configuration, without the URL in it, unless the URL is https, or http to this machine.

    No option allows other http URLs: the URL and the token are secrets that anybody on the way could read.
    """
    url = found.secret.reveal()
    hint = "a URL that starts with https://; http:// only for this machine (127.0.0.1, localhost, [::1])"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or any(char.isspace() or not char.isprintable() for char in url):
        raise Configuration(f"notify_webhook ({found.source}) is not a URL", hint=hint)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.netloc)):
        raise Configuration(f"notify_webhook ({found.source}) is neither https nor on this machine", hint=hint)


def _check_token(found: Found) -> None:
    if not _TOKEN.fullmatch(found.secret.reveal()):
        raise Configuration(
            f"notify_webhook_token ({found.source}) has characters that are not allowed in a header",
            hint="one line of ASCII without spaces; gwctl sends it as `Authorization: Bearer TOKEN`",
        )


log = logging.getLogger("gwctl.supervisor")

MOST_WAITING = 12


class DeliveryQueue:
    """Sends every message by each way, in order, each way at its own pace."""

    def __init__(self, ways: Sequence[Way]) -> None:
        self._lanes = [_Lane(way) for way in ways]

    def post(self, message: Message) -> None:
        """Queue the message and return at once."""
        for lane in self._lanes:
            lane.post(message)

    async def close(self, *, grace_s: float) -> None:
        """Give sends in progress ``grace_s`` to finish, then end them: nothing of ours outlives us."""
        tasks = [lane.task for lane in self._lanes if lane.task is not None]
        if tasks and grace_s > 0:
            await asyncio.wait(tasks, timeout=grace_s)
        for lane in self._lanes:
            lane.give_up()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Lane:
    def __init__(self, way: Way) -> None:
        self.task: asyncio.Task[None] | None = None
        self._way = way
        self._waiting: deque[Message] = deque()

    def post(self, message: Message) -> None:
        if len(self._waiting) >= MOST_WAITING:
            # The newest messages matter most.
            log.warning("%s: did not send %s: the queue is full", self._way.name, self._waiting.popleft().event)
        self._waiting.append(message)
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._send())

    def give_up(self) -> None:
        if self.task is not None:
            self.task.cancel()
            for message in self._waiting:
                log.warning("%s: did not send %s before the end", self._way.name, message.event)
            self._waiting.clear()

    async def _send(self) -> None:
        try:
            while self._waiting:
                await self._send_one(self._waiting.popleft())
        finally:
            self.task = None

    async def _send_one(self, message: Message) -> None:
        try:
            delivery = await self._way.send(message)
        except asyncio.CancelledError:
            log.warning("%s: did not send %s before the end", self._way.name, message.event)
            raise
        except Exception as error:  # noqa: BLE001 - its text may contain a URL
            log.warning("%s: did not send %s: %s", self._way.name, message.event, type(error).__name__)
            return
        if delivery.ok:
            log.info("%s: sent %s", self._way.name, message.event)
        else:
            log.warning("%s: did not send %s: %s", self._way.name, message.event, delivery.said)
