"""The benchmark in its short mode: it keeps working, on the real gateway; what it measures here says nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from benchmark.figures import Figures
from benchmark.rows import FLOOR, OURS, PHASE, PROFILE_ROWS, ROWS
from rig import wait_for

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser]
ROOT = Path(__file__).resolve().parents[2]


def bench(folder: Path, zip_file: Path, *argv: str) -> subprocess.Popen[str]:
    """Start the short mode; its figures go into a folder."""
    return subprocess.Popen(
        [sys.executable, ROOT / "scripts" / "bench", "--short", "--json", folder / "bench.json", *argv],
        env={**os.environ, "GWCTL_TEST_RELEASE_ZIP": str(zip_file), "TMPDIR": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
    )


def working_below(folder: Path) -> list[str]:
    """Return what works in a folder or names it."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if str(folder) in words or process.cwd().startswith(str(folder)):
                found.append(f"{process.pid} {words}")
        except psutil.Error:
            continue
    return found


@pytest.mark.timeout(400)
def test_a_short_run_has_every_row_and_makes_the_page(tmp_path: Path, real_release_zip: Path) -> None:
    """Each row of gwctl and of the floor has a value, and nothing is left running."""
    with bench(tmp_path, real_release_zip) as running:
        said = running.communicate()[1]
    assert running.returncode == 0, said
    figures = Figures.load(tmp_path / "bench.json")
    sides = [(row.key, side) for row in ROWS for side in row.sides if side in {OURS, FLOOR}]
    sides += [(row.key, "2") for row in PROFILE_ROWS]
    assert {one: figures.of(*one).misses for one in sides if not figures.of(*one).values} == {}, said
    phases = [figures.of(row, OURS).median or 0.0 for row in figures.rows(PHASE)]
    assert len(phases) == 7
    assert phases == sorted(phases)
    assert figures.of("failed", OURS).values == [0.0]
    assert "# Benchmark" in (tmp_path / "benchmark.md").read_text()
    assert (tmp_path / "benchmark.svg").read_text().startswith("<svg ")
    assert working_below(tmp_path) == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, real_release_zip: Path, number: signal.Signals) -> None:
    """The signal comes while gwctl's gateway is running: the run stops it, and says with which signal it ended."""
    with bench(tmp_path, real_release_zip, "--only", "cold", "--sides", "gwctl") as running:
        wait_for(lambda: [one for one in working_below(tmp_path) if "GatewayStart" in one], 120, "a gateway")
        running.send_signal(number)
        said = running.communicate()[1]
    assert running.returncode == 128 + number, said
    assert working_below(tmp_path) == []
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith("gwctl-bench-")] == []
