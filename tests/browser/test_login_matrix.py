"""Every page, second factor and ending that IBKR's login is known to have, in a real Chromium."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import login_matrix as matrix
import login_rig as rig
import pytest
from login_matrix_cell import job_of, record, stage

from gwctl.login.outcome import LoginOutcome
from gwctl.sandbox.account import Account
from gwctl.sandbox.ibkr import serve_in_thread
from gwctl.sandbox.settings import PageOptions, StandInConfig

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("case", matrix.cases(), ids=str)
def test_every_cell_ends_as_it_should(
    case: matrix.Case, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Whatever the page looks like and asks for, the login ends in the one outcome that this is, after one submit."""
    with ExitStack() as stack:
        key = rig.make_key(tmp_path)
        secret = matrix.TOTP_SECRET if case.factor.totp else None
        account = Account(rig.USERNAME, rig.PASSWORD, mode=case.variant.mode, totp_secret=secret)
        page = PageOptions(**{"form_delay_ms": 0, "cookie_dialog": False} | dict(case.variant.page))
        ibkr = stack.enter_context(serve_in_thread(StandInConfig("token", account, page=page)))
        url = stack.enter_context(rig.serve_gateway(ibkr.url, key, tmp_path))
        stage(case, ibkr)
        login = rig.log_in(job_of(case, url), key.pin, tmp_path / "scratch", answer=case.factor.reply)
    said = (login.report.text, [step.name for step in login.steps], ibkr.state.desk.submits)
    assert login.report.outcome is case.ending.outcome, said
    assert (login.report.submits, login.permits) == (case.ending.submits, case.ending.submits), said
    assert tuple(question.kind for question in login.questions) == case.factor.asked, said
    ended_well = case.ending.outcome is LoginOutcome.SUCCESS
    assert bool(login.report.cookies) is ended_well
    assert any(submit.outcome == "success" for submit in ibkr.state.desk.submits) is ended_well, said
    record(record_property, case, login, gateway="stand-in")
