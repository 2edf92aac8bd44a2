"""No live trading by accident: a session is ready only if its account is of the profile's kind."""

from __future__ import annotations

import asyncio
import json

import pytest
from probe_fakes import AnsweringGateway
from supervisor_fakes import Core, started

from gwctl.core.messages import BlockLogin, Checked, Finish, GatewayAnswers, GatewayGone, Process, StopGateway
from gwctl.gateway.responses import AccountKind, SessionAnswer, judge_accounts
from gwctl.session_status import Verdict
from gwctl.supervisor import probe as probe_module
from gwctl.supervisor.probe import Probe

READY = SessionAnswer(Verdict.READY, 200)


class TellingGateway(AnsweringGateway):
    """Has a ready session with an account of some kind, and reports the kind in the ways it is set to."""

    def __init__(self, login_type: int | None = 2, listed: AccountKind | None = "paper") -> None:
        super().__init__(READY)
        self.login_type = login_type
        self.listed = listed
        self.app = "ours"


def look(gateway: TellingGateway, wanted: AccountKind, times: int = 1) -> list[Checked]:
    probe = Probe(wanted_kind=wanted)
    probe.client = gateway

    async def story() -> list[Checked]:
        return [await probe.check(tickle=False) for _ in range(times)]

    return asyncio.run(story())


@pytest.mark.parametrize("wanted", ["paper", "live"])
@pytest.mark.parametrize(("login_type", "listed"), [(2, None), (1, None), (None, "paper"), (None, "live")])
def test_kind_is_told_by_the_login_or_by_the_accounts(
    wanted: AccountKind, login_type: int | None, listed: AccountKind | None
) -> None:
    """Ready if the account is of the profile's kind, however IBKR reports it; otherwise the error names the kind."""
    kind = listed or ("paper" if login_type == 2 else "live")
    (seen,) = look(TellingGateway(login_type, listed), wanted)
    if kind == wanted:
        assert seen.verdict is Verdict.READY
    else:
        assert seen == Checked(
            verdict=Verdict.WRONG_KIND, text=f"the account is {kind}, but the profile says {wanted}: logging out"
        )


def test_paper_profile_waits_until_the_kind_is_told() -> None:
    """If IBKR does not say, a paper profile is not ready, and nothing is restarted or sent for it."""
    (seen,) = look(TellingGateway(None, None), "paper")
    assert (seen.verdict, "paper or live" in seen.text) == (Verdict.UPSTREAM_ILL, True)
    (seen,) = look(TellingGateway(None, None), "live")
    assert seen.verdict is Verdict.READY


def test_kind_is_asked_once_a_session() -> None:
    """A session that continues is not asked again; the login's facts may be requested once a minute."""
    gateway = TellingGateway()
    look(gateway, "paper", times=4)
    assert gateway.calls.count("validate") == 1
    assert gateway.calls.count("accounts") == 0


def test_kind_is_asked_anew_after_the_session_was_gone() -> None:
    """The next login may be another account; within the minute, the accounts show its kind."""
    gateway = TellingGateway()
    probe = Probe(wanted_kind="paper")
    probe.client = gateway

    async def story() -> Checked:
        await probe.check(tickle=False)
        gateway.said = SessionAnswer(Verdict.NO_SESSION, 401)
        await probe.check(tickle=False)
        gateway.said, gateway.login_type, gateway.listed = READY, 1, "live"
        return await probe.check(tickle=False)

    assert asyncio.run(story()).verdict is Verdict.WRONG_KIND
    assert gateway.calls[-1] == "accounts"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"accounts": ["DU1", "DU2"]}, "paper"),
        ({"accounts": ["DF1", "All"]}, "paper"),
        ({"accounts": ["U1"], "isPaper": False}, "live"),
        ({"accounts": ["U1"], "isPaper": True}, "paper"),
        ({"accounts": ["U1"]}, "live"),
        ({"accounts": ["U1", "DU1"]}, None),
        ({"accounts": []}, None),
        ({"accounts": "DU1"}, None),
        ({"error": "no bridge"}, None),
        ([], None),
    ],
)
def test_accounts_tell_their_kind_or_nothing(body: object, kind: AccountKind | None) -> None:
    """Mixed, missing or odd accounts are not guessed about."""
    assert judge_accounts(200, json.dumps(body).encode()) == kind
    assert judge_accounts(500, json.dumps(body).encode()) is None


COMPETING = SessionAnswer(Verdict.COMPETING, 200)
GONE = SessionAnswer(Verdict.BROKERAGE_GONE, 200)


@pytest.mark.parametrize("said", [COMPETING, GONE, SessionAnswer(Verdict.NOT_AUTHENTICATED, 200)])
@pytest.mark.parametrize("wanted", ["paper", "live"])
@pytest.mark.parametrize("login_type", [2, 1, None])
def test_kind_is_known_without_a_brokerage_session(
    monkeypatch: pytest.MonkeyPatch, said: SessionAnswer, wanted: AccountKind, login_type: int | None
) -> None:
    """The portfolio is there for the profile's kind alone; another kind is logged out, an unknown one waits."""
    monkeypatch.setattr(probe_module, "OPENING_S", 0.0)
    gateway = TellingGateway(login_type, listed=None)
    gateway.said = said
    probe = Probe(wanted_kind=wanted)
    probe.client = gateway
    seen = asyncio.run(probe.check(tickle=False))
    kind = {2: "paper", 1: "live", None: None}[login_type]
    assert probe.fits_profile is (kind == wanted or (kind is None and wanted == "live"))
    assert (seen.verdict is Verdict.WRONG_KIND) is (kind not in {wanted, None})
    assert "accounts" not in gateway.calls, "they are the brokerage session's"
    if kind != wanted:
        probe.forget_session()
        assert not probe.fits_profile


def test_kind_is_not_asked_while_the_brokerage_session_opens() -> None:
    """A login's first seconds: what may be asked once a minute is kept for the ready session, and nothing fits yet."""
    gateway = TellingGateway()
    gateway.said = GONE
    probe = Probe(wanted_kind="live")
    probe.client = gateway

    async def story() -> None:
        for _ in range(3):
            await probe.check(tickle=False)
            assert not probe.fits_profile
        assert "validate" not in gateway.calls
        gateway.said = READY
        assert (await probe.check(tickle=False)).verdict is Verdict.WRONG_KIND

    asyncio.run(story())
    assert not probe.fits_profile


def settled() -> Core:
    core = started()
    core.feed(GatewayAnswers(core.snapshot.epoch))
    return core


@pytest.mark.parametrize("was_ready", [False, True])
def test_account_of_the_other_kind_is_logged_out_and_ends_it(was_ready: bool) -> None:  # noqa: FBT001 - parametrised
    """Logged out, blocked for the next call from cron, ended with 77, whether it was ever ready or not."""
    core = settled()
    if was_ready:
        core.see(Verdict.READY)
    actions = core.see(Verdict.WRONG_KIND, "the account is live")
    assert BlockLogin("wrong_mode", "the account is live") in actions
    assert StopGateway(logout=True) in actions
    assert core.snapshot.process is Process.STOPPING
    (finish,) = [action for action in core.feed(GatewayGone()) if isinstance(action, Finish)]
    assert (finish.exit_code, finish.code) == (77, "wrong_mode")
