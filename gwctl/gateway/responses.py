"""Judge the answers of the gateway and of IBKR: the session, the accounts, the words; pure."""

from __future__ import annotations

import html
import json
import math
import re
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from gwctl.plain_text import one_line
from gwctl.session_status import Verdict

LONGEST_CHARS = 200
_READ_CHARS = 8192
_FIELDS = ("error", "fail", "message", "statusMessage", "errorMessage", "reason")
_NAMED = re.compile(
    r"\b((?:cookie|passw\w*|pwd|xyzab[\w.]*|jsessionid)\b\"?\s*[=:]\s*|(?:secret|token|session\w*|st)\b\"?\s*(?:=\s*|:\s*(?=\S*\d)))"
    r"[^\s;,]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer\s+)\S+", re.IGNORECASE)
_KEY = re.compile(r"(?=[A-Za-z+/=_%-]*\d)[A-Za-z0-9+/=_%-]{20,}|[A-Za-z0-9+=_%]{32,}")
"""Long and with a digit, like a path; or longer than any word."""
_UNSEEN = re.compile(r"<(script|style|head)\b.*?(</\1\s*>|\Z)|<!--.*?(-->|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]*(>|\Z)")


def tidy(text: str) -> str | None:
    """Return ``text`` as one line of limited length, printable, without keys; None if nothing is left."""
    if len(text) > _READ_CHARS:
        text = text[:_READ_CHARS].rpartition(" ")[0]  # half a key would not be recognized
    line = " ".join(one_line(text).split())
    line = _KEY.sub("…", _BEARER.sub(r"\1…", _NAMED.sub(r"\1…", line)))
    return (line if len(line) <= LONGEST_CHARS else line[: LONGEST_CHARS - 1] + "…") or None


def words_of(fields: dict[str, object]) -> str | None:
    """Return the words in an answer's fields, each text once; None without any."""
    said = [text for name in _FIELDS if isinstance(value := fields.get(name), str) and (text := tidy(value))]
    return tidy("; ".join(dict.fromkeys(said)))


def words_in(body: bytes) -> str | None:
    """Return the words of an error's body, from its JSON, its page or its text; None without any."""
    text = body[:_READ_CHARS].decode("utf-8", "replace").strip()
    if text[:1] in {"{", "[", '"'}:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return words_of(value) if isinstance(value, dict) else tidy(value) if isinstance(value, str) else None
    if text.startswith("<"):
        text = html.unescape(_TAG.sub(" ", _UNSEEN.sub(" ", text)))
    return tidy(text)


class SessionAnswer(Struct, frozen=True):
    """A verdict, and the answer's values for the contract's ``session`` object (None: it did not say)."""

    verdict: Verdict
    http_status: int | None = None
    authenticated: bool | None = None
    connected: bool | None = None
    competing: bool | None = None
    user_id: int | None = None
    sso_expires_s: float | None = None
    server_name: str | None = None
    message: str | None = None
    """IBKR's own words."""
    text: str | None = None
    """Our words for the reason line, if they say more than the verdict's."""

    @property
    def is_silent(self) -> bool:
        """Whether there was no answer at all."""
        return self.verdict is Verdict.UPSTREAM_ILL and self.http_status is None

    @property
    def is_ready(self) -> bool:
        """Authenticated and connected and not competing."""
        return self.verdict is Verdict.READY

    @property
    def has_sso(self) -> bool:
        """Whether IBKR knows the login, with or without a brokerage session: enough to read the portfolio."""
        return self.verdict in {Verdict.READY, Verdict.COMPETING} or self.verdict.sso_lives


AccountKind = Literal["paper", "live"]
PAPER_LOGIN_TYPE = 2


