"""The rates file: numbers, each with its source or marked as a guess."""

from __future__ import annotations

import math
import random
import tomllib
from pathlib import Path

from msgspec import Struct

RATES_FILE = Path(__file__).with_name("rates.toml")
_P95_Z = 1.6448536269514722


class Rate(Struct, frozen=True):
    """One number; with ``p95`` the median of a log-normal distribution."""

    what: str
    unit: str
    value: float
    p95: float | None = None
    source: str | None = None
    guess: bool = False

    def __post_init__(self) -> None:
        if bool(self.source) == self.guess:
            raise ValueError(f"{self.what}: either a source or a guess")

    def draw(self, rng: random.Random) -> float:
        """Return a number from the distribution, or the number itself if there is none."""
        if self.p95 is None:
            return self.value
        return self.value * math.exp(rng.gauss(0.0, math.log(self.p95 / self.value) / _P95_Z))

    def chance(self, rng: random.Random) -> bool:
        """Return whether something of this probability happens."""
        return rng.random() < self.value


Rates = dict[str, Rate]


def load_rates(file: Path = RATES_FILE) -> Rates:
    """Return all rates by name; raise ValueError or TypeError for an invalid one."""
    with file.open("rb") as stream:
        return {name: Rate(**table) for name, table in tomllib.load(stream).items()}
