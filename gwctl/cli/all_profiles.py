"""The verbs with `--all`: the table, the wait, and the outcome of each profile."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, cast

from msgspec import Struct

from gwctl.cli import keyboard
from gwctl.cli.call import Call
from gwctl.cli.columns import PLAIN, folded, width_of
from gwctl.cli.columns import table as columns
from gwctl.cli.output import Outcome, envelope, error_object, ready_line, rows, show_error, write
from gwctl.cli.terminal import Terminal
from gwctl.errors import Configuration, GatewayUnreachable, GwctlError, NeedsPerson, TryAgain, Unavailable, Usage
from gwctl.lifecycle.fleet import NO_PROFILES, Look, Result, cores, counted, down_all, look_at, up_all, wait_all
from gwctl.lifecycle.profile import Profile
from gwctl.lifecycle.status import CANNOT_TELL, NOT_READY, READY, STOPPED
from gwctl.plain_text import json_text
from gwctl.profile_registry import known_names
from gwctl.session_status import NextStep, Status, account_words
from gwctl.times import duration, from_utc

WATCH_EVERY_S = 1.0
CLEAR_SCREEN = "\x1b[H\x1b[J"
_NARROWER = {2: 7, 0: 10, 6: 10}
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
    """Show ``status --all``, with ``watch`` repeatedly until q or Ctrl-C."""
    if watch:
        return _watch(call)
    names = known_names(call.paths)
    looks = look_at(call.target(), names)
    data = {"profiles": [status for status, _ in looks]}
    return Outcome(data, rows(table(looks)), _gravest(counted(call.target(), names, looks).values()))


def a_running_profile(call: Call) -> Profile:
    """Return a profile whose supervisor runs, the one that is used without a name if it does; raise TryAgain."""
    home = call.target()
    running = [status["profile"] for status, _ in look_at(home, known_names(call.paths)) if status["supervisor"]]
    if not running:
        raise GatewayUnreachable("no profile is running", hint="gwctl up --all")
    return home.with_name(home.name if home.name in running else running[0])


def _watch(call: Call) -> Outcome:
    call.streams = True
    is_drawn = sys.stdout.isatty() and not call.as_json
    with keyboard.Keyboard() if is_drawn else nullcontext() as keys:
        while True:
            began_s = time.process_time()
            looks = look_at(call.target(), known_names(call.paths))
            data = {"profiles": [status for status, _ in looks]}
            lines = [*table(looks), *(["", keyboard.HELP] if keys is not None and keys.is_there else [])]
            text = json_text(data) if call.as_json else (CLEAR_SCREEN if is_drawn else "") + rows(lines)
            if not write(text, sys.stdout, is_styled=True):
                return Outcome(raw="")
            # Until the next look; with many profiles, this takes at most a quarter of a core.
            pause_s = max(WATCH_EVERY_S, 3 * (time.process_time() - began_s))
            if keys is None:
                time.sleep(pause_s)  # Ctrl-C ends it
            elif keys.wants_quit(pause_s):
                return Outcome(raw="")


def wait_for_all(call: Call, wanted: str, timeout_s: float) -> Outcome:
    """Wait until every profile of ``--all`` is ``wanted``; raise TryAgain if nothing will make one ready."""
    return Outcome({"profiles": wait_all(call.target(), wanted, timeout_s)}, "" if call.quiet else wanted)


def table(looks: Sequence[Look]) -> Iterator[str]:
    """Yield the table's lines, as wide as the terminal; the reason is below each profile that is not ready."""
    if not looks:
        yield NO_PROFILES
        return
    head = ("  PROFILE", "PHASE", "ACCOUNT", "PORT", "SINCE", "LOGIN", "NEXT")
    width = width_of(sys.stdout) or PLAIN
    heading, *lines = columns([head, *(_cells(status) for status, _ in looks)], width=width, least=_NARROWER)
    yield heading
    for line, (status, _) in zip(lines, looks, strict=True):
        yield line
        if not status["ready"] and status["reason"] != "not running":
            yield from folded(f"    {status['reason']}", width).split("\n")
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


class _Report(Struct):
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
        paused = sum(1 for one in results.values() if (one.data or {}).get("phase") == "paused")
        text = f"{good - paused} of {len(results)} profiles {self.word}" if results else NO_PROFILES
        text += f", {paused} paused" if paused else ""
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
    took = f" · {result.took_s:.1f} s" if started else ""
    if data.get("phase") == "paused":
        return f"{data['reason']} (profile {result.profile})"
    word = "ready" if started else "already ready"
    return ready_line(cast("Status", data), word) + took


def _describe_down(result: Result) -> str:
    was = (result.data or {}).get("was_running")
    return f"{'stopped' if was else 'already stopped'} (profile {result.profile})"
