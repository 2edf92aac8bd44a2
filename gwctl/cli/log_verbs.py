"""`logs` and `history`: the logs, and what happened."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.columns import width_of
from gwctl.cli.history_views import Look, render
from gwctl.cli.output import Outcome, rows, wants_color, write
from gwctl.errors import DiskTrouble, Usage
from gwctl.history.journal import Seen, read_entries
from gwctl.history.report import Day, History, LastSign, midnight_s, tell
from gwctl.history.session_fold import State
from gwctl.ownership import open_ours, read_ours
from gwctl.paths import Paths
from gwctl.plain_text import one_line
from gwctl.state_file import write_bytes
from gwctl.supervisor.control import NoSupervisor, SupervisorClient, SupervisorHangs, SupervisorRecord
from gwctl.times import DAY_S, HOUR_S, age_s, utc_ms

FOLLOW_EVERY_S = 0.2
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)")


@click.command("logs")
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines.")
@click.option("--gateway", is_flag=True, help="Show only the gateway's output.")
@click.option("--supervisor", is_flag=True, help="Show only the supervisor's log.")
@click.option("--since", metavar="AGE", help="Show only lines younger than AGE: 90s, 10m, 2h, 1d.")
@click.option("-n", "--lines", "count", type=click.IntRange(min=0), default=50, show_default=True, metavar="N",
              help="Number of lines of each log.")  # fmt: skip
@verb
def logs(  # noqa: PLR0913 - one argument an option
    call: Call, *, follow: bool, gateway: bool, supervisor: bool, since: str | None, count: int
) -> Outcome:
    """Show the last lines of the logs, without the gateway's own DEBUG log, which contains secrets."""
    both = gateway == supervisor
    files = {
        name: path
        for name, path, wanted in (
            ("supervisor", call.paths.supervisor_log, both or supervisor),
            ("gateway", call.paths.gateway_log, both or gateway),
        )
        if wanted
    }
    # Opened before reading the last lines: a line written in between appears twice rather than never.
    followed = {name: _Followed(path) for name, path in files.items()} if follow else {}
    oldest_s = None if since is None else time.time() - _age_s(since)
    lines = [{"log": name, "line": line} for name, path in files.items() for line in _tail(path, count, oldest_s)]
    if not follow:
        if not any(path.exists() for path in files.values()):
            call.say(f"no logs yet; start with {call.command('up')}")
        text = rows(_shown(entry, both=both) for entry in lines)
        return Outcome({"lines": lines}, text, is_verbatim=True)
    call.streams = True
    for entry in itertools.chain(lines, _follow(followed)):
        if not _print(call, entry, both=both):
            break
    return Outcome(raw="")


def _age_s(text: str) -> float:
    found_s = age_s(text)
    if found_s is None:
        raise Usage(f"--since {text!r} is not an age such as 90s, 10m, 2h or 1d", hint="gwctl logs --since 10m")
    return found_s


def _tail(path: Path, count: int, oldest_s: float | None) -> list[str]:
    try:
        lines = read_ours(path).decode(errors="replace").removesuffix("\n").split("\n")
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
    return write(json.dumps(entry) if call.as_json else one_line(_shown(entry, both=both)), sys.stdout)


