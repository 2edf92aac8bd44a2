"""The only renderer: the answer on stdout, everything else on stderr, an envelope with ``--json``."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from msgspec import Struct

from gwctl.cli.columns import folded, width_of
from gwctl.errors import GwctlError
from gwctl.plain_text import json_text, many_lines, one_line
from gwctl.session_status import Status, account_words


def percent(share: float) -> str:
    """Return a share with two decimals, rounded down: 100 % means without a gap."""
    return f"{math.floor(share * 10_000) / 100:.2f} %"


def megabytes(size: int | None) -> str:
    """Return a size in bytes as whole megabytes, a dash if unknown."""
    return "-" if size is None else f"{size / 1e6:.0f} MB"


def printable(text: str) -> str:
    """Return foreign text on one line, without characters that control a terminal or break a picture."""
    return " ".join(one_line(text).split())


def ready_line(status: Status, word: str = "ready") -> str:
    """Return the line of a session that is up, for a person: whose account first, as in every view, and where."""
    parts = (f"● {status['profile']}: {word}", account_words(status), status["gateway"]["base_url"])
    return " · ".join(filter(None, parts))


def rows(lines: Iterable[str]) -> str:
    """Return lines of an answer as its text: a line break in foreign text makes no line that looks like ours."""
    return "\n".join(map(one_line, lines))


_OUR_CODES = re.compile(r"(\x1b\[(?:[0-9]{1,2}m|H\x1b\[J))")
"""Colors, and the one that clears a screen that is drawn again."""
_RED, _DIM, _RESET = "\x1b[31m", "\x1b[2m", "\x1b[0m"


class Outcome(Struct, frozen=True):
    """A verb's answer: ``data`` for machines, ``text`` for people."""

    data: Mapping[str, Any] | None = None
    text: str = ""
    exit_code: int = 0
    raw: str | None = None
    """Written to stdout unchanged, also with ``--json``: streams and scripts."""
    is_styled: bool = False
    """Whether ``text`` has color codes; foreign text in it is ``printable``."""
    notices: Sequence[str] = ()
    """Lines for a person after the answer, on stderr."""
    is_verbatim: bool = False
    """Whether ``text`` is for programs, so that it is written unchanged unless stdout is a terminal."""


def wants_color(stream: TextIO, *, no_color: bool) -> bool:
    """Return whether ``stream`` is a terminal that wants color (no-color.org)."""
    return not no_color and not os.environ.get("NO_COLOR") and stream.isatty() and os.environ.get("TERM") != "dumb"


def envelope(command: str, exit_code: int, data: Mapping[str, Any] | None, error: dict[str, Any] | None) -> str:
    """Return the contract's envelope as one line."""
    body = {"gwctl": 1, "command": command, "exit_code": exit_code, "data": data, "error": error}
    return json_text(body)


def error_object(error: GwctlError) -> dict[str, Any]:
    """Return the envelope's ``error``."""
    return {"code": error.code, "message": error.message, "hint": error.hint}


def write(text: str, stream: TextIO, *, is_styled: bool = False, is_verbatim: bool = False) -> bool:
    """Write lines and return whether there was a reader; a closed reader is not an error of ours.

    This is the way of every text to a terminal: what controls it is left out, but our own codes if ``is_styled``.
    ``is_verbatim`` text is left as it is where no terminal reads it.
    """
    if not is_verbatim or stream.isatty():
        parts = _OUR_CODES.split(text) if is_styled else [text]
        text = "".join(part if place % 2 else many_lines(part) for place, part in enumerate(parts))
    return _write(text, stream)


def _write(text: str, stream: TextIO) -> bool:
    text = text if text.endswith("\n") else text + "\n"
    try:
        stream.write(text)
        stream.flush()
    except UnicodeEncodeError:
        return _write(text.encode("ascii", "replace").decode(), stream)
    except BrokenPipeError:
        # At exit, Python would complain again about what it cannot flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return False
    return True


def parsed(body: bytes) -> object:
    """Return a body as JSON if it is JSON, otherwise as text."""
    try:
        value: object = json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
    return value


def show_outcome(command: str, outcome: Outcome, *, as_json: bool) -> None:
    """Print a verb's answer."""
    if outcome.raw is not None:
        if outcome.raw:
            _write(outcome.raw, sys.stdout)
    elif as_json:
        write(envelope(command, outcome.exit_code, outcome.data, None), sys.stdout)
    elif outcome.text:
        text = outcome.text if outcome.is_verbatim else folded(outcome.text, width_of(sys.stdout))
        write(text, sys.stdout, is_styled=outcome.is_styled, is_verbatim=outcome.is_verbatim)


def show_error(command: str, error: GwctlError, *, as_json: bool, quiet: bool, no_color: bool) -> None:
    """Print an error: a line and its hint on stderr (one line if quiet), or the envelope on stdout."""
    if as_json:
        write(envelope(command, error.exit_code, None, error_object(error)), sys.stdout)
        return
    red, dim, reset = (_RED, _DIM, _RESET) if wants_color(sys.stderr, no_color=no_color) else ("", "", "")
    message = printable(error.message)
    hint = printable(error.hint or "")
    width = width_of(sys.stderr)
    if quiet:
        joined = f"{message.removesuffix('.')}; try: {hint}" if hint else message
        write(f"{red}gwctl: {joined}{reset}", sys.stderr, is_styled=True)
        return
    said = folded(f"gwctl: {message}", width, len("gwctl: "))
    write(f"{red}{said}{reset}", sys.stderr, is_styled=True)
    if hint:
        said = folded(f"  try: {hint}", width, len("  try: "))
        write(f"{dim}{said}{reset}", sys.stderr, is_styled=True)
