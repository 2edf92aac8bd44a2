"""A machine with the real gateway, a real browser, and a stand-in for IBKR in this process."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Rig, a_rig

from gwctl.sandbox.settings import Account


@pytest.fixture
def rig(tmp_path: Path, real_release_zip: Path) -> Iterator[Rig]:
    """Yield a rig with a paper user."""
    account = Account(username="reader01", password=f"canary-{secrets.token_hex(8)}")
    with a_rig(tmp_path, real_release_zip, account) as rig:
        yield rig
