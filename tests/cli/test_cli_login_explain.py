"""`gwctl login --explain`: the last failed login in plain words and what to do; and options that exclude each other."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from chaos.worlds import plain_release
from cli_fakes import Home, a_real_home, one_line_with_hint

KEPT = {
    "outcome": "timed_out",
    "at": "2026-11-20T01:02:03Z",
    "text": "no answer",
    "submits": 1,
    "steps": [["page opened", 120]],
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return an empty home in which nothing ever starts."""
    return Home(tmp_path)


def keep(home: Home, name: str, steps: str, profile: str = "default") -> Path:
    """Write the record of a failed login and return its folder."""
    folder = home.home / "state" / "profiles" / profile / "evidence" / name
    folder.mkdir(parents=True)
    (folder / "steps.json").write_text(steps)
    return folder


@pytest.mark.browser
def test_a_refused_login_is_explained(tmp_path: Path) -> None:
    """After a refusal: what happened, IBKR's text, what was submitted, what to do, and where the record is."""
    with a_real_home(tmp_path, plain_release(tmp_path / "plain.zip")) as home:
        home.gwctl("up", GWCTL_PASSWORD="wrong-canary").check(77)
        text = home.gwctl("login", "--explain").check(0).stdout
        login = home.gwctl("login", "--explain", "--json").check(0).envelope["data"]["login"]
        assert home.submits() == 1
    first, *rest = text.splitlines()
    assert first == f"{login['at']}: IBKR refused the username or the password"
    assert "  the page said   Invalid username password combination" in rest
    assert "  submitted       the password, once" in rest
    assert any(line.startswith("  what to do      correct them (gwctl secret check password") for line in rest)
    assert any(line.endswith(" s  submitted") for line in rest)
    assert f"  kept in         {login['folder']} ({', '.join(login['files'])})" in rest
    assert (login["outcome"], login["submits"], login["cause"]) == ("refused", 1, None)
    assert {"steps.json", "page.png", "page.txt", "browser.json"} <= set(login["files"])
    assert "canary" not in text + json.dumps(login)


def test_a_page_that_is_new_is_explained(home: Home) -> None:
    """For an unknown page, the explanation says what gwctl recognized and how."""
    understood = "understood by what it has: username by autocomplete"
    keep(home, "20261120T010203Z-1-timed_out", json.dumps({**KEPT, "steps": [["page opened", 1], [understood, 2]]}))
    text = home.gwctl("login", "--explain").check(0).stdout
    assert f"  the page        gwctl does not know it; {understood}" in text.splitlines()
    login = home.gwctl("login", "--explain", "--json").check(0).envelope["data"]["login"]
    assert login["understood"] == understood


def test_none_is_kept(home: Home) -> None:
    """Without a failed login, that is the answer, with exit 0, and no file is created."""
    assert home.gwctl("login", "--explain").check(0).stdout == "no record of a failed login of profile 'default'\n"
    envelope = home.gwctl("login", "--explain", "--json", GWCTL_PROFILE="other").check(0).envelope
    assert envelope["data"] == {"login": None}
    assert not home.home.exists()


@pytest.mark.parametrize(
    "damaged", ["", "{", "[]", '{"outcome": "refused", "steps": [1]}', '{"outcome": "refused", "submits": {}}', "{}"]
)
def test_a_damaged_one_is_passed_over(home: Home, damaged: str) -> None:
    """A damaged steps.json hides only its own login: the previous one is shown (law 9)."""
    keep(home, "20261120T010203Z-000000001-timed_out", json.dumps(KEPT))
    keep(home, "20261121T010203Z-000000001-refused", damaged)
    login = home.gwctl("login", "--explain", "--json").check(0).envelope["data"]["login"]
    assert (login["outcome"], login["at"]) == ("timed_out", KEPT["at"])


def test_the_commands_are_for_the_profile(home: Home) -> None:
    """The command to type names the profile."""
    keep(home, "20261121T010203Z-000000001-refused", json.dumps({**KEPT, "outcome": "refused"}), profile="live")
    done = home.gwctl("--profile", "live", "login", "--explain").check(0)
    assert "then: gwctl --profile live up" in done.stdout
    login = home.gwctl("--profile", "live", "login", "--explain", "--json").check(0).envelope["data"]["login"]
    assert "gwctl --profile live secret check password" in login["todo"]


@pytest.mark.parametrize(
    "pair", list(itertools.combinations(["--manual", "--probe", "--explain", "--reset-lockout"], 2))
)
def test_what_excludes_each_other(home: Home, pair: tuple[str, str]) -> None:
    """Two modes of login at once are a usage error, and nothing happens."""
    text = one_line_with_hint(home.gwctl("login", *pair).check(2))
    assert "cannot be combined" in text
    assert not home.home.exists()
