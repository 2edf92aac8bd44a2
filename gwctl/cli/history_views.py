"""The history as a table and as a picture."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from typing import TypeVar

from msgspec import Struct

from gwctl.cli.columns import folded, shown, table
from gwctl.cli.output import percent, printable
from gwctl.history.replay import Login, Restart, Stretch
from gwctl.history.report import Day, History, Outage
from gwctl.history.session_fold import State
from gwctl.times import duration, readable

T = TypeVar("T")
SHOWN = 20
"""How many entries of each list to show, the latest ones; ``--json`` has all."""
CELLS = (48, 24, 12)
"""How many cells the strip of a day may have: as many as the terminal has room for."""
# From best to worst: a cell of the strip shows the worst state of its hour. Signs differ without colors.
SIGNS = {State.STOPPED: ".", State.READY: "#", State.STARTING: "+", State.UNKNOWN: "?", State.DOWN: "x"}
BLOCKS = {**SIGNS, State.READY: "█", State.STARTING: "▒"}
COLORS = {State.STOPPED: 2, State.READY: 34, State.STARTING: 33, State.UNKNOWN: 35, State.DOWN: 31}
WORST = list(SIGNS)


class Look(Struct, frozen=True):
    """How to show the text: a terminal gets the strip, and colors and blocks if it can show them."""

    utc: bool = False
    strip: bool = False
    color: bool = False
    blocks: bool = False
    width: int | None = None
    """The terminal's; None if there is none, and lines are as long as they are."""

    def sign(self, state: State, count: int = 1) -> str:
        """Return a state's sign, repeated ``count`` times."""
        text = (BLOCKS if self.blocks else SIGNS)[state] * count
        return f"\x1b[{COLORS[state]}m{text}\x1b[0m" if self.color else text


def render(history: History, profile: str, look: Look) -> Iterator[str]:
    """Yield the lines."""
    yield f"{profile}: {history.state} - {printable(history.words)}"
    since = f" since {readable(history.began_s, in_utc=look.utc)}" if history.began_s is not None else ""
    yield f"  {share_words(history)}{since}{' UTC' if look.utc and since else ''}"
    if history.days:
        yield ""
        yield from _calendar(history.days, look)
    if history.days and look.strip:
        yield "  " + "   ".join(f"{look.sign(state)} {state}" for state in reversed(WORST))
    yield from _section("outages", ["began", "length", "recovery", "cause"], history.outages, _outage, look)
    yield from _section("logins", ["at", "took", "outcome"], history.logins, _login, look)
    yield from _section("restarts", ["at", "reason"], history.restarts, _restart, look)


def share_words(history: History) -> str:
    """Return the uptime in words: a share, or how long the session was ready if there is not enough for a share."""
    times = history.times
    if history.began_s is None:
        return "no session was ready yet"
    if times.share is None:
        return "no session was wanted"
    if history.uptime is None:
        return f"not enough data: ready {duration(times[State.READY])} of {duration(times.wanted_s)}"
    return f"{percent(history.uptime)} ready"


def _calendar(days: Sequence[Day], look: Look) -> list[str]:
    """Return the table of the days; on a terminal, the widest one that fits."""
    lines: list[str] = []
    for cells, compact in itertools.product(CELLS if look.strip else (0,), (False, True)):
        strip = ["".join(f"{hour:<{cells // 4}}" for hour in (0, 6, 12, 18))] if cells else []
        header = ["day", "uptime", *strip, "down", "unknown", "stopped", "logins", "restarts"]
        lines = list(_table([header, *(_day(day, look, cells, compact=compact) for day in days)]))
        if look.width is None or max(map(shown, lines)) <= look.width:
            break
    return lines


def _day(day: Day, look: Look, cells: int, *, compact: bool) -> list[str]:
    times = day.times
    strip = [_strip(day, look, cells)] if cells else []
    states = (State.DOWN, State.UNKNOWN, State.STOPPED)
    lengths = [duration(times[state], compact=compact) if times[state] else "-" for state in states]
    share = "-" if day.uptime is None else percent(day.uptime)
    return [day.date, share, *strip, *lengths, str(day.logins), str(day.restarts)]


