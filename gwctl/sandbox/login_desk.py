"""How the fake IBKR judges a login: password, mode, second factor, refusals and the lock; without I/O."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import asdict

from gwctl.sandbox.settings import SCENARIOS, Account, Mode

STEP_OF_KIND: Final[Mapping[str, str]] = {
    "app": "silver",
    "sms": "silver",
    "temporary": "temp",
    "email": "temp",
    "card": "bronze",
    "challenge": "gold",
    "push": "push",
    "choice": "choice",
    "channel": "channel",
    "passkey": "fido",
    "email_check": "email",
}
"""The panels of the page (and the rounds of its protocol) by their questions."""
KIND_OF_DEVICE: Final[Mapping[str, str]] = {"5.2a": "push", "5.2i": "push", "4": "app"}


class SecondFactor(Struct, frozen=True):
    """One second factor with its right answers, the parameters of the scenario; ``approve`` is for a push."""

    kind: str
    code: str
    challenge: str
    response: str
    devices: tuple[tuple[str, str], ...]
    choice_needs_button: bool
    approve: str
    approve_after_ms: float
    offer: str | Literal[False]
    remembered: bool

    @classmethod
    def of_kind(cls, kind: str) -> SecondFactor:
        """Return the second factor of this kind with its defaults."""
        return cls(**{**SCENARIOS["second_factor"].parameters, "kind": kind})

    def asks(self, kind: str) -> dict[str, Any]:
        """Return the answer that makes the page show the step of ``kind``, with the step's content."""
        answer: dict[str, Any] = {"step": STEP_OF_KIND[kind]}
        if kind == "challenge":
            answer["challenge"] = self.challenge
        if kind == "choice":
            answer |= {"devices": self.devices, "needs_button": self.choice_needs_button}
        return answer

    def kind_of_device(self, device: str) -> str | None:
        """Return the step that the choice of this device leads to, or None for a device that was not offered."""
        if device not in [value for value, _label in self.devices]:
            return None
        return KIND_OF_DEVICE.get(device, "sms")

    def approves(self, sent_ago_s: float, resends: int) -> bool | None:
        """Return the result of a push sent ``sent_ago_s`` ago: approved, denied, or None for no answer yet."""
        if self.approve == "never" or sent_ago_s * 1000 < self.approve_after_ms:
            return None
        if self.approve == "second" and resends == 0:
            return None
        return self.approve != "denied"


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
DENIED: Final = "Authentication failed"
STALE: Final = "ERROR"

Outcome = Literal[
    "success", "refused", "wrong_mode", "locked", "second_factor_asked", "second_factor_refused", "offer",
    "error_text", "form_again", "spins",
]  # fmt: skip


class Submit(Struct, frozen=True):
    """One submit of the form, for the admin: its time, its mode, how it ended; never what was typed."""

    at: str
    at_s: float
    mode: str
    outcome: Outcome


class Round(Struct):
    """A login between its rounds; it waits for ``kind`` (the offer, once no question is left)."""

    username: str
    mode: Mode
    nonce: str
    factor: SecondFactor | None = None
    kind: str | None = None
    pushed_s: float = 0.0
    resends: int = 0


def proof_of(password: str, nonce: str) -> str:
    """Return what the page sends instead of the password: HMAC-SHA256 of ``nonce`` under the password, in hex.

    IBKR's page uses SRP; in both cases, the password itself never leaves the browser.
    """
    return hmac.new(password.encode(), nonce.encode(), hashlib.sha256).hexdigest()


