"""Serves the pages of the grammar, one spec at a time, and records what the login does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import page_grammar_html
from page_grammar import DEVICES, ERROR_TEXTS, Spec

WRONG_CODE = "Incorrect security code"
DENIED = "Authentication failed"
BANNER = "System maintenance: logins are not available"
SUCCESS = "Client login succeeds"
_KINDS = {value: {"ibkey": "push"}.get(name, name) for name, (value, _) in DEVICES.items()}


Said = tuple[int, dict[str, Any] | None]
"""A status, and what the page is told; None where it is told nothing."""


@dataclass(frozen=True)
class Submit:
    """One received password: the page's mode (None: it has no switch), and the content of its other fields."""

    mode: str | None
    user: str
    secret: str
    decoys: dict[str, str]


@dataclass
class Seen:
    """The actions of one login."""

    submits: list[Submit] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    demos: int = 0


class Server:
    """The application; ``play`` loads another page into it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.play(Spec())

    def play(self, spec: Spec) -> Seen:
        """Show ``spec`` from now on; return the record of the login."""
        self.spec = spec
        self.seen = Seen()
        self._stages = list(_stages(spec))
        self._asked_s: float | None = None
        return self.seen

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        status, text, kind = await self._answer(scope["method"], scope["path"], body.decode())
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(text.encode())).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    async def _answer(self, method: str, path: str, body: str) -> tuple[int, str, str]:
        if method == "POST":
            return await self._authenticate(body) if path == "/sso/Authenticator" else (200, "{}", "application/json")
        if path == "/v1/api/portfolio/accounts":
            self.seen.demos += 1
            await asyncio.sleep(self.spec.wire.demo_ms / 1000)
        return self._document(path)

    def _document(self, path: str) -> tuple[int, str, str]:
        load = self.spec.load
        if path == "/" and load.status != 200:
            return load.status, "<body>Service unavailable</body>" if load.body else "", "text/html"
        if path in {"/", "/sso/inner"}:
            return 200, self._page(None, inner=path != "/"), "text/html"
        known = {
            "/demo": (200, page_grammar_html.demo(self._port), "text/html"),
            "/v1/api/portfolio/accounts": (401, "", "text/plain"),
            "/sso/Dispatcher": (200, SUCCESS, "text/plain"),
        }
        return known.get(path, (404, "", "text/plain"))

    @property
    def _is_tempered(self) -> bool:
        wire = self.spec.wire
        return wire.temper != "none" and self.seen.demos < wire.demos

    def _page(self, answer: dict[str, Any] | None, *, inner: bool) -> str:
        state = {"temper": self.spec.wire.temper if self._is_tempered else "none", "answer": answer}
        return page_grammar_html.page(self.spec, state, inner=inner)

    async def _authenticate(self, body: str) -> tuple[int, str, str]:
        spec = self.spec
        as_document = body.startswith("j=")
        message = json.loads(parse_qs(body)["j"][0] if as_document else body)
        status, answer = self._say(message)
        if message["a"] != "poll":
            await asyncio.sleep(spec.wire.answer_ms / 1000)
        if answer is not None and answer.get("spin"):
            while self.spec is spec:  # noqa: ASYNC110 - the next page is put on by another thread
                await asyncio.sleep(0.05)
        if status != 200:
            text = "<body><p>The service is not available</p></body>" if spec.ending.body else ""
            return status, text, "text/html"
        if not as_document:
            return 200, json.dumps(answer), "application/json"
        shown = None if answer is None or answer.get("reload") else answer
        return 200, self._page(shown, inner=True), "text/html"

    def _say(self, message: dict[str, Any]) -> Said:
        said: dict[str, Callable[[dict[str, Any]], Said]] = {
            "password": self._take_password,
            "device": self._take_device,
            "channel": self._take_channel,
            "code": self._take_code,
            "poll": self._poll,
            "resend": lambda _message: (200, {"show": "push"}),
            "skip": lambda _message: self._next(),
        }
        return said[message["a"]](message)

    def _take_device(self, message: dict[str, Any]) -> Said:
        self._stages[:0] = _of_kind(self.spec, _KINDS.get(message["device"], "passkey"))
        return self._next()

    def _take_channel(self, message: dict[str, Any]) -> Said:
        return (200, {"show": "password", "clear": True}) if message["channel"] == "cancel" else self._next()

    def _take_password(self, message: dict[str, Any]) -> Said:
        tempered = self._is_tempered
        self.seen.submits.append(Submit(message["mode"], message["user"], message["secret"], message["decoys"]))
        if tempered:
            return 200, {"filled": {}, "cleared": {"clear": True}, "reloads": {"reload": True}}[self.spec.wire.temper]
        self._stages = list(_stages(self.spec))
        if self.spec.ending.kind != "success" and not self.spec.ending.after_factor:
            return self._end()
        return self._next()

    def _take_code(self, message: dict[str, Any]) -> Said:
        factor = self.spec.factor
        self.seen.codes.append(message["code"])
        if factor.wrong == "always" or (factor.wrong == "once" and len(self.seen.codes) == 1):
            return 200, {"show": "code", "error": WRONG_CODE, "place": self._place(factor.error), "late_ms": 0} | (
                {} if factor.keeps_code else {"clear_code": True}
            )
        return self._next()

    def _poll(self, _message: dict[str, Any]) -> Said:
        factor = self.spec.factor
        now_s = time.monotonic()
        self._asked_s = self._asked_s or now_s
        if factor.push == "never" or now_s < self._asked_s + factor.push_ms / 1000:
            return 200, {}
        if factor.push == "denied":
            return 200, {"show": "password", "clear": True, "error": DENIED, "place": self._place("xyz"), "late_ms": 0}
        return self._next()

    def _next(self) -> Said:
        if self._stages:
            return 200, {"show": self._stages.pop(0)}
        return self._end()

    def _end(self) -> Said:
        ending = self.spec.ending
        if ending.kind == "status":
            return ending.status, None
        if ending.kind in ERROR_TEXTS:
            said = {"error": ERROR_TEXTS[ending.kind], "place": self._place(ending.error), "late_ms": ending.late_ms}
            return 200, {**said, "stands_ms": ending.stands_ms, "clear": ending.form != "filled"}
        others: dict[str, dict[str, Any]] = {
            "success": {"done": True, "done_ms": ending.done_ms},
            "again": {"reload": True} if ending.form == "reloads" else {"clear": True},
            "silent": {},
            "spin": {"spin": True},
            "banner": {"banner": BANNER},
        }
        return 200, others.get(ending.kind, {"show": ending.kind})

    def _place(self, place: str) -> str:
        return "legacy" if place == "xyz" and self.spec.markup.version == "legacy" else place


def _stages(spec: Spec) -> list[str]:
    stages = ["devices"] if spec.factor.devices else _of_kind(spec, spec.factor.kind)
    if spec.offer is not None:
        stages.insert(0 if spec.offer.before_factor else len(stages), "offer")
    return stages


def _of_kind(spec: Spec, kind: str) -> list[str]:
    match kind:
        case "none":
            return []
        case "sms" if spec.factor.channel:
            return ["channel", "code"]
        case "app" | "sms":
            return ["code"]
        case _:
            return [kind]
