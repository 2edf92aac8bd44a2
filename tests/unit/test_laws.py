"""Each law of CONTRIBUTING.md has tests that `scripts/test` runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
LAWS = [int(n) for n in re.findall(r"^(\d+)\. ", (TESTS.parent / "CONTRIBUTING.md").read_text(), re.MULTILINE)]
REAL = ("browser", "cli", "integration", "real_gateway")
WITHOUT_UNIT_TEST = (3, 7)
"""Laws about processes alone: there is nothing to show without one."""


def shown_in(law: int, *folders: str) -> list[Path]:
    """Return the modules that show a law."""
    mark = re.compile(rf"mark\.law\({law}\)")
    return [file for folder in folders for file in (TESTS / folder).glob("test_*.py") if mark.search(file.read_text())]


def test_there_are_ten() -> None:
    """CONTRIBUTING.md lists them by number."""
    assert list(range(1, 11)) == LAWS


@pytest.mark.parametrize("law", LAWS)
def test_every_law_is_shown_by_rule_and_on_real_processes(law: int) -> None:
    """A law has a unit test, which plays many cases, and one with real processes."""
    assert shown_in(law, *REAL), f"no test with real processes has mark.law({law})"
    assert law in WITHOUT_UNIT_TEST or shown_in(law, "unit"), f"no unit test has mark.law({law})"
