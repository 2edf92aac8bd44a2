"""How IBKR judges a login: password, mode, second factor, refusals and the lock; without I/O."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from gwctl.sandbox.account import Account, Mode
from gwctl.sandbox.sessions import Sessions, SsoSession

# The texts are IBKR's, as users report them.
REFUSED: Final = "Invalid username password combination"
LOCKED: Final = "Your account is locked because of too many failed login attempts."
LIVE_BUT_PAPER: Final = (
    "You have selected the Live Account Mode, but the specified user is a Paper Trading user. "
    "Please select the correct Login mode."
)
PAPER_BUT_LIVE: Final = (
    "You have selected the Paper Account Mode, but the specified user is a Live Trading user. "
    "Please select the correct Login mode."
)
WRONG_CODE: Final = "Invalid security code"
STALE: Final = "ERROR"

Outcome = Literal[
    "success", "refused", "wrong_mode", "locked", "second_factor_asked", "second_factor_refused", "error_text",
    "form_again", "spins",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Submit:
    """One submit of the form, as the admin sees it: when, in which mode, how it ended; never what was typed."""

    at: str
    at_s: float
    mode: str
    outcome: Outcome


@dataclass(slots=True)
class Round:
    """A login between its rounds."""

    username: str
    mode: Mode
    nonce: str
    password_proved: bool = False


def proof_of(password: str, nonce: str) -> str:
    """Return what the page sends in the password's place: HMAC-SHA256 of ``nonce`` under the password, in hex.

    IBKR's page uses SRP; here as there the password itself never leaves the browser.
    """
    return hmac.new(password.encode(), nonce.encode(), hashlib.sha256).hexdigest()


class LoginDesk:
    """Judge logins of one account; keeps every submit, the refusals and the codes used."""

    def __init__(
        self,
        account: Account,
        sessions: Sessions,
        *,
        locked_at_refusals: int,
        scenarios: dict[str, dict[str, Any]],
        wall_clock: Callable[[], float],
    ) -> None:
        self._account = account
        self._sessions = sessions
        self._locked_at_refusals = locked_at_refusals
        self._scenarios = scenarios
        self._wall_clock = wall_clock
        self._rounds: dict[str, Round] = {}
        self._used_codes: set[str] = set()
        self.submits: list[Submit] = []
        self.refusals = 0

    @property
    def locked(self) -> bool:
        """Whether the account takes no login any more."""
        return self.refusals >= self._locked_at_refusals

    def unlock(self) -> None:
        """Forget the refusals."""
        self.refusals = 0

    def forget(self) -> None:
        """Forget everything."""
        self.unlock()
        self.submits.clear()
        self._rounds.clear()

    def answer(self, form: dict[str, str]) -> dict[str, Any]:
        """Return the answer to one POST to ``/sso/Authenticator``; ``cookies`` in it are for the page to set."""
        action = form.get("ACTION")
        if action == "INIT":
            return self._init(form)
        login = self._rounds.get(form.get("AUTH_ID", ""))
        if login is None:
            return {"error": STALE}
        if action == "COMPLETEAUTH":
            return self._judge(form.get("AUTH_ID", ""), login, form.get("PROOF", ""))
        if action == "SILVER" and login.password_proved:
            return self._judge_code(form.get("AUTH_ID", ""), login, form.get("CODE", ""))
        return {"error": STALE}

    def summary(self) -> dict[str, Any]:
        """Return what the admin may see."""
        return {
            "submits": [asdict(submit) for submit in self.submits],
            "refusals": self.refusals,
            "locked": self.locked,
        }

    def _init(self, form: dict[str, str]) -> dict[str, Any]:
        auth_id = secrets.token_hex(8)
        mode: Mode = "paper" if form.get("MODE") == "paper" else "live"
        self._rounds[auth_id] = Round(form.get("USER", ""), mode, secrets.token_hex(16))
        return {"auth_id": auth_id, "nonce": self._rounds[auth_id].nonce}

    def _judge(self, auth_id: str, login: Round, proof: str) -> dict[str, Any]:
        staged = self._staged()
        if staged is not None:
            return self._close(auth_id, login, *staged)
        known = hmac.compare_digest(login.username.encode(), self._account.username.encode())
        proved = hmac.compare_digest(proof.encode(), proof_of(self._account.password, login.nonce).encode())
        if not (known and proved) or "wrong_password" in self._scenarios:
            return self._refuse(auth_id, login, "refused", REFUSED)
        if login.mode != self._account.mode:
            text = LIVE_BUT_PAPER if self._account.mode == "paper" else PAPER_BUT_LIVE
            return self._close(auth_id, login, "wrong_mode", {"error": text})
        if self._account.totp_secret is not None:
            login.password_proved = True
            self._note(login, "second_factor_asked")
            return {"step": "silver"}
        return self._succeed(auth_id, login)

    def _staged(self) -> tuple[Outcome, dict[str, Any]] | None:
        """Return the ending that does not depend on what was typed, if there is one now."""
        if self.locked:
            return "locked", {"error": LOCKED}
        if "login_error" in self._scenarios:
            return "error_text", {"error": str(self._scenarios["login_error"]["text"])}
        if "form_again" in self._scenarios:
            # The form without a text is a refused login (the "redirect loop").
            self.refusals += 1
            return "form_again", {"again": True}
        return ("spins", {"spin": True}) if "login_spins" in self._scenarios else None

    def _judge_code(self, auth_id: str, login: Round, code: str) -> dict[str, Any]:
        import pyotp

        secret = self._account.totp_secret or ""
        right = pyotp.TOTP(secret).verify(code, for_time=dt.datetime.fromtimestamp(self._wall_clock(), dt.UTC))
        if not right or code in self._used_codes:
            return self._refuse(auth_id, login, "second_factor_refused", WRONG_CODE, keep=True)
        self._used_codes.add(code)
        return self._succeed(auth_id, login)

    def _succeed(self, auth_id: str, login: Round) -> dict[str, Any]:
        session: SsoSession = self._sessions.begin()
        cookies = {
            "XYZAB": session.token,
            "XYZAB_AM.LOGIN": session.token,
            "USERID": str(self._account.user_id),
        }
        return self._close(auth_id, login, "success", {"ok": True, "cookies": cookies})

    def _refuse(self, auth_id: str, login: Round, outcome: Outcome, text: str, *, keep: bool = False) -> dict[str, Any]:
        self.refusals += 1
        if self.locked:
            return self._close(auth_id, login, outcome, {"error": LOCKED})
        if keep:
            self._note(login, outcome)
            return {"error": text, "step": "silver"}
        return self._close(auth_id, login, outcome, {"error": text})

    def _close(self, auth_id: str, login: Round, outcome: Outcome, answer: dict[str, Any]) -> dict[str, Any]:
        self._rounds.pop(auth_id, None)
        self._note(login, outcome)
        return answer

    def _note(self, login: Round, outcome: Outcome) -> None:
        now_s = self._wall_clock()
        at = dt.datetime.fromtimestamp(now_s, dt.UTC).isoformat(timespec="milliseconds")
        self.submits.append(Submit(at, now_s, login.mode, outcome))
