"""The history for a person: tables in columns, on a terminal with a strip of the day's hours."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gwctl.cli.formatting import duration, percent, printable, stamp
from gwctl.history.replay import Login, Restart, State, Stretch
from gwctl.history.report import Day, History, Outage

T = TypeVar("T")
SHOWN = 20
"""How many of each list a person gets to see, the latest ones; ``--json`` has all."""
CELLS = 24
_HOURS = "0     6     12    18    "
# From the least to the worst: a cell of the strip shows the worst of its hour. Each can be told without colours.
SIGNS = {State.STOPPED: ".", State.READY: "#", State.STARTING: "+", State.UNKNOWN: "?", State.DOWN: "x"}
BLOCKS = {**SIGNS, State.READY: "█", State.STARTING: "▒"}
COLORS = {State.STOPPED: 2, State.READY: 34, State.STARTING: 33, State.UNKNOWN: 35, State.DOWN: 31}
WORST = list(SIGNS)
_ESCAPE = re.compile(r"\x1b\[\d+m")


@dataclass(frozen=True, slots=True)
class Look:
    """How the text is to look: a terminal gets the strip, and colours and blocks where it can show them."""

    utc: bool = False
    strip: bool = False
    color: bool = False
    blocks: bool = False

    def sign(self, state: State, count: int = 1) -> str:
        """Return a state's sign, ``count`` times."""
        text = (BLOCKS if self.blocks else SIGNS)[state] * count
        return f"\x1b[{COLORS[state]}m{text}\x1b[0m" if self.color else text


def render(history: History, profile: str, look: Look) -> Iterator[str]:
    """Yield the lines."""
    uptime = history.times.uptime
    since = stamp(history.began_s or 0.0, utc=look.utc)
    share = "" if uptime is None else f" · {percent(uptime)} ready since {since}"
    yield f"{profile}: {history.state} - {printable(history.words)}{share}{' UTC' if look.utc else ''}"
    yield ""
    strip = [_HOURS] if look.strip else []
    header = ["day", "uptime", *strip, "down", "unknown", "stopped", "logins", "restarts"]
    yield from _table([header, *(_day(day, look) for day in history.days)])
    if look.strip:
        yield "  " + "   ".join(f"{look.sign(state)} {state}" for state in reversed(WORST))
    yield from _section("outages", ["began", "length", "cure", "cause"], history.outages, _outage, look)
    yield from _section("logins", ["at", "took", "outcome"], history.logins, _login, look)
    yield from _section("restarts", ["at", "reason"], history.restarts, _restart, look)


def _day(day: Day, look: Look) -> list[str]:
    times = day.times
    strip = [_strip(day, look)] if look.strip else []
    lengths = [duration(times[state]) if times[state] else "-" for state in (State.DOWN, State.UNKNOWN, State.STOPPED)]
    share = "-" if times.uptime is None else percent(times.uptime)
    return [day.date, share, *strip, *lengths, str(day.logins), str(day.restarts)]


def _strip(day: Day, look: Look) -> str:
    cells = worst_by_cell(day.stretches, day.began_s, day.ended_s, CELLS)
    runs = ((state, len(list(run))) for state, run in itertools.groupby(cells))
    return "".join(" " * count if state is None else look.sign(state, count) for state, count in runs)


def worst_by_cell(stretches: Iterable[Stretch], began_s: float, ended_s: float, count: int) -> list[State | None]:
    """Return the worst state of each of ``count`` equal parts of a time; None where nothing is known to have been."""
    cells: list[State | None] = [None] * count
    scale = count / max(1.0, ended_s - began_s)
    for one in stretches:
        first = max(0, int((one.began_s - began_s) * scale))
        last = min(count - 1, int((one.ended_s - began_s) * scale))
        for place in range(min(first, last), last + 1):
            cell = cells[place]
            if cell is None or WORST.index(one.state) > WORST.index(cell):
                cells[place] = one.state
    return cells


def _outage(one: Outage, look: Look) -> list[str]:
    notes = [note for note, is_so in (("maintenance", one.maintenance), ("sandbox", one.sandbox)) if is_so]
    cause = printable(one.cause) + (f" ({', '.join(notes)})" if notes else "")
    return [stamp(one.began_s, utc=look.utc), duration(one.length_s), one.cure or "goes on", cause]


def _login(one: Login, look: Look) -> list[str]:
    outcome = one.outcome.replace("_", " ")
    text = f"{outcome}: {one.text}" if one.text and one.outcome != "success" else outcome
    took = "-" if one.took_s is None else duration(one.took_s)
    return [stamp(one.at_s, utc=look.utc), took, printable(text) + (" (sandbox)" if one.sandbox else "")]


def _restart(one: Restart, look: Look) -> list[str]:
    return [stamp(one.at_s, utc=look.utc), printable(one.reason) + (" (sandbox)" if one.sandbox else "")]


def _section(
    name: str, header: list[str], what: Sequence[T], row: Callable[[T, Look], list[str]], look: Look
) -> Iterator[str]:
    if not what:
        return
    yield ""
    yield f"{name}: {len(what)}" + (f", the latest {SHOWN} of them (--json has all)" if len(what) > SHOWN else "")
    yield from _table([header, *(row(one, look) for one in what[-SHOWN:])])


def _table(rows: Sequence[list[str]]) -> Iterator[str]:
    """Yield the rows in columns; the first row is the header."""
    widths = [max(_width(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True))
        yield ("  " + "  ".join(cells)).rstrip()


def _width(text: str) -> int:
    return len(_ESCAPE.sub("", text))
