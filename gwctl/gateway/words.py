"""IBKR's own words, fit to be shown: one line, printable, bounded, without what may be the key of a session. Pure."""

from __future__ import annotations

import html
import json
import re

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
