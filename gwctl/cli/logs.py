"""``gwctl logs``: what the supervisor and the gateway wrote."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome, write
from gwctl.errors import Usage

FOLLOW_EVERY_S = 0.2
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)")
_AGE = re.compile(r"(\d+)\s*(s|m|h|d)")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@click.command("logs")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option("--gateway", is_flag=True, help="The gateway's output only.")
@click.option("--supervisor", is_flag=True, help="The supervisor's log only.")
@click.option("--since", metavar="AGE", help="Only lines younger than this: 90s, 10m, 2h, 1d.")
@click.option("-n", "--lines", "count", type=click.IntRange(min=0), default=50, show_default=True, metavar="N",
              help="How many of each log.")  # fmt: skip
@verb
def command(  # noqa: PLR0913 - one argument an option
    call: Call, *, follow: bool, gateway: bool, supervisor: bool, since: str | None, count: int
) -> Outcome:
    """Show the last lines of the logs; the gateway's own DEBUG log, which holds secrets, is not among them."""
    both = gateway == supervisor
    files = {
        name: path
        for name, path, wanted in (
            ("supervisor", call.paths.supervisor_log, both or supervisor),
            ("gateway", call.paths.gateway_log, both or gateway),
        )
        if wanted
    }
    # Opened before the last lines are read: a line that comes in between is shown twice rather than never.
    followed = {name: _Followed(path) for name, path in files.items()} if follow else {}
    oldest_s = None if since is None else time.time() - _age_s(since)
    lines = [{"log": name, "line": line} for name, path in files.items() for line in _tail(path, count, oldest_s)]
    if not follow:
        if not any(path.exists() for path in files.values()):
            call.say(f"nothing is logged yet; {call.command('up')} begins")
        text = "\n".join(_shown(entry, both=both) for entry in lines)
        return Outcome({"lines": lines}, text)
    call.streams = True
    for entry in itertools.chain(lines, _follow(followed)):
        if not _print(call, entry, both=both):
            break
    return Outcome(raw="")


def _age_s(text: str) -> float:
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise Usage(f"--since {text!r} is not an age such as 90s, 10m, 2h or 1d", hint="gwctl logs --since 10m")
    return int(found[1]) * _UNIT_S[found[2]]


def _tail(path: Path, count: int, oldest_s: float | None) -> list[str]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    if oldest_s is not None:
        lines = [line for line in lines if _is_younger(line, oldest_s)]
    return lines[-count:] if count else []


def _is_younger(line: str, oldest_s: float) -> bool:
    found = _STAMP.search(line)
    if found is None:
        return True
    return dt.datetime.fromisoformat(f"{found[1]}T{found[2]}").timestamp() >= oldest_s


def _shown(entry: dict[str, str], *, both: bool) -> str:
    return f"{entry['log']:<10} | {entry['line']}" if both else entry["line"]


def _print(call: Call, entry: dict[str, str], *, both: bool) -> bool:
    return write(json.dumps(entry) if call.as_json else _shown(entry, both=both), sys.stdout)


class _Followed:
    """One log that grows, is emptied or replaced under us; nothing that was written before that is lost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        file = self._open()
        if file is not None:
            file.seek(0, os.SEEK_END)

    def _open(self) -> BinaryIO | None:
        with contextlib.suppress(OSError):
            self._file = self.path.open("rb")
        return self._file

    def _is_replaced(self, file: BinaryIO) -> bool:
        try:
            return not os.path.samestat(self.path.stat(), os.fstat(file.fileno()))
        except OSError:
            return False  # moved away, and the new one is not there yet

    def lines(self) -> Iterator[str]:
        """Yield the whole lines that are new."""
        file = self._file or self._open()
        if file is None:
            return
        # Asked before reading: what the old file got until its replacement is read to the end first.
        replaced = self._is_replaced(file)
        if os.fstat(file.fileno()).st_size < file.tell():
            file.seek(0)
            self._rest = b""
        *whole, self._rest = (self._rest + file.read()).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
        if replaced:
            file.close()
            self._file, self._rest = None, b""
            yield from self.lines()


def _follow(followed: dict[str, _Followed]) -> Iterator[dict[str, str]]:
    """Yield new lines for ever."""
    while True:
        for name, log in followed.items():
            for line in log.lines():
                yield {"log": name, "line": line}
        time.sleep(FOLLOW_EVERY_S)  # between two looks at the files; a person ends it
