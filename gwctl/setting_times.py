"""Parse the settings that are times of day. Time zones are imported when used: most calls need none."""

from __future__ import annotations

from collections.abc import Callable

from gwctl.known_words import Unsuitable, nearest


def parse_windows(raw: object) -> tuple[str, ...]:
    """Return maintenance windows and regions after checking each of them."""
    from gwctl.maintenance import REGIONS, BadWindow, Windows

    texts = _texts(raw, "a list of windows such as ['23:45-01:45 America/New_York'] or regions such as ['europe']")
    try:
        Windows.parse(texts)
    except BadWindow as error:
        near = next((one for text in texts if text not in REGIONS and (one := nearest(text, REGIONS))), None)
        wanted = f"a list of windows or regions: {error}"
        raise Unsuitable(wanted, f"did you mean {near}?") if near else ValueError(wanted) from None
    return texts


def parse_login_hours(raw: object) -> tuple[str, ...]:
    """Return time spans after checking each of them; a text separates them with semicolons."""
    from gwctl.maintenance import Window

    return _checked(raw, Window.parse, "hours such as 'Mon-Fri 07:00-22:00 Europe/Zurich'")


def parse_moments(raw: object) -> tuple[str, ...]:
    """Return times of day after checking each of them; a text separates them with semicolons."""
    from gwctl.maintenance import Window

    return _checked(raw, Window.parse_moment, "times such as 'Mon-Fri 07:30 Europe/Zurich'")


def _checked(raw: object, parse: Callable[[str], object], wanted: str) -> tuple[str, ...]:
    from gwctl.maintenance import BadWindow

    texts = _texts(_parts(raw), f"a list of {wanted}")
    try:
        for text in texts:
            parse(text)
    except BadWindow as error:
        raise ValueError(f"{wanted}: {error}") from None
    return texts


def _parts(raw: object) -> object:
    return [part.strip() for part in raw.split(";") if part.strip()] if isinstance(raw, str) else raw


def _texts(raw: object, wanted: str) -> tuple[str, ...]:
    if isinstance(raw, str):
        raw = [raw]
    if not isinstance(raw, list) or not all(isinstance(entry, str) for entry in raw):
        raise ValueError(wanted)
    return tuple(raw)
