"""TOTP codes on a machine with a wrong clock: IBKR's clock, which every page sends, decides."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import login_matrix as matrix
import login_rig as rig
import pytest

from gwctl.login.codes import Method
from gwctl.login.outcome import LoginOutcome
from gwctl.sandbox.account_settings import Account, PageOptions, StandInConfig
from gwctl.sandbox.ibkr import serve_in_thread

pytestmark = pytest.mark.browser


def log_in(folder: Path, ahead_s: float) -> tuple[rig.Login, list[str]]:
    """Log in with a TOTP secret at an IBKR whose clock is ahead of this machine's."""
    with ExitStack() as stack:
        key = rig.make_key(folder)
        account = Account(rig.USERNAME, rig.PASSWORD, totp_secret=matrix.TOTP_SECRET)
        config = StandInConfig("token", account, page=PageOptions(form_delay_ms=0))
        ibkr = stack.enter_context(serve_in_thread(config, wall_clock=lambda: time.time() + ahead_s))
        url = stack.enter_context(rig.serve_gateway(ibkr.url, key, folder))
        job = rig.job(url, rig.USERNAME, rig.PASSWORD, totp_secret=matrix.TOTP_SECRET, method=Method.TOTP)
        login = rig.log_in(job, key.pin, folder / "scratch")
        return login, [submit.outcome for submit in ibkr.state.desk.submits]


@pytest.mark.parametrize(("ahead_s", "word"), [(95.0, "behind"), (-3605.0, "ahead")])
def test_a_wrong_clock_costs_no_code(tmp_path: Path, ahead_s: float, word: str) -> None:
    """The first code is right by IBKR's clock, and the steps say that this machine's clock is wrong."""
    login, submits = log_in(tmp_path, ahead_s)
    assert login.report.outcome is LoginOutcome.SUCCESS, login.report
    assert submits == ["second_factor_asked", "success"]
    said = [step.name for step in login.steps if "clock" in step.name]
    assert len(said) == 1
    assert said[0].endswith(f"s {word}")
    assert abs(float(said[0].split()[4]) - abs(ahead_s)) <= 2.0


def test_a_right_clock_is_left_alone(tmp_path: Path) -> None:
    """A header that is exact to a second corrects nothing on a machine with a right clock."""
    login, submits = log_in(tmp_path, 0.0)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert submits == ["second_factor_asked", "success"]
    assert not any("clock" in step.name for step in login.steps)
