"""The chart of the page: what people wait for, side by side, with what never came."""

from __future__ import annotations

from itertools import pairwise

from drawing import FAINT, INK, dot, line, picture, place, text

from benchmark.figures import Figure, Figures, number
from benchmark.rows import FLOOR, OURS, PEER, ROWS, SIDES, SOAK_ALL, SOAK_KEEPER

SHOWN = ("cold", "killed", "killed_often", "hung", "dropped", "polled", "keeper")
COLOURS = {OURS: "#1769aa", PEER: "#c2452d", FLOOR: "#7b8794"}
WIDTH, LEFT, RIGHT = 860, 270, 120
LANE, GAP, HEAD = 20, 14, 60
_TICKS = ((0.1, "0.1 s"), (1.0, "1 s"), (10.0, "10 s"), (60.0, "1 min"), (600.0, "10 min"))


def _x(value: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * place(value, _TICKS[0][0], _TICKS[-1][0])


def _lane(y: float, side: str, figure: Figure) -> list[str]:
    """Return one side of one row: its median with the least and the most, and how often none came."""
    ink, values, misses, median = COLOURS[side], figure.values, figure.misses, figure.median
    if median is None:
        why = "never" if misses[-1].startswith("not within") else "no value"
        return [text(WIDTH - RIGHT + 8, y + 4, f"{side}: {why}", ink=ink)]
    begin, end = _x(min(values)), _x(max(values))
    drawn = [line(begin, y, end, y, ink=ink, width=3), dot(_x(median), y, ink)]
    said = f"{side}: {number(median)} s" + (f" (+{len(misses)} without)" if misses else "")
    if end > WIDTH - RIGHT:  # no room on its right
        return [*drawn, text(begin - 9, y + 4, said, "end", ink=ink)]
    return [*drawn, text(end + 9, y + 4, said, ink=ink)]


def chart(figures: Figures) -> str:
    """Return docs/benchmark.svg."""
    drawn = [text(12, 24, "Seconds until a client has a session: median (dot), least to most (bar)", size=14)]
    drawn += [text(12, 42, "The axis is logarithmic: each step of it is a multiple of the one before.", size=11)]
    rows, y = [], float(HEAD)
    for row in [row for row in ROWS if row.key in SHOWN]:
        lanes = [(side, figures.of(row.key, side)) for side in SIDES if side in row.sides]
        lanes = [(side, figure) for side, figure in lanes if figure.values or figure.misses]
        if not lanes:
            continue
        rows.append(text(LEFT - 12, y + LANE * len(lanes) / 2 + 4, row.title, "end"))
        for place_of, (side, figure) in enumerate(lanes):
            rows += _lane(y + LANE * place_of + LANE / 2, side, figure)
        y += LANE * len(lanes) + GAP
        rows.append(line(12, y - GAP / 2, WIDTH - 12, y - GAP / 2))
    for value, label in _TICKS:
        drawn += [line(_x(value), HEAD - 4, _x(value), y, ink=FAINT), text(_x(value), y + 14, label, "middle", size=11)]
    if not rows:
        rows = [text(LEFT, y + 14, "nothing measured", ink=INK)]
    return picture(WIDTH, y + 28, "Seconds until a client has a session: gwctl, IBeam and the floor", [*drawn, *rows])


TALL, FOOT = 240, 28


def growth(figures: Figures) -> str:
    """Return docs/benchmark-growth.svg: the memory at each look of the soak."""
    curves = [(row.partition(":")[2], figures.of(row, OURS).values) for row in (SOAK_ALL, SOAK_KEEPER)]
    most = max((max(values) for _, values in curves if values), default=0.0)
    drawn = [text(12, 24, "Memory (MB, PSS) under ten requests a second", size=14)]
    bottom = TALL - FOOT

    def y(value: float) -> float:
        return bottom - (bottom - HEAD) * value / most

    for (name, values), ink in zip(curves, (COLOURS[OURS], COLOURS[FLOOR]), strict=True):
        if len(values) < 2:
            continue
        step = (WIDTH - LEFT - RIGHT) / (len(values) - 1)
        points = [(LEFT + step * look, y(value)) for look, value in enumerate(values)]
        drawn += [line(*begin, *end, ink=ink, width=2) for begin, end in pairwise(points)]
        drawn.append(text(LEFT - 12, points[0][1] + 4, f"{name}: {number(values[0])}", "end", ink=ink))
        drawn.append(text(WIDTH - RIGHT + 8, points[-1][1] + 4, number(values[-1]), ink=ink))
    drawn.append(line(LEFT, bottom, WIDTH - RIGHT, bottom))
    drawn.append(text(LEFT, TALL - 8, "begin" if most else "not measured", size=11))
    drawn.append(text(WIDTH - RIGHT, TALL - 8, "end" if most else "", "end", size=11))
    return picture(WIDTH, TALL, "Memory of gwctl over an hour of requests", drawn)
