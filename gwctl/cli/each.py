"""How ``up --all`` and ``down --all`` show what came of each profile."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gwctl.cli.call import Call
from gwctl.cli.output import Outcome, envelope, error_object, show_error, write
from gwctl.cli.terminal import Terminal
from gwctl.errors import Configuration, GwctlError, NeedsPerson, TryAgain, Unavailable
from gwctl.lifecycle.fleet import NO_PROFILES, Result, cores, down_all, up_all

GRAVITY = (NeedsPerson.exit_code, Configuration.exit_code, Unavailable.exit_code, 1, TryAgain.exit_code)
"""From the gravest: what only a person can mend, then what is set or installed wrongly, then what passes by itself."""


def bring_up_all(call: Call, *, sandbox: bool, timeout_s: float, at_once: int | None) -> Outcome:
    """Bring up every profile of config.toml; interrupted, what this call started is stopped again."""
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
    """Stop every profile that has a folder, which is every one that has ever run."""
    report = _Report(call, "stopped", _describe_down)
    return report.outcome(down_all(call.target(), keep_session=keep_session, on_result=report.show))


@dataclass(slots=True)
class _Report:
    """Shows what came of each as it comes, and of all at the end."""

    call: Call
    word: str
    describe: Callable[[Result], str]

    def show(self, result: Result) -> None:
        """Show one, unless an envelope comes at the end."""
        call = self.call
        if call.as_json:
            return
        if result.error is not None:
            error = GwctlError(f"profile {result.profile!r}: {result.error.message}", hint=result.error.hint)
            show_error("up", error, as_json=False, quiet=call.quiet, no_color=call.no_color)
        elif not call.quiet:
            write(self.describe(result), sys.stdout)

    def outcome(self, results: Mapping[str, Result]) -> Outcome:
        """Return the answer of the whole call, with the gravest exit code."""
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
