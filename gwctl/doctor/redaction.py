"""Remove secret and personal words from a text: known ones in any spelling, and text that looks like one."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from gwctl.plain_text import json_text

MASK = "•••"
_SHORT_CHARS = 4
"""A shorter known word is removed only where it stands alone: it is part of too many other words."""
_SENSITIVE_KEYS = frozenset(
    {
        *("token", "admin_token", "password", "secret", "totp_secret", "cookie", "cookies", "session_id", "code_given"),
        *("user_id", "username", "user", "mac", "hardware_info", "salt", "print", "worked_print", "refused_print"),
    }
)
_KEPT_HOSTS = re.compile(
    r"(?:[a-z0-9-]+\.)*(?:ibkr\.com|interactivebrokers\.com)|localhost|127\.0\.0\.1|\[::1\]", re.IGNORECASE
)
_KEPT_ADDRESSES = re.compile(r"127\.\d+\.\d+\.\d+|0\.0\.0\.0|::1|127\.0\.0\.0/8")
# The order matters: a pattern does not see what an earlier one removed.
_LOOKS_SECRET: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?im)^(.*?\b(?:set-cookie2?|cookie|(?:proxy-)?authorization)\b\s*[:=]).*$"), rf"\1 {MASK}"),
    (
        re.compile(
            r"""(?ix)\b((?:\w*passw(?:or)?d\w*|\w*token|\w*secret|session(?:_?id)?|\w*sess|sid|otp|pin|api_?key)
            ["']?\s*[=:]\s*["']?)[^\s"',;&]+"""
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?<![\w.+%-])[\w.+%-]+@[\w-]+(?:\.[\w-]+)*\.?[a-z]{2,}", re.IGNORECASE), f"{MASK}@{MASK}"),
    (re.compile(r"\b(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}\b", re.IGNORECASE), MASK),
    (re.compile(r"\(pid (\d+), user [^\s)]+(?: in [^)]*)?\)"), rf"(pid \1, user {MASK})"),
    (re.compile(r"/(home|Users)/[^/\s\"']+"), rf"/\1/{MASK}"),
    (re.compile(r"\b(?:DU|DF|DI|U|F|I)[A-Z]?\d{4,10}\b", re.IGNORECASE), MASK),
)
_HOST_OF_URL = re.compile(r"(?<=://)[^/\s:\"'<>\\]+")
_ADDRESS = re.compile(
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){0,2}\.\*|(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])|(?<![\w:])(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{0,4}(?![\w:])"
    r"|(?<![\w:])(?:[0-9a-f]{1,4}:){1,6}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?(?![\w:])",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"(?<![A-Za-z0-9_+-])(?=[A-Za-z_+-]*\d)(?=[\d_+-]*[A-Za-z])[A-Za-z0-9_+-]{20,}=*")
_DIGITS = re.compile(r"(?<![\w.,:-])\d{6,12}(?![\w.,:-]\d|\w)")


def is_public_host(host: str) -> bool:
    """Say whether a host is IBKR's, or a usual name of this machine."""
    return _KEPT_HOSTS.fullmatch(host) is not None


class Redactor:
    """Redacts ``secrets`` in any spelling, ``words`` where they stand alone, and ``folders``, each replaced by a name.

    ``keep`` lists words that look secret but are not, such as the version of a release.
    """

    def __init__(
        self,
        secrets: Iterable[str],
        *,
        words: Iterable[str] = (),
        folders: Mapping[str, str] | None = None,
        keep: Iterable[str] = (),
    ) -> None:
        self._secrets = sorted({one for one in secrets if one.strip()}, key=len, reverse=True)
        self._any_case = _alternatives(
            form if len(form) >= _SHORT_CHARS else None for one in self._secrets for form in _spellings(one)
        )
        self._exact = _alternatives(form for one in self._secrets for form in _in_base64(one.encode()))
        alone = [*(one for one in self._secrets if len(one) < _SHORT_CHARS), *words]
        self._words = _alternatives(re.escape(word) for word in sorted(alone, key=len, reverse=True) if word.strip())
        self._folders = sorted((folders or {}).items(), key=lambda one: len(one[0]), reverse=True)
        kept = sorted((word for word in keep if len(word) > _SHORT_CHARS), key=len, reverse=True)
        self._keep = "|".join(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])" for word in kept)

    def text(self, text: str) -> str:
        """Return a text without secret or personal words."""
        text = self._without_known(text.replace("\0", ""))
        for folder, name in self._folders:
            text = re.sub(rf"{re.escape(folder.rstrip('/'))}(?=/|\b|$)", name, text) if folder.strip("/") else text
        if self._words:
            text = re.sub(rf"(?<![A-Za-z0-9])(?:{self._words})(?![A-Za-z0-9])", MASK, text, flags=re.IGNORECASE)
        for pattern, mask in _LOOKS_SECRET:
            text = pattern.sub(mask, text)
        # Redact only the text between the kept words.
        parts = re.split(f"({self._keep})", text) if self._keep else [text]
        return "".join(part if at % 2 else self._by_looks(part) for at, part in enumerate(parts))

    def _by_looks(self, text: str) -> str:
        text = _HOST_OF_URL.sub(_unless(_KEPT_HOSTS), text)
        text = _ADDRESS.sub(_unless(_KEPT_ADDRESSES), text)
        return _DIGITS.sub(MASK, _TOKEN.sub(MASK, text))

    def value(self, value: Any) -> Any:  # noqa: ANN401 - JSON
        """Return a JSON value without them; numbers stay, except those with a revealing name."""
        match value:
            case dict():
                return {self.text(str(name)): self._field(str(name), one) for name, one in value.items()}
            case list() | tuple():
                return [self.value(one) for one in value]
            case str():
                return self.text(value)
            case _:
                return value

    def finds(self, content: str) -> bool:
        """Say whether ``content`` still contains a known secret."""
        return self._without_known(content) != content

    def _field(self, name: str, value: Any) -> Any:  # noqa: ANN401 - JSON
        is_plain = isinstance(value, str | int | float) and not isinstance(value, bool)
        return MASK if is_plain and name.lower() in _SENSITIVE_KEYS else self.value(value)

    def _without_known(self, text: str) -> str:
        if self._any_case:
            text = re.sub(self._any_case, MASK, text, flags=re.IGNORECASE)
        return re.sub(self._exact, MASK, text) if self._exact else text


def _unless(kept: re.Pattern[str]) -> Callable[[re.Match[str]], str]:
    return lambda found: found[0] if kept.fullmatch(found[0]) else MASK


def _alternatives(patterns: Iterable[str | None]) -> str:
    return "|".join(dict.fromkeys(one for one in patterns if one))


def _spellings(secret: str) -> Iterable[str]:
    """Return the patterns of a secret as programs write it, the longest first."""
    if len(secret) < _SHORT_CHARS:
        return []
    plain = secret.encode()
    forms = {
        secret,
        secret.strip(),
        quote(secret, safe=""),
        "".join(f"%{byte:02x}" for byte in plain),
        plain.hex(),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json_text(secret)[1:-1],
        repr(secret)[1:-1],
    }
    return [re.escape(form) for form in sorted(forms, key=len, reverse=True)]


def _in_base64(plain: bytes) -> Iterable[str]:
    """Return the patterns that every base64 text containing ``plain`` has in common, at any offset."""
    if len(plain) < _SHORT_CHARS:
        return
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + plain)[(before * 8 + 5) // 6 :].rstrip(b"=")[:-1].decode()
        if len(whole) >= _SHORT_CHARS:
            yield re.escape(whole)
            yield re.escape(whole.translate(str.maketrans("+/", "-_")))
