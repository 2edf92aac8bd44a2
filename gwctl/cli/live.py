"""`status --watch`: a live screen, lines of changes, or an object per second; and `status --web`: a page."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import time
import webbrowser
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gwctl.cli.call import Call
from gwctl.cli.columns import PLAIN, folded, width_of
from gwctl.cli.output import Outcome, megabytes, printable, write
from gwctl.environment import secrets_out_of_reach
from gwctl.errors import GwctlError
from gwctl.history.session_fold import State
from gwctl.lifecycle.manual_login import has_display
from gwctl.lifecycle.status import look_always
from gwctl.plain_text import json_text, one_line
from gwctl.session_status import (
    NextStep,
    Status,
    Tickles,
    access,
    account_words,
    by_remedy,
    door_line,
    plan_rows,
    together,
)
from gwctl.times import duration, utc

if TYPE_CHECKING:
    from rich.text import Text

    from gwctl.history.report import Lately

EVERY_S = 1.0
DAY_EVERY_S = 30.0
LABEL = 12
_PHASE_STYLES = {"ready": "bold green", "stopped": "dim", "stopping": "dim", "paused": "dim", "locked_out": "bold red"}
_STATE_STYLES = {
    State.READY: "green",
    State.STARTING: "yellow",
    State.DOWN: "red",
    State.UNKNOWN: "magenta",
    State.STOPPED: "dim",
}
_SPARKS, _PLAIN_SPARKS = "▁▂▃▄▅▆▇█", "_.-=*#"


def watch(call: Call) -> Outcome:
    """Show the status repeatedly until q, Ctrl-C or until the reader is gone."""
    call.streams = True
    if call.as_json:
        return _stream(call, json_text)
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return _stream(call, _changes())
    return _live(call)


def _stream(call: Call, line_of: Callable[[Status], str | None]) -> Outcome:
    while True:
        line = line_of(look_always(call.target())[0])
        if line is not None and not write(line, sys.stdout):
            return Outcome(raw="")
        time.sleep(EVERY_S)  # until the next look; Ctrl-C ends it


def _changes() -> Callable[[Status], str | None]:
    """Return a function that yields a line when a status differs from the previous one in more than the passed time."""
    last: list[tuple[object, ...]] = [()]

    def line_of(status: Status) -> str | None:
        # The reason of a ready session counts seconds: that is no news.
        state = (status["phase"], None if status["ready"] else status["reason"])
        if state == last[0]:
            return None
        last[0] = state
        at = utc(time.time())
        coming = status["next"]
        after = f"; next: {_next(coming)}" if coming and not status["ready"] else ""
        account = account_words(status)
        kind = f" · {account}" if account else ""
        return f"{at} {status['profile']}: {status['phase']}{kind} - {printable(status['reason'])}{after}"

    return line_of


def _live(call: Call) -> Outcome:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from gwctl.cli import keyboard

    console = Console(no_color=call.no_color or None, highlight=False)
    blocks = (sys.stdout.encoding or "").lower().startswith("utf")
    day, read_at_s = None, 0.0
    with (
        keyboard.Keyboard() as keys,
        Live(console=console, auto_refresh=False, vertical_overflow="crop") as live,
    ):
        while True:
            status, _ = look_always(call.target())
            now_s = time.monotonic()
            if day is None or now_s - read_at_s > DAY_EVERY_S:
                day, read_at_s = _look_back(call), now_s
            # Read the size each time: the window may be resized.
            size = shutil.get_terminal_size()
            lines = screen(status, day, width_of(sys.stdout) or PLAIN, blocks=blocks)
            if keys.is_there:
                lines = [*lines[: max(1, size.lines - 2)], Text(), Text(f"  {keyboard.HELP}", "dim")]
            live.update(Group(*lines), refresh=True)
            if keys.wants_quit(EVERY_S):
                return Outcome(raw="")


def _look_back(call: Call) -> Lately | None:
    from gwctl.cli.log_verbs import last_sign_of
    from gwctl.history.journal import read_entries
    from gwctl.history.report import look_back

    now_s = time.time()
    try:
        return look_back(read_entries(call.paths), now_s, last_sign_of(call.paths, now_s))
    except GwctlError:
        return None


def screen(status: Status, day: Lately | None, width: int, *, blocks: bool) -> list[Text]:
    """Return the screen's lines, at most ``width`` wide; with ``blocks``, use signs that need UTF-8."""
    from rich.text import Text

    lines = [_headline(status, width, blocks=blocks)]
    lines += [Text(line) for line in folded(f"  {printable(status['reason'] or '')}", width).split("\n")]
    if status["question"]:
        lines.append(
            Text(f"  asked: {printable(str(status['question'].get('text', 'a second factor')))}", "bold yellow")
        )
    for texts, remedy in by_remedy(status.get("drift", [])):
        lines += [Text(f"  settings: {printable(text)}", "bold yellow") for text in texts]
        lines.append(Text(f"  {printable(remedy)}"))
    lines.append(Text())
    lines += _day(day, width, blocks=blocks)
    lines += [_row(label, text) for label, text in _facts(status, width, blocks=blocks)]
    if day is not None and day.lines:
        lines.append(Text())
        for event in day.lines:
            at = time.strftime("%H:%M:%S", time.localtime(event.at_s))
            lines.append(Text.assemble(("  " + at, "dim"), "  " + printable(event.text)))
    for line in lines:
        if not line.plain.isprintable():
            line.plain = one_line(line.plain)
        line.truncate(width, overflow="ellipsis" if blocks else "crop")
    return lines


