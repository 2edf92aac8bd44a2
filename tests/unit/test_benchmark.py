"""The benchmark's figures, page and chart: medians with their spread, ratios, what never came, and what is added up."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from contextlib import nullcontext
from pathlib import Path

import pytest
from benchmark import runs
from benchmark.chart import COLOURS, SHOWN, chart, growth
from benchmark.figures import NOT_MEASURED, Differs, Figures, number
from benchmark.page import GROUPS, page
from benchmark.plan import Plan, short
from benchmark.rows import FLOOR, OURS, PARTS, PATH, PEER, ROWS, SOAK_ALL, SOAK_KEEPER

ROOT = Path(__file__).resolve().parents[2]
ABOUT = {"day": "2026-11-30", "machine": "Linux", "gwctl": "1"}


@pytest.fixture
def figures() -> Figures:
    """Return a run in which the peer's session once, and after a hang never, came back."""
    figures = Figures(ABOUT)
    for value in (5.0, 6.0, 5.5):
        figures.add("cold", OURS, value)
    for value in (20.0, 80.0):
        figures.add("cold", PEER, value)
    figures.miss("cold", PEER, "not within 240 s")
    figures.add("cold", FLOOR, 5.0)
    figures.add("hung", OURS, 7.0)
    figures.miss("hung", PEER, "not within 240 s")
    figures.add("kill:1", OURS, 0.8)
    figures.add("phase:the gateway answers", OURS, 0.9)
    figures.add(f"{PATH}/v1/api/tickle", OURS, 2.0)
    figures.add("profiles_ready", "1", 5.0)
    figures.add("profiles_ready", "10", 12.0)
    return figures