class SsoFacts(Struct, frozen=True):
    """The facts in ``sso/validate`` about the login behind the session."""

    user_id: int | None
    user_name: str | None
    login_type: int | None
    """2 for a paper account."""
    client_app: str | None
    """The client that opened the session."""
    expires_s: float | None

    @property
    def kind(self) -> AccountKind | None:
        """The kind of account the login is for; None if it does not say."""
        if self.login_type is None:
            return None
        return "paper" if self.login_type == PAPER_LOGIN_TYPE else "live"


class AccountsAnswer(Struct, frozen=True):
    """The answer of ``iserver/accounts``; ``http_status`` is None without an answer."""

    http_status: int | None
    kind: AccountKind | None = None

    @property
    def unsays_session(self) -> bool:
        """Whether it shows that there is no session, despite what earlier answers said."""
        return self.http_status in {400, 401}


NO_ANSWER = SessionAnswer(Verdict.UPSTREAM_ILL)


def parse_json(body: bytes) -> object:
    """Return the content of ``body``, or None if it is not JSON (an HTML maintenance page, nothing, anything)."""
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value


def judge_tickle(status: int, body: bytes) -> SessionAnswer:
    """Return the state that a tickle shows, from its fields where the status does not decide."""
    refusal = _judge_status(status, body)
    if refusal is not None:
        return refusal
    value = parse_json(body)
    if not isinstance(value, dict):
        return SessionAnswer(Verdict.UPSTREAM_ILL, status)
    common = SessionAnswer(
        Verdict.UPSTREAM_ILL,
        status,
        user_id=_whole(value.get("userId")),
        sso_expires_s=_milliseconds(value.get("ssoExpires")),
    )
    brokerage = value.get("iserver")
    auth_status = brokerage.get("authStatus") if isinstance(brokerage, dict) else None
    if isinstance(auth_status, dict):
        return _judge_auth_fields(common, auth_status)
    if isinstance(brokerage, dict) and _says_error(brokerage):
        return replace(common, verdict=Verdict.BROKERAGE_GONE, message=words_of(brokerage))
    return _judge_flat(common, value)


def judge_auth_status(status: int, body: bytes) -> SessionAnswer:
    """Return the state that ``iserver/auth/status`` shows."""
    refusal = _judge_status(status, body)
    if refusal is not None:
        return refusal
    value = parse_json(body)
    if not isinstance(value, dict):
        return SessionAnswer(Verdict.UPSTREAM_ILL, status)
    return _judge_flat(SessionAnswer(Verdict.UPSTREAM_ILL, status), value)


def judge_opening(status: int, body: bytes) -> SessionAnswer:
    """Return the state after ``ssodh/init``, with IBKR's reason if it does not open the session."""
    said = judge_auth_status(status, body)
    return said if said.message is not None or said.is_ready else replace(said, message=words_in(body))


def refuses_method(status: int, body: bytes) -> bool:
    """Return whether an answer refuses the method (GET, POST), instead of describing the session."""
    return status == 405 or (status == 400 and b"no bridge" not in body.lower())


def judge_validate(status: int, body: bytes) -> SsoFacts | None:
    """Return the login's facts; None without a valid login or a readable answer."""
    value = parse_json(body)
    if status != 200 or not isinstance(value, dict) or value.get("RESULT") is False or "error" in value:
        return None
    return SsoFacts(
        user_id=_whole(value.get("USER_ID")),
        user_name=_text(value.get("USER_NAME")),
        login_type=_whole(value.get("LOGIN_TYPE")),
        client_app=_text(value.get("CLIENT_APP")),
        expires_s=_milliseconds(value.get("EXPIRES")),
    )


def judge_resume(status: int, body: bytes) -> bool | None:
    """Return whether IBKR accepted the SSO cookies; None if it could not say, so that they may still be good."""
    refusal = _judge_status(status, body)
    if status >= 500 or (refusal is not None and refusal.verdict is Verdict.RATE_LIMITED):
        return None
    return status == 200 and b"Client login succeeds" in body


