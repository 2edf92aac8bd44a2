"""The results of the simulation, as text and as the page in docs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simulation.fleet import peak
from simulation.many import Fleet
from simulation.plans import EARLY, LONGEST_PAUSE_S, PLANNERS, SHORTEST_PAUSE_S
from simulation.rates import Rates
from simulation.tally import CAUSES, Total
from simulation.world import DAY_S, YEAR_S


@dataclass(frozen=True, slots=True)
class Cause:
    """The outages of one cause; ``ready_in_s`` from the end of the cause, or the fault itself, to ready."""

    name: str
    number: int
    ready_in_s: tuple[float, float, float]
    down_s: float

    @property
    def what(self) -> str:
        """The cause in words."""
        return CAUSES[self.name]


def quantile(ordered: Sequence[float], part: float) -> float:
    """Return the value below which this part of a sorted, non-empty row lies."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def by_cause(outages: Iterable[tuple[str, float, float, float]]) -> list[Cause]:
    """Return the outages by cause, the most severe cause first."""
    times: dict[str, list[float]] = {}
    down_s: dict[str, float] = {}
    for cause, began, ended, ready_in_s in outages:
        times.setdefault(cause, []).append(ready_in_s)
        down_s[cause] = down_s.get(cause, 0.0) + ended - began
    found = []
    for name in CAUSES:
        row = sorted(times.get(name, ()))
        if row:
            figures = (statistics.median(row), quantile(row, 0.95), row[-1])
            found.append(Cause(name, len(row), figures, down_s[name]))
    return found


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table that is also readable as text."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    spelled = [
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    ]
    return [spelled[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *spelled[1:]]


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.3f} %" if whole else "-"


def figures(total: Total) -> list[tuple[str, str]]:
    """Return the figures of all accounts together."""
    days, counts = total.account_s / DAY_S, total.counts
    return [
        ("account-years", f"{total.account_s / YEAR_S:,.1f}"),
        ("ready, of the total time", _share(total.well_s, total.account_s)),
        ("ready, of the time in which IBKR was up", _share(total.well_of_that_s, total.ibkr_well_s)),
        (
            "ready, of the time in which IBKR, the address, the username and the machine were all usable",
            _share(total.well_of_possible_s, total.possible_s),
        ),
        ("logins a day", f"{counts['logins'] / days:.3f}"),
        ("submitted passwords a day", f"{counts['submits'] / days:.3f}"),
        (
            "resumes a day, of these successful",
            f"{counts['resumes'] / days:.3f}, {counts['resumes that helped'] / days:.3f}",
        ),
        ("brokerage sessions reopened a day", f"{counts['reauthentications'] / days:.3f}"),
        ("gateway starts a day", f"{counts['starts'] / days:.3f}"),
        ("supervisors started a day", f"{counts['supervisors'] / days:.3f}"),
        ("refused logins, total", f"{counts['refusals']:,}"),
        ("most refused logins of one account in 24 h (IBKR locks at 10)", str(total.worst_refusals)),
        ("times a person was needed, a year", f"{counts['fault person'] / days * 365:.2f}"),
        ("requests a second, mean", f"{total.requests / total.account_s:.3f}"),
        ("requests a second, in the worst 10 s", f"{total.worst_10_s / 10:.1f}"),
        ("outages of unknown cause", str(sum(cause == "unknown" for cause, *_ in total.outages))),
        ("laws broken, events the core refused", str(len(total.broken))),
    ]


def figures_table(total: Total) -> list[str]:
    """Return the figures as a table."""
    return _table(("", ""), figures(total))


def causes_table(total: Total) -> list[str]:
    """Return the times to ready as a table."""
    years = total.account_s / YEAR_S
    rows = (
        (
            one.what,
            f"{one.number / years:,.2f}",
            f"{one.number:,}",
            *(_span(value) for value in one.ready_in_s),
            f"{one.down_s / 3600 / years:.2f}",
        )
        for one in by_cause(total.outages)
    )
    return _table(("cause", "a year", "n", "median", "p95", "worst", "hours down a year"), rows)


def fleet_table(found: Sequence[Fleet]) -> list[str]:
    """Return the logins that reached IBKR as a table."""
    rows = [
        (
            one.night.what,
            "yes" if one.by_chance else "no",
            f"{len(one.submits):,}",
            f"{peak(one.submits, 1.0):,}",
            f"{peak(one.submits, 10.0) / 10:,.1f}",
            _span(statistics.median(one.ready_at)) if one.ready_at else "-",
            _span(one.ready_at[-1]) if one.ready_at else "-",
            str(one.lost),
        )
        for one in found
    ]
    head = (
        "night",
        "jitter",
        "logins",
        "peak, 1 s",
        "peak, 10 s (a second)",
        "ready after, median",
        "last",
        "not back",
    )
    return _table(head, rows)


