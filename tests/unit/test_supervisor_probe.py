from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from gwctl.gateway.answer import SessionAnswer, SsoFacts
from gwctl.gateway.answer import Verdict as Said
from gwctl.gateway.door import Knock
from gwctl.supervisor import probe as probe_module
from gwctl.supervisor.probe import Probe
from gwctl.supervisor.states import Verdict

COOKIES = (("JSESSIONID", "made up"),)


class AnsweringGateway:
    """Says what it is told to say, at once."""

    def __init__(self, said: SessionAnswer, door: Knock = Knock.OURS) -> None:
        self.said = said
        self.door = door
        self.calls: list[str] = []
        self.honours = True
        self.knows_login = True

    async def validate(self) -> SsoFacts | None:
        return None

    async def tickle(self, *, timeout_s: float | None = None) -> SessionAnswer:
        self.calls.append("tickle")
        return self.said

    async def auth_status(self, *, timeout_s: float | None = None) -> SessionAnswer:
        self.calls.append("auth_status")
        return self.said

    async def front_door(self, *, timeout_s: float | None = None) -> Knock:
        self.calls.append("knock")
        return self.door

    async def reauthenticate(self) -> bool:
        self.calls.append("reauthenticate")
        return self.knows_login

    async def ssodh_init(self, *, compete: bool) -> SessionAnswer:
        self.calls.append(f"ssodh_init {compete}")
        return self.said

    async def resume(self, cookies: Mapping[str, str]) -> bool:
        self.calls.append("resume")
        return self.honours


class SilentGateway(AnsweringGateway):
    """Does not answer a question until the test ends; its door may answer."""

    async def auth_status(self, *, timeout_s: float | None = None) -> SessionAnswer:
        await asyncio.Event().wait()
        raise AssertionError


class SlowGateway(AnsweringGateway):
    """Answers after the knock."""

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


EXPECTED = {
    Said.READY: Verdict.READY,
    Said.NOT_AUTHENTICATED: Verdict.NO_BROKERAGE,
    Said.BROKERAGE_GONE: Verdict.NO_BROKERAGE,
    Said.COMPETING: Verdict.COMPETING,
    Said.NO_SESSION: Verdict.NO_SESSION,
    Said.ACCESS_DENIED: Verdict.ACCESS_DENIED,
    Said.RATE_LIMITED: Verdict.RATE_LIMITED,
    Said.UPSTREAM_ILL: Verdict.UPSTREAM_ILL,
    Said.NO_ANSWER: Verdict.UPSTREAM_ILL,
}


@pytest.mark.parametrize("tickle", [False, True])
@pytest.mark.parametrize("said", list(Said))
def test_every_answer_has_its_verdict(said: Said, tickle: bool) -> None:  # noqa: FBT001 - parametrised
    """Whatever the gateway says of the session, the core hears a word it knows, with a text."""
    verdict, text = look(AnsweringGateway(SessionAnswer(said)), tickle=tickle)
    assert verdict is EXPECTED[said]
    assert text


def test_status_of_an_ill_ibkr_is_told() -> None:
    """A person who reads the reason sees which error it is."""
    assert "HTTP 503" in look(AnsweringGateway(SessionAnswer(Said.UPSTREAM_ILL, 503)))[1]


@pytest.mark.parametrize("door", [knock for knock in Knock if knock is not Knock.OURS])
@pytest.mark.parametrize("kind", [AnsweringGateway, SilentGateway])
def test_silence_on_both_sides_is_a_hung_gateway(
    kind: type[AnsweringGateway], door: Knock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the gateway's own door does not answer, it is the gateway that is ill."""
    monkeypatch.setattr(probe_module, "SILENCE_S", 0.01)
    assert look(kind(SessionAnswer(Said.NO_ANSWER), door))[0] is Verdict.HUNG


def test_no_gateway_is_a_hung_one() -> None:
    """A check that has nobody to ask says so."""
    assert look(None)[0] is Verdict.HUNG


def test_slow_answer_counts_when_the_door_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow IBKR is waited for; the knock only tells whose slowness it is."""
    monkeypatch.setattr(probe_module, "SILENCE_S", 0.01)
    client = SlowGateway(SessionAnswer(Said.COMPETING, 200))
    assert look(client)[0] is Verdict.COMPETING
    assert client.calls == ["knock"]


def test_first_sight_of_a_ready_session_is_tickled_once() -> None:
    """What only a tickle tells is there as soon as the session is ready, and one tickle is enough."""
    client = AnsweringGateway(SessionAnswer(Said.READY, 200, user_id=5, sso_expires_s=60.0, server_name="S"))
    probe = probe_of(client)

    async def story() -> None:
        await probe.check(tickle=False)
        client.said = SessionAnswer(Said.READY, 200)
        await probe.check(tickle=False)

    asyncio.run(story())
    assert client.calls == ["auth_status", "tickle", "auth_status"]
    assert probe.seen is not None
    assert (probe.seen.user_id, probe.seen.sso_expires_s, probe.seen.server_name) == (5, 60.0, "S")
    probe.forget_session()
    assert (probe.seen, probe.tickled_at) == (None, None)


@pytest.mark.parametrize("compete", [False, True])
def test_reauthenticate_opens_the_session_or_repeats_the_hand_shake(compete: bool) -> None:  # noqa: FBT001 - parametrised
    """ssodh/init first; where it is not taken, the gateway's own way."""
    client = AnsweringGateway(SessionAnswer(Said.READY, 200))
    assert asyncio.run(probe_of(client).reauthenticate(compete=compete))
    assert client.calls == [f"ssodh_init {compete}"]
    client = AnsweringGateway(SessionAnswer(Said.UPSTREAM_ILL, 500))
    client.knows_login = False
    assert not asyncio.run(probe_of(client).reauthenticate(compete=compete))
    assert client.calls == [f"ssodh_init {compete}", "reauthenticate"]
    assert not asyncio.run(probe_of(None).reauthenticate(compete=compete))


def test_cookies_are_kept_until_ibkr_has_answered_without_them() -> None:
    """A resume that failed while IBKR was away may work later; one that IBKR did not honour is forgotten."""
    client = AnsweringGateway(SessionAnswer(Said.UPSTREAM_ILL, 503))
    client.honours = False
    probe = probe_of(client)
    probe.cookies = COOKIES

    async def story() -> None:
        assert not await probe.resume()
        await probe.check(tickle=False)
        assert probe.cookies == COOKIES
        client.said = SessionAnswer(Said.NO_SESSION, 401)
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


def test_resume_without_cookies_or_gateway_asks_nobody() -> None:
    """Nothing to send, nobody to send it to."""
    assert not asyncio.run(probe_of(None).resume())
    client = AnsweringGateway(SessionAnswer(Said.READY))
    assert not asyncio.run(probe_of(client).resume())
    assert client.calls == []