def judge_accounts(status: int, body: bytes) -> AccountKind | None:
    """Return the kind of the accounts that ``iserver/accounts`` lists; None if it does not say.

    IBKR's reference has ``isPaper``; without it, the account numbers decide: those of paper accounts start with ``D``
    (usually ``DU``).
    """
    value = parse_json(body)
    if status != 200 or not isinstance(value, dict):
        return None
    paper = _boolean(value.get("isPaper"))
    if paper is not None:
        return "paper" if paper else "live"
    listed = value.get("accounts")
    numbers = [one for one in listed if isinstance(one, str) and one != "All"] if isinstance(listed, list) else []
    begins = {number.startswith("D") for number in numbers}
    return None if len(begins) != 1 else "paper" if begins.pop() else "live"


class _Refusal(Struct, frozen=True):
    """What an error status means if its body has ``words`` (lower case); ``text`` says more than the verdict does."""

    status: int
    verdict: Verdict
    words: bytes = b""
    text: str | None = None


_REFUSALS = (
    _Refusal(400, Verdict.BROKERAGE_GONE, b"no bridge"),
    _Refusal(401, Verdict.NO_SESSION),
    _Refusal(403, Verdict.RATE_LIMITED, text="IBKR refuses requests from this machine (HTTP 403)"),
    _Refusal(404, Verdict.ACCESS_DENIED, b"access denied"),
    _Refusal(429, Verdict.RATE_LIMITED),
)
"""Any other error is IBKR's trouble; the core waits for its end (law 5)."""


def _judge_status(status: int, body: bytes) -> SessionAnswer | None:
    """Return the verdict if the status alone decides; None if the body decides."""
    if status == 200:
        return None
    lower = body.lower()
    for refusal in _REFUSALS:
        if refusal.status == status and refusal.words in lower:
            message = None if refusal.text is None else words_in(body)
            return SessionAnswer(refusal.verdict, status, text=refusal.text, message=message)
    return SessionAnswer(Verdict.UPSTREAM_ILL, status, message=words_in(body))


def _says_error(fields: dict[str, object]) -> bool:
    """Return whether there is an error, not just an empty field for one."""
    return bool(fields.get("error"))


def _judge_flat(common: SessionAnswer, fields: dict[str, object]) -> SessionAnswer:
    """Return the verdict for fields at the top level; an error next to ``authenticated: true`` is an error."""
    if _says_error(fields) and fields.get("authenticated") is not False:
        return _judge_error(common, fields)
    return _judge_auth_fields(common, fields)


def _judge_error(common: SessionAnswer, fields: dict[str, object]) -> SessionAnswer:
    message = words_of(fields)
    words = (message or "").lower()
    verdict = Verdict.UPSTREAM_ILL
    if "no session" in words or "not authenticated" in words or "not logged in" in words:
        verdict = Verdict.NO_SESSION
    elif "no bridge" in words:
        verdict = Verdict.BROKERAGE_GONE
    return replace(common, verdict=verdict, message=message)


def _judge_auth_fields(common: SessionAnswer, fields: dict[str, object]) -> SessionAnswer:
    authenticated, connected = _boolean(fields.get("authenticated")), _boolean(fields.get("connected"))
    competing = _boolean(fields.get("competing"))
    server = fields.get("serverInfo")
    answer = replace(
        common,
        authenticated=authenticated,
        connected=connected,
        competing=competing,
        server_name=_text(server.get("serverName")) if isinstance(server, dict) else None,
        message=words_of(fields),
    )
    if authenticated is None:
        return answer
    if competing:
        return replace(answer, verdict=Verdict.COMPETING)
    if not authenticated:
        return replace(answer, verdict=Verdict.NOT_AUTHENTICATED)
    return replace(answer, verdict=Verdict.READY if connected else Verdict.BROKERAGE_GONE)


def _boolean(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _milliseconds(value: object) -> float | None:
    """Return seconds; IBKR gives ``ssoExpires`` in milliseconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = value / 1000
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


def _text(value: object) -> str | None:
    return tidy(value) if isinstance(value, str) else None
