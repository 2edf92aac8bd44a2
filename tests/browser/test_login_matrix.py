"""Every known page, second factor and ending of IBKR's login, in a real Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import login_matrix as matrix
import login_rig as rig
import pytest
from login_matrix_cell import job_of, record, stage

from gwctl.login.outcome import LoginOutcome
from gwctl.sandbox.ibkr import RunningStandIn

pytestmark = pytest.mark.browser


VARIANTS = {
    *("legacy-totp-success", "legacy-sms, choice-success", "legacy-none-banner", "legacy-none-form never"),
    *("legacy-app, wrong code-refused twice", "second load-none-success", "two-step-none-success"),
    *("current-channel, e-mail-success", "current-app, none-not given", "current-push, totp-not given"),
    *("current-none-IBKR down", "form after 10 s-none-success", "current-push, challenge-success"),
}
"""Cells whose halves others play, for the soak: the page with another question, and the question on another page."""


class Cells:
    """What all cells share: one browser, and a gateway for each kind of account."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._places = rig.Places(folder, stack)
        self.chromium = stack.enter_context(rig.one_browser(self._places.key.pin, folder))

    def fresh(self, case: matrix.Case) -> tuple[RunningStandIn, str]:
        """Return the fake IBKR and the gateway's address for a cell."""
        secret = matrix.TOTP_SECRET if case.factor.totp else None
        ibkr, url = self._places.fresh(case.variant.mode, secret, **case.variant.page)
        stage(case, ibkr)
        return ibkr, url


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cells]:
    """Yield what all cells share."""
    with ExitStack() as stack:
        yield Cells(tmp_path_factory.mktemp("cells"), stack)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=str(case), marks=pytest.mark.wide if str(case).replace("_", " ") in VARIANTS else ())
        for case in matrix.by_code(matrix.cases())
    ],
)
def test_every_cell_ends_as_it_should(
    case: matrix.Case, cells: Cells, record_property: Callable[[str, object], None]
) -> None:
    """With any page and any question, the login has exactly the cell's outcome, after one submit."""
    ibkr, url = cells.fresh(case)
    login = cells.chromium.log_in(job_of(case, url), answer=case.factor.reply)
    said = (login.report.text, [step.name for step in login.steps], ibkr.state.desk.submits)
    assert login.report.outcome is case.ending.outcome, said
    assert (login.report.submits, login.permits) == (case.ending.submits, case.ending.submits), said
    assert tuple(question.kind for question in login.questions) == case.factor.asked, said
    ended_well = case.ending.outcome is LoginOutcome.SUCCESS
    assert bool(login.report.cookies) is ended_well
    assert any(submit.outcome == "success" for submit in ibkr.state.desk.submits) is ended_well, said
    record(record_property, case, login, gateway="stand-in")