def _headline(status: Status, width: int, *, blocks: bool) -> Text:
    from rich.text import Text

    marks = ("●", "○") if blocks else ("*", "o")
    text = Text.assemble(
        f"{marks[0] if status['ready'] else marks[1]} {status['profile']}: ",
        (str(status["phase"]).replace("_", " "), _PHASE_STYLES.get(status["phase"], "bold yellow")),
        *((" · ", (account, _account_style(status))) if (account := account_words(status)) else ()),
    )
    clock = time.strftime("%H:%M:%S")
    room = width - len(text) - len(clock)
    return text if room < 1 else Text.assemble(text, " " * room, (clock, "dim"))


def _account_style(status: Status) -> str:
    return "bold white on red" if status.get("mode") == "live" and not status.get("sandbox") else "bold"


def _row(label: str, text: str) -> Text:
    from rich.text import Text

    return Text.assemble(("  " + label.ljust(LABEL), "dim"), text)


def _day(day: Lately | None, width: int, *, blocks: bool) -> list[Text]:
    """Return the timeline of the last day: a bar, its hours, and a summary."""
    from rich.text import Text

    from gwctl.cli.history_views import BLOCKS, SIGNS, share_words, worst_by_cell

    if day is None:
        return [_row("last day", "unreadable: run gwctl history")]
    room = width - LABEL - 4
    signs = BLOCKS if blocks else SIGNS
    bar = Text("  " + "last day".ljust(LABEL), "dim")
    cells = worst_by_cell(day.history.stretches, day.began_s, day.ended_s, room)
    for state, run in itertools.groupby(cells):
        count = len(list(run))
        bar.append(" " * count if state is None else signs[state] * count, _STATE_STYLES[state] if state else "")
    first, middle = (
        time.strftime("%H:%M", time.localtime(at_s)) for at_s in (day.began_s, (day.began_s + day.ended_s) / 2)
    )
    axis = first + middle.center(room - len(first) - len("now")) + "now"
    history, found = day.history, dict.fromkeys(cells)
    share = share_words(history)
    counts = (("outage", history.outages), ("login", history.logins), ("restart", history.restarts))
    numbers = " · ".join(f"{len(of)} {name}{'' if len(of) == 1 else 's'}" for name, of in counts)
    words = [f"{share} · {numbers}"]
    if len(words[0]) > width - LABEL - 2:
        words = [share, numbers]
    legend = "  ".join(f"{signs[state]} {state}" for state in State if state in found)
    return [bar, _row("", axis), *(_row("", line) for line in words), *([_row("", legend)] if legend else []), Text()]


