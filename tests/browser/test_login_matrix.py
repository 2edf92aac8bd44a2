"""Every page, second factor and ending that IBKR's login is known to have, in a real Chromium."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import login_rig as rig
import matrix
import pytest

from gwctl.login.look import Patience
from gwctl.login.outcome import LoginOutcome
from gwctl.login.session import LoginJob
from gwctl.sandbox.account import Account
from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.settings import PageOptions, StandInConfig

pytestmark = pytest.mark.browser

SHORT = Patience(form_s=1.5)


def job_of(case: matrix.Case, url: str) -> LoginJob:
    wishes: dict[str, Any] = {"mode": case.variant.mode} | dict(case.ending.job)
    patience = SHORT if wishes.pop("short", False) else matrix.QUICK
    if case.variant is matrix.LATE:
        patience = Patience()
    return LoginJob(
        base_url=url,
        username=rig.USERNAME,
        password=rig.PASSWORD,
        totp_secret=matrix.TOTP_SECRET if case.factor.totp else None,
        method=case.factor.method,
        device=case.factor.device,
        patience=patience,
        deadline_s=60.0,
        **wishes,
    )


def stage(case: matrix.Case, ibkr: RunningStandIn) -> None:
    if case.factor.scenario is not None:
        ibkr.state.set_scenario("second_factor", on=True, parameters=dict(case.factor.scenario))
    for name, parameters in case.ending.scenarios.items():
        ibkr.state.set_scenario(name, on=True, parameters=dict(parameters))


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
        began_s = time.monotonic()
        login = rig.log_in(job_of(case, url), key.pin, tmp_path / "scratch", answer=case.factor.reply)
        took_s = time.monotonic() - began_s
    said = (login.report.text, [step.name for step in login.steps], ibkr.state.desk.submits)
    assert login.report.outcome is case.ending.outcome, said
    assert (login.report.submits, login.permits) == (case.ending.submits, case.ending.submits), said
    assert tuple(question.kind for question in login.questions) == case.factor.asked, said
    ended_well = case.ending.outcome is LoginOutcome.SUCCESS
    assert bool(login.report.cookies) is ended_well
    assert any(submit.outcome == "success" for submit in ibkr.state.desk.submits) is ended_well, said
    ours_ms = login.report.durations_ms["total"]
    record_property(
        "login_matrix",
        [case.variant.name, case.factor.name, case.ending.name, round(ours_ms / 1000, 2), round(took_s, 2)],
    )
