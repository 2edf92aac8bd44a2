"""The history as a picture: one row a day, a colour a state, what it was on pointing at it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from gwctl.cli.formatting import duration, percent, printable, stamp
from gwctl.history.replay import State, Stretch
from gwctl.history.report import Day, History

WIDTH_PX, LEFT_PX, RIGHT_PX = 1000, 96, 84
ROW_PX, BAR_PX, TOP_PX, LEGEND_PX = 24, 16, 68, 40
LEAST_PX = 2.0
"""An outage of seconds in a row of a day is seen all the same; it is drawn over its neighbours."""
MARKED = (State.STARTING, State.UNKNOWN, State.DOWN)
"""Drawn over the others and never narrower than ``LEAST_PX``, the worst last."""
LEGEND = (State.READY, State.STARTING, State.DOWN, State.UNKNOWN, State.STOPPED)
# Told apart by people who see few colours, too: blue, yellow and vermilion differ in lightness, the rest has a pattern.
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
    """Return the picture as SVG, complete in itself."""
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
        lines.append(f'<text class="faint" x="{LEFT_PX}" y="{TOP_PX + 14}">nothing is recorded yet</text>')
    return "\n".join([*lines, *_legend(height_px - LEGEND_PX + 14), "</svg>", ""])


def _safe(text: str) -> str:
    return escape(printable(text))


def _summary(history: History) -> str:
    uptime = history.times.uptime
    if uptime is None:
        return "no session was wanted"
    outages = len(history.outages)
    count = "no outage" if not outages else f"{outages} outage{'s' if outages > 1 else ''}"
    days = len(history.days)
    return f"{percent(uptime)} ready, {count} in {days} day{'s' if days > 1 else ''}"


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
    uptime = day.times.uptime
    shown = "-" if uptime is None else percent(uptime)
    yield f'<text x="{WIDTH_PX - 16}" y="{y_px + 13}" text-anchor="end">{shown}</text>'


def _bar(day: Day, one: Stretch, y_px: int, *, utc: bool) -> str:
    x_px, width_px = _x_px(day, one.began_s), _x_px(day, one.ended_s) - _x_px(day, one.began_s)
    if one.state in MARKED and width_px < LEAST_PX:
        x_px, width_px = min(x_px, WIDTH_PX - RIGHT_PX - LEAST_PX), LEAST_PX
    said = f"{one.state}{' (sandbox)' if one.sandbox else ''}: {one.words}"
    when = f"{stamp(one.began_s, utc=utc)}, {duration(one.length_s)}"
    return (
        f'<rect class="{one.state}" x="{x_px:.2f}" y="{y_px}" width="{width_px:.2f}" height="{BAR_PX}">'
        f"<title>{_safe(said)}\n{_safe(when)}</title></rect>"
    )


def _legend(y_px: int) -> Iterator[str]:
    for place, state in enumerate(LEGEND):
        x_px = LEFT_PX + place * 110
        yield f'<rect class="{state}" x="{x_px}" y="{y_px}" width="14" height="14"/>'
        yield f'<text x="{x_px + 20}" y="{y_px + 12}">{state}</text>'
