"""Parts of a chart in SVG, drawn without a library: its own background makes it readable on a dark page, too."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

INK, FAINT = "#1f2933", "#d5dae0"


def text(x: float, y: float, said: str, anchor: str = "start", *, size: int = 12, ink: str = INK) -> str:
    """Return a text at a place; ``anchor`` is what of it stands there: start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{ink}">{escape(said)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, ink: str = FAINT, width: float = 1) -> str:
    """Return a straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{ink}" stroke-width="{width:g}"/>'


def dot(x: float, y: float, ink: str) -> str:
    """Return a dot."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{ink}"/>'


def place(value: float, least: float, most: float) -> float:
    """Return where a value lies on a logarithmic axis, from 0 to 1."""
    return (math.log(min(most, max(least, value))) - math.log(least)) / (math.log(most) - math.log(least))


def picture(width: float, height: float, label: str, drawn: Iterable[str]) -> str:
    """Return the file; ``label`` is what a screen reader says."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="system-ui, sans-serif" role="img" '
        f'aria-label="{escape(label, quote=True)}">\n'
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>\n' + "\n".join(drawn) + "\n</svg>\n"
    )
