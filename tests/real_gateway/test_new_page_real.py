"""A login page of no known version on the real gateway: understood, told of, and the kind of account asked as ever."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rig import Rig, a_rig

from gwctl.sandbox import ibkr as sso_routes
from gwctl.sandbox.settings import Account, PageOptions

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(180)]

REDESIGN = (
    ("xyz", "acme"),
    ('name="username"', 'name="acc"'),
    ('name="password"', 'name="sec"'),
    ("toggle1", "tgl"),
    ('name="paperSwitch"', 'name="m"'),
    ('<p class="acme-errormessage"', '<p role="alert"'),
)
"""What makes the page another one: its names, its classes and its ids."""

ARig = Callable[[Account, PageOptions], Rig]


@pytest.fixture
def rigs(tmp_path: Path, real_release_zip: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ARig]:
    """Yield a way to a rig whose stand-in serves IBKR's page after a redesign."""
    served = sso_routes._with_script

    def redesigned(name: str) -> str:
        page = served(name)
        for old, new in REDESIGN:
            assert old in page
            page = page.replace(old, new)
        return page

    monkeypatch.setattr(sso_routes, "_with_script", redesigned)
    with ExitStack() as stack:
        yield lambda account, page: stack.enter_context(a_rig(tmp_path, real_release_zip, account, page))


def an_account(mode: str) -> Account:
    return Account(username="trader01", password=f"canary-{secrets.token_hex(8)}", mode=mode)  # type: ignore[arg-type]


def test_a_redesigned_page_is_logged_in_and_told_of(rigs: ARig) -> None:
    """The session comes with one submit in the right mode, and the journal says what was understood."""
    rig = rigs(an_account("paper"), PageOptions(form_delay_ms=300))
    rig.gwctl("up").check(0)
    assert rig.status()["ready"]
    assert rig.submits() == 1
    told = [entry["text"] for entry in rig.journal() if entry.get("code") == "page_unknown_but_understood"]
    assert len(told) == 1
    assert 'username by its name "Username"' in told[0]
    assert 'paper_switch by the switch "Paper"' in told[0]


def test_a_redesigned_page_does_not_trade_live_by_accident(rigs: ARig) -> None:
    """On a page without a switch the kind of account is asked of IBKR, and a live one is logged out at once."""
    rig = rigs(an_account("live"), PageOptions(form_delay_ms=0, toggle=False))
    up = rig.gwctl("up", "--json").check(77)
    assert up.envelope["error"]["code"] == "wrong_mode"
    assert not any(entry.get("phase") == "ready" for entry in rig.journal())
    assert rig.stand_in.state.sessions.summary()["sso"] == [], "it was logged out at IBKR"
    assert rig.submits() == 1


@pytest.mark.wide
def test_a_refusal_on_a_redesigned_page_is_one(rigs: ARig) -> None:
    """A wrong password is sent once, and the explanation says that the page was new."""
    rig = rigs(an_account("paper"), PageOptions(form_delay_ms=0))
    rig.password_file.write_text("wrong-canary")
    up = rig.gwctl("up", "--json").check(77)
    assert up.envelope["error"]["code"] == "credentials_rejected"
    assert rig.submits() == 1
    text = rig.gwctl("login", "--explain").check(0).stdout
    assert "  the page        gwctl does not know it; understood by what it has: " in text
