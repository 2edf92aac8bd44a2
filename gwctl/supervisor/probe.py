"""Session checks: one at a time, each with a deadline; they distinguish a hung gateway from an unreachable IBKR."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from gwctl.core.messages import Checked
from gwctl.errors import GwctlError
from gwctl.gateway.client import PortCheck
from gwctl.gateway.heartbeat import BEAT_S
from gwctl.gateway.responses import AccountKind, SessionAnswer, SsoFacts
from gwctl.session_status import UNREACHABLE, Verdict
from gwctl.supervisor.interfaces import AskGateway, Reopening
from gwctl.supervisor.request_pace import Pace

_TEXTS = {
    Verdict.READY: "authenticated",
    Verdict.NOT_AUTHENTICATED: "the brokerage session is not authenticated",
    Verdict.BROKERAGE_GONE: "the brokerage session is gone",
    Verdict.COMPETING: "another session of this username competes",
    Verdict.NO_SESSION: "no session at IBKR",
    Verdict.ACCESS_DENIED: "the gateway refuses 127.0.0.1",
    Verdict.RATE_LIMITED: "IBKR asks for fewer requests (429)",
    Verdict.UPSTREAM_ILL: UNREACHABLE,
}


ANSWER_TIMEOUT_S = 8.0
SILENCE_S = 0.5
"""How long a request to IBKR may go without an answer before the gateway itself is probed."""
KNOCK_TIMEOUT_S = 3.1
"""A gateway that answers within this time is not hung: under load it may take 3 s, also to open a connection."""
SECOND_KNOCK_TIMEOUT_S = 0.4
"""Of the probe after one that waited that long for nothing; it is there for a fault of the first one's connection."""
SLICE_S = 0.1
LONGEST_KNOCK_S = 60.0
"""Far longer, because it runs on while this process is stopped."""
ACCOUNTS_TRIES = 3
_NUMBER = re.compile(r"[0-9a-fA-F]*\d[0-9a-fA-F]*")
WHO_INTERVAL_S = 60.0
"""``sso/validate`` may be asked once a minute (gateway-facts.md)."""
OPENING_S = 10.0
"""How long a login may take to open its brokerage session; only then ``sso/validate`` says which client is ours."""
REMEMBERED_TICKLES = 120


async def _stays_away() -> bool:
    return False


