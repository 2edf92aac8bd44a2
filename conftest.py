"""Keep a run of another project, in whose folder a clone of this one is, from collecting the tests of this one."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Ignore everything here unless this folder is the root of the run."""
    return None if config.rootpath == Path(__file__).parent else True
