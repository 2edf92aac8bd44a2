"""The words of the status object that all views share."""

from __future__ import annotations

from typing import Any, cast

import pytest

from gwctl.session_status import Status, account_words, typed


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({}, ""),
        ({"sandbox": True, "mode": "live", "username": None}, "SANDBOX"),
        ({"mode": "paper", "username": "paper123"}, "PAPER · paper123"),
        ({"mode": "live", "username": "trader1"}, "LIVE, real money · trader1"),
        ({"mode": "live", "username": "trader1", "show_username": False}, "LIVE, real money"),
        ({"mode": "paper", "username": None}, "PAPER"),
        ({"mode": "", "username": None}, ""),
    ],
)
def test_the_account_in_words(known: dict[str, Any], words: str) -> None:
    """Kind and user; live cannot be overlooked, a hidden user is not there, an earlier supervisor says nothing."""
    assert account_words(cast("Status", known)) == words


def test_the_command_to_type_names_the_profile() -> None:
    """But not the default one."""
    assert (typed("default", "up"), typed("live", "up")) == ("gwctl up", "gwctl --profile live up")
