"""The verbs with `--all`: the table, the wait, and the outcome of each profile."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gwctl.cli.call import Call
from gwctl.cli.output import Outcome, envelope, error_object, rows, show_error, write
from gwctl.cli.terminal import Terminal
from gwctl.errors import Configuration, GwctlError, NeedsPerson, TryAgain, Unavailable, Usage
from gwctl.lifecycle.fleet import NO_PROFILES, Look, Result, cores, counted, down_all, look_at, up_all, wait_all
from gwctl.lifecycle.status import CANNOT_TELL, NOT_READY, READY, STOPPED
from gwctl.plain_text import json_text
from gwctl.profile_registry import known_names
from gwctl.session_status import NextStep, Status, account_words
from gwctl.times import duration, from_utc

WIDTH = 80
WATCH_EVERY_S = 1.0
CLEAR_SCREEN = "\x1b[H\x1b[J"
_NARROWER = ((2, 7), (0, 10), (6, 10))
"""The columns that are cut to fit, the first one first, and what each keeps."""


def check_all(call: Call, *, every: bool, **others: object) -> None:
    """Raise Usage for ``--all`` with a single profile's option, and for an option that needs ``--all`` without it."""
    if not every:
        raise Usage("--at-once needs --all", hint="gwctl up --help")
    named = [f"--{name}" for name, value in others.items() if value]
    named += ["--profile"] if call.profile is not None else []
    if named:
        raise Usage(f"--all and {named[0]} cannot be used together", hint=f"gwctl {call.verb_name} --help")


def _gravest(codes: Collection[int]) -> int:
    return next((code for code in (CANNOT_TELL, NOT_READY, STOPPED, READY) if code in codes), STOPPED)


def show_all(call: Call, *, watch: bool) -> Outcome:
    """Show ``status --all``, with ``watch`` repeatedly until Ctrl-C."""
    if watch:
        return _watch(call)
    names = known_names(call.paths)
    looks = look_at(call.target(), names)
    data = {"profiles": [status for status, _ in looks]}
    return Outcome(data, rows(table(looks)), _gravest(counted(call.target(), names, looks).values()))


def _watch(call: Call) -> Outcome:
    call.streams = True
    clear = CLEAR_SCREEN if sys.stdout.isatty() else ""
    while True:
        looks = look_at(call.target(), known_names(call.paths))
        data = {"profiles": [status for status, _ in looks]}
        text = json_text(data) if call.as_json else clear + rows(table(looks))
        if not write(text, sys.stdout, is_styled=True):
            return Outcome(raw="")
        time.sleep(WATCH_EVERY_S)  # until the next drawing; Ctrl-C ends it


def wait_for_all(call: Call, wanted: str, timeout_s: float) -> Outcome:
    """Wait until every profile of ``--all`` is ``wanted``; raise TryAgain if nothing will make one ready."""
    return Outcome({"profiles": wait_all(call.target(), wanted, timeout_s)}, "" if call.quiet else wanted)


def table(looks: Sequence[Look]) -> Iterator[str]:
    """Yield the table's lines, at most 80 columns; the reason is below each profile that is not ready."""
    if not looks:
        yield NO_PROFILES
        return
    head = ("  PROFILE", "PHASE", "ACCOUNT", "PORT", "SINCE", "LOGIN", "NEXT")
    cells = [_cells(status) for status, _ in looks]
    widths = [max(len(row[column]) for row in (head, *cells)) for column in range(len(head))]
    too_wide = sum(widths) + 2 * (len(widths) - 1) - WIDTH
    for column, least in _NARROWER:
        narrower = max(min(widths[column], least), widths[column] - max(0, too_wide))
        too_wide -= widths[column] - narrower
        widths[column] = narrower
    yield _line(head, widths)
    for row, (status, _) in zip(cells, looks, strict=True):
        yield _line(row, widths)
        if not status["ready"] and status["reason"] != "not running":
            yield from _wrap("    ", str(status["reason"]))
    ready = sum(1 for status, _ in looks if status["ready"])
    yield f"{ready} of {len(looks)} ready; LOGIN: refused/allowed in 24 h"


