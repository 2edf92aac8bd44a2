from __future__ import annotations

import asyncio

import pytest
from probe_fakes import AnsweringGateway

from gwctl.core.messages import Checked
from gwctl.gateway.responses import AccountsAnswer, SessionAnswer
from gwctl.session_status import Verdict
from gwctl.supervisor.probe import Probe

COOKIES = (("JSESSIONID", "made up"),)


def probe_of(client: AnsweringGateway) -> Probe:
    probe = Probe()
    probe.client = client
    return probe


def look(client: AnsweringGateway) -> tuple[Verdict, str]:
    checked = asyncio.run(probe_of(client).check(tickle=False))
    return checked.verdict, checked.text


# What a session that we opened needs.


@pytest.mark.parametrize("handshake", [False, True])
def test_accounts_are_asked_before_a_session_that_we_opened_is_ready(handshake: bool) -> None:  # noqa: FBT001 - parametrised
    """IBKR answers API clients "Please query /accounts first" on such a session: once each time, even if late."""
    client = AnsweringGateway(SessionAnswer(Verdict.NOT_AUTHENTICATED, 200, authenticated=False))
    probe = probe_of(client)

    async def story() -> None:
        for _ in range(2):
            assert (await probe.reauthenticate(compete=False, handshake=handshake)).ok
            client.said = SessionAnswer(Verdict.NOT_AUTHENTICATED, 200, authenticated=False)
            await probe.check(tickle=False)
            assert "accounts" not in client.calls, "there is nothing to ask yet"
            client.said = SessionAnswer(Verdict.READY, 200)
            assert (await probe.check(tickle=False)).verdict is Verdict.READY
            await probe.check(tickle=False)
            assert client.calls.count("accounts") == 1
            client.calls.clear()

    asyncio.run(story())


def test_accounts_that_are_not_answered_are_asked_for_again_and_keep_nobody_waiting() -> None:
    """IBKR may be slow to know a session that it has opened: a few tries, and the session counts as ready meanwhile."""
    client = AnsweringGateway(SessionAnswer(Verdict.READY, 200))
    client.accounts_status = 500
    probe = probe_of(client)

    async def story() -> None:
        await probe.reauthenticate(compete=False)
        for _ in range(5):
            assert (await probe.check(tickle=False)).verdict is Verdict.READY

    asyncio.run(story())
    assert client.calls.count("accounts") == 3


class LosingGateway(AnsweringGateway):
    """Has a session until the accounts are requested; then it is gone, in one way or another."""

    def __init__(self, lost: SessionAnswer, accounts_status: int) -> None:
        super().__init__(SessionAnswer(Verdict.READY, 200))
        self.lost = lost
        self.accounts_status = accounts_status

    async def accounts(self) -> AccountsAnswer:
        self.said = self.lost
        return await super().accounts()


@pytest.mark.parametrize(
    ("lost", "status", "verdict"),
    [
        (SessionAnswer(Verdict.NO_SESSION, 401), 401, Verdict.NO_SESSION),
        (SessionAnswer(Verdict.NOT_AUTHENTICATED, 200, authenticated=False), 401, Verdict.NOT_AUTHENTICATED),
        (SessionAnswer(Verdict.BROKERAGE_GONE, 400), 400, Verdict.BROKERAGE_GONE),
        (SessionAnswer(Verdict.COMPETING, 200, competing=True), 401, Verdict.COMPETING),
        (SessionAnswer(Verdict.UPSTREAM_ILL), 401, Verdict.UPSTREAM_ILL),
    ],
)
@pytest.mark.parametrize("opened", [False, True])
def test_session_that_is_lost_while_its_kind_is_asked_for_is_a_lost_one(
    lost: SessionAnswer,
    status: int,
    verdict: Verdict,
    opened: bool,  # noqa: FBT001 - parametrised
) -> None:
    """A 401 to the question whether the account is paper or live leads to a check at once, and is no answer to it."""
    client = LosingGateway(lost, status)
    probe = probe_of(client)
    probe.wanted_kind = "paper"
    probe.cookies = COOKIES

    async def story() -> Checked:
        if opened:
            await probe.reauthenticate(compete=False)
        checked = await probe.check(tickle=False)
        await probe.settle()
        return checked

    checked = asyncio.run(story())
    assert (checked.verdict, checked.lost, "paper or live" in checked.text) == (verdict, True, False)


