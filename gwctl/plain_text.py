"""Text from elsewhere, without what controls a terminal: IBKR's pages and answers, logs, names of files and devices.

Escape sequences can hide, forge or answer lines, and some terminals run commands for them; direction marks show a text
in another order than it has; invisible characters make two texts look the same. Texts are cleaned where they come in,
and again where gwctl prints them.
"""

from __future__ import annotations

import json
import re
from typing import Any

_BREAKS = re.compile("[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]")
_EXACT = frozenset({"ca_file", "sha256"})
"""Names of fields that programs use as they are."""


def one_line(text: str) -> str:
    """Return ``text`` as one line: blanks and line breaks as spaces, other characters only if they can be seen."""
    if text.isprintable():
        return text
    return "".join(_shown(sign) for sign in _BREAKS.sub(" ", text))


def many_lines(text: str) -> str:
    """Return ``text`` with its line feeds and tabs, other characters only if they can be seen."""
    return "\n".join("\t".join(map(one_line, line.split("\t"))) for line in text.split("\n"))


def _shown(sign: str) -> str:
    if sign.isprintable():
        return sign
    # A byte of a file's name that is no UTF-8; its number may show in no place of a terminal.
    return "\ufffd" if "\ud800" <= sign <= "\udfff" else ""


def cleaned(value: Any, name: str = "") -> Any:  # noqa: ANN401 - any JSON
    """Return a JSON value with each text in it as ``one_line``, except paths that programs open."""
    match value:
        case str():
            return value if name in _EXACT else one_line(value)
        case dict():
            return {one_line(str(key)): cleaned(one, str(key)) for key, one in value.items()}
        case list() | tuple():
            return [cleaned(one) for one in value]
        case _:
            return value


def json_text(value: object) -> str:
    r"""Return a JSON value as one line of characters that can be seen; others are written as ``\uXXXX``.

    JSON itself escapes only the first 32: not the other control characters, and no direction marks.
    """
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(_escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    return sign if sign.isprintable() else json.dumps(sign)[1:-1]