def _strip(day: Day, look: Look, count: int) -> str:
    cells = worst_by_cell(day.stretches, day.began_s, day.ended_s, count)
    runs = ((state, len(list(run))) for state, run in itertools.groupby(cells))
    return "".join(" " * count if state is None else look.sign(state, count) for state, count in runs)


def worst_by_cell(stretches: Iterable[Stretch], began_s: float, ended_s: float, count: int) -> list[State | None]:
    """Return the worst state of each of ``count`` equal parts of a period; None if nothing is known about a part."""
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
    return [readable(one.began_s, in_utc=look.utc), duration(one.length_s), one.recovery or "ongoing", cause]


def _login(one: Login, look: Look) -> list[str]:
    outcome = one.outcome.replace("_", " ")
    text = f"{outcome}: {one.text}" if one.text and one.outcome != "success" else outcome
    took = "-" if one.took_s is None else duration(one.took_s)
    return [readable(one.at_s, in_utc=look.utc), took, printable(text) + (" (sandbox)" if one.sandbox else "")]


def _restart(one: Restart, look: Look) -> list[str]:
    return [readable(one.at_s, in_utc=look.utc), printable(one.reason) + (" (sandbox)" if one.sandbox else "")]


def _section(
    name: str, header: list[str], what: Sequence[T], row: Callable[[T, Look], list[str]], look: Look
) -> Iterator[str]:
    if not what:
        return
    yield ""
    yield f"{name}: {len(what)}" + (f", the latest {SHOWN} of them (--json has all)" if len(what) > SHOWN else "")
    rows = [header, *(row(one, look) for one in what[-SHOWN:])]
    indent = sum(2 + max(map(shown, column)) for column in [*zip(*rows, strict=True)][:-1])
    for line in _table(rows):
        yield folded(line, look.width, indent + 2)


def _table(rows: Sequence[list[str]]) -> Iterator[str]:
    """Yield the rows as columns; the first row is the header."""
    return (f"  {line}" for line in table(rows))


