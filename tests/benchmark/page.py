"""The page about a run: what was compared and on what, the figures, and what each row means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmark.figures import NOTHING, Figures, number, ratio, table
from benchmark.rows import FLOOR, KILL, OURS, PATH, PEER, PHASE, PROFILE_ROWS, ROWS, SIDES, SOAK_ALL, Row

GROUPS = (
    (
        "Until there is a session",
        ("cold", "first", "jvm", "page", "auth_delay", "killed", "killed_often", "hung", "dropped", "polled", "keeper"),
    ),
    ("What it needs", ("memory", "memory_keeper", "memory_used", "memory_keeper_used", "cpu", "cpu_share", "requests")),
    ("What a client sees", ("latency", "latency_p99", "a_second", "failed")),
    (
        "An hour of a client's ten requests a second",
        ("soak_memory", "soak_keeper", "soak_cpu", "soak_failed"),
    ),
    ("Short calls", ("status", "up_again", "help", "version")),
)
ABOUT = (
    ("machine", "machine"),
    ("processor", "processor"),
    ("cores", "cores"),
    ("memory", "memory"),
    ("day", "day"),
    ("gwctl", "gwctl"),
    ("IBeam", "IBeam"),
    ("gateway", "gateway (Standard Release)"),
    ("Python", "Python"),
    ("Java", "Java"),
    ("browser", "browser"),
    ("authDelay", "`authDelay`, on every side"),
    ("idle", "idle time"),
    ("requests", "a client's requests"),
)
HEAD = """# Benchmark: gwctl beside IBeam