# IBKR's own words.


def test_words_of_ibkr_end_the_reason() -> None:
    """IBKR's words about a session that is not ready, or about an error, are in the reason; a ready one has none."""
    words = "Failed to connect"
    assert look(AnsweringGateway(SessionAnswer(Verdict.NOT_AUTHENTICATED, 200, message=words)))[1] == (
        "the brokerage session is not authenticated; IBKR: Failed to connect"
    )
    assert look(AnsweringGateway(SessionAnswer(Verdict.UPSTREAM_ILL, 500, message=words)))[1] == (
        "IBKR answers with an error (HTTP 500); IBKR: Failed to connect"
    )
    assert "IBKR:" not in look(AnsweringGateway(SessionAnswer(Verdict.READY, 200, message=words)))[1]


def test_words_that_differ_by_numbers_only_are_no_news() -> None:
    """A text with a changing time or request number does not fill the journal with one line a check."""
    client = AnsweringGateway(SessionAnswer(Verdict.UPSTREAM_ILL, 500))
    probe = probe_of(client)

    async def story() -> set[str]:
        texts = set()
        for number in range(5):
            client.said = SessionAnswer(Verdict.UPSTREAM_ILL, 500, message=f"request {number:x}f7 at 12:00:{number}")
            texts.add((await probe.check(tickle=False)).text)
        client.said = SessionAnswer(Verdict.UPSTREAM_ILL, 500, message="another text")
        texts.add((await probe.check(tickle=False)).text)
        return texts

    assert len(asyncio.run(story())) == 2


def test_why_ibkr_did_not_open_the_session_is_said_until_it_has() -> None:
    """The words of a failed ``ssodh/init`` are returned, and stay in the reason while there is no session."""
    client = AnsweringGateway(SessionAnswer(Verdict.NOT_AUTHENTICATED, 200, authenticated=False))
    client.opening = SessionAnswer(Verdict.UPSTREAM_ILL, 500, message="no trading permissions")
    client.knows_login = False
    probe = probe_of(client)

    async def story() -> list[str]:
        done = await probe.reauthenticate(compete=False)
        assert (done.ok, done.said) == (False, "no trading permissions")
        texts = [(await probe.check(tickle=False)).text]
        for verdict in (Verdict.READY, Verdict.NOT_AUTHENTICATED):
            client.said = SessionAnswer(verdict, 200)
            texts.append((await probe.check(tickle=False)).text)
        return texts

    assert ["no trading permissions" in text for text in asyncio.run(story())] == [True, False, False]


def test_an_early_request_that_is_refused_is_all() -> None:
    """The gateway's own handshake is not asked for, because it comes; and the refusal is no reason to show."""
    client = AnsweringGateway(SessionAnswer(Verdict.NOT_AUTHENTICATED, 200, authenticated=False))
    client.opening = SessionAnswer(Verdict.UPSTREAM_ILL, 500, message="not ready")
    probe = probe_of(client)

    async def story() -> str:
        done = await probe.reauthenticate(compete=False, early=True)
        assert (done.ok, done.said, client.calls) == (False, "not ready", ["ssodh_init False"])
        return (await probe.check(tickle=False)).text

    assert "not ready" not in asyncio.run(story())


def test_error_that_comes_with_200_is_no_opening() -> None:
    """``{"error": …}`` with status 200 is a refusal, and the gateway's own handshake is tried."""
    client = AnsweringGateway(SessionAnswer(Verdict.NOT_AUTHENTICATED, 200))
    client.opening = SessionAnswer(Verdict.NO_SESSION, 200, message="not authenticated")
    done = asyncio.run(probe_of(client).reauthenticate(compete=False))
    assert (done.ok, done.said, client.calls[-1]) == (True, "not authenticated", "reauthenticate")


def test_hand_shake_comes_first_where_there_was_none() -> None:
    """After a login, the gateway's own handshake is requested; if it knows of no login, the session is opened."""
    client = AnsweringGateway(SessionAnswer(Verdict.READY, 200))
    assert asyncio.run(probe_of(client).reauthenticate(compete=False, handshake=True)).ok
    assert client.calls == ["reauthenticate"]
    client.knows_login = False
    assert asyncio.run(probe_of(client).reauthenticate(compete=False, handshake=True)).ok
    assert client.calls == ["reauthenticate", "reauthenticate", "ssodh_init False"]
