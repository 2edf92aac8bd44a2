"""A refused login: IBKR's words are the same for a wrong username and a wrong password, and ours name both."""

from __future__ import annotations

from pathlib import Path

import pytest

from gwctl.config import load
from gwctl.credentials import Credentials, Secret, doubt_of_username
from gwctl.environment import Environment
from gwctl.login.outcome import ENDINGS, LoginOutcome
from gwctl.login_ledger.ledger import Ledger
from gwctl.login_ledger.outcome_policy import MEANINGS
from gwctl.supervisor.attempt import Attempt

NO_SUCCESS = "check the username first: no login as {} has worked here; "


def attempt_of(tmp_path: Path, username: str, password: str) -> Attempt:
    environment = Environment({"GWCTL_HOME": str(tmp_path), "GWCTL_USERNAME": username})
    settings = load("default", environment=environment)
    return Attempt(Ledger.of(settings), Credentials(username, Secret(password), None, "a file"), settings)


@pytest.mark.parametrize(
    ("username", "doubt"),
    [
        ("DU1234567", "looks like an account number"),
        ("u7654321", "looks like an account number"),
        ("me@example.org", "looks like an e-mail address"),
        ("paper trader", "has a blank in it"),
        ("paper123", None),
        ("du", None),
    ],
)
def test_a_username_that_looks_wrong(tmp_path: Path, username: str, doubt: str | None) -> None:
    """A number of an account, a mail address or a blank is named first, with what to type in its place."""
    assert (doubt_of_username(username) or "") == "" if doubt is None else doubt in str(doubt_of_username(username))
    hint = str(attempt_of(tmp_path, username, "secret ").hint_of(MEANINGS[LoginOutcome.REFUSED], ""))
    first, _, rest = hint.partition("; correct them")
    assert rest
    assert first.startswith("check the username first: " if doubt else "check the password first: ")
    assert doubt is None or doubt in first


@pytest.mark.parametrize("outcome", [LoginOutcome.REFUSED, LoginOutcome.FORM_AGAIN, LoginOutcome.UNCLEAR])
def test_a_username_that_has_never_logged_in(tmp_path: Path, outcome: LoginOutcome) -> None:
    """Until a login with it has worked, the username is in doubt; after that, only what was changed is."""
    attempt = attempt_of(tmp_path, "paper123", "secret")
    meaning = MEANINGS[outcome]
    assert attempt.hint_of(meaning, "") == NO_SUCCESS.format("paper123") + str(meaning.hint)
    assert attempt.ledger.begin_submit(attempt.password, attempt.context, 3).allowed
    attempt.ledger.end_submit("success")
    assert attempt_of(tmp_path, "paper123", "another").hint_of(meaning, "") == meaning.hint


def test_what_is_no_refusal_says_nothing_of_the_username(tmp_path: Path) -> None:
    """A lock, a second factor or an outage has its own remedy."""
    attempt = attempt_of(tmp_path, "DU1234567", "secret")
    for outcome in (LoginOutcome.LOCKED, LoginOutcome.SECOND_FACTOR_NEEDED, LoginOutcome.UPSTREAM_ILL):
        assert attempt.hint_of(MEANINGS[outcome], "") == MEANINGS[outcome].hint


def test_the_refusal_names_both(tmp_path: Path) -> None:
    """What is said of a refusal, now and when it is not repeated, is of the username and the password."""
    assert ENDINGS[LoginOutcome.REFUSED].text == "IBKR refused the username or the password"
    attempt = attempt_of(tmp_path, "paper123", "secret")
    assert attempt.ledger.begin_submit(attempt.password, attempt.context, 3).allowed
    attempt.ledger.end_submit("refused")
    denied = attempt.permission()
    assert (denied.code, denied.allowed) == ("credentials_rejected", False)
    assert str(denied.reason).startswith("this username with this password was refused by IBKR before")
