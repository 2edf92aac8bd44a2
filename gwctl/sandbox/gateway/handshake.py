"""What the gateway does after a login, and its log of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import secrets
from pathlib import Path
from typing import Any, Final

from gwctl.sandbox.gateway.conf_yaml import Conf
from gwctl.sandbox.gateway.upstream import Answer, Upstream, UpstreamGone


class GatewayLog:
    """Append lines to the day's log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, level: str, source: str, message: str, thrown: str | None = None) -> None:
        """Append one line, followed by the exception; a log that cannot be written is not worth an error."""
        now = dt.datetime.now().astimezone()
        stamp = now.strftime("%H:%M:%S.") + f"{now.microsecond // 1000:03d}"
        line = f"{stamp} {level:<5} vert.x-eventloop-thread-0 {source:<20} : {message}\n"
        if thrown is not None:
            line += f"io.vertx.core.impl.NoStackTraceThrowable: {thrown}\n"
        try:
            self._folder.mkdir(exist_ok=True)
            with (self._folder / f"gw.{now:%Y-%m-%d}.log").open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError:
            return


RETRIES: Final = 5
RETRY_PAUSE_S: Final = 3.0
TICKLE_INTERVAL_S: Final = 30.0


class Handshake:
    """The gateway's work for its session: validate, key exchange, brokerage session, tickles."""

    def __init__(self, conf: Conf, upstream: Upstream, log: GatewayLog) -> None:
        self._conf = conf
        self._upstream = upstream
        self._log = log
        self._base = f"/{conf.environment}/{'api' if 'api' in conf.remote_host else 'portal'}"
        self._tasks: set[asyncio.Task[None]] = set()
        self._tickler: asyncio.Task[None] | None = None
        self._attempts = 0
        self._reason = ""
        self.logged_in = False

    def begin(self) -> None:
        """Start after a login."""
        self.logged_in = True
        self.repeat()

    def repeat(self) -> None:
        """Start again, as ``reauthenticate`` does."""
        task = asyncio.create_task(self._run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        user = await self._validated()
        if user is None:
            return
        await self._get("/one/user")
        begun = await self._get("/ssodh/init")
        key = await self._get("/ssodh/st") if begun is not None and begun.get("success") is not None else None
        if key is None or not isinstance(key.get("st"), str):
            self._log.write("ERROR", "GatewayHttpProxy", "ssodh failed, retry with /iserver/reauthenticate")
            return
        self._log.write("DEBUG", "GatewayHttpProxy", f"delaying authentication for {self._conf.auth_delay_ms}")
        await asyncio.sleep(self._conf.auth_delay_ms / 1000)
        status = await self._get("/iserver/auth/status")
        if status is None:
            self._log.write("ERROR", "ClientPortalService", "status failed")
            return
        await self._bring_up(status, str(user.get("USER_NAME", "")))

    async def _validated(self) -> dict[str, Any] | None:
        for attempt in range(1, RETRIES + 1):
            user = await self._get("/sso/validate?gw=1")
            if user is not None:
                self._log.write("INFO", "GatewayHttpProxy", "authenticated to cp")
                return user
            self._log.write("ERROR", "GatewayHttpProxy", f"authentication to cp failed, retry {attempt}", self._reason)
            if attempt < RETRIES:
                await asyncio.sleep(RETRY_PAUSE_S)
        self._log.write("ERROR", "GatewayHttpProxy", "giving up ...")
        return None

    async def _bring_up(self, status: dict[str, Any], username: str) -> None:
        wish = {"username": username, "machineId": secrets.token_hex(4), "compete": True}
        while not (status.get("authenticated") and not status.get("competing")):
            opened = await self._post("/iserver/auth/ssodh/init", wish)
            if opened is None or "error" in opened:
                self._log.write("ERROR", "ClientPortalService", "SSODH init failed")
                return
            if opened.get("authenticated"):
                self._attempts += 1
                if not opened.get("competing"):
                    break
                # It does no more by itself: each reauthenticate is one attempt [seen].
                failed = self._attempts > RETRIES
                said = "Reauthentication failed 5 times, stopping" if failed else "chanllenge already sent true"
                self._log.write("WARN" if failed else "INFO", "ClientPortalService", said)
                return
            answered = await self._post("/iserver/auth/ssodh/response", {"response": secrets.token_hex(20)})
            if answered is None:
                self._log.write("ERROR", "ClientPortalService", "sso sh response failed")
                return
            status = answered
        self._attempts = 0
        await self._get("/iserver/accounts")
        if self._tickler is None or self._tickler.done():
            self._tickler = asyncio.create_task(self._tickle())

    async def _tickle(self) -> None:
        while True:
            await asyncio.sleep(TICKLE_INTERVAL_S)
            answer = await self._get("/tickle")
            if answer is None:
                self._log.write("ERROR", "ClientPortalService", "tickle cp session failed")
                return
            status = (answer.get("iserver") or {}).get("authStatus") or {}
            if status.get("connected") and not status.get("authenticated", True):
                await self._get("/logout")

    async def _get(self, path: str) -> dict[str, Any] | None:
        return await self._call("GET", path, b"")

    async def _post(self, path: str, value: dict[str, Any]) -> dict[str, Any] | None:
        return await self._call("POST", path, json.dumps(value).encode())

    async def _call(self, method: str, path: str, body: bytes) -> dict[str, Any] | None:
        headers = [("Content-Type", "application/json")] if body else []
        try:
            answer: Answer = await self._upstream.call(method, self._base + path, headers, body)
        except UpstreamGone:
            self._log.write("WARN", "HttpProxy", f"failed {path} | reason no connection")
            self._reason = "Connection refused"
            return None
        if answer.status != 200:
            reason = "Access Denied" if answer.status == 401 else f"{answer.status}"
            self._log.write("WARN", "HttpProxy", f"failed {path} | reason {reason}")
            self._reason = reason
            return None
        return answer.object()
