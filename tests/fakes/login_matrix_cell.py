"""One cell of the login's matrix: the fake IBKR's setup, the login's task, and the result for the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import login_matrix as matrix
import login_rig as rig

from gwctl.login.outcome import LoginJob
from gwctl.login.page_state import Patience
from gwctl.sandbox.ibkr import RunningStandIn

SHORT = Patience(form_s=1.5)


def job_of(case: matrix.Case, url: str) -> LoginJob:
    """Return the login of a cell."""
    wishes: dict[str, Any] = {"mode": case.variant.mode} | dict(case.ending.job)
    patience = SHORT if wishes.pop("short", False) else matrix.QUICK
    if case.variant is matrix.LATE:
        patience = Patience()
    return rig.job(
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
    """Set up the fake IBKR for a cell."""
    if case.factor.scenario is not None:
        ibkr.state.set_scenario("second_factor", on=True, parameters=dict(case.factor.scenario))
    for name, parameters in case.ending.scenarios.items():
        ibkr.state.set_scenario(name, on=True, parameters=dict(parameters))


def record(tell: Callable[[str, object], None], case: matrix.Case, login: rig.Login, *, gateway: str) -> None:
    """Pass a cell's result on to the table at the end of the run."""
    took_s = round(login.report.durations_ms["total"] / 1000, 2)
    tell("login_matrix", [gateway, case.variant.name, case.factor.name, case.ending.name, took_s])
