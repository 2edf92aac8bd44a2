"""What is kept of failed logins, and that every end of a login has its explanation."""

from __future__ import annotations

import pytest

from gwctl.login.failures import EXPLANATIONS, NEVER_AUTHENTICATED
from gwctl.login.outcome import LoginOutcome


@pytest.mark.parametrize("ending", [*LoginOutcome, NEVER_AUTHENTICATED])
def test_every_ending_is_explained(ending: str) -> None:
    """Each end of a login says what happened and what to do, in words of its own."""
    what, todo = EXPLANATIONS[ending]
    assert what
    assert todo
    assert [name for name, (other, _) in EXPLANATIONS.items() if other == what] == [ending]


def test_nothing_else_is_explained() -> None:
    """An explanation is of an end that there is."""
    assert set(EXPLANATIONS) == {*LoginOutcome, NEVER_AUTHENTICATED}
