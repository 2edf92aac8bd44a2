"""docs/faults.md is what the catalogue of tests/chaos says, and what it names is there."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from chaos import injections  # noqa: E402 - after the path above
from chaos.catalogue import BY_NAME, FAULTS  # noqa: E402 - as above
from chaos.fault import Fault  # noqa: E402 - as above
from chaos.report import page  # noqa: E402 - as above


def test_the_page_is_not_stale() -> None:
    """The page in docs is the one that `scripts/chaos --markdown docs/faults.md` writes."""
    assert (ROOT / "docs" / "faults.md").read_text() == page()


def test_every_fault_has_a_name_of_its_own_and_an_injection() -> None:
    """No fault hides behind another's name, and each can be brought about."""
    assert len(BY_NAME) == len(FAULTS)
    for fault in FAULTS:
        assert callable(injections.named(fault.name)), fault.name


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_test_that_covers_a_fault_exists(fault: Fault) -> None:
    """Each fault names a test function that is there."""
    file, _, name = fault.test.partition("::")
    tree = ast.parse((ROOT / file).read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in names
