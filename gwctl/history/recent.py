"""The journal's last day, and its last entries in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gwctl.history.journal import describe, read_entries
from gwctl.history.replay import State, seconds_at
from gwctl.history.report import History, LastSign, tell
from gwctl.paths import Paths

DAY_S = 86_400.0
LINES = 8
MOST_STRETCHES = 2000
"""A bad day has a few hundred; a drawing cannot show more than this."""


@dataclass(frozen=True, slots=True)
class Line:
    """One event in words; wall-clock seconds."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Lately:
    """The journal's last 24 hours, and its last events."""

    began_s: float
    ended_s: float
    history: History
    lines: tuple[Line, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it for the status page: times are seconds since 1970, ``uptime`` is a share or None."""
        times = self.history.times
        return {
            "began_s": round(self.began_s, 3),
            "ended_s": round(self.ended_s, 3),
            "uptime": times.uptime,
            "lengths_s": {str(state): round(times[state], 3) for state in State},
            "outages": len(self.history.outages),
            "logins": len(self.history.logins),
            "restarts": len(self.history.restarts),
            "stretches": [
                {
                    "state": str(one.state),
                    "began_s": round(one.began_s, 3),
                    "ended_s": round(one.ended_s, 3),
                    "words": one.words,
                }
                for one in self.history.stretches[-MOST_STRETCHES:]
            ],
            "lines": [{"at_s": round(line.at_s, 3), "text": line.text} for line in self.lines],
        }


def look_back(paths: Paths, now_s: float, last_sign: LastSign | None) -> Lately:
    """Return the last day until ``now_s``, wall-clock seconds; raise DiskTrouble if the journal cannot be read.

    Time after ``last_sign`` counts as unknown; for a running supervisor it is ``now_s`` itself. The call reads the
    whole journal, which takes up to a quarter of a second if the journal is full.
    """
    entries = list(read_entries(paths))
    history = tell(entries, now_s=now_s, last_sign=last_sign, since_s=now_s - DAY_S)
    return Lately(now_s - DAY_S, now_s, history, tuple(last_lines(entries)))


def last_lines(entries: Iterable[Mapping[str, Any]], count: int = LINES) -> list[Line]:
    """Return the last entries that matter to people, oldest first, without repetitions."""
    lines: list[Line] = []
    for entry in reversed(list(entries)):
        text, at_s = describe(dict(entry)), seconds_at(entry, "at")
        if text is None or at_s is None or (lines and lines[-1].text == text):
            continue
        lines.append(Line(at_s, text))
        if len(lines) == count:
            break
    return lines[::-1]
