"""What a run is measured on: only figures of the same machine, versions and plan are added up."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from benchmark.plan import Plan
from benchmark.sides import PEER_PACKAGE
from gwctl.login.browser import find_browser
from gwctl.version import VERSION

ROOT = Path(__file__).resolve().parents[2]


def about(plan: Plan) -> dict[str, str]:
    """Return machine, versions, day and plan."""
    cores = len(os.sched_getaffinity(0))
    return {
        "day": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processor": _after("/proc/cpuinfo", "model name") or "unknown",
        "cores": str(cores),
        "memory": f"{round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9)} GB",
        "gwctl": f"{VERSION}, {_source()}",
        "IBeam": PEER_PACKAGE.partition("==")[2],
        "gateway": f"sha256 {hashlib.sha256(plan.release_zip.read_bytes()).hexdigest()[:12]}",
        "Python": platform.python_version(),
        "Java": _said("java", "-version"),
        "browser": _said(str(find_browser(None, os.environ).executable), "--version"),
        **plan.about(),
    }


def _after(file: str, name: str) -> str:
    """Return the first value of a name in a file of the kernel's."""
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _said(*argv: str) -> str:
    """Return the first line that a program says of itself."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return ((done.stdout or done.stderr).strip().splitlines() or ["unknown"])[0].strip()


def _source() -> str:
    """Return which sources of gwctl these are: git's name of the folder, the same in every clone."""
    git = ["git", "-C", str(ROOT)]
    tree = _said(*git, "rev-parse", "--short=10", "HEAD:gwctl")
    changed = subprocess.run([*git, "status", "--porcelain", "gwctl"], capture_output=True, text=True, check=False)
    return f"tree {tree}{' with changes' if changed.stdout.strip() else ''}"
