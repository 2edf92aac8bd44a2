"""How times, lengths and shares are written for a person."""

from __future__ import annotations

import datetime as dt
import math

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < MINUTE_S:
        return f"{whole} s"
    if whole < HOUR_S:
        return f"{whole // MINUTE_S} min {whole % MINUTE_S} s"
    if whole < DAY_S:
        return f"{whole // HOUR_S} h {whole % HOUR_S // MINUTE_S} min"
    return f"{whole // DAY_S} d {whole % DAY_S // HOUR_S} h"


def percent(share: float) -> str:
    """Return a share with two digits, never more than it is: 100 % is without a gap."""
    return f"{math.floor(share * 10_000) / 100:.2f} %"


def megabytes(size: int | None) -> str:
    """Return a size in bytes as whole megabytes, a dash where it is not known."""
    return "-" if size is None else f"{size / 1e6:.0f} MB"


def stamp(at_s: float, *, utc: bool) -> str:
    """Return a time of day, of UTC or of the machine's own zone."""
    return dt.datetime.fromtimestamp(at_s, dt.UTC if utc else None).strftime("%Y-%m-%d %H:%M:%S")


def printable(text: str) -> str:
    """Return foreign text on one line and without what steers a terminal or breaks a picture."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