def rows_of(text: str) -> dict[str, list[str]]:
    """Return the rows of a page's tables by their first cell."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in rows}


def test_a_row_has_medians_spreads_ratios_and_what_is_missing(figures: Figures) -> None:
    """A side without a value says why; one that once did not end in time says that beside its values."""
    rows = rows_of(page(figures))
    assert rows["cold start"] == [
        "5.5 s (5 to 6, n = 3)",
        "50 s (20 to 80, n = 2; 1 more without: not within 240 s)",
        "5 s (n = 1)",
        "0.11",
        "1.10",
    ]
    assert rows["gateway hangs"] == ["7 s (n = 1)", "not within 240 s", NOT_MEASURED, "", ""]
    assert rows["session dropped"][:3] == [NOT_MEASURED] * 3
    assert rows["page, form and answer"] == ["—", "—", NOT_MEASURED, "", ""]
    assert rows["the gateway answers"] == ["0.9 s (n = 1)"]
    assert rows["`/v1/api/tickle`"] == ["2", "—"]
    assert rows["profiles"] == ["1", "10"]
    assert rows["time until all are ready (`up --all`)"] == ["5 s (n = 1)", "12 s (n = 1)"]
    assert rows["day"] == ["2026-11-30"]


def test_the_page_has_every_row_once_and_says_if_it_is_short(figures: Figures) -> None:
    """No row is measured and left out of the page; a short run cannot be taken for a real one."""
    shown = [key for _, keys in GROUPS for key in keys]
    assert sorted(shown) == sorted(row.key for row in ROWS)
    assert "mean nothing" not in page(figures)
    figures.about["short"] = "yes"
    assert "mean nothing" in page(figures)
    assert "No run" not in page(figures)
    assert "No run" in page(Figures({}))


def test_the_chart_shows_what_was_measured_and_what_never_came(figures: Figures) -> None:
    """The chart is an image a browser can read, with a dot for each median and a word for each that is missing."""
    root = ET.fromstring(chart(figures))  # noqa: S314 - our own text
    texts = [one.text or "" for one in root.iter() if one.tag.endswith("text")]
    dots = [one.attrib["fill"] for one in root.iter() if one.tag.endswith("circle")]
    assert sorted(dots) == sorted([COLOURS[OURS], COLOURS[PEER], COLOURS[FLOOR], COLOURS[OURS]])
    assert {"cold start", "gateway hangs", "IBeam: never", "IBeam: 50 s (+1 without)"} <= set(texts)
    assert "session dropped" not in texts
    assert set(SHOWN) <= {row.key for row in ROWS if row.unit == "s"}


def test_a_chart_of_nothing_says_so() -> None:
    """A run of which no time was measured has a chart, too."""
    assert "nothing measured" in chart(Figures(ABOUT))
    assert "not measured" in growth(Figures(ABOUT))


def test_growth_is_a_line_through_all_looks(figures: Figures) -> None:
    """From the first look to the last, with both values; the page shows it only if there is one."""
    assert "benchmark-growth.svg" not in page(figures)
    for look in range(60):
        figures.add(SOAK_ALL, OURS, 140.0 + look / 10)
        figures.add(SOAK_KEEPER, OURS, 32.0)
    drawn = growth(figures)
    assert drawn.count('stroke-width="2"') == 2 * 59
    assert all(said in drawn for said in ("all processes: 140", ">146<", "supervisor: 32"))
    assert "benchmark-growth.svg" in page(figures)


def test_a_later_run_adds_to_the_file(tmp_path: Path, figures: Figures) -> None:
    """The file keeps each value and each reason; a second part of the same machine is added to it, also a day later."""
    file = tmp_path / "new" / "bench.json"
    assert Figures.to_add_to(file, ABOUT).attempts("cold", OURS) == 0
    figures.save(file)
    found = Figures.to_add_to(file, ABOUT)
    found.add("cold", OURS, 9.0)
    found.save(file)
    assert Figures.load(file).of("cold", OURS).values == [5.0, 6.0, 5.5, 9.0]
    assert Figures.load(file).attempts("cold", PEER) == 3
    ours = json.loads(file.read_text())["figures"][0]
    assert (ours["row"], ours["median"], ours["least"], ours["most"]) == ("cold", 5.75, 5.0, 9.0)
    assert [one.name for one in file.parent.iterdir()] == ["bench.json"]
    for day in ("2026-12-01", "2026-12-02"):
        later = Figures.to_add_to(file, {**ABOUT, "day": day})
        later.save(file)
        assert later.about == {**ABOUT, "day": f"2026-11-30 to {day}"}
    Figures({}).save(file)
    assert Figures.to_add_to(file, ABOUT).about == ABOUT


@pytest.mark.parametrize("other", [{"machine": "another"}, {"gwctl": "2"}, {"short": "yes"}])
def test_figures_of_another_run_are_not_added_up(tmp_path: Path, figures: Figures, other: dict[str, str]) -> None:
    """Another machine, version or plan is refused, with what differs, and the file stays as it is."""
    file = tmp_path / "bench.json"
    figures.save(file)
    before = file.read_bytes()
    with pytest.raises(Differs, match=f"{next(iter(other))}: "):
        Figures.to_add_to(file, {**ABOUT, **other})
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.0123, "0.0123"), (5.554, "5.55"), (99.96, "100"), (1234.5, "1,234")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    """No number has an exponent or digits that say nothing."""
    assert number(value) == text


def test_every_part_of_only_is_done() -> None:
    """What ``--only`` accepts is what a run does; a short run does it in three lives, and the hang last.

    The peer's faults share a life in a long run, too.
    """
    plan = Plan(Path("release.zip"), 1)
    done = runs.turns(plan, (FLOOR, OURS, PEER))
    for side in (FLOOR, OURS, PEER):
        mine = [part.name for name, life in done for part in life if name == side]
        assert sorted(mine) == sorted(part.name for part in runs.PARTS if side in part.sides)
    assert {part.name for _, life in done for part in life} | {"profiles"} == set(PARTS)
    assert all(len(life) == 1 for name, life in done if name != PEER)
    shared = max((life for name, life in done if name == PEER), key=len)
    assert [part.name for part in shared] == ["cold", "killed", "dropped", "keeper", "traffic", "hung"]
    new, used, polled = runs.lives(short(plan), OURS)
    assert {part.name for part in [*new, *used, *polled]} == {part.name for part in runs.PARTS}
    assert (used[-1].name, [part.name for part in polled]) == ("hung", ["polled"])


class FakeSide:
    """A side that starts at once, or fails to."""

    port = 0
    check_every_s = 0.0

    def __init__(self, name: str, fault: Exception | None, stopped: list[str]) -> None:
        self.name = name
        self._fault = fault
        self.took_s: float | None = None if name == FLOOR else 2.0
        self._stopped = stopped

    def up(self) -> float | None:
        if self._fault is not None:
            raise self._fault
        return self.took_s

    def down(self) -> None:
        self._stopped.append(self.name)
        if self._fault is not None:
            raise self._fault


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Have sides without processes, of which the peer fails; return which were stopped, in order."""
    stopped: list[str] = []

    def side(_: object, name: str, *__: object) -> FakeSide:
        fault = LookupError("no | gateway\nis running") if name == PEER else None
        return FakeSide(name, fault, stopped)

    monkeypatch.setattr(runs.Sides, "side", side)
    monkeypatch.setattr(runs, "a_used_home", lambda _zip: nullcontext(tmp_path))
    monkeypatch.setattr(runs, "peer_python", lambda _folder: tmp_path)
    monkeypatch.setattr(runs, "a_folder_of_its_own", lambda: nullcontext(tmp_path))
    monkeypatch.setattr(runs, "serve_in_thread", lambda _config: nullcontext())
    return stopped


