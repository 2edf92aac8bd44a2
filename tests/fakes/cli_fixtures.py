"""Homes as fixtures, for the test folders of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_fakes import Home, a_home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield an empty home."""
    with a_home(tmp_path) as empty:
        yield empty


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home whose sandbox is ready; tests that share it leave it ready."""
    with a_home(tmp_path_factory.mktemp("sandbox")) as running:
        running.gwctl("up", "--sandbox").check(0)
        yield running
