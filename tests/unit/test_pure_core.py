"""The pure modules import the standard library, msgspec and each other: no clock, no I/O, no chance."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PURE = ("gwctl.core", "gwctl.login_ledger.rules", "gwctl.history.session_fold", "gwctl.history.replay")
PURE_TOO = (
    "gwctl.history.lines",
    "gwctl.history.report",
    "gwctl.history.counters",
    "gwctl.history.alerts",
    "gwctl.sandbox.market",
)
SHARED = {"gwctl.times", "gwctl.session_status"}
"""Formats, and the words that all layers share; they import the standard library only and never ask for the time."""
RECORDS = "msgspec"
"""A record of it is plain data, as a dataclass is, and costs nothing at the start of a process."""
OUTSIDE_WORLD = {"asyncio", "io", "os", "pathlib", "random", "secrets", "socket", "subprocess", "threading", "time"}


def modules() -> Iterator[tuple[str, Path]]:
    """Yield each pure module's name and file."""
    for name in (*PURE, *PURE_TOO):
        place = ROOT / name.replace(".", "/")
        files = sorted(place.glob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
        yield from ((f"{name}.{file.stem}" if place.is_dir() else name, file) for file in files)


def imported(source: str) -> Iterator[str]:
    """Yield what a module's source imports, wherever the import stands, with its full name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def forbidden(name: str) -> bool:
    """Say whether a pure module may not import ``name``."""
    root = name.split(".", maxsplit=1)[0]
    if root == "gwctl":
        allowed = (*PURE, *PURE_TOO, *SHARED)
        return not any(name == one or name.startswith(f"{one}.") for one in allowed)
    return name not in {RECORDS, f"{RECORDS}.structs"} and (
        root not in sys.stdlib_module_names or root in OUTSIDE_WORLD
    )


@pytest.mark.parametrize(("name", "file"), list(modules()), ids=[name for name, _ in modules()])
def test_pure_modules_import_nothing_that_acts(name: str, file: Path) -> None:
    """Whatever is not named is forbidden, a library that nobody uses yet included."""
    assert [one for one in imported(file.read_text()) if forbidden(one)] == []


@pytest.mark.parametrize(
    "name", ["numpy", "time", "os.path", "gwctl.paths", "gwctl.core_things", ".budget", "httpx", "msgspec.json"]
)
def test_everything_else_is_forbidden(name: str) -> None:
    """The rule refuses libraries, the outside world, other modules of ours and relative imports."""
    assert forbidden(name)