WIDTH_PX, LEFT_PX, RIGHT_PX = 1000, 96, 84
ROW_PX, BAR_PX, TOP_PX, LEGEND_PX = 24, 16, 68, 40
LEAST_PX = 2.0
"""The least width of a mark, so that an outage of seconds is visible in a day's row; it may cover its neighbors."""
MARKED = (State.STARTING, State.UNKNOWN, State.DOWN)
"""Drawn over the others and at least ``LEAST_PX`` wide, the worst last."""
LEGEND = (State.READY, State.STARTING, State.DOWN, State.UNKNOWN, State.STOPPED)
# For people who see few colors: blue, yellow and vermilion differ in lightness, and the rest has a pattern.
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 15px; font-weight: 600 }
  .faint { fill: #6e7781 }
  .paper { fill: #ffffff }
  .grid { stroke: #8c959f; stroke-opacity: .35 }
  .ready { fill: #1f77b4 } .starting { fill: #e3b341 } .down { fill: #d1242f }
  .stopped { fill: #d0d7de } .unknown { fill: url(#hatch) }
  .hatch-paper { fill: #eaeef2 } .hatch-line { stroke: #57606a }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .faint { fill: #9198a1 } .paper { fill: #0d1117 }
    .ready { fill: #4f9fe0 } .starting { fill: #f2cc60 } .down { fill: #ff6a5f }
    .stopped { fill: #30363d } .hatch-paper { fill: #21262d } .hatch-line { stroke: #9198a1 }
  }
"""
HATCH = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect class="hatch-paper" width="6" height="6"/><line class="hatch-line" y2="6" stroke-width="3"/>'
    "</pattern></defs>"
)


def draw(history: History, profile: str, *, utc: bool) -> str:
    """Return the picture as self-contained SVG."""
    height_px = TOP_PX + ROW_PX * max(1, len(history.days)) + LEGEND_PX
    title = f"gwctl {profile}: {_summary(history)}"
    zone = "UTC" if utc else "local time"
    size = f'viewBox="0 0 {WIDTH_PX} {height_px}" width="{WIDTH_PX}" height="{height_px}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{_safe(title)}</title>",
        f"<style>{STYLE}</style>",
        HATCH,
        f'<rect class="paper" width="{WIDTH_PX}" height="{height_px}"/>',
        f'<text class="title" x="16" y="26">{_safe(title)}</text>',
        *_hours(height_px - LEGEND_PX, zone),
    ]
    for row, day in enumerate(history.days):
        lines += _row(day, TOP_PX + row * ROW_PX, utc=utc)
    if not history.days:
        lines.append(f'<text class="faint" x="{LEFT_PX}" y="{TOP_PX + 14}">no history yet</text>')
    return "\n".join([*lines, *_legend(height_px - LEGEND_PX + 14), "</svg>", ""])


def _safe(text: str) -> str:
    return escape(printable(text))


def _summary(history: History) -> str:
    if history.times.share is None:
        return share_words(history)
    outages = len(history.outages)
    count = "no outage" if not outages else f"{outages} outage{'s' if outages > 1 else ''}"
    days = len(history.days)
    return f"{share_words(history)}, {count} in {days} day{'s' if days > 1 else ''}"


def _x_px(day: Day, at_s: float) -> float:
    room_px = WIDTH_PX - LEFT_PX - RIGHT_PX
    return LEFT_PX + room_px * (at_s - day.began_s) / max(1.0, day.ended_s - day.began_s)


def _hours(bottom_px: int, zone: str) -> Iterator[str]:
    room_px = WIDTH_PX - LEFT_PX - RIGHT_PX
    yield f'<text class="faint" x="16" y="{TOP_PX - 8}">{zone}</text>'
    for hour in range(0, 25, 3):
        x_px = LEFT_PX + room_px * hour / 24
        yield f'<line class="grid" x1="{x_px:.1f}" x2="{x_px:.1f}" y1="{TOP_PX - 4}" y2="{bottom_px}"/>'
        yield f'<text class="faint" x="{x_px:.1f}" y="{TOP_PX - 8}" text-anchor="middle">{hour:02d}</text>'


def _row(day: Day, y_px: int, *, utc: bool) -> Iterator[str]:
    yield f'<text x="16" y="{y_px + 13}">{day.date}</text>'
    plain = [one for one in day.stretches if one.state not in MARKED]
    marked = sorted(
        (one for one in day.stretches if one.state in MARKED), key=lambda one: (MARKED.index(one.state), one.began_s)
    )
    for one in (*plain, *marked):
        yield _bar(day, one, y_px, utc=utc)
    share = "-" if day.uptime is None else percent(day.uptime)
    yield f'<text x="{WIDTH_PX - 16}" y="{y_px + 13}" text-anchor="end">{share}</text>'


def _bar(day: Day, one: Stretch, y_px: int, *, utc: bool) -> str:
    x_px, width_px = _x_px(day, one.began_s), _x_px(day, one.ended_s) - _x_px(day, one.began_s)
    if one.state in MARKED and width_px < LEAST_PX:
        x_px, width_px = min(x_px, WIDTH_PX - RIGHT_PX - LEAST_PX), LEAST_PX
    said = f"{one.state}{' (sandbox)' if one.sandbox else ''}: {one.words}"
    when = f"{readable(one.began_s, in_utc=utc)}, {duration(one.length_s)}"
    return (
        f'<rect class="{one.state}" x="{x_px:.2f}" y="{y_px}" width="{width_px:.2f}" height="{BAR_PX}">'
        f"<title>{_safe(said)}\n{_safe(when)}</title></rect>"
    )


def _legend(y_px: int) -> Iterator[str]:
    for place, state in enumerate(LEGEND):
        x_px = LEFT_PX + place * 110
        yield f'<rect class="{state}" x="{x_px}" y="{y_px}" width="14" height="14"/>'
        yield f'<text x="{x_px + 20}" y="{y_px + 12}">{state}</text>'
