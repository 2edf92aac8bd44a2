"""A gateway that ends again and again, with real processes: no restart waits for a budget."""

from __future__ import annotations

import json
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from chaos.worlds import plain_release
from cli_fakes import RealHome
from hand_fakes import a_live_home
from rig import wait_for

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def _ready_since(home: RealHome, entries: int) -> bool:
    """Say whether the journal names a ready session after so many entries."""
    return any(one.get("phase") == "ready" for one in home.journal()[entries:])


def test_thirteenth_restart_of_an_hour_comes_at_once(tmp_path: Path) -> None:
    """Twelve restarts within the hour are on disk; the next gateway that is killed is back at once, told of once."""
    with a_live_home(tmp_path, plain_release(tmp_path / "plain.zip")) as home:
        secrets = {"GWCTL_USERNAME": home.account.username, "GWCTL_PASSWORD": home.account.password}
        spent = {"restart": [time.time() - 240.0 * number for number in range(12, 0, -1)]}
        home.profile_dir.mkdir(parents=True, mode=0o700, exist_ok=True)
        file = home.profile_dir / "budgets.json"
        file.write_text(json.dumps({"spent": spent, "calm_at": time.time() - 7200.0}))
        file.chmod(0o600)
        home.gwctl("up", **secrets).check(0)
        for times in (1, 2):
            entries = len(home.journal())
            os.kill(home.status()["gateway"]["pid"], signal.SIGKILL)
            wait_for(
                partial(_ready_since, home, entries),
                30,
                "ready again",
            )
            told = [one for one in home.journal() if one.get("code") == "restarted_often"]
            assert len(told) == 1, f"told of once, after {times}"
        assert home.submits() == 1
