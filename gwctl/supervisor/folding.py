"""What repeats itself while there is no session is written to the journal rarely. Pure: no I/O, no clock.

A port that somebody else holds for a night is tried every few seconds, and each try says the same. The journal has room
for the history of months, and a night must not push it out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WRITTEN = 5
"""So many of the same are written; after that one every ``AGAIN_S``."""
AGAIN_S = 600.0
_KINDS = frozenset({"phase", "step", "warning", "defect", "restart"})
"""What is folded. Logins, cures and gateways are counted by whoever reads the journal, and have pauses of their own."""
_MOST_KNOWN = 200
_DIGITS = re.compile(r"\d+")

Sign = tuple[tuple[str, str], ...]


@dataclass
class Folding:
    """The entries since the session was last ready. ``take`` is given all of them, in order."""

    folded: int = 0
    """How many were left out since the last one that was not."""
    _seen: dict[Sign, tuple[int, float]] = field(default_factory=dict)

    def take(self, entry: Mapping[str, Any], now_s: float) -> dict[str, Any] | None:
        """Return what is to be written for ``entry``, None for nothing; ``now_s`` is monotonic.

        The entry after those that were left out says how many they were (``folded``): their numbers are not missing.
        """
        if self._is_repeated(entry, now_s):
            self.folded += 1
            return None
        folded, self.folded = self.folded, 0
        return {**entry, "folded": folded} if folded else dict(entry)

    def _is_repeated(self, entry: Mapping[str, Any], now_s: float) -> bool:
        if entry["kind"] == "phase" and entry.get("phase") == "ready":
            # Between two times of readiness everything is told, or it would seem that nothing was between them.
            self._seen.clear()
            return False
        if entry["kind"] not in _KINDS:
            return False
        sign = _sign_of(entry)
        times, written_s = self._seen.get(sign, (0, now_s))
        if times >= WRITTEN and now_s - written_s < AGAIN_S:
            return True
        if len(self._seen) >= _MOST_KNOWN:
            self._seen.clear()
        self._seen[sign] = times + 1, now_s
        return False


def _sign_of(entry: Mapping[str, Any]) -> Sign:
    """Return what two entries that say the same have in common: numbers and times are not part of it."""
    words = {name: value for name, value in entry.items() if name not in {"n", "at"} and isinstance(value, str)}
    return tuple((name, _DIGITS.sub("#", value)) for name, value in sorted(words.items()))
