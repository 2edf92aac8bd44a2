"""The evidence of failed logins, and an explanation for every ending of a login."""

from __future__ import annotations

import pytest

from gwctl.login.failures import EXPLANATIONS, NEVER_AUTHENTICATED
from gwctl.login.outcome import LoginOutcome


@pytest.mark.parametrize("ending", [*LoginOutcome, NEVER_AUTHENTICATED])
def test_every_ending_is_explained(ending: str) -> None:
    """Each ending has its own text for what happened and what to do."""
    what, todo = EXPLANATIONS[ending]
    assert what
    assert todo
    assert [name for name, (other, _) in EXPLANATIONS.items() if other == what] == [ending]


def test_nothing_else_is_explained() -> None:
    """Every explanation is for an existing ending."""
    assert set(EXPLANATIONS) == {*LoginOutcome, NEVER_AUTHENTICATED}
