"""Words that people type: which of the known ones was meant."""

from __future__ import annotations

from collections.abc import Iterable

FEW = 8
"""So many known words are named besides the nearest one."""
_ALIKE = 0.5
"""How much of a word must be right: with less, a suggestion is a guess."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that ``word`` looks most like, None if it looks like none."""
    import difflib

    return next(iter(difflib.get_close_matches(word, [*known], n=1, cutoff=_ALIKE)), None)


def suggestion(word: str, known: Iterable[str], *, form: str = "{}", what: str = "known") -> str:
    """Return the hint for a wrong word: the nearest known one in ``form``, and all of them if they are few."""
    words = [*known]
    near = nearest(word, words)
    listed = f"{what}: {', '.join(words) or 'none'}"
    if near is None:
        return listed
    meant = f"did you mean {form.format(near)}?"
    return f"{meant} {listed}" if len(words) <= FEW else meant


class Unsuitable(ValueError):
    """A well-formed value that does not work; ``hint`` says what to do."""

    def __init__(self, text: str, hint: str) -> None:
        super().__init__(text)
        self.hint = hint


class Choice:
    """A parser for one of several words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __call__(self, raw: object) -> str:
        """Return the word; raise ValueError for another one."""
        if raw in self.words:
            return str(raw)
        wanted = "one of " + ", ".join(self.words)
        near = nearest(raw, self.words) if isinstance(raw, str) else None
        raise ValueError(wanted) if near is None else Unsuitable(wanted, f"did you mean {near}?")
