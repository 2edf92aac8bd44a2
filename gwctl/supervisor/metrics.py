"""The metrics for Prometheus: all metrics as data, rendered by prometheus-client for each scrape.

The library is an extra; the first scrape loads it. Each scrape has its own registry, and there is no global one. Each
label's values come from an enumeration, so that every series exists from the start and none is added later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from gwctl.core.budget import Budgeted
from gwctl.core.messages import LoginResult, Phase, Process, Recovery, RestartCause, Session, Timer
from gwctl.core.planned import planned
from gwctl.core.tables import GIVES_UP, Snapshot
from gwctl.history.counters import Counters, Histogram, Launch, Since
from gwctl.supervisor.health import Answer
from gwctl.version import VERSION, adding

if TYPE_CHECKING:
    from prometheus_client.registry import CollectorRegistry

MISSING = f"metrics need a library that is not installed: {adding('prometheus-client')}\n"
PROFILE = "profile"
"""The label of every series."""
YES_NO = ("false", "true")
_TIMERS = [str(one) for one in Timer if one not in GIVES_UP]
ACTIONS = tuple(
    dict.fromkeys(["start", "stop", "pause_end", *_TIMERS, *(str(one) for one in Recovery if one != Recovery.SETTLE)])
)
"""All values of ``next`` in ``status``."""
_A_PERSON: Mapping[str, Any] = {"what": "pause_end", "in_s": math.inf}
"""What comes next where nothing comes by itself."""


class Facts(Struct, frozen=True):
    """The inputs of a scrape; ``status`` is the status object."""

    status: Mapping[str, Any]
    snapshot: Snapshot
    numbers: Counters


class Kind(StrEnum):
    """Metric type in Prometheus."""

    GAUGE = auto()
    COUNTER = auto()
    HISTOGRAM = auto()


Reading = float | Histogram
Readings = Mapping[tuple[str, ...], Reading]


class Metric(Struct, frozen=True):
    """One metric family. ``labels`` has each label's values, ``()`` if they are not a closed set."""

    name: str
    kind: Kind
    help: str
    read: Callable[[Facts], Readings]
    labels: Mapping[str, tuple[str, ...]]


def _one(name: str, kind: Kind, text: str, read: Callable[[Facts], Reading | None]) -> Metric:
    """Return a metric without further labels; None becomes NaN, which compares as false."""

    def reading(facts: Facts) -> Readings:
        value = read(facts)
        return {(): math.nan if value is None else value}

    return Metric(name, kind, text, reading, {})


def _state(name: str, text: str, label: str, words: type[StrEnum], read: Callable[[Facts], str]) -> Metric:
    """Return a gauge with one series for each word; exactly one of them is 1."""
    return _word(name, text, label, tuple(words), read)


def _word(name: str, text: str, label: str, words: tuple[str, ...], read: Callable[[Facts], str]) -> Metric:
    def reading(facts: Facts) -> Readings:
        now = str(read(facts))
        return {(str(word),): float(word == now) for word in words}

    return Metric(name, Kind.GAUGE, text, reading, {label: tuple(map(str, words))})


def _tally(
    name: str, text: str, label: str, words: type[StrEnum], read: Callable[[Counters], Mapping[Any, int]]
) -> Metric:
    def reading(facts: Facts) -> Readings:
        return {(str(word),): float(count) for word, count in read(facts.numbers).items()}

    return Metric(name, Kind.COUNTER, text, reading, {label: tuple(map(str, words))})


def _yes_no(value: object) -> str:
    return YES_NO[bool(value)]


def _build(facts: Facts) -> Readings:
    return {(VERSION, facts.status["gateway"]["release"] or "", _yes_no(facts.status["sandbox"])): 1.0}


