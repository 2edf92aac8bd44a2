"""Scrapes from one supervisor's life: their numbers, and that dashboard, alerts and docs use the same names."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cli_fakes import Home, a_home, free_port, wait_for
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from gwctl.core.messages import Phase
from gwctl.supervisor.metrics import METRICS

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
VARIABLES = {"$__rate_interval": "5m", "$__range": "1d", "$profile": ".*"}
"""What Grafana substitutes for its variables."""

Key = tuple[str, frozenset[tuple[str, str]]]


@dataclass
class Scrape:
    """One answer of /metrics."""

    text: str
    series: dict[Key, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for family in parse_text(self.text):
            assert family.type != "unknown"
            for sample in family.samples:
                self.series[sample.name, frozenset(sample.labels.items())] = sample.value

    def __call__(self, name: str, **labels: str) -> float:
        return self.series[name, frozenset({"profile": "default", **labels}.items())]

    def names(self) -> set[str]:
        return {name for name, _ in self.series}

    def keys(self) -> set[Key]:
        """Return all series except the build, whose release is unknown at first."""
        return {key for key in self.series if key[0] != "gwctl_build_info"}

    def outage_s(self) -> float:
        return sum(self("gwctl_outage_seconds_total", maintenance=word) for word in ("true", "false"))


def get(url: str, accept: str = "*/*") -> tuple[int, str, str]:
    """Return status, content type and body."""
    answer = httpx.get(url, headers={"Accept": accept}, timeout=20, trust_env=False)
    return answer.status_code, answer.headers["content-type"], answer.text


def scrape(url: str) -> Scrape:
    status, content_type, text = get(f"{url}/metrics")
    assert (status, content_type.partition(";")[0]) == (200, "text/plain")
    return Scrape(text)


@dataclass
class Life:
    """A supervisor's scrapes: before it was ready, then ready, then after its gateway was killed."""

    home: Home
    health_url: str
    outside_url: str
    before: Scrape
    ready: Scrape
    meanwhile: list[Scrape]
    after: Scrape


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Yield the sandbox after it came up and its gateway was killed, with a scrape from each stage."""
    outside, health = free_port(), free_port()
    variables = {
        "GWCTL_METRICS_ADDRESS": f"127.0.0.1:{outside}",
        "GWCTL_HEALTH_PORT": str(health),
        "GWCTL_AUTH_DELAY_MS": "1000",  # not ready before the first scrape
    }
    with a_home(tmp_path_factory.mktemp("scraped"), **variables) as home:
        url = f"http://127.0.0.1:{health}"
        call = home.start("up", "--sandbox")
        wait_for((home.profile_dir / "supervisor.json").exists, 60, "the supervisor's record")
        before = scrape(url)
        _, stderr = call.communicate(timeout=90)
        assert call.returncode == 0, stderr
        ready = scrape(url)
        meanwhile: list[Scrape] = []

        def look() -> Scrape:
            meanwhile.append(scrape(url))
            return meanwhile[-1]

        os.kill(home.status()["gateway"]["pid"], signal.SIGKILL)
        wait_for(lambda: look()("gwctl_gateway_restarts_total", reason="ended") == 1, 60, "the restart is counted")
        wait_for(lambda: look()("gwctl_ready") == 1, 60, "ready again")
        yield Life(home, url, f"http://127.0.0.1:{outside}", before, ready, meanwhile, scrape(url))


def test_before_it_is_ready_all_series_are_there(life: Life) -> None:
    """The first scrape of a starting supervisor has every series of the last one, and ready is 0."""
    before = life.before
    assert before.keys() == life.ready.keys() == life.after.keys()
    assert before("gwctl_ready") == 0
    assert before("gwctl_phase", phase="ready") == 0
    assert before("gwctl_outages_total") == 0
    assert before("gwctl_time_to_ready_seconds_count", since="start") == 0
    words = [value for (name, _), value in before.series.items() if name == "gwctl_phase"]
    assert sorted(words) == [0.0] * (len(Phase) - 1) + [1.0]


def test_a_ready_session_in_numbers(life: Life) -> None:
    """Ready is 1, reaching it counts once, and memory, tickle and build are present."""
    ready = life.ready
    assert ready("gwctl_ready") == ready("gwctl_phase", phase="ready") == 1
    assert ready("gwctl_session_state", state="authenticated") == ready("gwctl_gateway_state", state="running") == 1
    assert ready("gwctl_time_to_ready_seconds_count", since="start") == 1
    assert (
        ready("gwctl_logins_total", outcome="success") == ready("gwctl_cures_total", rung="login", worked="true") == 1
    )
    assert ready("gwctl_gateway_starts_total", outcome="launched") == 1
    assert ready("gwctl_tickle_latency_seconds_count") >= 1
    assert 0 <= ready("gwctl_last_tickle_age_seconds") < 60
    assert ready("gwctl_supervisor_resident_memory_bytes") > 10e6
    assert ready("gwctl_gateway_resident_memory_bytes") > 10e6
    assert (ready("gwctl_refused_logins"), ready("gwctl_refused_logins_limit")) == (0, 3)
    builds = [dict(labels) for name, labels in ready.series if name == "gwctl_build_info"]
    assert [(build["release"] != "", build["sandbox"]) for build in builds] == [(True, "true")]


def test_a_killed_gateway_in_numbers(life: Life) -> None:
    """After kill -9 the restart counts under its reason, and the outage matches `gwctl history`."""
    assert life.ready.outage_s() == 0
    grown = [one.outage_s() for one in life.meanwhile]
    assert grown == sorted(grown)
    after = life.after
    reasons = {dict(labels)["reason"]: value for (name, labels), value in after.series.items() if "restarts" in name}
    assert {reason: value for reason, value in reasons.items() if value} == {"ended": 1}
    assert after("gwctl_outages_total") == after("gwctl_time_to_ready_seconds_count", since="loss") == 1
    assert after("gwctl_cures_total", rung="restart", worked="true") == 1
    told = life.home.gwctl("history", "--json").check(0).envelope["data"]["outages"]
    assert [one["length_s"] for one in told] == [pytest.approx(after.outage_s(), abs=0.5)]
    assert after.outage_s() == pytest.approx(after("gwctl_time_to_ready_seconds_sum", since="loss"))


def test_the_second_listener_has_probes_and_scrapes_only(life: Life) -> None:
    """metrics_address serves the same numbers and the probes, and nothing else of the health server."""
    assert scrape(life.outside_url).keys() == life.after.keys()
    assert [get(f"{life.outside_url}/{path}")[0] for path in ("livez", "readyz")] == [200, 200]
    for path in ("", "status", "events?since=0", "control/stop"):
        assert get(f"{life.outside_url}/{path}")[0] == 404
    assert get(f"{life.health_url}/status")[0] == 200


def test_openmetrics_of_a_real_supervisor(life: Life) -> None:
    """A client that asks for OpenMetrics gets it, and the strict parser accepts it."""
    status, content_type, text = get(f"{life.health_url}/metrics", OPENMETRICS)
    assert (status, content_type.partition(";")[0]) == (200, "application/openmetrics-text")
    families = {family.name for family in parse_openmetrics(text)}
    assert {name.removesuffix("_total") for name in life.after.names() if name.endswith("_total")} <= families


# Prometheus' own program, the dashboard and the alerts.


def promtool(*argv: str, stdin: str = "") -> str:
    """Run promtool, which scripts/set-up installed; return its output."""
    own = Path(sys.prefix) / "promtool"
    program = str(own) if own.exists() else shutil.which("promtool")
    assert program, "promtool is missing: scripts/set-up --tests"
    done = subprocess.run([program, *argv], input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def alert_expressions() -> list[str]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return value


def dashboard_expressions() -> list[str]:
    """Return every dashboard expression as Prometheus would get it."""
    board = dashboard()
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    found += [one["expr"] for one in board["annotations"]["list"]]
    for variable, value in VARIABLES.items():
        found = [expression.replace(variable, value) for expression in found]
    return found


@pytest.mark.needs("promtool")
def test_promtool_takes_the_scrape(life: Life) -> None:
    """Prometheus' own parser accepts the scrape, and its linter has no complaint about names, types or help."""
    assert promtool("check", "metrics", stdin=life.after.text) == ""