class LoginDesk:
    """Judge the logins of one account; keeps every submit, the refusals and the used codes.

    ``begin_session`` opens an SSO session and returns its token.
    """

    def __init__(
        self,
        account: Account,
        begin_session: Callable[[], str],
        *,
        locked_at_refusals: int,
        scenarios: dict[str, dict[str, Any]],
        wall_clock: Callable[[], float],
    ) -> None:
        self._account = account
        self._begin_session = begin_session
        self._locked_at_refusals = locked_at_refusals
        self._scenarios = scenarios
        self._wall_clock = wall_clock
        self._rounds: dict[str, Round] = {}
        self._used_totps: set[str] = set()
        self._used_codes: set[str] = set()
        self.submits: list[Submit] = []
        self.refusals = 0
        self.resends = 0

    @property
    def locked(self) -> bool:
        """Whether the account refuses every login."""
        return self.refusals >= self._locked_at_refusals

    def unlock(self) -> None:
        """Forget the refusals."""
        self.refusals = 0

    def renew_codes(self) -> None:
        """Make the fixed codes of a scenario valid again; never a TOTP code."""
        self._used_codes.clear()

    def forget(self) -> None:
        """Forget everything."""
        self.unlock()
        self.renew_codes()
        self.resends = 0
        self.submits.clear()
        self._rounds.clear()

    def answer(self, form: dict[str, str]) -> dict[str, Any]:
        """Return the answer to one POST to ``/sso/Authenticator``; the page sets the ``cookies`` in it."""
        action = form.get("ACTION")
        if action == "INIT":
            return self._init(form)
        auth_id = form.get("AUTH_ID", "")
        login = self._rounds.get(auth_id)
        if login is None:
            return {"error": STALE}
        if action == "COMPLETEAUTH":
            return self._judge(auth_id, login, form.get("PROOF", ""))
        if login.factor is None or login.kind is None:
            return {"error": STALE}
        return self._go_on(auth_id, login, login.factor, form)

    def summary(self) -> dict[str, Any]:
        """Return what the admin may see."""
        return {
            "submits": [asdict(submit) for submit in self.submits],
            "refusals": self.refusals,
            "locked": self.locked,
            "resends": self.resends,
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
        factor = self._factor()
        login.factor = factor
        if factor.kind == "none" or factor.remembered:
            return self._offer_or_succeed(auth_id, login, factor)
        self._note(login, "second_factor_asked")
        return self._ask(login, factor, factor.kind)

    def _staged(self) -> tuple[Outcome, dict[str, Any]] | None:
        """Return the ending that does not depend on what was typed, if a scenario has one."""
        if self.locked:
            return "locked", {"error": LOCKED}
        if "login_error" in self._scenarios:
            return "error_text", {"error": str(self._scenarios["login_error"]["text"])}
        if "form_again" in self._scenarios:
            # The form without a text is a refused login (the "redirect loop").
            self.refusals += 1
            return "form_again", {"again": True}
        return ("spins", {"spin": True}) if "login_spins" in self._scenarios else None

    def _factor(self) -> SecondFactor:
        """Return what to ask for after the password."""
        staged = self._staged_factor()
        return staged or SecondFactor.of_kind("none" if self._account.totp_secret is None else "app")

    def _staged_factor(self) -> SecondFactor | None:
        parameters = self._scenarios.get("second_factor")
        return None if parameters is None else SecondFactor(**parameters)

    def _ask(self, login: Round, factor: SecondFactor, kind: str) -> dict[str, Any]:
        login.kind = kind
        if kind == "push":
            login.pushed_s = self._wall_clock()
        return factor.asks(kind)

    def _go_on(self, auth_id: str, login: Round, factor: SecondFactor, form: dict[str, str]) -> dict[str, Any]:
        """Judge a round after the password: the question that this login waits for decides what it may be."""
        answer: dict[str, Any] = {"error": STALE}
        match form.get("ACTION"), login.kind:
            case "SKIP", "offer":
                answer = self._succeed(auth_id, login)
            case "SKIP", "email_check":
                answer = self._offer_or_succeed(auth_id, login, factor)
            case "CHOICE", "choice":
                kind = factor.kind_of_device(form.get("DEVICE", ""))
                answer = answer if kind is None else self._ask(login, factor, kind)
            case "TEXT" | "VOICE" | "EMAIL", "channel":
                answer = self._ask(login, factor, "sms")
            case "SHOWCHALLENGE", "push":
                answer = self._ask(login, factor, "challenge")
            case "PUSH", "push":
                answer = self._poll(auth_id, login, factor)
            case "RESEND", "push":
                answer = self._resend(login)
            case action, ("app" | "sms" | "temporary" | "email" | "card" | "challenge" | "email_check") as kind:
                if action == STEP_OF_KIND[kind].upper():
                    answer = self._judge_code(auth_id, login, factor, kind, form.get("CODE", ""))
        return answer

    def _resend(self, login: Round) -> dict[str, Any]:
        self.resends += 1
        login.resends += 1
        login.pushed_s = self._wall_clock()
        return {"pending": True}

    def _poll(self, auth_id: str, login: Round, asked: SecondFactor) -> dict[str, Any]:
        """Report the push; its recipient may change their mind while the page waits."""
        now = self._staged_factor() or asked
        approved = now.approves(self._wall_clock() - login.pushed_s, login.resends)
        if approved is None:
            return {"pending": True}
        if approved:
            return self._offer_or_succeed(auth_id, login, asked)
        return self._refuse(auth_id, login, "second_factor_refused", DENIED)

    def _judge_code(self, auth_id: str, login: Round, factor: SecondFactor, kind: str, code: str) -> dict[str, Any]:
        if not self._takes_code(factor, kind, code):
            return self._refuse(auth_id, login, "second_factor_refused", WRONG_CODE, again=factor.asks(kind))
        return self._offer_or_succeed(auth_id, login, factor)

    def _takes_code(self, factor: SecondFactor, kind: str, code: str) -> bool:
        """Return whether this code is right and unused, and mark it as used."""
        if kind == "app" and self._account.totp_secret is not None:
            import pyotp

            now = dt.datetime.fromtimestamp(self._wall_clock(), dt.UTC)
            right, used = pyotp.TOTP(self._account.totp_secret).verify(code, for_time=now), self._used_totps
        else:
            wanted = factor.response if kind == "challenge" else factor.code
            right, used = hmac.compare_digest(code.encode(), wanted.encode()), self._used_codes
        if not right or code in used:
            return False
        used.add(code)
        return True

    def _offer_or_succeed(self, auth_id: str, login: Round, factor: SecondFactor) -> dict[str, Any]:
        if not factor.offer:
            return self._succeed(auth_id, login)
        login.kind = "offer"
        self._note(login, "offer")
        return {"step": factor.offer}

    def _succeed(self, auth_id: str, login: Round) -> dict[str, Any]:
        token = self._begin_session()
        cookies = {"XYZAB": token, "XYZAB_AM.LOGIN": token, "USERID": str(self._account.user_id)}
        return self._close(auth_id, login, "success", {"ok": True, "cookies": cookies})

    def _refuse(
        self, auth_id: str, login: Round, outcome: Outcome, text: str, *, again: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Count a refusal and end this login, unless the page should ask ``again``."""
        self.refusals += 1
        if self.locked:
            return self._close(auth_id, login, outcome, {"error": LOCKED})
        if again is not None:
            self._note(login, outcome)
            return {"error": text, **again}
        return self._close(auth_id, login, outcome, {"error": text})

    def _close(self, auth_id: str, login: Round, outcome: Outcome, answer: dict[str, Any]) -> dict[str, Any]:
        self._rounds.pop(auth_id, None)
        self._note(login, outcome)
        return answer

    def _note(self, login: Round, outcome: Outcome) -> None:
        now_s = self._wall_clock()
        at = dt.datetime.fromtimestamp(now_s, dt.UTC).isoformat(timespec="milliseconds")
        self.submits.append(Submit(at, now_s, login.mode, outcome))
