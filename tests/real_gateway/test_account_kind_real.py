"""Nobody trades live by accident, on the real gateway: a page without a switch logs a live user in on paper."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rig import Rig, a_rig, status_of, wait_for

from gwctl.sandbox.settings import Account, PageOptions

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture
def live_user(tmp_path: Path, real_release_zip: Path) -> Iterator[Rig]:
    """Yield a rig whose user is a live one, at a page that tells paper from live by the username alone."""
    account = Account(username="trader01", password=f"canary-{secrets.token_hex(8)}", mode="live")
    page = PageOptions(form_delay_ms=0, toggle=False)
    with a_rig(tmp_path, real_release_zip, account, page) as rig:
        yield rig


def test_paper_profile_is_never_ready_with_a_live_account(live_user: Rig) -> None:
    """The login succeeds, is seen to be live before anything is ready, and ends: logged out, not tried again."""
    up = live_user.gwctl("up", "--json").check(77)
    error = up.envelope["error"]
    assert error["code"] == "wrong_mode"
    assert "the account is live, but the profile says paper" in error["message"]
    assert "mode" in error["hint"]
    assert not any(entry.get("phase") == "ready" for entry in live_user.journal())
    assert live_user.stand_in.state.sessions.summary()["sso"] == [], "it was logged out at IBKR"
    assert live_user.processes_left() == []
    assert not live_user.listens()
    assert live_user.submits() == 1

    again = live_user.gwctl("up", "--quiet").check(77)
    assert "the account is live" in again.stderr
    assert live_user.submits() == 1, "the next call from cron sends nothing"

    live_user.gwctl("up", GWCTL_MODE="live").check(0)
    assert live_user.status()["ready"]
    assert live_user.submits() == 2


def waited_for_portfolio(rig: Rig) -> tuple[int, int]:
    """Return how `wait --for portfolio` and `up` end where another client has the brokerage session from the start."""
    rig.stand_in.state.set_scenario("competing", on=True, parameters={"take_over": False})
    with ThreadPoolExecutor() as pool:
        up = pool.submit(rig.gwctl, "up", "--timeout", "60")
        wait_for(lambda: up.done() or status_of(rig.home) is not None, 60, "the supervisor answers")
        waited = rig.gwctl("wait", "--for", "portfolio", "--timeout", "100")
        return waited.exit_code, up.result().exit_code


def test_nobody_reads_the_portfolio_of_a_live_account_by_accident(live_user: Rig) -> None:
    """`wait --for portfolio` never succeeds with a session of the other kind, ready or not; it is logged out."""
    assert waited_for_portfolio(live_user) == (75, 77)
    assert not any(entry.get("phase") == "ready" for entry in live_user.journal())
    assert live_user.stand_in.state.sessions.summary()["sso"] == []
    assert live_user.submits() == 1


def test_the_portfolio_of_the_right_kind_is_waited_for(live_user: Rig) -> None:
    """With the profile's own kind, it succeeds without a brokerage session that was ever ready."""
    live_user.settings["GWCTL_MODE"] = "live"
    assert waited_for_portfolio(live_user)[0] == 0
    status = live_user.status()
    assert (status["session"]["sso"], status["ready"]) == (True, False)