`scripts/bench` starts gwctl, [IBeam](https://github.com/Voyz/ibeam) and the gateway alone in turn, on one machine, and
injects the same faults into gwctl and IBeam. All three run the real gateway and the same browser. IBKR is
[the fake one](sandbox.md), new for each start: nothing here was measured at IBKR, and the network to it adds to every
figure. The *floor* is what the gateway, the login page and `authDelay` take by themselves, with nothing around them.
"""
SHORT = """
**This is a short run, which only shows that the script works. Its figures mean nothing.**
"""
EMPTY = """
**No run has been measured since this page was made: the tables are empty.**
"""
READING = """
Each cell has the median, the least and the most, and the number of values (n). A session that does not come back within
240 s counts as one that does not come. Every measurement of gwctl has a new folder and a new fake IBKR, because gwctl
slows down on purpose after repeated faults. IBeam does not, and takes minutes to start: its faults follow each other in
one life, the hang last. A side that looks at the session at intervals finds a fault sooner or later by chance;
the moments of the faults are spread evenly over the side's own interval (gwctl 5 s, IBeam 60 s).
"""
PHASES_HEAD = """\
The call checks what may forbid the start while the supervisor's process loads. The supervisor finds release, Java and
certificate side by side, and compares the release with its installation. The browser starts while Java does. After the
login, only the gateway's own `authDelay` is left."""
PEER_NEEDS = """## How IBeam runs here

In a virtual environment of its own, with its defaults, except:

- `IBEAM_SUBMIT_EL` is `CSS_SELECTOR@@.xyz-button-login`. The default names two more classes, which the login page in
  the fake IBKR does not have.
- The page shows no cookie dialog over the form, and what is typed stays when the switch changes to paper. IBeam expects
  both. gwctl and the floor get the same page.
- `conf.yaml` has the fake IBKR's address and the same `authDelay`; nothing else in the release is changed.
- It runs in a process namespace, as in its image, because it ends every gateway that it can see.

IBeam looks at the session once a minute, which is most of what it takes to find a fault. That is its default;
`IBEAM_MAINTENANCE_INTERVAL` changes it.
"""
AGAIN = """## Run it again

In a clone, as root on a Debian-like machine where nothing else runs (it sets up what else it needs):

```sh
apt-get install chromium-driver   # for IBeam
scripts/bench
```

It takes hours, most of it IBeam's waits and the idle times. `scripts/bench --only cold,killed --rounds 5` measures a
part and adds it to the figures of the same machine and versions. `scripts/bench --short` takes a minute and shows
that everything works. The figures, with every single value, are in `docs/bench.json`; this page and its chart are
written from them by `scripts/bench --page-only`.
"""


def page(figures: Figures) -> str:
    """Return docs/benchmark.md."""
    lines = [HEAD.rstrip("\n")]
    if "short" in figures.about:
        lines.append(SHORT.rstrip("\n"))
    if not figures.rows(""):
        lines.append(EMPTY.rstrip("\n"))
    lines += ["", f"![Seconds until a client has a session: {OURS}, {PEER} and the {FLOOR}](benchmark.svg)", ""]
    lines += [*_about(figures), "## Figures", READING.rstrip("\n")]
    for title, keys in GROUPS:
        lines += ["", f"### {title}", "", *_table(figures, [row for row in ROWS if row.key in keys])]
    if figures.rows(SOAK_ALL):
        lines += ["", "![The memory over this hour: all processes, and of these the supervisor](benchmark-growth.svg)"]
    lines += [
        *_phases(figures),
        *_kills(figures),
        *_paths(figures),
        *_profiles(figures),
        "",
        "## What the rows mean",
        "",
    ]
    lines += [f"- **{row.title}**: {row.meaning}" for row in ROWS if row.meaning]
    return "\n".join([*lines, "", PEER_NEEDS, AGAIN])


def _about(figures: Figures) -> list[str]:
    """Return what it was measured on, with the empty line after it."""
    known = [[label, figures.about[key]] for key, label in ABOUT if key in figures.about]
    return [*table(["measured on", ""], known), ""] if known else []


def _table(figures: Figures, rows: Sequence[Row]) -> list[str]:
    return table(["", *SIDES, f"{OURS} / {PEER}", f"{OURS} / {FLOOR}"], [_row(figures, row) for row in rows])


def _row(figures: Figures, row: Row) -> list[str]:
    cells = [figures.of(row.key, side).cell(row.unit) if side in row.sides else NOTHING for side in SIDES]
    ours, peer, floor = (figures.of(row.key, side).median for side in SIDES)
    return [row.title, *cells, ratio(ours, peer), ratio(ours, floor)]


def _phases(figures: Figures) -> Iterator[str]:
    """Yield a table of what a cold start has done by when."""
    rows = figures.rows(PHASE)
    if not rows:
        return
    yield from ["", f"### Where a cold start of {OURS} goes", "", *PHASES_HEAD.splitlines(), ""]
    cells = [[row.removeprefix(PHASE), figures.of(row, OURS).cell("s")] for row in rows]
    yield from table(["by the journal of each cold start", "after the call"], cells)


def _kills(figures: Figures) -> Iterator[str]:
    """Yield a table of every kill in one life."""
    rows = figures.rows(KILL)
    if not rows:
        return
    yield from ["", "### Ten kills in one life", ""]
    numbers = sorted(int(row.removeprefix(KILL)) for row in rows)
    cells = [[str(one), *(_cell(figures, f"{KILL}{one}", side, "s") for side in (OURS, PEER))] for one in numbers]
    yield from table(["kill", OURS, PEER], cells)


def _paths(figures: Figures) -> Iterator[str]:
    """Yield a table of what arrives at IBKR while nobody asks."""
    rows = sorted(figures.rows(PATH))
    if not rows:
        return
    yield from ["", "### Requests a minute to IBKR, idle, by path", ""]
    cells = []
    for row in rows:
        medians = [figures.of(row, side).median for side in (OURS, PEER)]
        cells.append([f"`{row.removeprefix(PATH)}`", *(NOTHING if one is None else number(one) for one in medians)])
    yield from table(["path", OURS, PEER], cells)


def _profiles(figures: Figures) -> Iterator[str]:
    """Yield a table of several profiles, a column for each number of them."""
    counts = sorted({int(side) for row in PROFILE_ROWS for side in figures.sides(row.key)})
    yield from ["", "### Several profiles of gwctl on this machine", ""]
    if not counts:
        yield "Not measured in this run."
        return
    cells = [[row.title, *(figures.of(row.key, str(one)).cell(row.unit) for one in counts)] for row in PROFILE_ROWS]
    yield from table(["profiles", *map(str, counts)], cells)
    yield ""
    yield f"{PEER} keeps one account's session for each process, so it has no such table."


def _cell(figures: Figures, row: str, side: str, unit: str) -> str:
    figure = figures.of(row, side)
    return figure.cell(unit) if figure.values or figure.misses else NOTHING