def test_a_side_that_fails_is_a_cell_and_the_run_goes_on(stopped: list[str], tmp_path: Path) -> None:
    """Each side of each round is stopped and saved; what failed is the reason in its cells, in one line."""
    figures, saved = Figures(ABOUT), list[int]()
    plan = Plan(Path("release.zip"), 2, peer_venv=tmp_path, parts=("cold",))
    runs.measure(plan, figures, lambda: saved.append(figures.attempts("cold", PEER)), lambda _text: None)
    assert stopped == [FLOOR, OURS, PEER] * 2
    assert saved == [0, 0, 1, 1, 1, 2]
    assert figures.of("cold", OURS).values == [2.0, 2.0]
    assert figures.of("cold", PEER).misses == ["failed: no / gateway is running"] * 2
    assert figures.of("cold", FLOOR).misses == ["not within 240 s"] * 2
    assert figures.of("jvm", FLOOR).misses == ["no session before the fault"] * 2


def test_a_machine_without_the_peer_says_so_once_in_each_of_its_rows(stopped: list[str], tmp_path: Path) -> None:
    """Without root or a driver, the rows that were asked for say what is missing; the other sides are measured."""
    figures = Figures(ABOUT)
    plan = Plan(Path("release.zip"), 1, peer_venv=tmp_path, peer_lacks="needs root", parts=("cold",))
    for _ in range(2):
        runs.measure(plan, figures, lambda: None, lambda _text: None)
    assert figures.of("cold", PEER).misses == ["needs root"]
    assert figures.attempts("killed", PEER) == 0
    assert stopped == [FLOOR, OURS] * 2


def test_an_interrupt_stops_the_side(stopped: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends the run is no failure of a side: it goes on up, and the side is stopped on the way."""

    def interrupted(_life: object) -> None:
        raise SystemExit(130)

    monkeypatch.setattr(runs, "PARTS", (runs.Part("cold", (OURS,), interrupted),))
    with pytest.raises(SystemExit):
        runs.measure(Plan(Path("release.zip"), 1, parts=("cold",)), Figures(ABOUT), lambda: None, lambda _text: None)
    assert stopped == [OURS]


def test_the_page_in_the_docs_is_that_of_its_figures() -> None:
    """docs/benchmark.md and its chart are written from docs/bench.json: scripts/bench --page-only."""
    figures = Figures.load(ROOT / "docs" / "bench.json")
    assert "short" not in figures.about
    assert (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8") == page(figures)
    assert (ROOT / "docs" / "benchmark.svg").read_text(encoding="utf-8") == chart(figures)
    assert (ROOT / "docs" / "benchmark-growth.svg").read_text(encoding="utf-8") == growth(figures)
    assert re.search(r"^benchmark$", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE)
