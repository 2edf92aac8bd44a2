from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.login.outcome import (
    LoginOutcome,
    LoginReport,
    SsoCookie,
    Step,
    classify_error,
    classify_words,
    redact,
    tidy,
)

LIVE_BUT_PAPER = (
    "You have selected the Live Account Mode, but the specified user is a Paper Trading user. "
    "Please select the correct Login mode."
)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("Invalid username password combination", LoginOutcome.REFUSED),
        ("  invalid username\n password  combination. ", LoginOutcome.REFUSED),
        ("Your account is locked", LoginOutcome.LOCKED),
        ("There were too many failed login attempts", LoginOutcome.LOCKED),
        ("Invalid username password combination: too many failed attempts", LoginOutcome.LOCKED),
        (LIVE_BUT_PAPER, LoginOutcome.WRONG_MODE),
        (LIVE_BUT_PAPER.replace("Live", "Paper", 1), LoginOutcome.WRONG_MODE),
        ("Invalid security code", LoginOutcome.SECOND_FACTOR_REFUSED),
        ("Incorrect security code, please try again", LoginOutcome.SECOND_FACTOR_REFUSED),
        ("failed", LoginOutcome.UNCLEAR),
        ("ERROR", LoginOutcome.UNCLEAR),
        ("Authentication failed", LoginOutcome.UNCLEAR),
        ("", LoginOutcome.UNCLEAR),
        ("   ", LoginOutcome.UNCLEAR),
        ("Network connectivity error: Unable to reach server", LoginOutcome.UPSTREAM_ILL),
        ("An error occurred while communicating with the server", LoginOutcome.UPSTREAM_ILL),
        ("System maintenance is in progress.", LoginOutcome.UPSTREAM_ILL),
        ("Service unavailable", LoginOutcome.UPSTREAM_ILL),
        ("Cookies must be enabled", LoginOutcome.COOKIES_DISABLED),
        ("The moon is in the wrong phase", LoginOutcome.UNKNOWN_TEXT),
        ("The transfer failed", LoginOutcome.UNKNOWN_TEXT),
    ],
)
def test_each_text_of_the_page_has_its_meaning(text: str, outcome: LoginOutcome) -> None:
    """Every row of the table of texts is classified as the login-page facts say."""
    assert classify_error(text) is outcome


def test_what_counts_as_refused_and_what_does_not() -> None:
    """Everything that IBKR may have counted as refused counts; trouble of IBKR, the browser or the mode does not."""
    counted = {outcome for outcome in LoginOutcome if outcome.counts_as_refusal}
    assert counted == {
        LoginOutcome.REFUSED,
        LoginOutcome.FORM_AGAIN,
        LoginOutcome.LOCKED,
        LoginOutcome.SECOND_FACTOR_REFUSED,
        LoginOutcome.UNCLEAR,
        LoginOutcome.UNKNOWN_TEXT,
    }


def test_a_report_survives_the_pipe() -> None:
    """A report read from its JSON is the same report."""
    report = LoginReport(
        LoginOutcome.SUCCESS,
        submits=1,
        text="x",
        steps=(Step("form filled", 12.5),),
        cookies=(SsoCookie("XYZAB", "v", "localhost", "/"),),
        page_version="current",
        durations_ms={"total": 3.0},
        workaround_used=True,
        totp_window=7,
        evidence="/somewhere",
    )
    assert LoginReport.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_a_report_does_not_print_its_cookies() -> None:
    """No cookie's value is in a repr (law 8)."""
    cookie = SsoCookie("XYZAB", "very-secret", "localhost", "/")
    assert "very-secret" not in repr(cookie) + repr(LoginReport(LoginOutcome.SUCCESS, cookies=(cookie,)))


def test_texts_are_redacted_whatever_their_case() -> None:
    """A secret in a text of the page is replaced, the longer of two first; an empty one changes nothing."""
    assert redact("User SOMEUSER7 (someuser7x)", ["someuser7", "", "someuser7x"]) == "User ••• (•••)"
    assert tidy("  a\n b\tsecret ", ["secret"]) == "a b •••"
    assert len(tidy("x" * 9000, [])) == 500


