"""A suspicious password is reported before it is sent: by `up`, `secret check` and doctor."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.worlds import plain_release
from hand_fakes import a_live_home

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.mark.parametrize("foreground", [False, pytest.param(True, marks=pytest.mark.wide)])
def test_up_tells_of_a_password_in_quotes_once_before_the_login(tmp_path: Path, *, foreground: bool) -> None:
    """One line names the source and not the password; the refusal that follows repeats it."""
    argv = ["up", "--foreground"] if foreground else ["up"]
    with a_live_home(tmp_path, plain_release(tmp_path / "plain.zip")) as home:
        given = {"GWCTL_USERNAME": home.account.username, "GWCTL_PASSWORD": f'"{home.account.password}"'}
        done = home.gwctl(*argv, **given).check(77)
        warnings = [line for line in done.stderr.splitlines() if line.startswith("the password:")]
        assert warnings == [
            "the password: it is in quotes in its source ($GWCTL_PASSWORD), and gwctl sends the quotes too"
        ]
        assert home.account.password not in done.stderr


def test_up_says_nothing_of_a_password_that_looks_right(tmp_path: Path) -> None:
    """A password without doubts gives no such line."""
    with a_live_home(tmp_path, plain_release(tmp_path / "plain.zip")) as home:
        done = home.gwctl("up", GWCTL_USERNAME=home.account.username, GWCTL_PASSWORD=home.account.password).check(0)
        assert "the password:" not in done.stderr
