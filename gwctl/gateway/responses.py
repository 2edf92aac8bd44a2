"""What the gateway's and IBKR's answers say: of the session, of the accounts, in words; pure."""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

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
"""Long and with a digit, as a path may be; or longer than any word."""
_UNSEEN = re.compile(r"<(script|style|head)\b.*?(</\1\s*>|\Z)|<!--.*?(-->|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]*(>|\Z)")


def tidy(text: str) -> str | None:
    """Return ``text`` as one bounded line of printable characters, keys left out; None if nothing is left."""
    if len(text) > _READ_CHARS:
        text = text[:_READ_CHARS].rpartition(" ")[0]  # half a key would not be known for one
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    line = _KEY.sub("…", _BEARER.sub(r"\1…", _NAMED.sub(r"\1…", line)))
    return (line if len(line) <= LONGEST_CHARS else line[: LONGEST_CHARS - 1] + "…") or None


def words_of(fields: dict[str, object]) -> str | None:
    """Return what the fields of an answer say in words, each text once; None if nothing."""
    said = [text for name in _FIELDS if isinstance(value := fields.get(name), str) and (text := tidy(value))]
    return tidy("; ".join(dict.fromkeys(said)))


def words_in(body: bytes) -> str | None:
    """Return the words of an error's body: of its JSON, of its page, or itself; None if it has none."""
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


class Verdict(StrEnum):
    """What an answer says of the session."""

    READY = "ready"
    NOT_AUTHENTICATED = "not_authenticated"
    """SSO lives, the brokerage session is not authenticated: not yet, or borrowed by another client."""
    BROKERAGE_GONE = "brokerage_gone"
    """SSO lives, there is no brokerage session; ``ssodh/init`` is the cure."""
    COMPETING = "competing"
    NO_SESSION = "no_session"
    ACCESS_DENIED = "access_denied"
    """Our address is not in ``ips.allow``."""
    RATE_LIMITED = "rate_limited"
    UPSTREAM_ILL = "upstream_ill"
    NO_ANSWER = "no_answer"


@dataclass(frozen=True, slots=True)
class SessionAnswer:
    """A verdict, and what the answer held of the contract's ``session`` object (None: it did not say)."""

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

    @property
    def is_ready(self) -> bool:
        """Authenticated and connected and not competing."""
        return self.verdict is Verdict.READY


AccountKind = Literal["paper", "live"]
PAPER_LOGIN_TYPE = 2


@dataclass(frozen=True, slots=True)
class SsoFacts:
    """What ``sso/validate`` says of the login behind the session."""

    user_id: int | None
    user_name: str | None
    login_type: int | None
    """2 for a paper account."""
    client_app: str | None
    """Which client opened the session."""
    expires_s: float | None

    @property
    def kind(self) -> AccountKind | None:
        """What kind of account the login is of; None if it does not tell."""
        if self.login_type is None:
            return None
        return "paper" if self.login_type == PAPER_LOGIN_TYPE else "live"


@dataclass(frozen=True, slots=True)
class AccountsAnswer:
    """What ``iserver/accounts`` says; ``http_status`` is None where nobody answered."""

    http_status: int | None
    kind: AccountKind | None = None

    @property
    def unsays_session(self) -> bool:
        """Whether there is no session for it, whatever was heard of the session before."""
        return self.http_status in {400, 401}


NO_ANSWER = SessionAnswer(Verdict.NO_ANSWER)


def parse_json(body: bytes) -> object:
    """Return what ``body`` holds, or None if it is not JSON (HTML of a maintenance night, nothing, anything)."""
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value


def judge_tickle(status: int, body: bytes) -> SessionAnswer:
    """Return what a tickle says, judged by its fields where the status does not settle it."""
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
    """Return what ``iserver/auth/status`` says."""
    refusal = _judge_status(status, body)
    if refusal is not None:
        return refusal
    value = parse_json(body)
    if not isinstance(value, dict):
        return SessionAnswer(Verdict.UPSTREAM_ILL, status)
    return _judge_flat(SessionAnswer(Verdict.UPSTREAM_ILL, status), value)


def judge_opening(status: int, body: bytes) -> SessionAnswer:
    """Return what ``ssodh/init`` says, with IBKR's words for why it does not open the session."""
    said = judge_auth_status(status, body)
    return said if said.message is not None or said.is_ready else replace(said, message=words_in(body))


def refuses_method(status: int, body: bytes) -> bool:
    """Return whether an answer refuses the way of asking (GET, POST), rather than saying something of the session."""
    return status == 405 or (status == 400 and b"no bridge" not in body.lower())


def judge_validate(status: int, body: bytes) -> SsoFacts | None:
    """Return the facts of the login; None if there is no valid one or the answer is not readable."""
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


def judge_accounts(status: int, body: bytes) -> AccountKind | None:
    """Return the kind of the accounts that ``iserver/accounts`` lists; None if it does not tell.

    IBKR's reference has ``isPaper``; where it is missing, paper accounts are known by their numbers, which begin ``D``
    (``DU`` as a rule).
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


def _judge_status(status: int, body: bytes) -> SessionAnswer | None:
    """Return what the status alone settles; None if the body decides."""
    verdict: Verdict | None = None
    if status == 401:
        verdict = Verdict.NO_SESSION
    elif status == 429:
        verdict = Verdict.RATE_LIMITED
    elif status == 404 and b"access denied" in body.lower():
        verdict = Verdict.ACCESS_DENIED
    elif status == 400 and b"no bridge" in body.lower():
        verdict = Verdict.BROKERAGE_GONE
    elif status != 200:
        verdict = Verdict.UPSTREAM_ILL
    if verdict is None:
        return None
    return SessionAnswer(verdict, status, message=words_in(body) if verdict is Verdict.UPSTREAM_ILL else None)


def _says_error(fields: dict[str, object]) -> bool:
    """Return whether there is an error, and not only the field for one."""
    return bool(fields.get("error"))


def _judge_flat(common: SessionAnswer, fields: dict[str, object]) -> SessionAnswer:
    """Return what fields that stand at the top say; an error beside ``authenticated: true`` is an error."""
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
    """Return seconds; IBKR counts ``ssoExpires`` in milliseconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = value / 1000
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


def _text(value: object) -> str | None:
    return tidy(value) if isinstance(value, str) else None