def _facts(status: Status, width: int, *, blocks: bool) -> list[tuple[str, str]]:
    gateway, session, supervisor = status["gateway"], status["session"], status["supervisor"]
    rows = [("tickle", _tickles(status["tickles"], width, blocks=blocks))]
    words = [word for word in ("authenticated", "connected", "competing") if session[word]]
    age_s = session["last_tickle_age_s"]
    rows.append(
        ("session", " · ".join(words or ["none"]) + ("" if age_s is None else f" · tickled {duration(age_s)} ago"))
    )
    rows += _budget(status)
    if gateway["pid"]:
        parts = [f"pid {gateway['pid']}", f"port {gateway['port']}", f"up {duration(gateway['uptime_s'] or 0.0)}"]
        rows.append(("gateway", " · ".join([*parts, megabytes(gateway["rss_bytes"])])))
    if isolation := status.get("isolation"):
        rows.append(("access", access(isolation)))
    if door := status.get("door"):
        rows.append(("door", door_line(door)))
    if supervisor:
        parts = [f"pid {supervisor['pid']}", f"up {duration(supervisor['uptime_s'])}"]
        rows.append(("supervisor", " · ".join([*parts, megabytes(supervisor["rss_bytes"]), supervisor["health_url"]])))
    if status["next"]:
        rows.append(("next", _next(status["next"])))
    return rows + plan_rows(status)


def _budget(status: Status) -> list[tuple[str, str]]:
    login = status["login"]
    locked = " · LOCKED, a person is needed" if login["locked"] else ""
    rows = [("logins", f"{login['rejected']} of {login['rejected_limit']} refusals in 24 h{locked}")]
    if login["last_at"]:
        rows.append(("", f"last {str(login['last_outcome']).replace('_', ' ')} at {login['last_at']}"))
    if shared := together(login.get("shared_with", [])):
        rows.append(("", shared))
    if status["budget"]:
        spent = (f"{budgeted} {one['hour']}/{one['per_hour']}" for budgeted, one in status["budget"].items())
        rows.append(("this hour", " · ".join(spent)))
    return rows


def _tickles(tickles: Tickles | None, width: int, *, blocks: bool) -> str:
    if not tickles:
        return "none yet"
    words = (
        f"{_latency(tickles['last_s'])} · median {_latency(tickles['median_s'])} · worst {_latency(tickles['worst_s'])}"
    )
    room = width - LABEL - 4 - len(words)
    return f"{words}  {_spark(tickles['recent_s'][-room:], blocks=blocks)}" if room > 0 else words


def _spark(values: Sequence[float], *, blocks: bool) -> str:
    levels = _SPARKS if blocks else _PLAIN_SPARKS
    top = max([*values, 0.001])
    return "".join(levels[min(len(levels) - 1, int(value / top * len(levels)))] for value in values)


def _latency(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _next(coming: NextStep) -> str:
    what = str(coming["what"]).replace("_", " ")
    return f"{what} in {duration(coming['in_s'])}" if coming["in_s"] > 0 else f"{what} now"


def open_page(call: Call, url: str) -> Outcome:
    """Open ``url`` in a browser if one can be shown, and always print it; from another machine this needs a tunnel."""
    opened = False
    if has_display(call.environment) or call.environment.get("BROWSER"):
        # The program that shows the page inherits our environment (law 8).
        with secrets_out_of_reach():
            opened = webbrowser.open(url)
    if not opened:
        port = urlsplit(url).port
        call.say("cannot open a browser here; from another machine, and then there:")
        call.say(f"ssh -L {port}:127.0.0.1:{port} THIS-MACHINE")
    return Outcome({"url": url, "opened": opened}, url)
