"""Prices as a pure function of seed, contract and time: the same walk for a quote now and for a bar of last year.

The walk is a sum of straight lines between random knots, at five distances in time; the farther apart the knots, the
larger their effect, as in a random walk. Every price is known without those before it, and the extremes of a bar are
found exactly, by looking only where an extreme can be.
"""

from __future__ import annotations

import math
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Final

from msgspec import Struct

from gwctl.sandbox.market.contracts import Contract

DAY_S: Final = 86_400
KNOTS_S: Final = (50 * DAY_S, 2 * DAY_S, 7_200, 300, 10)
"""The distances between knots, each a multiple of the next."""
_SIZES: Final = tuple(math.sqrt(distance_s / DAY_S) for distance_s in KNOTS_S)
_REST: Final = tuple(sum(_SIZES[octave + 1 :]) for octave in range(len(_SIZES)))
"""How much all finer knots together can add at most."""
_ORIGIN_S: Final = 1_000 * KNOTS_S[0]
"""The walk's own time when the market begins: history reaches back for a lifetime."""
_VOLUME_KNOTS_S: Final = 300
_SIZES_EVERY_S: Final = 1
_NO_TIME_S: Final = 1e-9
_64_BITS: Final = (1 << 64) - 1


@lru_cache(maxsize=1 << 17)
def _knot(seed: int, conid: int, distance_s: int, number: int) -> float:
    """Return a random number from -1 to 1: splitmix64 of the four, because a hash function takes too long."""
    mixed = seed
    for part in (conid, distance_s, number):
        mixed = (mixed + part) * 0x9E3779B97F4A7C15 & _64_BITS
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _64_BITS
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _64_BITS
        mixed ^= mixed >> 31
    return mixed / 2**63 - 1.0


def _line(seed: int, conid: int, distance_s: int, at_s: float) -> float:
    """Return the value at ``at_s`` of the straight lines between the knots."""
    number, past_s = divmod(at_s, distance_s)
    before, after = (_knot(seed, conid, distance_s, int(number) + step) for step in (0, 1))
    return before + (after - before) * past_s / distance_s


_Point = tuple[float, float]
"""A time in seconds, and a value."""


class _Walk(Struct, frozen=True):
    """The walk of one contract, without a unit."""

    seed: int
    conid: int

    def level(self, walk_s: float) -> float:
        """Return the walk's value."""
        return sum(
            size * _line(self.seed, self.conid, distance_s, walk_s)
            for size, distance_s in zip(_SIZES, KNOTS_S, strict=True)
        )

    def peak(self, start_s: float, end_s: float, sign: float) -> float:
        """Return the largest value of ``sign`` times the walk in this time."""
        best = max(sign * self.level(edge_s) for edge_s in (start_s, end_s))
        return self._climb((start_s, 0.0), (end_s, 0.0), sign, best)

    def _climb(self, start: _Point, end: _Point, sign: float, best: float, octave: int = 0) -> float:
        """Return the largest value in this time if it is above ``best``, else ``best``.

        The values of ``start`` and ``end`` are ``sign`` times the sum of the wider octaves, which is straight in
        between. Between two knots of this octave, it is straight, too: only where the higher end, with all that finer
        knots can add, exceeds the best so far, it is worth looking at those.
        """
        (start_s, start_sum), (end_s, end_sum) = start, end
        distance_s, size = KNOTS_S[octave], sign * _SIZES[octave]
        slope = (end_sum - start_sum) / max(end_s - start_s, _NO_TIME_S)
        edges = [(start_s, start_sum + size * _line(self.seed, self.conid, distance_s, start_s))]
        for number in range(int(start_s // distance_s) + 1, math.ceil(end_s / distance_s)):
            straight = start_sum + slope * (number * distance_s - start_s)
            knot = _knot(self.seed, self.conid, distance_s, number)
            edges.append((float(number * distance_s), straight + size * knot))
        edges.append((end_s, end_sum + size * _line(self.seed, self.conid, distance_s, end_s)))
        if octave == len(KNOTS_S) - 1:
            return max(best, *(total for _, total in edges))
        cells = sorted(pairwise(edges), key=lambda cell: max(cell[0][1], cell[1][1]), reverse=True)
        for begin, finish in cells:
            if max(begin[1], finish[1]) + _REST[octave] <= best:
                break
            best = self._climb(begin, finish, sign, best, octave + 1)
        return best


class Quote(Struct, frozen=True):
    """The top of the book at one moment."""

    bid: Decimal
    ask: Decimal
    last: Decimal
    bid_size: int
    ask_size: int
    last_size: int


class Bar(Struct, frozen=True):
    """What happened from ``start_s`` to ``end_s``."""

    start_s: float
    end_s: float
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int


class Prices(Struct, frozen=True):
    """The prices of one market: the same ``seed`` has the same prices, at the same times after ``began_s``."""

    seed: int
    began_s: float

    def last(self, contract: Contract, at_s: float) -> Decimal:
        """Return the price of the last trade; each contract begins at its ``start_price``."""
        return self._price(contract, _Walk(self.seed, contract.conid).level(self._walk_s(at_s)))

    def quote(self, contract: Contract, at_s: float) -> Quote:
        """Return the top of the book: one tick on either side of the last price."""
        last = self.last(contract, at_s)
        lot = 100 if contract.sec_type == "STK" else contract.depth
        number = int(self._walk_s(at_s) // _SIZES_EVERY_S)
        bid_size, ask_size, last_size = (
            lot * (1 + int(4 * (1 + _knot(self.seed, contract.conid, -side, number)))) for side in (1, 2, 3)
        )
        return Quote(last - contract.tick, last + contract.tick, last, bid_size, ask_size, last_size)

    def bar(self, contract: Contract, start_s: float, end_s: float) -> Bar:
        """Return the bar between two moments: no price in between is outside its high and low."""
        begins_s, ends_s = self._walk_s(start_s), self._walk_s(end_s)
        walk = _Walk(self.seed, contract.conid)
        low, high = (sign * walk.peak(begins_s, ends_s, sign) for sign in (-1.0, 1.0))
        return Bar(
            start_s,
            end_s,
            open=self.last(contract, start_s),
            high=self._price(contract, high),
            low=self._price(contract, low),
            close=self.last(contract, end_s),
            volume=self._volume(contract, ends_s) - self._volume(contract, begins_s),
        )

    def _walk_s(self, at_s: float) -> float:
        return max(0.0, at_s - self.began_s + _ORIGIN_S)

    def _price(self, contract: Contract, level: float) -> Decimal:
        at_first = _Walk(self.seed, contract.conid).level(_ORIGIN_S)
        grown = math.exp(contract.daily_volatility * (level - at_first))
        return max(contract.tick, contract.rounded(float(contract.start_price) * grown))

    def _volume(self, contract: Contract, walk_s: float) -> int:
        """Return the units traded since the walk's beginning; it only grows."""
        uneven_s = 0.2 * _VOLUME_KNOTS_S * _line(self.seed, contract.conid, -_VOLUME_KNOTS_S, walk_s)
        return int(contract.daily_volume * (walk_s + uneven_s + _VOLUME_KNOTS_S) / DAY_S)
