"""docs/faults.md is what the catalogue of tests/chaos says, and what it names is there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from chaos import injections
from chaos.catalogue import ANSWERS, BY_NAME, FAULTS
from chaos.fault import Answer, Fault
from chaos.report import page
from sandbox_admin import set_scenario

from gwctl.gateway.responses import judge_auth_status, judge_resume, judge_tickle
from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.settings import StandInConfig

ROOT = Path(__file__).parents[2]
TOKEN = "admin-token"
CHECKS = ("tickle", "iserver/auth/status")


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


@pytest.fixture(scope="module")
def ibkr() -> Iterator[RunningStandIn]:
    with serve_in_thread(StandInConfig(admin_token=TOKEN)) as running:
        yield running


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_is_a_fault_has_its_verdict(ibkr: RunningStandIn, answer: Answer) -> None:
    """The verdict decides the recovery, whichever call meets the fault; none of these costs the login's cookies."""
    set_scenario(ibkr.url, TOKEN, answer.scenario, params=answer.parameters)
    try:
        tickle, status = (httpx.post(f"{ibkr.url}/v1/api/{path}", trust_env=False) for path in CHECKS)
        assert judge_tickle(tickle.status_code, tickle.content).verdict is answer.verdict
        assert judge_auth_status(status.status_code, status.content).verdict is answer.verdict
        resumed = judge_resume(tickle.status_code, tickle.content)
        assert resumed is None or (resumed is False and tickle.status_code == 200)
    finally:
        set_scenario(ibkr.url, TOKEN, answer.scenario, on=False)
