"""Checks of the doctor run at the same time: one that reads what another finds must come after it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from types import FunctionType

import pytest

from gwctl.doctor import CHECKS
from gwctl.doctor.case import Case, Check
from gwctl.environment import Environment

FOUND_BY = {"known": "settings", "port": "settings", "status": "supervisor", "contact": "upstream"}
"""What a check reads from the case, and the check that finds it."""
BY_CODE = {check.code: check for check in CHECKS}


def reads(function: FunctionType, seen: frozenset[str] = frozenset()) -> set[str]:
    """Return what ``function`` and its module's functions that it calls read from the case."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    found = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and isinstance(node.value, ast.Name)
        and node.value.id == "case"
    }
    called = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - seen - {function.__name__}
    for name in called:
        helper = function.__globals__.get(name)
        if isinstance(helper, FunctionType) and helper.__module__ == function.__module__:
            found |= reads(helper, seen | called)
    return found


def before(check: Check) -> set[str]:
    """Return the codes of the checks that have ended when ``check`` runs."""
    return {code for one in (*check.needs, *check.after) for code in (one, *before(BY_CODE[one]))}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.code)
def test_a_check_comes_after_those_whose_findings_it_reads(check: Check) -> None:
    """Otherwise what it says depends on which of the two was faster."""
    function = check.examine
    assert isinstance(function, FunctionType)
    made_itself = {check.code}
    assert {FOUND_BY[name] for name in reads(function) & FOUND_BY.keys()} - made_itself <= before(check)


@pytest.mark.parametrize("name", ["status", "contact"])
def test_what_is_not_found_yet_cannot_be_read(name: str) -> None:
    """A check that nobody declared fails at once, and not only on a slow machine."""
    case = Case.of("default", Environment({}))
    with pytest.raises(LookupError, match=FOUND_BY[name]):
        getattr(case, name)
    case.ended.add(FOUND_BY[name])
    assert getattr(case, name) is None
