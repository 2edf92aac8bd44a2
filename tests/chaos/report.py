"""Reports of a run: a line for each round, a table for the run, and the page of the catalogue."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable

from chaos.catalogue import BY_NAME, FAULTS
from chaos.rounds import Result

PAGE_HEAD = """\
# What can go wrong, and how soon the session is back

What can go wrong with a session, how the supervisor notices, what it does, and how soon the session is ready again.

`scripts/chaos` injects these faults one at a time, two at a time and (`--storms`) in long rows, also during a recovery.
It does so with the fake gateway and (`--real`) with the real one. After each fault it checks the laws: one gateway, one
supervisor, no browser left, no more submits than listed here, and no secret in any file under the home or in any
process's arguments or environment.

- **Bound**: the time to ready at most, counted from the end of the cause, or from the fault if it is over at once, with
  the gateway's own `authDelay` of 3 s. It also holds on a machine that is busy with other tests. For two faults at once
  it is the sum. The aim in brackets is for a machine that is not busy.
- **Pauses**: a pause that `gwctl status` announces is added, at most a minute. A longer one must have its reason
  at IBKR: a submit without success, or too many of them.
- **Storms**: the session is ready within a minute plus the longest recovery in the storm.
- **Submits**: how often gwctl may send the password at most.
- **A killed supervisor** has lost the login's cookies. A fault that normally needs only a resume then takes a login:
  one submit and 10 s more.

| fault | cause | how gwctl notices | recovery | bound (aim) | submits | gateway | test |
|---|---|---|---|---|---|---|---|
"""
PAGE_END = """
*Written by `scripts/chaos --markdown docs/faults.md` from `tests/chaos/catalogue.py`; edit that instead of this page.*
"""


def page() -> str:
    """Return docs/faults.md."""
    rows = []
    for fault in FAULTS:
        how = f"{fault.injected}; ends: {fault.cleared}"
        gateway = "the same" if fault.same_gateway else "a new one"
        cells = (
            f"{fault.title} (`{fault.name}`)",
            how,
            fault.seen,
            fault.recovery,
            f"{fault.bound_s:g} s" + ("" if fault.aim_s is None else f" ({fault.aim_s:g} s)"),
            str(fault.submits),
            gateway,
            f"`{fault.test}`",
        )
        rows.append("| " + " | ".join(cells) + " |")
    return PAGE_HEAD + "\n".join(rows) + "\n" + PAGE_END


def line(result: Result) -> str:
    """Return one round as a line for the terminal."""
    took = "never" if result.ready_s is None else f"{result.ready_s:.2f} s"
    well = f"ok, waits {result.theirs_s:.0f} s because of IBKR" if result.theirs_s else "ok"
    said = well if result.is_good else "BROKEN: " + "; ".join(result.broken)
    return f"{result.round.number:>4}  {result.round.name or 'down':<44} {took:>9}  {said}"


def table(results: Iterable[Result]) -> str:
    """Return the table of a run: first single faults, then pairs."""
    by_name: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if result.round.faults:
            by_name[result.round.name].append(result)
    names = sorted(
        by_name, key=lambda name: (name not in BY_NAME, list(BY_NAME).index(name) if name in BY_NAME else 0, name)
    )
    lines = [f"{'fault':<46}{'rounds':>6}{'median':>9}{'worst':>9}{'aim':>6}{'bound':>8}  result"]
    for name in names:
        rounds = by_name[name]
        times = [one.ready_s for one in rounds if one.ready_s is not None]
        median = f"{statistics.median(times):.2f}" if times else "-"
        worst = f"{max(times):.2f}" if times and len(times) == len(rounds) else "never"
        bad = sum(not one.is_good for one in rounds)
        said = "ok" if not bad else f"{bad} BROKEN"
        aim_s = BY_NAME[name].aim_s if name in BY_NAME else None
        aim = "" if aim_s is None else f"{aim_s:g}"
        lines.append(f"{name:<46}{len(rounds):>6}{median:>9}{worst:>9}{aim:>6}{rounds[0].round.bound_s:>8g}  {said}")
    return "\n".join(lines)


def broken(results: Iterable[Result], replay: str) -> str:
    """Return what broke, with the journal and the command that replays it."""
    told = []
    for result in results:
        if not result.is_good:
            told.append(f"\nround {result.round.number}, {result.round.name or 'down'}: {'; '.join(result.broken)}")
            told += [f"    {entry}" for entry in result.tail]
            told.append(f"  again: {replay} --round {result.round.number}")
    return "\n".join(told)
