"""The figures of a run: every value with what did not come, kept as JSON, which a later run adds to."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NOT_MEASURED = "not measured in this run"
NOTHING = "—"


@dataclass
class Figure:
    """One quantity on one side; ``misses`` says of each measurement without a value why it has none."""

    values: list[float] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)

    @property
    def median(self) -> float | None:
        """The median, None without a value."""
        return statistics.median(self.values) if self.values else None

    def cell(self, unit: str) -> str:
        """Return what a table says: median, least, most and number of values, and how often none came."""
        if not self.values:
            return self.misses[-1] if self.misses else NOT_MEASURED
        lacking = f"; {len(self.misses)} more without: {self.misses[-1]}" if self.misses else ""
        median = f"{number(statistics.median(self.values))} {unit}".strip()
        if len(self.values) == 1:
            return f"{median} (n = 1{lacking})"
        return f"{median} ({number(min(self.values))} to {number(max(self.values))}, n = {len(self.values)}{lacking})"


def number(value: float) -> str:
    """Return a number with three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


class Differs(Exception):
    """The figures in a file are of another machine, version or plan, and cannot be added to."""


class Figures:
    """The figures of a run by row and side, and what they were measured on."""

    def __init__(self, about: Mapping[str, str]) -> None:
        self.about = dict(about)
        self._all: dict[tuple[str, str], Figure] = {}

    def of(self, row: str, side: str) -> Figure:
        """Return the figure of a row and side; an empty one if nothing was measured."""
        return self._all.get((row, side), Figure())

    def attempts(self, row: str, side: str) -> int:
        """Return how often this was measured, with or without a value."""
        figure = self.of(row, side)
        return len(figure.values) + len(figure.misses)

    def add(self, row: str, side: str, value: float) -> None:
        """Add one value."""
        self._all.setdefault((row, side), Figure()).values.append(value)

    def miss(self, row: str, side: str, why: str) -> None:
        """Note that a measurement has no value, and why."""
        self._all.setdefault((row, side), Figure()).misses.append(why)

    def rows(self, prefix: str) -> list[str]:
        """Return the rows whose name begins so, in the order in which they were measured."""
        return list(dict.fromkeys(row for row, _ in self._all if row.startswith(prefix)))

    def sides(self, row: str) -> list[str]:
        """Return the sides of a row that have a value, or a reason for none."""
        return [side for name, side in self._all if name == row]

    def save(self, file: Path) -> None:
        """Write the run as JSON, whole or not at all."""
        figures = [
            {"row": row, "side": side, **_summary(one), "values": one.values, "misses": one.misses}
            for (row, side), one in self._all.items()
        ]
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        new.write_text(json.dumps({"about": self.about, "figures": figures}, indent=1) + "\n", encoding="utf-8")
        new.replace(file)

    @classmethod
    def load(cls, file: Path) -> Figures:
        """Read a run."""
        run = json.loads(file.read_text(encoding="utf-8"))
        found = cls(run["about"])
        for one in run["figures"]:
            found._all[one["row"], one["side"]] = Figure(one["values"], one["misses"])
        return found

    @classmethod
    def to_add_to(cls, file: Path, about: Mapping[str, str]) -> Figures:
        """Return the figures in a file, to be added to, or none without a file; raise Differs if they do not fit.

        A run takes hours: one that is added to is of the days from the first to the last.
        """
        found = cls.load(file) if file.exists() else cls(about)
        if not found.rows(""):
            return cls(about)
        different = [
            f"{name}: {found.about.get(name, 'unknown')}, now {about.get(name, 'unknown')}"
            for name in dict.fromkeys([*found.about, *about])
            if name != "day" and found.about.get(name) != about.get(name)
        ]
        if different:
            raise Differs(f"{file} is of another run; move it away, or name another file. {'; '.join(different)}")
        first, _, _ = found.about["day"].partition(" to ")
        found.about["day"] = " to ".join(dict.fromkeys((first, about["day"])))
        return found


def _summary(figure: Figure) -> dict[str, Any]:
    if not figure.values:
        return {}
    return {"median": figure.median, "least": min(figure.values), "most": max(figure.values)}


def ratio(one: float | None, other: float | None) -> str:
    """Return one divided by the other as a table shows it, nothing if there is none."""
    return "" if one is None or not other else f"{one / other:.2f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [list(head), ["---"] * len(head), *(list(row) for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]
