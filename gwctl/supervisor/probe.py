"""What is observed of a session: one check at a time, each with a deadline, the gateway told from the way to IBKR."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any, Protocol

from gwctl.gateway.answer import SessionAnswer
from gwctl.gateway.answer import Verdict as Said
from gwctl.gateway.door import Knock
from gwctl.supervisor.states import Checked, Verdict

_VERDICTS: dict[Said, tuple[Verdict, str]] = {
    Said.READY: (Verdict.READY, "authenticated"),
    Said.NOT_AUTHENTICATED: (Verdict.NO_BROKERAGE, "the brokerage session is not authenticated"),
    Said.BROKERAGE_GONE: (Verdict.NO_BROKERAGE, "the brokerage session is gone"),
    Said.COMPETING: (Verdict.COMPETING, "another session of this username competes"),
    Said.NO_SESSION: (Verdict.NO_SESSION, "no session at IBKR"),
    Said.ACCESS_DENIED: (Verdict.ACCESS_DENIED, "the gateway refuses 127.0.0.1"),
    Said.RATE_LIMITED: (Verdict.RATE_LIMITED, "IBKR asks for fewer requests (429)"),
    Said.UPSTREAM_ILL: (Verdict.UPSTREAM_ILL, "IBKR answers with an error"),
    Said.NO_ANSWER: (Verdict.UPSTREAM_ILL, "IBKR cannot be reached"),
}


ANSWER_TIMEOUT_S = 8.0
SILENCE_S = 1.5
KNOCK_TIMEOUT_S = 2.0


class AskGateway(Protocol):
    """The part of the gateway's client that a check needs; each call has its own deadline."""

    async def tickle(self, *, timeout_s: float | None = None) -> SessionAnswer:
        """Tickle."""
        ...

    async def auth_status(self, *, timeout_s: float | None = None) -> SessionAnswer:
        """Ask for the brokerage session's state, which is cheaper than a tickle."""
        ...

    async def front_door(self, *, timeout_s: float | None = None) -> Knock:
        """Say whether the gateway itself answers, IBKR or not."""
        ...

    async def reauthenticate(self) -> bool:
        """Have the gateway repeat its hand-shake."""
        ...

    async def ssodh_init(self, *, compete: bool) -> SessionAnswer:
        """Open the brokerage session."""
        ...

    async def resume(self, cookies: Mapping[str, str]) -> bool:
        """Send SSO cookies; return whether IBKR honours them."""
        ...


class Probe:
    """The session as last seen, and the calls that look at it or mend it."""

    def __init__(self) -> None:
        self.client: AskGateway | None = None
        self.seen: SessionAnswer | None = None
        self.tickled_at: float | None = None
        self.cookies: tuple[tuple[str, str], ...] = ()
        self._refused: tuple[tuple[str, str], ...] | None = None

    def forget_session(self) -> None:
        """Forget what was seen: another gateway is coming."""
        self.seen = None
        self.tickled_at = None

    async def check(self, *, tickle: bool) -> Checked:
        """Return what the session is like now; a tickle is spent when it is due or the first sight of a ready one."""
        client = self.client
        if client is None:
            return Checked(verdict=Verdict.HUNG, text="there is no gateway")
        ask = client.tickle if tickle else client.auth_status
        answer = await self._ask(client, ask(timeout_s=ANSWER_TIMEOUT_S))
        if answer is not None and answer.verdict is Said.READY and not tickle and self.tickled_at is None:
            answer, tickle = await self._ask(client, client.tickle(timeout_s=ANSWER_TIMEOUT_S)), True
        if answer is None:
            return Checked(verdict=Verdict.HUNG, text="the gateway hangs: it accepts and does not answer")
        self._remember(answer, tickle=tickle)
        if answer.verdict is Said.NO_SESSION and self.cookies == self._refused:
            self.cookies = ()
        verdict, text = _VERDICTS[answer.verdict]
        if answer.verdict is Said.UPSTREAM_ILL and answer.http_status is not None:
            text = f"IBKR answers with an error (HTTP {answer.http_status})"
        return Checked(verdict=verdict, text=text)

    async def _ask(self, client: AskGateway, question: Coroutine[Any, Any, SessionAnswer]) -> SessionAnswer | None:
        """Return the answer, or None if the gateway itself is silent.

        What IBKR answers comes through the gateway: while it is awaited, a knock at the gateway's own door tells which
        of the two is ill (gateway-facts.md, Failing).
        """
        asked = asyncio.ensure_future(question)
        try:
            await asyncio.wait([asked], timeout=SILENCE_S)
            if asked.done() and asked.result().verdict is not Said.NO_ANSWER:
                return asked.result()
            if await client.front_door(timeout_s=KNOCK_TIMEOUT_S) is not Knock.OURS:
                return None
            return await asked
        finally:
            asked.cancel()

    def _remember(self, answer: SessionAnswer, *, tickle: bool) -> None:
        if answer.http_status is None:
            return
        if tickle and answer.http_status == 200:
            self.tickled_at = time.monotonic()
        before = self.seen
        if before is not None and not tickle:
            # Only a tickle tells these; a status in between does not unsay them.
            answer = replace(
                answer,
                user_id=answer.user_id if answer.user_id is not None else before.user_id,
                sso_expires_s=answer.sso_expires_s if answer.sso_expires_s is not None else before.sso_expires_s,
                server_name=answer.server_name or before.server_name,
            )
        self.seen = answer

    async def reauthenticate(self, *, compete: bool) -> bool:
        """Open the brokerage session (``ssodh/init``), or have the gateway do its hand-shake where that fails."""
        client = self.client
        if client is None:
            return False
        answer = await client.ssodh_init(compete=compete)
        if answer.http_status == 200:
            return True
        return await client.reauthenticate()

    async def resume(self) -> bool:
        """Send the kept cookies; they are forgotten when the next check says that IBKR did not honour them."""
        if self.client is None or not self.cookies:
            return False
        offered = self.cookies
        ok = await self.client.resume(dict(offered))
        self._refused = None if ok else offered
        return ok
