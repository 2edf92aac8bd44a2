from __future__ import annotations

import asyncio
import time

import pytest
from facts import current
from hypothesis import given
from hypothesis import strategies as st
from probe_fakes import AnsweringGateway

from gwctl.core.messages import Checked
from gwctl.gateway.client import PortCheck
from gwctl.gateway.responses import SessionAnswer
from gwctl.session_status import Verdict
from gwctl.supervisor import probe as probe_module
from gwctl.supervisor.probe import Probe
from gwctl.supervisor.request_pace import PACE_AT_ONCE, Pace

COOKIES = (("JSESSIONID", "made up"),)


class SilentGateway(AnsweringGateway):
    """Does not answer a request until the test ends; the gateway itself may answer."""

    async def auth_status(self, *, timeout_s: float | None = None) -> SessionAnswer:
        await asyncio.Event().wait()
        raise AssertionError


class SlowGateway(AnsweringGateway):
    """Answers after the probe."""

    async def auth_status(self, *, timeout_s: float | None = None) -> SessionAnswer:
        while "knock" not in self.calls:  # noqa: ASYNC110 - the fact is in a list
            await asyncio.sleep(0)
        return self.said


def probe_of(client: AnsweringGateway | None) -> Probe:
    probe = Probe()
    probe.client = client
    return probe


def look(client: AnsweringGateway | None, *, tickle: bool = False) -> tuple[Verdict, str]:
    checked = asyncio.run(probe_of(client).check(tickle=tickle))
    return checked.verdict, checked.text


ANSWERS = sorted(set(Verdict) - {Verdict.HUNG, Verdict.BORROWED, Verdict.WRONG_KIND})
"""What an answer alone can say; the others take a second look."""


@pytest.mark.parametrize("tickle", [False, True])
@pytest.mark.parametrize("said", ANSWERS)
def test_every_answer_has_its_verdict(said: Verdict, tickle: bool) -> None:  # noqa: FBT001 - parametrised
    """For every answer of the gateway, the core gets a known verdict and a text."""
    verdict, text = look(AnsweringGateway(SessionAnswer(said)), tickle=tickle)
    assert verdict is said
    assert text


def test_status_of_an_ill_ibkr_is_told() -> None:
    """The reason names IBKR's error."""
    assert "HTTP 503" in look(AnsweringGateway(SessionAnswer(Verdict.UPSTREAM_ILL, 503)))[1]


def test_words_of_an_answers_own_come_before_the_verdicts() -> None:
    """A fault may say more than its verdict does, and IBKR's words follow."""
    said = SessionAnswer(Verdict.RATE_LIMITED, 403, message="Forbidden", text="IBKR refuses this machine")
    assert look(AnsweringGateway(said)) == (Verdict.RATE_LIMITED, "IBKR refuses this machine; IBKR: Forbidden")