def rates_table(rates: Rates) -> list[str]:
    """Return the rates, each with its source."""
    rows = (
        (
            rate.what,
            f"{rate.value:g}" + (f" (p95 {rate.p95:g})" if rate.p95 is not None else ""),
            rate.unit,
            rate.source or "guess",
        )
        for rate in rates.values()
    )
    return _table(("what", "value", "unit", "source"), rows)


def planned_figures(planned: Total) -> list[tuple[str, str]]:
    """Return what the accounts with plans add to the figures of all accounts."""
    shown = {
        "account-years",
        "ready, of the time in which IBKR, the address, the username and the machine were all usable",
        "logins a day",
        "most refused logins of one account in 24 h (IBKR locks at 10)",
        "outages of unknown cause",
        "laws broken, events the core refused",
    }
    rows = [(what, figure) for what, figure in figures(planned) if what in shown]
    rows.insert(1, ("pauses", f"{planned.counts['pauses']:,}"))
    for one in by_cause(planned.outages):
        if one.name == "planned":
            median, p95, worst = map(_span, one.ready_in_s)
            rows.append(("planned interruptions with a session after them", f"{one.number:,}"))
            rows.append(("from the end of one to ready: median, p95, worst", f"{median}, {p95}, {worst}"))
    return rows


def planned_section(planned: Total) -> list[str]:
    """Return the part of the page about login hours and pauses."""
    plans = (
        (
            ", ".join(f"`{text}`" for text in one.login_hours) or "always",
            ", ".join(f"`{text}`" for text in one.relogin_at) or "none",
            f"{one.pauses_a_year:g}",
        )
        for one in PLANNERS
    )
    return [
        "## Login hours and pauses",
        "",
        "`scripts/simulate --planned-years N` adds N account-years whose accounts have one of these plans each. All",
        "faults of the other accounts happen to them, too.",
        "",
        *_table(("login_hours", "relogin_at", "pauses a year (guess)"), plans),
        "",
        f"A pause comes at a random time and lasts {SHORTEST_PAUSE_S / 60:g} minutes to {LONGEST_PAUSE_S / 3600:g}",
        f"hours. A person ends {EARLY:.0%} of them with `gwctl resume`; the others end by their time. Supervisors are",
        "killed and machines reboot in pauses and outside the hours, too. Checked at every action of the core:",
        "",
        "- Outside the login hours no login is made, but by a person.",
        "- In a pause no login is made and no gateway is started.",
        "- A refused password that never worked is not submitted again, and no account is locked.",
        "- Every time without a session has a cause, and the core refuses no event.",
        "",
        *_table(("", ""), planned_figures(planned)),
        "",
        "A pause, and the time outside the hours without a session, count as ready: the person wanted them.",
        "",
    ]


def page(total: Total, planned: Total, found: Sequence[Fleet], rates: Rates, command: str) -> str:
    """Return docs/simulation.md."""
    guesses = sum(rate.guess for rate in rates.values())
    profiles = max((len(one.ready_at) + one.lost for one in found), default=0)
    lines = [
        "# The simulation: years of sessions in virtual time",
        "",
        "`scripts/simulate` runs the supervisor's core",
        "(`step`, its policy and budgets, the maintenance windows, the probe's pace) in virtual time, against a random",
        "model of IBKR and of a machine. It shows how the rules work together. Nothing here was measured at IBKR: the",
        f"results are only as good as the rates below, and {guesses} of those {len(rates)} are guesses.",
        "",
        "![Time to ready by cause, and the logins of a fleet](simulation.svg)",
        "",
        "## Availability",
        "",
        *figures_table(total),
        "",
        "Ready means that the supervisor says so and a client of the gateway has a session. Killing a supervisor does",
        "not end the session; its row below is the time until the next supervisor has made its first check.",
        "",
        "## Time to ready, by cause",
        "",
        "Times count from the end of the cause to ready, or from the fault if it has no duration. An outage with",
        "several causes is listed under the most severe one, in the order of this table, and counts from the end of",
        "the last one.",
        "",
        *causes_table(total),
        "",
        *planned_section(planned),
        f"## {profiles:,} profiles on one night",
        "",
        "Passwords submitted to IBKR; times count from the reset. Without jitter means",
        "`Policy(jitter=0, spread_s=0)`.",
        "",
        *fleet_table(found),
        "",
        "## Rates",
        "",
        *rates_table(rates),
        "",
        "Not modelled: live users' second factors, a borrowed session, `on_competing = take_over`, a full disk,",
        "deleted folders, stolen ports, users' own requests, the one request per session for the account's kind.",
        "",
        f"*Written by `{command}`.*",
    ]
    return "\n".join(lines) + "\n"
