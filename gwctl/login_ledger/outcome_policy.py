"""Meaning of each login outcome for the ledger, for the loop, and for the person who has to act."""

from __future__ import annotations

from dataclasses import dataclass

from gwctl.core.messages import LoginResult
from gwctl.login.outcome import LoginOutcome
from gwctl.login_ledger.rules import ANSWERED, REFUSED, SUCCESS, UNCOUNTED

RESET_HINT = "fix the cause, then: gwctl login --reset-lockout"


@dataclass(frozen=True, slots=True)
class Meaning:
    """Meaning of one login outcome for the ledger and for the loop."""

    ledger: str
    result: LoginResult
    code: str
    exit_code: int
    text: str
    hint: str | None = None


MEANINGS: dict[LoginOutcome, Meaning] = {
    LoginOutcome.SUCCESS: Meaning(SUCCESS, LoginResult.SUCCESS, "success", 0, "logged in"),
    LoginOutcome.REFUSED: Meaning(
        REFUSED,
        LoginResult.REFUSED_BEFORE_IT_EVER_WORKED,
        "credentials_rejected",
        77,
        "IBKR refused the username or the password",
        "correct them, then: gwctl up (a changed password is tried at once)",
    ),
    LoginOutcome.FORM_AGAIN: Meaning(
        REFUSED,
        LoginResult.REFUSED_BEFORE_IT_EVER_WORKED,
        "credentials_rejected",
        77,
        "IBKR showed the login form again without an error, which counts as a refusal",
        "log in by hand at IBKR's website to see why",
    ),
    LoginOutcome.UNCLEAR: Meaning(
        REFUSED,
        LoginResult.REFUSED_BEFORE_IT_EVER_WORKED,
        "credentials_rejected",
        77,
        "IBKR ended the login without a clear reason; it counts as a refusal",
        "log in by hand at IBKR's website to see why",
    ),
    LoginOutcome.LOCKED: Meaning(
        REFUSED,
        LoginResult.NEEDS_PERSON,
        "locked_out",
        77,
        "IBKR says that the account is locked",
        RESET_HINT,
    ),
    LoginOutcome.UNKNOWN_TEXT: Meaning(
        REFUSED,
        LoginResult.NEEDS_PERSON,
        "login_unclear",
        77,
        "the login page shows a message that gwctl does not know",
        RESET_HINT,
    ),
    LoginOutcome.WRONG_MODE: Meaning(
        ANSWERED,
        LoginResult.NEEDS_PERSON,
        "wrong_mode",
        77,
        "the user's account kind does not match the profile's mode",
        "set mode to paper or live in the profile, then: gwctl up",
    ),
    LoginOutcome.SECOND_FACTOR_NEEDED: Meaning(
        ANSWERED,
        LoginResult.NEEDS_PERSON,
        "second_factor_needed",
        77,
        "the second factor was not given",
        "set second_factor in the profile (gwctl login --explain says what was asked for), then: gwctl login",
    ),
    LoginOutcome.SECOND_FACTOR_REFUSED: Meaning(
        REFUSED,
        LoginResult.NEEDS_PERSON,
        "second_factor_refused",
        77,
        "IBKR refused the security code",
        RESET_HINT,
    ),
    LoginOutcome.UPSTREAM_ILL: Meaning(
        UNCOUNTED, LoginResult.IBKR_ILL, "upstream_unreachable", 75, "IBKR's login is not available"
    ),
    LoginOutcome.COOKIES_DISABLED: Meaning(
        UNCOUNTED, LoginResult.ENVIRONMENT, "browser_missing", 69, "the browser does not keep cookies"
    ),
    LoginOutcome.BROWSER_FAILED: Meaning(
        UNCOUNTED,
        LoginResult.ENVIRONMENT,
        "browser_missing",
        69,
        "the browser failed",
        "gwctl browser install",
    ),
    LoginOutcome.BROWSER_KILLED: Meaning(
        UNCOUNTED,
        LoginResult.ENVIRONMENT,
        "browser_killed",
        69,
        "the login's browser was killed, probably because memory ran out",
        "give the machine or container more memory: a login needs up to 500 MB on top of the gateway's 200 MB",
    ),
    LoginOutcome.FOREIGN_KEY: Meaning(
        UNCOUNTED,
        LoginResult.ENVIRONMENT,
        "foreign_key",
        69,
        "something other than the gateway answers on its port with another key; nothing was sent there",
        "gwctl doctor (see the lines port, localhost and certificate)",
    ),
    LoginOutcome.PORT_FORBIDDEN: Meaning(
        UNCOUNTED,
        LoginResult.ENVIRONMENT,
        "configuration",
        78,
        "browsers refuse to open the gateway's port",
        "set another port, such as 5000",
    ),
    LoginOutcome.PAGE_UNKNOWN: Meaning(
        UNCOUNTED, LoginResult.TRANSIENT, "page_unknown", 75, "gwctl does not know this login page"
    ),
    LoginOutcome.PAGE_NEVER_CAME: Meaning(
        UNCOUNTED, LoginResult.TRANSIENT, "page_never_came", 75, "the login form never appeared"
    ),
    LoginOutcome.TIMED_OUT: Meaning(UNCOUNTED, LoginResult.TRANSIENT, "timed_out", 75, "the login took too long"),
    LoginOutcome.SWALLOWED: Meaning(
        UNCOUNTED, LoginResult.TRANSIENT, "login_failed", 75, "the login page ignored the form twice"
    ),
    LoginOutcome.CANCELLED: Meaning(UNCOUNTED, LoginResult.TRANSIENT, "login_failed", 75, "the login was cancelled"),
}