@pytest.mark.parametrize("door", [knock for knock in PortCheck if knock is not PortCheck.OURS])
@pytest.mark.parametrize("kind", [AnsweringGateway, SilentGateway])
def test_silence_on_both_sides_is_a_hung_gateway(
    kind: type[AnsweringGateway], door: PortCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the gateway itself does not answer, the gateway is hung."""
    monkeypatch.setattr(probe_module, "SILENCE_S", 0.01)
    assert look(kind(SessionAnswer(Verdict.UPSTREAM_ILL), door))[0] is Verdict.HUNG


@pytest.mark.parametrize(("returns", "verdict"), [(True, Verdict.READY), (False, Verdict.HUNG)])
def test_silence_while_the_front_is_away_is_no_hung_gateway(*, returns: bool, verdict: Verdict) -> None:
    """The front of an isolated gateway is waited for, and the gateway asked again; if it fails, the gateway is hung."""
    client = AnsweringGateway(SessionAnswer(Verdict.UPSTREAM_ILL), PortCheck.CLOSED)
    probe = probe_of(client)

    async def came_back() -> bool:
        client.said = SessionAnswer(Verdict.READY, 200)
        return returns

    probe.came_back = came_back
    assert asyncio.run(probe.check(tickle=True)).verdict is verdict


def test_no_gateway_is_a_hung_one() -> None:
    """A check without a gateway says so."""
    assert look(None)[0] is Verdict.HUNG


def test_slow_answer_counts_when_the_door_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow answer of IBKR is waited for; the probe only shows which side is slow."""
    monkeypatch.setattr(probe_module, "SILENCE_S", 0.01)
    client = SlowGateway(SessionAnswer(Verdict.COMPETING, 200))
    assert look(client)[0] is Verdict.COMPETING
    assert client.calls == ["knock"]


def test_first_sight_of_a_ready_session_is_tickled_once() -> None:
    """The facts that only a tickle has are there as soon as the session is ready, and one tickle is enough."""
    client = AnsweringGateway(SessionAnswer(Verdict.READY, 200, user_id=5, sso_expires_s=60.0, server_name="S"))
    probe = probe_of(client)

    async def story() -> None:
        await probe.check(tickle=False)
        await probe.settle()
        client.said = SessionAnswer(Verdict.READY, 200)
        await probe.check(tickle=False)
        await probe.settle()

    asyncio.run(story())
    assert client.calls == ["auth_status", "tickle", "validate", "auth_status"]
    seen = probe.seen
    assert seen is not None
    assert (seen.user_id, seen.sso_expires_s, seen.server_name) == (5, 60.0, "S")
    probe.forget_session()
    assert (probe.seen, probe.tickled_at) == (None, None)


@pytest.mark.parametrize("compete", [False, True])
def test_reauthenticate_opens_the_session_or_repeats_the_hand_shake(compete: bool) -> None:  # noqa: FBT001 - parametrised
    """ssodh/init first; if it fails, the gateway's own way."""
    client = AnsweringGateway(SessionAnswer(Verdict.READY, 200))
    assert asyncio.run(probe_of(client).reauthenticate(compete=compete)).ok
    assert client.calls == [f"ssodh_init {compete}"]
    client = AnsweringGateway(SessionAnswer(Verdict.UPSTREAM_ILL, 500))
    client.knows_login = False
    assert not asyncio.run(probe_of(client).reauthenticate(compete=compete)).ok
    assert client.calls == [f"ssodh_init {compete}", "reauthenticate"]
    assert not asyncio.run(probe_of(None).reauthenticate(compete=compete)).ok


def test_cookies_are_kept_until_ibkr_has_answered_without_them() -> None:
    """A resume that failed while IBKR was away may work later; cookies that IBKR refused are dropped."""
    client = AnsweringGateway(SessionAnswer(Verdict.UPSTREAM_ILL, 503))
    client.honours = False
    probe = probe_of(client)
    probe.cookies = COOKIES

    async def story() -> None:
        assert not await probe.resume()
        await probe.check(tickle=False)
        assert current(probe.cookies) == COOKIES
        client.said = SessionAnswer(Verdict.NO_SESSION, 401)
        await probe.check(tickle=False)
        assert probe.cookies == ()
        assert not await probe.resume()
        probe.cookies = (("JSESSIONID", "another"),)
        client.honours = True
        assert await probe.resume()
        await probe.check(tickle=False)
        assert probe.cookies

    asyncio.run(story())
    assert client.calls.count("resume") == 2


def test_cookies_that_an_ill_ibkr_did_not_answer_are_kept() -> None:
    """A 5xx to the cookies is no refusal: the empty jar of a new gateway does not cost them."""
    client = AnsweringGateway(SessionAnswer(Verdict.NO_SESSION, 401))
    client.honours = None
    probe = probe_of(client)
    probe.cookies = COOKIES

    async def story() -> None:
        assert not await probe.resume()
        await probe.check(tickle=False)
        client.honours = True
        assert await probe.resume()

    asyncio.run(story())


def test_resume_without_cookies_or_gateway_asks_nobody() -> None:
    """No cookies to send, or no gateway to send them to."""
    assert not asyncio.run(probe_of(None).resume())
    client = AnsweringGateway(SessionAnswer(Verdict.READY))
    assert not asyncio.run(probe_of(client).resume())
    assert client.calls == []


# Who else has the session.


def _see(said: list[tuple[Verdict, str | None]]) -> tuple[list[Checked], AnsweringGateway]:
    client = AnsweringGateway(SessionAnswer(Verdict.READY, 200))
    probe = probe_of(client)
    seen = []

    async def story() -> None:
        for verdict, app in said:
            client.said, client.app = SessionAnswer(verdict, 200), app
            checked = await probe.check(tickle=False)
            await probe.settle()
            seen.append(checked)

    asyncio.run(story())
    return seen, client


OURS = [(Verdict.READY, "PORTAL")]


def test_a_borrower_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unauthenticated session of another client, by `sso/validate`, is borrowed, and the client is named."""
    monkeypatch.setattr(probe_module, "WHO_INTERVAL_S", 0.0)
    seen, _ = _see([*OURS, (Verdict.NOT_AUTHENTICATED, "TWS"), (Verdict.COMPETING, "TWS")])
    assert seen[1] == Checked(verdict=Verdict.BORROWED, text="another client has borrowed the session: TWS")
    assert seen[2].text == "another session of this username competes: TWS"


def test_our_own_client_borrows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unauthenticated session of the same client is opened, not waited for."""
    monkeypatch.setattr(probe_module, "WHO_INTERVAL_S", 0.0)
    seen, _ = _see([*OURS, (Verdict.NOT_AUTHENTICATED, "PORTAL"), (Verdict.NOT_AUTHENTICATED, None)])
    assert [one.verdict for one in seen[1:]] == [Verdict.NOT_AUTHENTICATED, Verdict.NOT_AUTHENTICATED]
    assert all(one.certain for one in seen)


def test_who_never_was_ready_is_robbed_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before our own client's name is known, another name says nothing and is not requested."""
    monkeypatch.setattr(probe_module, "WHO_INTERVAL_S", 0.0)
    seen, client = _see([(Verdict.NOT_AUTHENTICATED, "TWS")])
    assert seen[0].verdict is Verdict.NOT_AUTHENTICATED
    assert "validate" not in client.calls


def test_who_is_asked_once_a_minute_at_most() -> None:
    """IBKR allows one `sso/validate` a minute."""
    seen, client = _see([*OURS, *[(Verdict.NOT_AUTHENTICATED, "TWS")] * 4])
    assert client.calls.count("validate") == 1
    assert not any(one.certain for one in seen[1:]), "until it may be asked, nobody knows whose the session is"


def test_borrowed_session_is_not_taken_by_the_gateways_own_hand_shake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway's handshake competes: it is not requested while another client has the session."""
    monkeypatch.setattr(probe_module, "WHO_INTERVAL_S", 0.0)
    client = AnsweringGateway(SessionAnswer(Verdict.READY, 200))
    probe = probe_of(client)

    async def story() -> None:
        client.app = "PORTAL"
        await probe.check(tickle=False)
        await probe.settle()
        client.said, client.app = SessionAnswer(Verdict.NOT_AUTHENTICATED, 500), "TWS"
        await probe.check(tickle=False)
        assert not (await probe.reauthenticate(compete=False)).ok

    asyncio.run(story())
    assert "reauthenticate" not in client.calls


# The pace of requests.


@given(
    waits=st.lists(st.floats(0.0, 20.0) | st.just(0.0), max_size=80),
    at_once=st.integers(1, 9),
    each_s=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_no_span_holds_more_than_its_requests(waits: list[float], at_once: int, each_s: float) -> None:
    """No time span has more requests than allowed, and no request waits longer than needed."""
    pace = Pace(at_once=at_once, each_s=each_s)
    now = 0.0
    sent: list[float] = []
    for wait in waits:
        now += wait
        delay = pace.take(now)
        assert delay <= each_s + 1e-9
        crowded = [1 + sum(other >= at for other in sent) - at_once - (now - at) / each_s for at in sent]
        assert delay == pytest.approx(max(0.0, *crowded, 0.0) * each_s, abs=1e-6)
        now += delay
        sent.append(now)
    for number, first in enumerate(sent):
        for count, last in enumerate(sent[number:], 1):
            assert count <= at_once + (last - first) / each_s + 1e-6


def test_place_that_is_given_back_is_the_next_ones() -> None:
    """A returned slot takes nothing from earlier requests, and no request waits for an unused slot."""
    pace = Pace(at_once=3)
    assert [pace.take(0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert pace.take(0.0) == 1.0
    pace.give_back()
    assert pace.take(0.5) == 0.5
    assert pace.take(60.0) == 0.0


def test_cookies_are_offered_at_once_whatever_was_asked_before() -> None:
    """A resume does not wait for earlier checks: it is no API call, and has its own budget."""
    client = AnsweringGateway(SessionAnswer(Verdict.NO_SESSION, 401))
    probe = probe_of(client)
    probe.cookies = (("SSO", "kept"),)

    async def story() -> None:
        for _ in range(PACE_AT_ONCE):
            probe.pace.take(time.monotonic())
        async with asyncio.timeout(5.0):
            await probe.resume()

    asyncio.run(story())


def test_a_silent_gateway_is_knocked_at_without_delay_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second check of a hung gateway does not wait for the silence again."""
    client = SilentGateway(SessionAnswer(Verdict.UPSTREAM_ILL), PortCheck.SILENT)
    probe = probe_of(client)

    async def story() -> None:
        monkeypatch.setattr(probe_module, "SILENCE_S", 0.01)
        assert (await probe.check(tickle=False)).verdict is Verdict.HUNG
        monkeypatch.setattr(probe_module, "SILENCE_S", 60.0)
        async with asyncio.timeout(5.0):
            assert (await probe.check(tickle=False)).verdict is Verdict.HUNG

    asyncio.run(story())
    assert client.calls == ["knock", "knock"]
