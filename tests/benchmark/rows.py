"""What is measured, row by row: the names that the code, the file, the page and ``--only`` use for it."""

from __future__ import annotations

from dataclasses import dataclass

OURS = "gwctl"
PEER = "IBeam"
FLOOR = "floor"
SIDES = (OURS, PEER, FLOOR)


@dataclass(frozen=True)
class Row:
    """One quantity; ``sides`` are those that can have it."""

    key: str
    part: str
    title: str
    unit: str
    meaning: str
    sides: tuple[str, ...] = (OURS, PEER)


ROWS = (
    Row(
        "cold",
        "cold",
        "cold start",
        "s",
        "From the call, with nothing running, until a client has a session. Every start of the run counts. gwctl "
        "starts in a home in which it has been up once before, with the same profile: the release, its certificate "
        "authority and the archive of the gateway's classes are there. The floor is the sum of the JVM's, the page's "
        "and authDelay's rows.",
        SIDES,
    ),
    Row(
        "first",
        "first",
        "first start ever",
        "s",
        "The same in a new home, right after the release was installed.",
        (OURS, FLOOR),
    ),
    Row(
        "jvm",
        "cold",
        "JVM, to its first HTTPS answer",
        "s",
        "The release as shipped, started by its own `run.sh`.",
        (FLOOR,),
    ),
    Row(
        "page",
        "cold",
        "page, form and answer",
        "s",
        "A bare Playwright script in a browser that already runs.",
        (FLOOR,),
    ),
    Row(
        "auth_delay",
        "cold",
        "from the answer to a session",
        "s",
        "What the gateway waits by itself: its setting `authDelay`, the same on every side.",
        (FLOOR,),
    ),
    Row(
        "killed",
        "killed",
        "gateway killed",
        "s",
        "`kill -9` of the JVM, until a client has a session again. The floor is the JVM's first answer, by the "
        "release's own `run.sh`; gwctl starts Java with other options and an archive of its classes, and may be below.",
        SIDES,
    ),
    Row(
        "killed_often",
        "killed-ten",
        "gateway killed for the tenth time",
        "s",
        "The last of ten kills in one life, each five seconds after the session is back, all within ten minutes. "
        "gwctl makes pauses on purpose between starts that fail early. The floor is that of the first kill.",
        SIDES,
    ),
    Row(
        "hung",
        "hung",
        "gateway hangs",
        "s",
        "The JVM is stopped with SIGSTOP: it keeps its connections and answers nothing. The floor is the JVM's "
        "first answer; to notice the hang comes on top.",
        SIDES,
    ),
    Row(
        "dropped",
        "dropped",
        "session dropped",
        "s",
        "IBKR forgets the session. gwctl hears of it through the gateway's WebSocket; IBeam looks once a minute. "
        "The floor is page, form, answer and authDelay.",
        SIDES,
    ),
    Row(
        "polled",
        "polled",
        "session dropped, without the WebSocket",
        "s",
        "The same with `push = false`: gwctl looks every five seconds. IBeam has no WebSocket; its figure is the "
        "row above.",
        (OURS, FLOOR),
    ),
    Row(
        "keeper",
        "keeper",
        "supervisor killed, then started again",
        "s",
        "`kill -9` of what keeps the session, then the call that a service manager, cron or a person makes: from "
        "that call until there is a session and a supervisor. Under gwctl the gateway goes on, and `gwctl up` takes it "
        "over. IBeam is process 1 of its namespace, as in its image, so the gateway ends with it.",
    ),
    Row(
        "memory",
        "idle",
        "memory of all processes, idle",
        "MB",
        "The JVM, what keeps the session and, under gwctl, the front of the isolated gateway, after the idle time. "
        "Shared pages count by their share (PSS).",
    ),
    Row("memory_keeper", "idle", "memory of the supervisor, idle", "MB", "Under IBeam, its one process."),
    Row("cpu", "idle", "CPU time an hour, idle", "s", "Of all processes together, over the idle time."),
    Row("cpu_share", "idle", "CPU, idle, of one core", "%", "The same figure, as a share."),
    Row(
        "requests",
        "idle",
        "requests a minute to IBKR, idle",
        "",
        "What arrives at the stand-in while no client asks, the gateway's own requests included. A frame on the "
        "WebSocket is no request.",
    ),
    Row(
        "memory_used",
        "traffic",
        "memory of all processes, after the requests",
        "MB",
        "After a client's requests over one connection, as fast as they are answered.",
        SIDES,
    ),
    Row("memory_keeper_used", "traffic", "memory of the supervisor, after the requests", "MB", "The same moment."),
    Row(
        "latency",
        "traffic",
        "a client's request, median",
        "ms",
        "`iserver/auth/status` through the gateway to the stand-in and back. The floor is the release as shipped.",
        SIDES,
    ),
    Row("latency_p99", "traffic", "a client's request, 99 of 100 within", "ms", "The same requests.", SIDES),
    Row("a_second", "traffic", "a client's requests a second", "", "The same requests; more is better.", SIDES),
    Row("failed", "traffic", "requests that failed", "", "The same requests; an answer that is not 200.", SIDES),
    Row(
        "status",
        "calls",
        "`gwctl status`",
        "ms",
        "On a ready profile. The floor of this row and those of `--help` and `--version` is `python -c 'import "
        "click'`.",
        (OURS, FLOOR),
    ),
    Row("up_again", "calls", "`gwctl up` when all is well", "ms", "What cron calls each minute.", (OURS,)),
    Row("help", "calls", "`gwctl --help`", "ms", "", (OURS, FLOOR)),
    Row("version", "calls", "`gwctl --version`", "ms", "", (OURS, FLOOR)),
    Row(
        "soak_memory",
        "soak",
        "memory of all processes, growth an hour",
        "MB",
        "The slope of a straight line through sixty looks, without the first ten: by then Java has its heap.",
        (OURS,),
    ),
    Row("soak_keeper", "soak", "memory of the supervisor, growth an hour", "MB", "The same looks.", (OURS,)),
    Row("soak_cpu", "soak", "CPU of all processes, of one core", "%", "Over the whole time.", (OURS,)),
    Row("soak_failed", "soak", "requests that failed", "", "An answer that is not 200.", (OURS,)),
)
PARTS = (*dict.fromkeys(row.part for row in ROWS), "profiles")
KILL = "kill:"
"""What begins the row of each kill of ``killed-ten``: its number follows."""
PATH = "path:"
"""What begins the row of each path that was asked of IBKR in the idle time."""

SOAK_ALL, SOAK_KEEPER = "soak:all processes", "soak:supervisor"
"""The memory at each look of ``soak``."""
PHASE = "phase:"
"""What begins the row of each step of a cold start: what happens then follows."""

PROFILE_ROWS = (
    Row("profiles_ready", "profiles", "time until all are ready (`up --all`)", "s", ""),
    Row("profiles_memory", "profiles", "memory (PSS) of each, ready", "MB", ""),
    Row("profiles_supervisor", "profiles", "of this, the supervisor", "MB", ""),
    Row("profiles_cpu", "profiles", "CPU of each, ready, of one core", "%", ""),
    Row("profiles_start_cpu", "profiles", "CPU time of each, to start and log in", "s", ""),
    Row("profiles_logins", "profiles", "logins at the same time, at most", "", ""),
    Row("profiles_login_peak", "profiles", "memory of one login's browser, at most", "MB", ""),
    Row("profiles_peak", "profiles", "memory of everything while they start, at most", "MB", ""),
    Row("profiles_disk", "profiles", "on disk, each", "MB", ""),
)


def rows_of(part: str) -> list[Row]:
    """Return the rows of one part."""
    return [row for row in (*ROWS, *PROFILE_ROWS) if row.part == part]