@pytest.mark.needs("promtool")
def test_promtool_takes_every_expression(tmp_path: Path) -> None:
    """The alerts and each dashboard expression are valid PromQL."""
    promtool("check", "rules", str(ALERTS))
    rules = [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(dashboard_expressions())]
    recorded = tmp_path / "rules.yaml"
    recorded.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(recorded))


@pytest.mark.needs("promtool")
def test_alerts_fire_on_what_they_are_for() -> None:
    """With made-up series in promtool, each alert fires exactly when it should."""
    played = ROOT / "tests" / "deploy" / "alerts.yaml"
    promtool("test", "rules", str(played))
    tried = {
        one["alertname"] for test in yaml.safe_load(played.read_text())["tests"] for one in test["alert_rule_test"]
    }
    assert tried == {rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}


def test_dashboard_and_alerts_use_what_is_exported(life: Life) -> None:
    """A real scrape contains every name, label and label value that an expression uses."""
    there: dict[str, dict[str, set[str]]] = {}
    for name, labels in life.after.series:
        for label, word in labels:
            there.setdefault(name, {}).setdefault(label, set()).add(word)
    used: set[str] = set()
    for expression in [*dashboard_expressions(), *alert_expressions()]:
        names = set(re.findall(r"\bgwctl_\w+", expression))
        assert names or expression == 'up{job=~"gwctl.*"} == 0'
        assert names <= set(there), expression
        used |= names
        for name, selector in re.findall(r"\b(gwctl_\w+)\{([^}]*)\}", expression):
            for label, operator, words in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', selector):
                known = there[name][label]
                assert (operator == "=~" and words == ".*") or set(words.split("|")) <= known, expression
    assert {"gwctl_tickle_latency_seconds_bucket", "gwctl_phase", "gwctl_locked"} <= used


def test_dashboard_is_one_that_grafana_can_import() -> None:
    """Panels have unique ids and places that do not overlap, and use the chosen data source."""
    board = dashboard()
    variables = {one["name"]: one["type"] for one in board["templating"]["list"]}
    assert variables == {"datasource": "datasource", "profile": "query"}
    assert "__inputs" not in board
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert not taken & cells, panel["title"]
        taken |= cells
        assert panel["description"]
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert 'profile=~"$profile"' in target["expr"]
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert "instance" in shown
            assert shown <= {"instance", "profile", *(label for metric in METRICS for label in metric.labels)}
            assert "}" not in re.sub(r"\{\{\w+\}\}", "", target["legendFormat"])
            for kept in re.findall(r"\bby \(([^)]*)\)", target["expr"]):
                assert {"instance", "profile"} <= set(kept.split(", "))  # accounts in pods are all profile "default"


def test_every_metric_is_described(life: Life) -> None:
    """Each metric family of a real scrape has a row with its type in the reference, each alert one in the how-to."""
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    for family in parse_text(life.after.text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"| `{name}` | {family.type} |" in page
    how_to = (ROOT / "docs" / "how-to" / "monitoring.md").read_text()
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        assert [rule["alert"] for rule in group["rules"] if f"| `{rule['alert']}` |" not in how_to] == []
