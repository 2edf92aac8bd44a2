"""``gwctl logs``: what the supervisor and the gateway wrote."""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

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
@click.option("-n", "--lines", "count", type=click.IntRange(min=0), default=50, show_default=True)
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
    oldest_s = None if since is None else time.time() - _age_s(since)
    lines = [{"log": name, "line": line} for name, path in files.items() for line in _tail(path, count, oldest_s)]
    if not follow:
        text = "\n".join(_shown(entry, both=both) for entry in lines)
        return Outcome({"lines": lines}, text)
    for entry in lines:
        _print(call, entry, both=both)
    for entry in _follow(files):
        _print(call, entry, both=both)
    return Outcome(raw="")


def _age_s(text: str) -> float:
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise Usage(f"--since {text!r} is not an age", hint="--since 10m")
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


def _print(call: Call, entry: dict[str, str], *, both: bool) -> None:
    write(json.dumps(entry) if call.as_json else _shown(entry, both=both), sys.stdout)


def _follow(files: dict[str, Path]) -> Iterator[dict[str, str]]:
    """Yield new lines for ever; a log that was rotated is read from its start."""
    places = {name: path.stat().st_size if path.exists() else 0 for name, path in files.items()}
    while True:
        for name, path in files.items():
            size = path.stat().st_size if path.exists() else 0
            if size < places[name]:
                places[name] = 0
            if size > places[name]:
                with path.open("rb") as log:
                    log.seek(places[name])
                    new = log.read(size - places[name])
                whole, _, _ = new.rpartition(b"\n")
                places[name] += len(whole) + 1 if whole else 0
                for line in whole.decode(errors="replace").splitlines():
                    yield {"log": name, "line": line}
        time.sleep(FOLLOW_EVERY_S)  # between two looks at the files; a person ends it
