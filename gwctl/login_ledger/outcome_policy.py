"""Meaning of each login outcome for the ledger and for the loop; for a person it is in ``login.outcome``."""

from __future__ import annotations

from msgspec import Struct

from gwctl.core.messages import LoginResult
from gwctl.login.outcome import ENDINGS, LoginOutcome
from gwctl.login_ledger.rules import ANSWERED, REFUSED, SUCCESS, UNCOUNTED


class Meaning(Struct, frozen=True):
    """Meaning of one login outcome for the ledger and for the loop."""

    outcome: LoginOutcome
    ledger: str
    result: LoginResult
    code: str
    exit_code: int

    @property
    def text(self) -> str:
        """What happened."""
        return ENDINGS[self.outcome].text

    @property
    def hint(self) -> str | None:
        """What a person has to do; None if gwctl tries again without a person."""
        return ENDINGS[self.outcome].remedy if self.exit_code in {69, 77, 78} else None


MEANINGS: dict[LoginOutcome, Meaning] = {
    meaning.outcome: meaning
    for meaning in (
        Meaning(LoginOutcome.SUCCESS, SUCCESS, LoginResult.SUCCESS, "success", 0),
        Meaning(LoginOutcome.REFUSED, REFUSED, LoginResult.REFUSED_BEFORE_IT_EVER_WORKED, "credentials_rejected", 77),
        Meaning(
            LoginOutcome.FORM_AGAIN, REFUSED, LoginResult.REFUSED_BEFORE_IT_EVER_WORKED, "credentials_rejected", 77
        ),
        Meaning(LoginOutcome.UNCLEAR, REFUSED, LoginResult.REFUSED_BEFORE_IT_EVER_WORKED, "credentials_rejected", 77),
        Meaning(LoginOutcome.LOCKED, REFUSED, LoginResult.NEEDS_PERSON, "locked_out", 77),
        Meaning(LoginOutcome.UNKNOWN_TEXT, REFUSED, LoginResult.NEEDS_PERSON, "login_unclear", 77),
        Meaning(LoginOutcome.WRONG_MODE, ANSWERED, LoginResult.NEEDS_PERSON, "wrong_mode", 77),
        Meaning(LoginOutcome.SECOND_FACTOR_NEEDED, ANSWERED, LoginResult.NEEDS_PERSON, "second_factor_needed", 77),
        Meaning(LoginOutcome.SECOND_FACTOR_REFUSED, REFUSED, LoginResult.NEEDS_PERSON, "second_factor_refused", 77),
        Meaning(LoginOutcome.UPSTREAM_ILL, UNCOUNTED, LoginResult.IBKR_ILL, "upstream_unreachable", 75),
        Meaning(LoginOutcome.COOKIES_DISABLED, UNCOUNTED, LoginResult.ENVIRONMENT, "browser_missing", 69),
        Meaning(LoginOutcome.BROWSER_FAILED, UNCOUNTED, LoginResult.ENVIRONMENT, "browser_missing", 69),
        Meaning(LoginOutcome.BROWSER_KILLED, UNCOUNTED, LoginResult.ENVIRONMENT, "browser_killed", 69),
        Meaning(LoginOutcome.FOREIGN_KEY, UNCOUNTED, LoginResult.ENVIRONMENT, "foreign_key", 69),
        Meaning(LoginOutcome.PORT_FORBIDDEN, UNCOUNTED, LoginResult.ENVIRONMENT, "configuration", 78),
        Meaning(LoginOutcome.PAGE_UNKNOWN, UNCOUNTED, LoginResult.TRANSIENT, "page_unknown", 75),
        Meaning(LoginOutcome.PAGE_NEVER_CAME, UNCOUNTED, LoginResult.TRANSIENT, "page_never_came", 75),
        Meaning(LoginOutcome.TIMED_OUT, UNCOUNTED, LoginResult.TRANSIENT, "timed_out", 75),
        Meaning(LoginOutcome.SWALLOWED, UNCOUNTED, LoginResult.TRANSIENT, "login_failed", 75),
        Meaning(LoginOutcome.CANCELLED, UNCOUNTED, LoginResult.TRANSIENT, "login_failed", 75),
    )
}
