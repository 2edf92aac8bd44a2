"""The evidence of failed logins, and an explanation for every ending of a login."""

from __future__ import annotations

import pytest

from gwctl.login.failures import NEVER_AUTHENTICATED, ending_of
from gwctl.login.outcome import LoginOutcome


@pytest.mark.parametrize("ending", [*LoginOutcome, NEVER_AUTHENTICATED])
def test_every_ending_is_explained(ending: str) -> None:
    """Each ending has its own text for what happened, and what to do."""
    explained = {name: ending_of(name) for name in (*LoginOutcome, NEVER_AUTHENTICATED)}
    mine = explained[ending]
    assert mine is not None
    assert mine.text
    assert mine.remedy
    assert [name for name, other in explained.items() if other is not None and other.text == mine.text] == [ending]


def test_an_ending_of_another_version_is_not_explained() -> None:
    """A name that this version does not know has no explanation, and raises nothing."""
    assert ending_of("gone_fishing") is None