class Probe:
    """The session as last seen, and the calls that check or restore it."""

    def __init__(
        self, pace: Pace | None = None, *, wanted_kind: AccountKind | None = None, portfolio_is_enough: bool = False
    ) -> None:
        self.pace = pace or Pace()
        self.wanted_kind = wanted_kind
        """The account kind in the profile; a session is not ready until it is known to be of that kind."""
        self.portfolio_is_enough = portfolio_is_enough
        """Whether the session is ready without a brokerage session, which nothing then opens."""
        self._kind: AccountKind | None = None
        self.fits_profile = wanted_kind is None
        """Whether the session's account may be used: it is of the profile's kind, as far as IBKR says."""
        self._unready_since: float | None = None
        self.client: AskGateway | None = None
        self.seen: SessionAnswer | None = None
        self.tickled_at: float | None = None
        self.latencies_s: deque[float] = deque(maxlen=REMEMBERED_TICKLES)
        """The latencies of the last tickles, oldest first."""
        self._took_s = 0.0
        self.on_tickle: Callable[[float | None], None] = lambda _took_s: None
        """Gets the seconds until a tickle's answer, None for a failed tickle."""
        self.came_back: Callable[[], Awaitable[bool]] = _stays_away
        """Waits while what leads to the gateway is being started again; returns whether it was (FrontKeeper)."""
        self.gateway_is_late: Callable[[], bool] = lambda: False
        """Whether the heartbeat waits for an answer of the gateway itself; it is then probed at once."""
        self.gateway_owes_s: Callable[[], float] = lambda: 0.0
        """For how long the heartbeat has waited for the answer to its last request."""
        self.cookies: tuple[tuple[str, str], ...] = ()
        self._refused: tuple[tuple[str, str], ...] | None = None
        self._silent = False
        self._waited_out = False
        """Whether the last probe of the gateway itself waited for its answer to the end."""
        self._our_app: str | None = None
        self._other_app: str | None = None
        self._known_ours = False
        self._learning: asyncio.Future[None] | None = None
        self._asked_who_at: float | None = None
        self._accounts_due = 0
        """How often the accounts may still be requested after we opened a brokerage session."""
        self._unsaid = False
        self._words: str | None = None
        self._refusal: str | None = None
        """Why IBKR did not open the brokerage session at the last request."""

    def forget_session(self) -> None:
        """Forget the last observations: a new gateway starts."""
        self.seen = None
        self.tickled_at = None
        self._silent = self._waited_out = False
        self._other_app = None
        self._forget_kind()
        self._accounts_due = 0
        self._refusal = None

    async def check(self, *, tickle: bool) -> Checked:
        """Return the session's current state; send a tickle if it is due, or to confirm a session that became ready."""
        client = self.client
        if client is None:
            return Checked(verdict=Verdict.HUNG, text="there is no gateway")
        ask = client.tickle if tickle else client.auth_status
        answer = await self._ask(client, ask)
        if answer is None and await self.came_back():
            answer = await self._ask(client, ask)
        if answer is not None and answer.verdict is Verdict.READY and not tickle and self.tickled_at is None:
            answer, tickle = await self._ask(client, client.tickle), True
        if tickle:
            self.on_tickle(self._took_s if answer is not None and answer.http_status == 200 else None)
        return await self._judge(client, answer, tickle=tickle)

    async def _judge(self, client: AskGateway, answer: SessionAnswer | None, *, tickle: bool) -> Checked:
        self._silent = answer is None
        if answer is None:
            return Checked(verdict=Verdict.HUNG, text="the gateway hangs: it accepts connections but does not answer")
        self._remember(answer, tickle=tickle)
        if answer.verdict is Verdict.NO_SESSION:
            self._forget_kind()
            self.cookies = () if self.cookies == self._refused else self.cookies
        if self.portfolio_is_enough and answer.has_sso:
            wrong = None if self.wanted_kind is None else await self._look_at_kind(client, self.wanted_kind)
            return wrong or Checked(verdict=Verdict.READY, text="the session for the portfolio is open")
        if answer.verdict is Verdict.READY:
            self._refusal = None
            if self._accounts_due:
                await self._ask_accounts(client)
            wrong = None if self.wanted_kind is None else await self._look_at_kind(client, self.wanted_kind)
            if self._unsaid:
                # A session existed a moment ago, but the accounts say that there is none: check again.
                self._unsaid = False
                again = await self._ask(client, client.auth_status)
                if again is None or again.verdict is not Verdict.READY:
                    return replace(await self._judge(client, again, tickle=False), lost=True)
            if wrong is not None:
                return wrong
        elif (wrong := await self._look_without_brokerage(client, answer)) is not None:
            return wrong
        certain = await self._look_who(client, answer)
        return self._checked(answer, certain=certain)

    def _checked(self, answer: SessionAnswer, *, certain: bool) -> Checked:
        verdict, text = answer.verdict, answer.text or _TEXTS[answer.verdict]
        other = self._other_app
        said = self._words_of(answer)
        if answer.verdict is Verdict.UPSTREAM_ILL and answer.http_status is not None:
            text = f"IBKR answers with an error (HTTP {answer.http_status})"
        elif answer.verdict is Verdict.COMPETING and other is not None:
            text = f"{text}: {other}"
        elif answer.verdict is Verdict.NOT_AUTHENTICATED and other is not None:
            verdict, text, certain = Verdict.BORROWED, f"another client has borrowed the session: {other}", True
        return Checked(verdict=verdict, text=text + said, certain=certain)

    def _words_of(self, answer: SessionAnswer) -> str:
        """Return IBKR's own words for the end of a reason.

        If the words differ from the last ones only in numbers (of a request, a time), return the last ones, so that the
        journal gets no new line.
        """
        words = answer.message
        if answer.verdict.sso_lives:
            words = words or self._refusal
        if words is None or answer.verdict is Verdict.READY:
            return ""
        if self._words is None or _NUMBER.sub("#", words) != _NUMBER.sub("#", self._words):
            self._words = words
        return f"; IBKR: {self._words}"

    def _forget_kind(self) -> None:
        self._kind, self._unready_since = None, None
        self.fits_profile = self.wanted_kind is None

    async def _look_without_brokerage(self, client: AskGateway, answer: SessionAnswer) -> Checked | None:
        """Return that the account is of the other kind; look where the brokerage session stays away.

        The portfolio can be read then, by whoever waits for that alone.
        """
        if not answer.has_sso or self.wanted_kind is None:
            return None
        now = time.monotonic()
        self._unready_since = now if self._unready_since is None else self._unready_since
        if self._kind is None and (now - self._unready_since < OPENING_S or not self._may_ask_who()):
            return None
        wrong = await self._look_at_kind(client, self.wanted_kind)
        return wrong if wrong is not None and wrong.verdict is Verdict.WRONG_KIND else None

    async def _look_at_kind(self, client: AskGateway, wanted: AccountKind) -> Checked | None:
        """Return why a session is not ready: its account is of the other kind, or the kind is unknown; else None.

        Live trading must not happen by accident. In a live profile, an unknown kind is accepted.
        """
        if self._kind is None:
            self._kind = await self._learn_kind(client)
        self.fits_profile = self._kind == wanted or (self._kind is None and wanted == "live")
        if self.fits_profile:
            return None
        if self._kind is None:
            return Checked(verdict=Verdict.UPSTREAM_ILL, text="IBKR does not say whether the account is paper or live")
        text = f"the account is {self._kind}, but the profile says {wanted}: logging out"
        return Checked(verdict=Verdict.WRONG_KIND, text=text)

    async def _learn_kind(self, client: AskGateway) -> AccountKind | None:
        if self._may_ask_who():
            facts = await self._facts_of_session(client)
            if facts is not None and facts.kind is not None:
                return facts.kind
        if self.portfolio_is_enough or (self.seen is not None and self.seen.is_ready):
            await self._ask_accounts(client)
        return self._kind

    async def _ask_accounts(self, client: AskGateway) -> None:
        """Request the accounts: without this, IBKR answers API clients with an error on a session that we opened."""
        self._accounts_due = max(0, self._accounts_due - 1)
        await self._in_turn()
        said = await client.accounts()
        self._kind = said.kind or self._kind
        self._unsaid = said.unsays_session
        if said.http_status == 200:
            self._accounts_due = 0

    async def _look_who(self, client: AskGateway, answer: SessionAnswer) -> bool:
        """Learn from ``sso/validate`` which client has the session: our name while it is ready, else the other's.

        Other names only count once ours is known: a session that was never ready cannot be borrowed. Returns whether
        the client is known; False if it is too early to ask again.
        """
        if answer.verdict is Verdict.READY:
            self._other_app, self._known_ours = None, False
            if self._our_app is None and self._may_ask_who():
                # In the background: report the ready session without waiting for the client's name.
                self._learning = asyncio.ensure_future(self._learn_our_app(client))
            return True
        if self._our_app is None or answer.verdict not in {Verdict.NOT_AUTHENTICATED, Verdict.COMPETING}:
            return True
        if not self._may_ask_who():
            return self._other_app is not None or self._known_ours
        app = await self._app_of_session(client)
        if app is not None:
            self._known_ours = app == self._our_app
            self._other_app = None if self._known_ours else app
        return True

    def _may_ask_who(self) -> bool:
        return self._asked_who_at is None or time.monotonic() - self._asked_who_at >= WHO_INTERVAL_S

    async def _facts_of_session(self, client: AskGateway) -> SsoFacts | None:
        self._asked_who_at = time.monotonic()
        await self._in_turn()
        facts = await client.validate()
        if facts is not None and self._our_app is None and self.seen is not None and self.seen.is_ready:
            self._our_app = facts.client_app
        return facts

    async def _app_of_session(self, client: AskGateway) -> str | None:
        facts = await self._facts_of_session(client)
        return None if facts is None else facts.client_app

    async def _learn_our_app(self, client: AskGateway) -> None:
        with contextlib.suppress(GwctlError):
            await self._facts_of_session(client)

    async def settle(self) -> None:
        """Wait for requests in the background."""
        if self._learning is not None:
            await asyncio.wait([self._learning])

    async def _in_turn(self) -> None:
        """Wait until a request may be sent."""
        wait_s = self.pace.take(time.monotonic())
        try:
            await asyncio.sleep(wait_s)
        except asyncio.CancelledError:
            self.pace.give_back()
            raise

    async def _ask(self, client: AskGateway, ask: Callable[..., Awaitable[SessionAnswer]]) -> SessionAnswer | None:
        """Return the answer, or None if the gateway itself does not answer.

        IBKR's answers come through the gateway. While waiting for one, a probe of the gateway itself shows which of the
        two has the problem (gateway-facts.md, Failing). A gateway that did not answer last time, or that the heartbeat
        finds late, is probed at once.
        """
        await self._in_turn()
        asked = asyncio.ensure_future(self._timed(ask))
        known = False
        wait_s = 0.0 if self._silent or self.gateway_is_late() else SILENCE_S
        try:
            while True:
                await asyncio.wait([asked], timeout=wait_s)
                if asked.done() and not asked.result().is_silent:
                    return asked.result()
                if not known or self.gateway_is_late():
                    known = await self._gateway_answers(client)
                if asked.done() and (known or not asked.result().is_silent):
                    return asked.result()
                if not known:
                    return None
                wait_s = SILENCE_S
        finally:
            asked.cancel()

    async def _gateway_answers(self, client: AskGateway) -> bool:
        """Return whether the gateway itself answers in time.

        The time is counted in slices, each as ``SLICE_S`` however long it took: while this process was stopped, or got
        no processor, the gateway may have answered. For as long as the heartbeat's request has no answer either, the
        time since then counts, at most a beat of it.
        """
        slices = round((SECOND_KNOCK_TIMEOUT_S if self._waited_out else KNOCK_TIMEOUT_S) / SLICE_S)
        owed_s = 0.0 if self._waited_out else BEAT_S
        self._waited_out = False
        knock = asyncio.ensure_future(client.front_door(timeout_s=LONGEST_KNOCK_S))
        try:
            for waited in range(slices):
                owed_s = min(owed_s, self.gateway_owes_s())
                if waited + int(owed_s / SLICE_S) >= slices:
                    break
                await asyncio.wait([knock], timeout=SLICE_S)
                if knock.done():
                    return knock.result() is PortCheck.OURS
        finally:
            knock.cancel()
        self._waited_out = True
        return False

    async def _timed(self, ask: Callable[..., Awaitable[SessionAnswer]]) -> SessionAnswer:
        began_s = time.monotonic()
        answer = await ask(timeout_s=ANSWER_TIMEOUT_S)
        self._took_s = time.monotonic() - began_s
        return answer

    def _remember(self, answer: SessionAnswer, *, tickle: bool) -> None:
        if answer.http_status is None:
            return
        if tickle and answer.http_status == 200:
            self.tickled_at = time.monotonic()
            self.latencies_s.append(self._took_s)
        before = self.seen
        if before is not None and not tickle:
            # Only a tickle contains these; keep them after a status check.
            answer = replace(
                answer,
                user_id=answer.user_id if answer.user_id is not None else before.user_id,
                sso_expires_s=answer.sso_expires_s if answer.sso_expires_s is not None else before.sso_expires_s,
                server_name=answer.server_name or before.server_name,
            )
        self.seen = answer

    async def reauthenticate(self, *, compete: bool, handshake: bool = False, early: bool = False) -> Reopening:
        """Open the brokerage session (``ssodh/init``), or let the gateway repeat its handshake if that fails.

        With ``handshake`` the gateway's own handshake comes first: there has been none since its login. ``early``:
        it has not come yet, so that a refusal means nothing.
        """
        client = self.client
        if client is None:
            return Reopening(ok=False)
        self._accounts_due = ACCOUNTS_TRIES
        if handshake:
            await self._in_turn()
            if await client.reauthenticate():
                return Reopening(ok=True)
        await self._in_turn()
        answer = await client.ssodh_init(compete=compete)
        ok = answer.http_status == 200 and (answer.authenticated is not None or answer.message is None)
        said = None if answer.is_ready else answer.message
        self._refusal = None if early else said
        ours = self._our_app is None or self._known_ours
        if not ok and not handshake and not early and (compete or ours):
            # Only then: the gateway's own handshake takes over the session (``compete:true``), which was not requested.
            ok = await client.reauthenticate()
        return Reopening(ok=ok, said=said)

    async def resume(self) -> bool:
        """Send the kept cookies; forget them if the next check shows that IBKR did not accept them.

        It does not count in the pace of checks: it is not an API call, and its own budget keeps it rare.
        """
        if self.client is None or not self.cookies:
            return False
        offered = self.cookies
        ok = await self.client.resume(dict(offered))
        self._refused = offered if ok is False else None
        return ok is True
