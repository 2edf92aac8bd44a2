"""When the budgets are written: at each change, and only then."""

from __future__ import annotations

import json
from pathlib import Path

from msgspec.structs import replace

from gwctl.background_writer import Work
from gwctl.core.tables import Snapshot
from gwctl.supervisor.kept_budgets import KeptBudgets


def test_counts_that_did_not_change_wake_no_thread(tmp_path: Path) -> None:
    """Each check asks for them to be kept; what else it changes concerns them not."""
    waiting: list[Work] = []
    budgets = KeptBudgets(tmp_path / "budgets.json", waiting.append)
    snapshot = Snapshot(failed_logins=1)
    budgets.keep(snapshot)
    budgets.keep(replace(snapshot, reason="another one", since=5.0))
    assert len(waiting) == 1
    budgets.keep(replace(snapshot, failed_logins=2))
    assert len(waiting) == 2
    for work in waiting:
        work()
    assert json.loads((tmp_path / "budgets.json").read_text())["failed_logins"] == 2


def test_a_lost_file_is_written_again(tmp_path: Path) -> None:
    """Though the counts are the same as when it was there."""
    waiting: list[Work] = []
    budgets = KeptBudgets(tmp_path / "budgets.json", waiting.append)
    budgets.keep(Snapshot())
    budgets.lose()
    budgets.keep(Snapshot())
    assert len(waiting) == 2


def test_they_are_forgotten_after_what_was_kept_before(tmp_path: Path) -> None:
    """The file is deleted in its turn: a pending write must not bring it back."""
    waiting: list[Work] = []
    file = tmp_path / "budgets.json"
    budgets = KeptBudgets(file, waiting.append)
    budgets.keep(Snapshot(failed_logins=1))
    budgets.forget()
    assert not file.exists(), "nothing is written at once"
    assert len(waiting) == 2
    for work in waiting:
        work()
    assert not file.exists()