METRICS: tuple[Metric, ...] = (
    Metric(
        "gwctl_build_info",
        Kind.GAUGE,
        "Always 1; the labels show the gwctl version, the Standard Release, and whether it is the sandbox.",
        _build,
        {"version": (), "release": (), "sandbox": YES_NO},
    ),
    # Current state.
    _one(
        "gwctl_ready",
        Kind.GAUGE,
        "1 while the session is authenticated and can be used.",
        lambda facts: float(facts.status["ready"]),
    ),
    _one(
        "gwctl_planned",
        Kind.GAUGE,
        "1 while there is no session because a person planned it: a pause, or login hours.",
        lambda facts: float(planned(facts.snapshot) is not None),
    ),
    _state(
        "gwctl_phase",
        "1 for the phase that gwctl status shows, 0 for the others.",
        "phase",
        Phase,
        lambda facts: facts.status["phase"],
    ),
    _state(
        "gwctl_session_state",
        "1 for the state of the session at IBKR, 0 for the others.",
        "state",
        Session,
        lambda facts: facts.snapshot.session,
    ),
    _state(
        "gwctl_gateway_state",
        "1 for the state of the gateway's process, 0 for the others.",
        "state",
        Process,
        lambda facts: facts.snapshot.process,
    ),
    _one(
        "gwctl_session_authenticated",
        Kind.GAUGE,
        "1 if IBKR last reported the brokerage session as authenticated.",
        lambda facts: float(facts.status["session"]["authenticated"]),
    ),
    _one(
        "gwctl_session_connected",
        Kind.GAUGE,
        "1 if IBKR last reported the session as connected.",
        lambda facts: float(facts.status["session"]["connected"]),
    ),
    _one(
        "gwctl_session_competing",
        Kind.GAUGE,
        "1 if IBKR last reported that another session of the username competes.",
        lambda facts: float(facts.status["session"]["competing"]),
    ),
    _one(
        "gwctl_maintenance_window",
        Kind.GAUGE,
        "1 while one of IBKR's maintenance windows is open.",
        lambda facts: float(facts.snapshot.window_until is not None),
    ),
    _word(
        "gwctl_next_action",
        "1 for the supervisor's next or current action, 0 for the others.",
        "action",
        ACTIONS,
        lambda facts: (facts.status["next"] or _A_PERSON)["what"],
    ),
    _one(
        "gwctl_next_action_seconds",
        Kind.GAUGE,
        "Seconds until that action.",
        lambda facts: float((facts.status["next"] or _A_PERSON)["in_s"]),
    ),
    # Events.
    Metric(
        "gwctl_time_to_ready_seconds",
        Kind.HISTOGRAM,
        "Time until the session was ready, from the supervisor's start or from the loss of the session.",
        lambda facts: {(str(since),): seen for since, seen in facts.numbers.time_to_ready.items()},
        {"since": tuple(Since)},
    ),
    _one(
        "gwctl_outages_total",
        Kind.COUNTER,
        "How often the session was lost while it was wanted, or a start failed.",
        lambda facts: float(facts.numbers.outages),
    ),
    Metric(
        "gwctl_outage_seconds_total",
        Kind.COUNTER,
        "Length of those outages, including the current one, by whether IBKR's maintenance can be the cause.",
        lambda facts: {(_yes_no(window),): seconds for window, seconds in facts.numbers.outage_s.items()},
        {"maintenance": YES_NO},
    ),
    _tally(
        "gwctl_gateway_starts_total",
        "Starts of the gateway by outcome.",
        "outcome",
        Launch,
        lambda numbers: numbers.starts,
    ),
    _tally(
        "gwctl_gateway_restarts_total",
        "Restarts of the gateway by reason.",
        "reason",
        RestartCause,
        lambda numbers: numbers.restarts,
    ),
    _tally(
        "gwctl_logins_total",
        "Logins by outcome. Some send no password: IBKR may be unavailable, or the login limits may forbid it.",
        "outcome",
        LoginResult,
        lambda numbers: numbers.logins,
    ),
    Metric(
        "gwctl_cures_total",
        Kind.COUNTER,
        "Recovery steps by kind, and whether the session became ready before the next step ran.",
        lambda facts: {
            (str(budgeted), _yes_no(worked)): float(count)
            for (budgeted, worked), count in facts.numbers.recoveries.items()
        },
        {"rung": tuple(Budgeted), "worked": YES_NO},
    ),
    # Refused logins.
    _one(
        "gwctl_refused_logins",
        Kind.GAUGE,
        "Refused logins of the last 24 hours, from all gwctl calls; IBKR locks an account at 10.",
        lambda facts: float(facts.status["login"]["rejected"]),
    ),
    _one(
        "gwctl_refused_logins_limit",
        Kind.GAUGE,
        "The number of refused logins at which gwctl stops sending passwords (rejected_limit).",
        lambda facts: float(facts.status["login"]["rejected_limit"]),
    ),
    _one(
        "gwctl_locked",
        Kind.GAUGE,
        "1 if gwctl will not send the password again until it changes or a person resets the lockout.",
        lambda facts: float(facts.status["login"]["locked"]),
    ),
    # Tickles.
    _one(
        "gwctl_tickle_latency_seconds",
        Kind.HISTOGRAM,
        "How long IBKR took to answer a tickle through the gateway.",
        lambda facts: facts.numbers.tickle_latency,
    ),
    _one(
        "gwctl_tickle_failures_total",
        Kind.COUNTER,
        "Tickles without an answer, or with an error.",
        lambda facts: float(facts.numbers.tickle_failures),
    ),
    _one(
        "gwctl_last_tickle_age_seconds",
        Kind.GAUGE,
        "Time since this gateway last got an answer to a tickle; NaN before the first answer.",
        lambda facts: facts.status["session"]["last_tickle_age_s"],
    ),
    # Resources.
    _one(
        "gwctl_gateway_resident_memory_bytes",
        Kind.GAUGE,
        "Resident memory of the gateway's process; 0 while none runs.",
        lambda facts: float(facts.status["gateway"]["rss_bytes"] or 0),
    ),
    _one(
        "gwctl_supervisor_resident_memory_bytes",
        Kind.GAUGE,
        "Resident memory of the supervisor's process.",
        lambda facts: float(facts.status["supervisor"]["rss_bytes"] or 0),
    ),
    _one(
        "gwctl_gateway_uptime_seconds",
        Kind.GAUGE,
        "Time since the gateway's process started; 0 while none runs.",
        lambda facts: float(facts.status["gateway"]["uptime_s"] or 0),
    ),
    _one(
        "gwctl_supervisor_uptime_seconds",
        Kind.GAUGE,
        "Time since the supervisor started, with all counters at 0.",
        lambda facts: float(facts.status["supervisor"]["uptime_s"]),
    ),
)


