"""A machine with the real gateway, a real browser, and a stand-in for IBKR in this process."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Rig, free_port

from gwctl.sandbox.account import Account
from gwctl.sandbox.ibkr import serve_in_thread
from gwctl.sandbox.settings import StandInConfig


@pytest.fixture
def rig(tmp_path: Path, real_release_zip: Path) -> Iterator[Rig]:
    """Yield a rig whose profile is an ordinary one; at the end everything is stopped and nothing may be left."""
    account = Account(username="reader01", password=f"canary-{secrets.token_hex(8)}")
    with serve_in_thread(StandInConfig(admin_token=secrets.token_hex(8), account=account)) as stand_in:
        rig = Rig(tmp_path, free_port(), account, stand_in)
        rig.gwctl("release", "install", str(real_release_zip)).check(0)
        try:
            yield rig
        finally:
            rig.gwctl("down")
        assert rig.processes_left() == []
