"""What ``scripts/bench`` does: measure and write, write alone, or check."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from benchmark.about import about
from benchmark.chart import chart, growth
from benchmark.figures import Differs, Figures
from benchmark.page import page
from benchmark.plan import Plan, short
from benchmark.rows import PARTS, SIDES
from benchmark.runs import measure

ROOT = Path(__file__).resolve().parents[2]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare gwctl with IBeam and with the floor.")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each figure is measured")
    parser.add_argument("--only", metavar="PART,…", help=f"measure these parts alone: {', '.join(PARTS)}")
    parser.add_argument("--sides", metavar="SIDE,…", help=f"measure these sides alone: {', '.join(SIDES)}")
    parser.add_argument("--profiles", default="1,5,10,25", metavar="N,…", help="how many profiles side by side")
    parser.add_argument("--idle", type=float, default=600.0, metavar="S", help="how long the idle time is")
    parser.add_argument("--auth-delay-ms", type=int, default=3000, metavar="MS", help="the gateway's own delay")
    parser.add_argument("--short", action="store_true", help="one round, without IBeam and without idle minutes")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where the figures are; the page is written beside it"
    )
    parser.add_argument("--page-only", action="store_true", help="write the page and the chart, measure nothing")
    parser.add_argument("--check", action="store_true", help="only check whether page and chart are up to date")
    arguments = parser.parse_args()
    for name, known in (("only", PARTS), ("sides", SIDES)):
        chosen = tuple((getattr(arguments, name) or ",".join(known)).split(","))
        if unknown := [one for one in chosen if one not in known]:
            parser.error(f"--{name}: {', '.join(unknown)} is not one of {', '.join(known)}")
        setattr(arguments, name, chosen)
    return arguments


def _told(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _peer_lacks() -> str:
    """Return what IBeam lacks here; empty if nothing."""
    if os.geteuid() != 0:
        return "needs root, for a process namespace"
    return "" if shutil.which("chromedriver") else "needs chromium-driver"


def _stop(number: int, _frame: object) -> None:
    """End the run once; what it started is stopped on the way out."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    _told("stopping what was started")
    raise SystemExit(128 + number)


def _plan(arguments: argparse.Namespace) -> Plan:
    zip_file = os.environ.get("GWCTL_TEST_RELEASE_ZIP") or subprocess.check_output(
        [sys.executable, ROOT / "scripts" / "standard-release"], text=True
    )
    plan = Plan(
        release_zip=Path(zip_file.strip()),
        rounds=arguments.rounds,
        auth_delay_ms=arguments.auth_delay_ms,
        peer_venv=None if arguments.short else ROOT / ".cache" / "ibeam",
        peer_lacks=_peer_lacks(),
        parts=arguments.only,
        sides=arguments.sides,
        idle_s=arguments.idle,
        profiles=tuple(int(one) for one in arguments.profiles.split(",")),
    )
    return short(plan) if arguments.short else plan


def main() -> int:
    """Measure and write, write alone, or check."""
    arguments = _arguments()
    file = arguments.json or ROOT / ("build/bench" if arguments.short else "docs") / "bench.json"
    made_of = {"benchmark.md": page, "benchmark.svg": chart, "benchmark-growth.svg": growth}
    targets = {file.with_name(name): make for name, make in made_of.items()}
    if arguments.check:
        figures = Figures.load(file)
        stale = [one for one, made in targets.items() if not one.exists() or one.read_text("utf-8") != made(figures)]
        for one in stale:
            _told(f"{one} is stale; run scripts/bench --page-only")
        return 1 if stale else 0
    if arguments.page_only:
        figures = Figures.load(file)
    else:
        # As a user has it: Python's compiled files are kept.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _stop)
        plan = _plan(arguments)
        try:
            figures = Figures.to_add_to(file, about(plan))
        except Differs as error:
            _told(str(error))
            return 2
        measure(plan, figures, lambda: figures.save(file), _told)
        figures.save(file)
    for target, made in targets.items():
        target.write_text(made(figures), encoding="utf-8")
        _told(f"wrote {target}")
    return 0
