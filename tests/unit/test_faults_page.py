"""docs/faults.md and the walk that adds a fault say what the catalogue and the code say."""

from __future__ import annotations

import ast
import re
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
WALK = (ROOT / "docs" / "contributing" / "add-a-fault.md").read_text()


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


def test_each_excerpt_of_the_walk_is_in_its_file() -> None:
    """A block of add-a-fault.md after `<!-- from FILE -->` is part of that file, word for word."""
    excerpts = re.findall(r"^<!-- from (\S+) -->\n```\w+\n(.*?)^```$", WALK, re.DOTALL | re.MULTILINE)
    assert len(excerpts) == WALK.count("<!-- from ") >= 3
    for file, text in excerpts:
        assert text in (ROOT / file).read_text(), file


def test_what_the_walk_names_is_there() -> None:
    """Every file on the page exists, and each name in a row of a table is in one of the row's files."""
    for line in WALK.splitlines():
        quoted = re.findall(r"`([^`]+)`", line)
        files = [one for one in quoted if re.fullmatch(r"(gwctl|tests|docs|scripts)/[\w/.-]+", one)]
        texts = [(ROOT / file).read_text() for file in files]
        for name in quoted if line.startswith("| ") else ():
            assert name in files or any(re.search(rf"\b{name}\b", text) for text in texts), line