class Watched(Protocol):
    """The part of the supervisor that a scrape reads."""

    numbers: Counters

    @property
    def loop(self) -> HasSnapshot:
        """The loop."""
        ...

    def status(self) -> Mapping[str, Any]:
        """Return the ``status`` object."""
        ...


class HasSnapshot(Protocol):
    """The part of the loop that a scrape reads."""

    snapshot: Snapshot


def answer_scrape(watched: Watched, accept: str) -> Answer:
    """Return all series as Prometheus text, or as OpenMetrics if ``accept`` asks for it; 501 without the library."""
    try:
        from prometheus_client.exposition import choose_encoder
    except ImportError:
        return Answer(501, MISSING)
    encode, content_type = choose_encoder(accept)
    facts = Facts(watched.status(), watched.loop.snapshot, watched.numbers)
    return Answer(200, encode(_registry_of(facts)), content_type)


def _registry_of(facts: Facts) -> CollectorRegistry:
    from prometheus_client.registry import CollectorRegistry

    registry = CollectorRegistry()
    registry.register(_Collector(facts))
    return registry


class _Collector:
    """The collector of one scrape."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def collect(self) -> Iterator[Any]:
        """Yield each metric family."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        families = {Kind.GAUGE: GaugeMetricFamily, Kind.COUNTER: CounterMetricFamily}
        profile = str(self._facts.status[PROFILE])
        for metric in METRICS:
            labels = [PROFILE, *metric.labels]
            family: Any = families.get(metric.kind, HistogramMetricFamily)(metric.name, metric.help, labels=labels)
            for words, value in metric.read(self._facts).items():
                if isinstance(value, Histogram):
                    buckets = [
                        (("+Inf" if math.isinf(bound) else str(bound)), count) for bound, count in value.cumulative()
                    ]
                    family.add_metric([profile, *words], buckets, value.sum)
                else:
                    family.add_metric([profile, *words], value)
            yield family
