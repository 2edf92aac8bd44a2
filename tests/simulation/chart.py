"""The chart in the docs, drawn without a library: time to ready by cause, and a fleet's logins a second."""

from __future__ import annotations

import math
from collections.abc import Sequence

from drawing import INK, dot, line, picture, place, text

from simulation.fleet import peak
from simulation.many import Fleet
from simulation.report import Cause, by_cause
from simulation.tally import Total

WIDTH, LEFT, RIGHT = 860, 270, 24
ROW, PANEL, HEAD = 22, 170, 46
WITH, WITHOUT = "#1769aa", "#c2452d"
_TIME_TICKS = ((0.1, "0.1 s"), (1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3600, "1 h"), (36000, "10 h"))
_BEFORE_S, _AFTER_S = 30.0, 1800.0
SHOWN = ("reset", "ill")


def _causes(causes: Sequence[Cause], top: float) -> list[str]:
    least, most = _TIME_TICKS[0][0], max(_TIME_TICKS[-1][0], *(one.ready_in_s[2] for one in causes))
    bottom = top + ROW * len(causes)

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * place(value, least, most)

    drawn = [text(12, top - 24, "Time to ready, by cause: median (dot), to p95 (bar), worst (tick)", size=14)]
    for value, label in _TIME_TICKS:
        drawn += [line(x(value), top - 4, x(value), bottom), text(x(value), bottom + 14, label, "middle", size=11)]
    for row, one in enumerate(causes):
        y = top + ROW * row + ROW / 2
        median, p95, worst = one.ready_in_s
        drawn += [
            text(LEFT - 10, y + 4, f"{one.what} ({one.number:,})", "end"),
            line(x(median), y, x(worst), y, width=2),
            line(x(median), y, x(p95), y, ink=WITH, width=7),
            line(x(worst), y - 6, x(worst), y + 6, ink=INK, width=2),
            dot(x(median), y, WITH),
        ]
    return drawn


def _a_second(submits: Sequence[float]) -> list[int]:
    counts = [0] * int(_BEFORE_S + _AFTER_S)
    for at in submits:
        place = math.floor(at + _BEFORE_S)
        if 0 <= place < len(counts):
            counts[place] += 1
    return counts


def _fleet(pair: Sequence[Fleet], top: float) -> list[str]:
    counts = {one.by_chance: _a_second(one.submits) for one in pair}
    most = max(1, *(max(row) for row in counts.values()))
    bottom, left = top + PANEL, 60.0

    def x(second: float) -> float:
        return left + (WIDTH - left - RIGHT) * second / (_BEFORE_S + _AFTER_S)

    def y(count: float) -> float:
        return bottom - PANEL * math.log1p(count) / math.log1p(most)

    drawn = [text(12, top - 22, f"Logins a second: {pair[0].night.what}", size=14)]
    for count in [0, *(10**power for power in range(6) if 10**power <= most), most]:
        drawn += [
            line(left, y(count), WIDTH - RIGHT, y(count)),
            text(left - 6, y(count) + 4, f"{count:,}", "end", size=11),
        ]
    for minute in range(0, 30, 5):
        drawn.append(text(x(_BEFORE_S + minute * 60), bottom + 15, f"{minute} min", "middle", size=11))
    for by_chance, ink in ((False, WITHOUT), (True, WITH)):
        steps = " ".join(
            f"{x(second):.1f},{y(count):.1f} {x(second + 1):.1f},{y(count):.1f}"
            for second, count in enumerate(counts.get(by_chance, []))
            if count or _has_neighbour(counts[by_chance], second)
        )
        drawn.append(f'<polyline points="{steps}" fill="none" stroke="{ink}" stroke-width="1.5"/>')
        most_in_a_second = max((peak(one.submits, 1.0) for one in pair if one.by_chance is by_chance), default=0)
        label = f"{'with' if by_chance else 'without'} jitter: at most {most_in_a_second:,} in a second"
        drawn.append(text(WIDTH - RIGHT, top + 14 + 16 * by_chance, label, "end", ink=ink))
    return drawn


def _has_neighbour(counts: Sequence[int], second: int) -> bool:
    """Return whether the line needs this second without logins to go down to zero."""
    return any(counts[max(0, second - 1) : second + 2]) or second in {0, len(counts) - 1}


def chart(total: Total, found: Sequence[Fleet]) -> str:
    """Return docs/simulation.svg."""
    causes = by_cause(total.outages)
    top = float(HEAD)
    drawn = _causes(causes, top) if causes else []
    top += ROW * len(causes) + 76
    for name in SHOWN:
        pair = [one for one in found if one.night.name == name]
        if pair:
            drawn += _fleet(pair, top)
            top += PANEL + 70
    height = top - 30
    return picture(WIDTH, height, "Time to ready by cause, and logins a second of a fleet", drawn)