ABOUT_A_CLIENT = [
    "Your account needs attention: maintenance margin call",
    "An account maintenance fee of USD 10 applies.",
    "Account maintenance. Please review your trading permissions.",
    "Maintenance margin requirements have changed.",
    "Your account is temporarily unavailable until you confirm your tax form.",
    "This feature is currently unavailable for your account.",
    "Trading permissions are currently unavailable.",
    "The document service is currently unavailable. Your account needs attention.",
    "Your account needs attention. Cookies must be enabled to go on.",
]
OUTAGES = [
    "System maintenance is in progress.",
    "System maintenance: logins are not available",
    "Service unavailable",
    "The service is not available",
    "Our systems are currently unavailable. We apologize for the inconvenience.",
    "The system is temporarily unavailable, please try again later.",
    "Client Portal is down for scheduled maintenance.",
    "We are currently performing scheduled maintenance.",
    "The website is undergoing maintenance.",
    "Network connectivity error: Unable to reach server",
    "An error occurred while communicating with the server",
]
ANNOUNCED = ["Scheduled maintenance on Saturday", "The system will be unavailable this weekend.", "Maintenance"]


def test_words_of_a_page_are_ibkrs_trouble_only_where_they_say_so() -> None:
    """Texts about money, or about another day, are no outage: they count, and a person must read them."""
    assert {text: classify_words(text) for text in OUTAGES} == dict.fromkeys(OUTAGES, LoginOutcome.UPSTREAM_ILL)
    others = [*ABOUT_A_CLIENT, *ANNOUNCED]
    assert {text: classify_words(text) for text in others} == dict.fromkeys(others, LoginOutcome.UNKNOWN_TEXT)


@pytest.mark.parametrize("text", ["Maintenance margin call", "Account maintenance fee", ABOUT_A_CLIENT[0]])
def test_maintenance_of_an_account_is_no_outage_in_an_errors_place_either(text: str) -> None:
    """A word with two meanings is read by the words next to it, in any place."""
    assert classify_error(text) is LoginOutcome.UNKNOWN_TEXT


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("If your account is locked, call us.", LoginOutcome.UNKNOWN_TEXT),
        ("After too many failed attempts your account will be locked.", LoginOutcome.UNKNOWN_TEXT),
        ("When you see 'Invalid security code', check your clock.", LoginOutcome.UNKNOWN_TEXT),
        ("If you are a paper user, please select the correct login mode.", LoginOutcome.UNKNOWN_TEXT),
        (
            "Invalid username password combination. Too many failed attempts will lock your account.",
            LoginOutcome.REFUSED,
        ),
        ("Your account has been locked after too many failed attempts.", LoginOutcome.LOCKED),
        ("Your account is locked. If you need help, call us.", LoginOutcome.LOCKED),
    ],
)
def test_what_happens_if_has_not_happened(text: str, outcome: LoginOutcome) -> None:
    """A text that warns of something does not say that it has happened."""
    assert (classify_error(text), classify_words(text)) == (outcome, outcome)


CLIENT_PARTS = [
    "Your account",
    "Maintenance margin",
    "An account maintenance fee",
    "Your profile",
    "Trading permissions",
]
ASKS = ["is temporarily unavailable", "is due", "is currently unavailable until you call", "maintenance"]
TAILS = ["", "Network connectivity is good.", "Cookies must be enabled.", "The service is unavailable."]


@given(st.sampled_from(CLIENT_PARTS), st.sampled_from(ASKS), st.permutations(TAILS), st.integers(0, 3))
def test_what_a_page_asks_of_a_client_always_counts(part: str, asks: str, tails: list[str], many: int) -> None:
    """A demand in any wording never becomes an uncounted end of a login (law 2)."""
    assert classify_words(" ".join([f"{part} {asks}.", *tails[:many]])).counts_as_refusal
