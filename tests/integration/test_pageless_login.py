"""A login at the sandbox without its page: each ending is told apart, and nothing is sent without a permit."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gwctl import process
from gwctl.config import Settings, load
from gwctl.credentials import Secret
from gwctl.environment import Environment
from gwctl.login.codes import nobody
from gwctl.login.outcome import LoginJob, LoginOutcome, LoginReport, Step
from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.settings import SANDBOX_PASSWORD, SANDBOX_USERNAME, StandInConfig
from gwctl.state_file import make_private_dir
from gwctl.supervisor.pageless_login import PagelessLogin
from gwctl.supervisor.sandbox_process import StandInRecord


@pytest.fixture
def ibkr() -> Iterator[RunningStandIn]:
    with serve_in_thread(StandInConfig(admin_token="t")) as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the settings of a profile without a gateway."""
    found = load("default", environment=Environment({"GWCTL_HOME": str(tmp_path)}))
    make_private_dir(found.paths.profile_dir)
    return found


def record(settings: Settings, port: int) -> None:
    """Record a fake IBKR of this process."""
    identity = process.identify(os.getpid())
    assert identity is not None
    StandInRecord(identity, port, "t").save(settings.paths)


def log_in(settings: Settings, *, password: str = SANDBOX_PASSWORD, permitted: bool = True) -> LoginReport:
    """Run one login to its end."""

    async def permit() -> bool:
        return permitted

    steps: list[Step] = []
    job = LoginJob("https://localhost:1", SANDBOX_USERNAME, Secret(password))
    login = PagelessLogin(settings)
    report = asyncio.run(login.run(job, steps.append, permit, nobody))
    assert login.ended is report
    assert steps == []
    return report


@pytest.mark.parametrize(
    ("scenario", "parameters", "ending"),
    [
        ("wrong_password", {}, (LoginOutcome.REFUSED, 1)),
        ("form_again", {}, (LoginOutcome.FORM_AGAIN, 1)),
        ("login_spins", {}, (LoginOutcome.TIMED_OUT, 1)),
        ("login_error", {"text": "who knows"}, (LoginOutcome.UNKNOWN_TEXT, 1)),
        ("second_factor", {"kind": "push"}, (LoginOutcome.SECOND_FACTOR_NEEDED, 1)),
        ("http_503", {}, (LoginOutcome.UPSTREAM_ILL, 0)),
        ("html_503", {}, (LoginOutcome.UPSTREAM_ILL, 0)),
    ],
)
def test_each_ending(
    ibkr: RunningStandIn,
    settings: Settings,
    scenario: str,
    parameters: dict[str, Any],
    ending: tuple[LoginOutcome, int],
) -> None:
    """A refusal is a refusal, a silence is none, and a second factor cannot be given."""
    record(settings, ibkr.port)
    ibkr.state.set_scenario(scenario, on=True, parameters=parameters)
    report = log_in(settings)
    assert (report.outcome, report.submits) == ending
    assert len(ibkr.state.desk.submits) == report.submits


def test_no_permit_no_submit(ibkr: RunningStandIn, settings: Settings) -> None:
    """Without a permit (law 2) the password is not even used for a proof."""
    record(settings, ibkr.port)
    report = log_in(settings, permitted=False)
    assert (report.outcome, report.submits, ibkr.state.desk.submits) == (LoginOutcome.CANCELLED, 0, [])


def test_a_wrong_password(ibkr: RunningStandIn, settings: Settings) -> None:
    """It is refused in the page's words."""
    record(settings, ibkr.port)
    report = log_in(settings, password="wrong")
    assert (report.outcome, report.text) == (LoginOutcome.REFUSED, "Invalid username password combination")


def test_without_a_gateway_or_a_sandbox(ibkr: RunningStandIn, settings: Settings) -> None:
    """A login that the gateway does not take, or that has nobody to talk to, is no refusal."""
    assert log_in(settings).outcome is LoginOutcome.UPSTREAM_ILL
    record(settings, ibkr.port)
    report = log_in(settings)
    assert (report.outcome, report.submits) == (LoginOutcome.UPSTREAM_ILL, 1)
    assert "gateway did not take" in report.text
