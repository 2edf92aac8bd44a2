"""What a page says in words of its own: which are new since a submit, and what they ask a person to do."""

from __future__ import annotations

import re

_NO_LETTERS = re.compile(r"[\W\d_]+")
_WAITING = re.compile(
    r"\b(please wait|one moment|loading|processing|verifying|authenticating|connecting|redirect(ing|ed)|signing in"
    r"|logging (you )?in|hold on|bitte warten|einen moment|veuillez patienter|espere|attendere)\b",
    re.IGNORECASE,
)
_APPROVAL = re.compile(
    r"(notification|push)\b.{0,40}\b(sent|device|phone)|approve\b.{0,60}\b(device|phone|app|notification)"
    r"|(check|open|look at) your (phone|mobile|device)",
    re.IGNORECASE | re.DOTALL,
)
_OFFERED = re.compile(r"\b(faster|enable|set up|turn on|activate)\b", re.IGNORECASE)
_PASSKEY = re.compile(r"\bpass ?keys?\b|\bwebauthn\b", re.IGNORECASE)
_UNSENT = re.compile(
    r"\b(code|sms|text message)\b.{0,40}\b(not (yet )?(been )?sent|not be sent|not be delivered)"
    r"|\bno (code|sms|text message) (was|has been) sent|\b(unable|failed) to send\b",
    re.IGNORECASE | re.DOTALL,
)
_KINDS = (
    ("email", re.compile(r"\be-?mail", re.IGNORECASE)),
    ("sms", re.compile(r"\bsms\b|text message|mobile (number|phone)", re.IGNORECASE)),
    ("card", re.compile(r"security card", re.IGNORECASE)),
    ("temporary", re.compile(r"temporary", re.IGNORECASE)),
)


def letters(line: str) -> str:
    """Return a line without what is no letter: it stays the same while a clock in it runs."""
    return _NO_LETTERS.sub(" ", line).strip().casefold()


def new_words(words: str, before: str) -> str:
    """Return the lines of ``words`` that were not there before, as one line."""
    known = {letters(line) for line in before.splitlines()} | {""}
    return " ".join(line for line in words.splitlines() if letters(line) not in known)


def ask_to_wait(words: str) -> bool:
    """Say whether the words ask for patience: then the page is not done."""
    return _WAITING.search(words) is not None


def ask_for_approval(words: str) -> bool:
    """Say whether the words send a person to their device, to approve the login there."""
    return _APPROVAL.search(words) is not None and _OFFERED.search(words) is None


def ask_for_passkey(words: str) -> bool:
    """Say whether the words ask for a passkey."""
    return _PASSKEY.search(words) is not None


def tell_of_no_code(words: str) -> bool:
    """Say whether the words tell that no code was sent."""
    return _UNSENT.search(words) is not None


def kind_of_code(words: str) -> str | None:
    """Return which kind of code a page asks for that is known by nothing but its words; None where they do not say."""
    return next((kind for kind, pattern in _KINDS if pattern.search(words)), None)