class _Followed:
    """One log that may grow, be emptied or be replaced while we read; no line written before that is lost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        file = self._open()
        if file is not None:
            file.seek(0, os.SEEK_END)

    def _open(self) -> BinaryIO | None:
        with contextlib.suppress(OSError):
            self._file = os.fdopen(open_ours(self.path), "rb")
        return self._file

    def _is_replaced(self, file: BinaryIO) -> bool:
        try:
            return not os.path.samestat(self.path.stat(), os.fstat(file.fileno()))
        except OSError:
            return False  # moved away, and the new one does not exist yet

    def lines(self) -> Iterator[str]:
        """Yield the complete new lines."""
        file = self._file or self._open()
        if file is None:
            return
        # Checked before reading: first read the old file to its end, then switch to its replacement.
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
    """Yield new lines without end."""
    while True:
        for name, log in followed.items():
            for line in log.lines():
                yield {"log": name, "line": line}
        time.sleep(FOLLOW_EVERY_S)  # until the next look; Ctrl-C ends it


LOOK_TIMEOUT_S = 2.0
_SPAN = re.compile(r"(\d{1,6})\s*(m|h|d|w)")
_SPAN_UNIT_S = {"m": 60, "h": HOUR_S, "d": DAY_S, "w": 7 * DAY_S}


@click.command("history")
@click.option("--since", default="30d", show_default=True, metavar="WHEN",
              help="Start of the period: a date, an age (12h, 7d, 4w; days are whole days), or all.")  # fmt: skip
@click.option("--utc", is_flag=True, help="Show days and times in UTC instead of this machine's time zone.")
@click.option("--svg", "svg_file", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
              help="Draw a timeline, one row per day, to FILE; - is stdout.")  # fmt: skip
@verb
def history(call: Call, *, since: str, utc: bool, svg_file: Path | None) -> Outcome:
    """Show uptime per day, each outage with its cause, recovery and length, logins and restarts.

    Uptime is the share of time, since the first ready session, in which the session was seen ready. Time that a person
    stopped the profile does not count; unobserved time counts as not ready. A share of less than a day is not shown.
    """
    paths = call.paths
    entries = read_entries(paths)
    zone = dt.UTC if utc else None
    now_s = time.time()
    history = tell(
        entries,
        now_s=now_s,
        last_sign=last_sign_of(paths, now_s),
        since_s=_since_s(since, now_s, zone),
        zone=zone,
    )
    data: dict[str, Any] = {}
    if call.as_json:
        data = {"profile": call.profile_name, **_data(history, utc=utc), "damaged_lines": entries.damaged}
    if svg_file is not None:
        from gwctl.cli.history_views import draw

        picture = draw(history, call.profile_name, utc=utc)
        if str(svg_file) == "-":
            return Outcome(raw=picture)
        _save(svg_file, picture)
        data["svg"] = str(svg_file.absolute())
        call.say(f"wrote {svg_file}")
    if history.state is None:
        call.say(f"no history yet; start with {call.command('up')}")
        return Outcome(data)
    missing = entries.damaged + history.lost_lines
    if missing:
        call.say(f"the journal has {missing} damaged or lost lines; the time they covered counts as unknown")
    look = Look(
        utc=utc,
        strip=sys.stdout.isatty(),
        color=wants_color(sys.stdout, no_color=call.no_color),
        blocks=(sys.stdout.encoding or "").lower().startswith("utf"),
        width=width_of(sys.stdout),
    )
    return Outcome(data, "\n".join(render(history, call.profile_name, look)), is_styled=True)


def last_sign_of(paths: Paths, now_s: float) -> LastSign | None:
    """Return until when the supervisor ran: now if it answers, otherwise what it last wrote to disk."""
    record = SupervisorRecord.load(paths)
    if record is not None:
        with contextlib.suppress(NoSupervisor, SupervisorHangs):
            SupervisorClient(record).status(timeout_s=LOOK_TIMEOUT_S)
            return LastSign(now_s)
    seen = Seen.load(paths.journal_seen_file)
    with contextlib.suppress(ValueError):
        return None if seen is None else LastSign(dt.datetime.fromisoformat(seen.at).timestamp(), seen.ready)
    return None


def _since_s(text: str, now_s: float, zone: dt.tzinfo | None) -> float:
    """Return the start of the period to show; an age in days or weeks begins at midnight and includes today."""
    if text == "all":
        return 0.0
    found = _SPAN.fullmatch(text.strip())
    with contextlib.suppress(ValueError, OverflowError, OSError):
        if found is None:
            said = dt.datetime.fromisoformat(text.strip())
            return (said if said.tzinfo else said.replace(tzinfo=zone)).timestamp()
        age_s = int(found[1]) * _SPAN_UNIT_S[found[2]]
        if found[2] in {"m", "h"}:
            return now_s - age_s
        today = dt.datetime.fromtimestamp(now_s, zone).date()
        return midnight_s(today - dt.timedelta(days=max(0, age_s // DAY_S - 1)), zone)
    raise Usage(f"--since {text!r} is neither a date nor an age", hint="gwctl history --since 7d")


def _save(file: Path, picture: str) -> None:
    """Write the picture in one step; write into a pipe or a device, but never replace it."""
    target = file.resolve()
    if not target.parent.is_dir():
        raise DiskTrouble(f"cannot write {file}: no folder {target.parent}", hint=f"mkdir -p {target.parent}")
    if target.is_file() or not target.exists():
        write_bytes(target, picture.encode(), mode=0o644)
        return
    try:
        with target.open("wb", buffering=0) as stream:
            stream.write(picture.encode())
    except OSError as error:
        raise DiskTrouble(f"cannot write {file}: {error.strerror}", hint="gwctl history --svg history.svg") from error


# For machines.


def _data(history: History, *, utc: bool) -> dict[str, Any]:
    return {
        "began": _iso(history.began_s),
        "ended": _iso(history.ended_s),
        "zone": "UTC" if utc else "local",
        "state": None if history.state is None else str(history.state),
        "reason": history.words or None,
        **_seconds(history),
        "days": [
            {
                "date": day.date,
                **_seconds(day),
                "outages": day.outages,
                "logins": day.logins,
                "restarts": day.restarts,
            }
            for day in history.days
        ],
        "outages": [
            {
                "began": _iso(one.began_s),
                "ended": _iso(one.ended_s),
                "length_s": round(one.length_s, 3),
                "unknown_s": round(one.unknown_s, 3),
                "cause": one.cause,
                "cure": one.recovery or None,
                "cures": list(one.recoveries),
                "maintenance": one.maintenance,
                "sandbox": one.sandbox,
            }
            for one in history.outages
        ],
        "logins": [
            {
                "at": _iso(one.at_s),
                "outcome": one.outcome,
                "text": one.text,
                "took_s": one.took_s,
                "sandbox": one.sandbox,
            }
            for one in history.logins
        ],
        "restarts": [{"at": _iso(one.at_s), "reason": one.reason, "sandbox": one.sandbox} for one in history.restarts],
        "lost_lines": history.lost_lines,
    }


def _iso(at_s: float | None) -> str | None:
    return None if at_s is None else utc_ms(at_s)


def _seconds(of: History | Day) -> dict[str, Any]:
    uptime, times = of.uptime, of.times
    return {
        "uptime": None if uptime is None else math.floor(uptime * 1e6) / 1e6,
        "enough_data": of.enough,
        **{f"{state}_s": round(times[state], 3) for state in State},
        "supervised_s": round(times.supervised_s, 3),
    }