def _cells(status: Status) -> tuple[str, ...]:
    login, coming = status["login"], status["next"]
    locked = "!" if login["locked"] else ""
    return (
        f"{'●' if status['ready'] else '○'} {status['profile']}",
        str(status["phase"]),
        account_words(status) or "-",
        str(status["gateway"]["port"] or "-"),
        _age(status["since"]),
        f"{login['rejected']}/{login['rejected_limit']}{locked}",
        _next_short(coming) if coming else "-",
    )


def _next_short(coming: NextStep) -> str:
    what = str(coming["what"]).replace("_", " ")
    return f"{what} {duration(coming['in_s'], compact=True)}" if coming["in_s"] >= 1 else f"{what} now"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    cut = [cell if len(cell) <= width else cell[: width - 1] + "…" for cell, width in zip(cells, widths, strict=True)]
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cut, widths, strict=True)).rstrip()


def _wrap(indent: str, text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _age(since: str | None) -> str:
    if since is None:
        return "-"
    return duration(time.time() - from_utc(since), compact=True)


GRAVITY = (NeedsPerson.exit_code, Configuration.exit_code, Unavailable.exit_code, 1, TryAgain.exit_code)
"""The most severe first: first what needs a person, then wrong settings or installations, then what may pass by itself.
"""


def bring_up_all(call: Call, *, sandbox: bool, timeout_s: float, at_once: int | None) -> Outcome:
    """Bring up every profile in config.toml; on interruption, stop what this call started."""
    report = _Report(call, "ready", _describe_up)
    return report.outcome(
        up_all(
            call.target(),
            sandbox=sandbox,
            timeout_s=timeout_s,
            at_once=at_once or cores(),
            observer=Terminal(call),
            on_result=report.show,
        )
    )


def bring_down_all(call: Call, *, keep_session: bool) -> Outcome:
    """Stop every profile that has a folder, which is every profile that ever ran."""
    report = _Report(call, "stopped", _describe_down)
    return report.outcome(down_all(call.target(), keep_session=keep_session, on_result=report.show))


@dataclass(slots=True)
class _Report:
    """Shows each outcome as it arrives, and all of them at the end."""

    call: Call
    word: str
    describe: Callable[[Result], str]

    def show(self, result: Result) -> None:
        """Show one outcome, unless an envelope is printed at the end."""
        call = self.call
        if call.as_json:
            return
        if result.error is not None:
            error = GwctlError(f"profile {result.profile!r}: {result.error.message}", hint=result.error.hint)
            show_error("up", error, as_json=False, quiet=call.quiet, no_color=call.no_color)
        elif not call.quiet:
            write(self.describe(result), sys.stdout)

    def outcome(self, results: Mapping[str, Result]) -> Outcome:
        """Return the outcome of the whole call, with the most severe exit code."""
        codes = {one.exit_code for one in results.values()} - {0}
        code = next((one for one in GRAVITY if one in codes), max(codes, default=0))
        good = sum(1 for one in results.values() if one.error is None)
        text = f"{good} of {len(results)} profiles {self.word}" if results else NO_PROFILES
        if not self.call.as_json:
            return Outcome(None, "" if self.call.quiet else text, code)
        bad = [one for one in results.values() if one.error is not None and one.exit_code == code]
        error = None
        if bad and bad[0].error is not None:
            error = {**error_object(bad[0].error), "message": f"{text}; {_who(bad)}"}
        data = {"profiles": [_object(one) for one in results.values()]}
        return Outcome(exit_code=code, raw=envelope(self.call.verb_name or "up", code, data, error))


def _object(result: Result) -> dict[str, Any]:
    """Return the object for ``data.profiles``."""
    told = {"profile": result.profile, "exit_code": result.exit_code, "took_s": round(result.took_s, 1)}
    return told | {"data": result.data, "error": error_object(result.error) if result.error else None}


def _who(bad: Sequence[Result]) -> str:
    return "; ".join(f"{one.profile}: {one.error.message}" for one in bad if one.error is not None)


def _describe_up(result: Result) -> str:
    data = result.data or {}
    started = data.get("started") is True
    sandbox = ", sandbox" if data.get("sandbox") else ""
    took = f", {result.took_s:.1f} s" if started else ""
    word = "ready" if started else "already ready"
    return f"{word}: {data['gateway']['base_url']} (profile {result.profile}){sandbox}{took}"


def _describe_down(result: Result) -> str:
    was = (result.data or {}).get("was_running")
    return f"{'stopped' if was else 'already stopped'} (profile {result.profile})"
