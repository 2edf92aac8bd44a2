"""How lines fit into a terminal: nothing is wider than it, and no command that is to be copied is broken."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO

PLAIN = 80
"""The width of what is not for a terminal."""
WIDEST = 120
"""Longer lines of prose are hard to read."""
NARROWEST = 40
GAP = "  "
_LABEL = re.compile(r" *\S.*? {2,}(?=\S)| +|- ")
"""What a line that is folded goes on below: a label and blanks, or blanks alone."""
_COMMAND = re.compile(
    r"\b(?:sudo )?(?:gwctl(?: --profile \S+)? [a-z]"
    r"|apt-get |nft |chmod |pipx |ssh |sysctl |systemctl |unset |ls )[^,;:()]*"
)
_BELOW = 4
"""Where a text begins that has no room beside its label."""
_GLUE = "\u2060"
"""Stands for a blank that is no place for a break."""
_CODES = re.compile(r"\x1b\[\d+m")


def width_of(stream: TextIO) -> int | None:
    """Return the width to fill on a terminal; None if ``stream`` is none, and its lines stay whole."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (OSError, ValueError):
        return None
    return min(WIDEST, max(NARROWEST, columns)) if columns else None


def folded(text: str, width: int | None, indent: int | None = None) -> str:
    """Return ``text`` with each line that is too wide on several; None for ``width`` leaves it.

    The further lines begin at ``indent``, by default below what follows the line's label.
    """
    if width is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _folded(line, width, indent))


def _folded(line: str, width: int, indent: int | None) -> Iterator[str]:
    if shown(line) <= width or _CODES.search(line):
        yield line
        return
    import textwrap

    label = _LABEL.match(line)
    indent = min(len(label[0]) if label else 2, width // 2) if indent is None else indent
    room = width - indent
    whole = _COMMAND.sub(lambda found: _glued(found[0], room), line)
    # Blanks in front, and those of columns, are no words of the text.
    head, rest = whole[:indent], whole[indent:]
    if head.strip() and room < max(map(len, rest.split())) <= width - _BELOW:
        yield head.rstrip()
        head, indent = " " * _BELOW, _BELOW
    parts = textwrap.wrap(
        rest, width, initial_indent=head, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )
    yield from (part.replace(_GLUE, " ") for part in parts)


def _glued(command: str, room: int) -> str:
    """Return a command without a place for a break, unless it is prose about a command and longer than a line."""
    body = command.rstrip()
    tail = command[len(body) :]
    return body.replace(" ", _GLUE) + tail if len(body) <= room else command


def shown(text: str) -> int:
    """Return how many columns ``text`` takes."""
    return len(_CODES.sub("", text)) if "\x1b" in text else len(text)


def table(rows: Sequence[Sequence[str]], *, width: int = 0, least: Mapping[int, int] | None = None) -> Iterator[str]:
    """Yield ``rows`` in columns; if they are wider than ``width``, cut those of ``least`` to its widths, in order."""
    widths = [max(map(shown, column)) for column in zip(*rows, strict=True)]
    too_wide = sum(widths) + len(GAP) * (len(widths) - 1) - width
    for column, smallest in (least or {}).items():
        narrower = max(min(widths[column], smallest), widths[column] - max(0, too_wide))
        too_wide -= widths[column] - narrower
        widths[column] = narrower
    for row in rows:
        cells = (_cell(text, room) for text, room in zip(row, widths, strict=True))
        yield GAP.join(cells).rstrip()


def _cell(text: str, width: int) -> str:
    length = shown(text)
    return text + " " * (width - length) if length <= width else text[: width - 1] + "…"
