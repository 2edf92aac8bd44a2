"""How the metrics are rendered: by prometheus-client, read back by its own parsers."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from gwctl.core.messages import LoginResult, Pause, Phase, Process, Recovery, RestartCause, Session, Timer
from gwctl.core.tables import Snapshot
from gwctl.history.counters import Counters
from gwctl.supervisor.metrics import ACTIONS, METRICS, MISSING, Kind, answer_scrape
from gwctl.supervisor.status_report import what_comes_next

STOPPED: dict[str, Any] = {
    "profile": "default",
    "phase": "stopped",
    "ready": False,
    "sandbox": False,
    "gateway": {"release": None, "rss_bytes": None, "uptime_s": None},
    "session": {"authenticated": False, "connected": False, "competing": False, "last_tickle_age_s": None},
    "supervisor": {"rss_bytes": None, "uptime_s": 0.5},
    "login": {"rejected": 0, "rejected_limit": 3, "locked": False},
    "next": {"what": "stop", "in_s": 0.0},
}
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def watched(status: dict[str, Any], snapshot: Snapshot, numbers: Counters) -> Any:
    return SimpleNamespace(status=lambda: status, loop=SimpleNamespace(snapshot=snapshot), numbers=numbers)


def scrape(status: dict[str, Any], snapshot: Snapshot, numbers: Counters) -> Series:
    answer = answer_scrape(watched(status, snapshot, numbers), "")
    assert answer.status == 200
    assert isinstance(answer.body, bytes)
    families = list(parse_text(answer.body.decode()))
    assert [family.name for family in families] == [metric.name.removesuffix("_total") for metric in METRICS]
    assert all(family.documentation for family in families)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def of(series: Series, name: str, **labels: str) -> float:
    return series[name, tuple(sorted({"profile": "default", **labels}.items()))]


def lived() -> tuple[dict[str, Any], Snapshot, Counters]:
    """Return a supervisor with every kind of event."""
    now_s = 0.0
    numbers = Counters(lambda: now_s)
    for phase, event in itertools.product(Phase, ["Checked", "GatewayFellOver", "LoginDone"]):
        now_s += 1
        numbers.saw({"kind": "phase", "phase": phase, "event": event})
    for cause in RestartCause:
        numbers.saw({"kind": "restart", "cause": cause})
    for result in LoginResult:
        numbers.saw({"kind": "login", "outcome": result})
    numbers.saw({"kind": "cure", "rung": "resume", "ok": False})
    numbers.saw({"kind": "window", "open": True})
    numbers.ticked(0.1)
    numbers.ticked(None)
    status = {
        **STOPPED,
        "phase": "ready",
        "ready": True,
        "gateway": {"release": "10.30", "rss_bytes": 5, "uptime_s": 6.5},
        "session": {"authenticated": True, "connected": True, "competing": True, "last_tickle_age_s": 2.5},
        "supervisor": {"rss_bytes": 7, "uptime_s": 8.5},
        "login": {"rejected": 2, "rejected_limit": 3, "locked": True},
        "next": {"what": "tickle", "in_s": 4.5},
    }
    snapshot = Snapshot(process=Process.RUNNING, session=Session.AUTHENTICATED, window_until=1.0)
    return status, snapshot, numbers


def test_every_series_is_there_from_the_start() -> None:
    """A new supervisor has the same series as one with every kind of event."""
    young, old = scrape(STOPPED, Snapshot(), Counters(lambda: 0.0)), scrape(*lived())
    assert {key for key in young if key[0] != "gwctl_build_info"} == {
        key for key in old if key[0] != "gwctl_build_info"
    }
    assert len(young) == len(old)
    assert all(dict(labels)["profile"] == "default" for _, labels in young)
    assert of(young, "gwctl_ready") == 0
    assert math.isnan(of(young, "gwctl_last_tickle_age_seconds"))
    counters = {metric.name for metric in METRICS if metric.kind is Kind.COUNTER}
    assert {value for (name, _), value in young.items() if name in counters} == {0.0}


def test_each_value_goes_where_it_belongs() -> None:
    """The values of the status and the counters appear under their own names."""
    series = scrape(*lived())
    assert of(series, "gwctl_build_info", version=of_version(), release="10.30", sandbox="false") == 1
    assert of(series, "gwctl_ready") == 1
    assert of(series, "gwctl_maintenance_window") == 1
    assert of(series, "gwctl_session_competing") == 1
    assert of(series, "gwctl_next_action", action="tickle") == 1
    assert of(series, "gwctl_next_action_seconds") == 4.5
    assert of(series, "gwctl_last_tickle_age_seconds") == 2.5
    assert (of(series, "gwctl_refused_logins"), of(series, "gwctl_refused_logins_limit")) == (2, 3)
    assert of(series, "gwctl_locked") == 1
    memory = "resident_memory_bytes"
    assert (of(series, f"gwctl_gateway_{memory}"), of(series, f"gwctl_supervisor_{memory}")) == (5, 7)
    assert (of(series, "gwctl_gateway_uptime_seconds"), of(series, "gwctl_supervisor_uptime_seconds")) == (6.5, 8.5)
    assert of(series, "gwctl_logins_total", outcome="ibkr_ill") == 1
    assert of(series, "gwctl_gateway_restarts_total", reason="hung") == 1
    assert of(series, "gwctl_cures_total", rung="resume", worked="false") == 1
    assert of(series, "gwctl_tickle_latency_seconds_bucket", le="0.1") == 1
    assert of(series, "gwctl_tickle_latency_seconds_count") == 1
    assert of(series, "gwctl_tickle_failures_total") == 1
    for name, label in (("gwctl_phase", "phase"), ("gwctl_session_state", "state"), ("gwctl_gateway_state", "state")):
        words = {dict(labels)[label]: value for (one, labels), value in series.items() if one == name}
        assert [word for word, value in words.items() if value == 1] == [
            {"gwctl_phase": "ready", "gwctl_session_state": "authenticated", "gwctl_gateway_state": "running"}[name]
        ]


def of_version() -> str:
    from gwctl.version import VERSION

    return VERSION


def test_openmetrics_for_whoever_asks() -> None:
    """A scraper that accepts OpenMetrics gets it, valid by the strict parser; all others get the plain text."""
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    answer = answer_scrape(watched(*lived()), accept)
    assert str(answer.content_type).startswith("application/openmetrics-text; version=1.0.0")
    assert isinstance(answer.body, bytes)
    families = list(parse_openmetrics(answer.body.decode()))
    assert len(families) == len(METRICS)
    plain = answer_scrape(watched(*lived()), "*/*")
    assert str(plain.content_type).startswith("text/plain; version=0.0.4")


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, a scrape gets the command to type."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "prometheus_client"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    answer = answer_scrape(watched(*lived()), "")
    assert (answer.status, answer.body) == (501, MISSING)
    assert "pip install prometheus-client" in MISSING
    assert MISSING.count("\n") == 1


def test_nothing_is_loaded_before_the_first_scrape() -> None:
    """Without a scrape, a supervisor has neither the library nor the table of metrics in memory."""
    late = {"prometheus_client", "gwctl.supervisor.metrics"}
    code = f"import sys, gwctl.supervisor.service; print(sorted({late} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_every_next_action_has_its_series() -> None:
    """Every possible next action is one of the label's words."""
    said = {
        (
            what_comes_next(Snapshot(process=process, recovery=recovery, timers=timers, pause=pause), 0.0)
            or {"what": None}
        )["what"]
        for pause in (None, Pause(until_s=1e10))
        for process in Process
        for recovery in (None, *Recovery)
        for timers in ({}, *({timer: 1.0} for timer in Timer))
    }
    assert said == {*ACTIONS, None}
