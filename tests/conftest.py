"""What every test shares."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

# Fakes are imported by name from any test folder; so are the packages chaos and simulation.
sys.path[:0] = [str(Path(__file__).parent / "fakes"), str(Path(__file__).parent)]


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a script, we ignore Ctrl-C, and what we start would too: tests send it for real.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # The same under nohup.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


LONGEST_FIRST = (
    "test_supervisor_core_machine",
    "test_login_matrix",
    "test_login_grammar",
    "test_login_canary",
    "test_unattended_real",
)
"""A module that takes minutes and is begun last keeps one worker busy while the others have nothing left to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; the order is else as it was."""
    place = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_a_person() -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in [name for name in os.environ if name.startswith("GWCTL_") and not name.startswith("GWCTL_TEST_")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def real_release_zip() -> Path:
    """Return the real Standard Release; without it a test fails, for a skipped test did not run."""
    named = os.environ.get("GWCTL_TEST_RELEASE_ZIP")
    if not named or not Path(named).is_file():
        pytest.fail("GWCTL_TEST_RELEASE_ZIP does not name the release: run scripts/test")
    return Path(named)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the login's matrix, if it was played: for each cell the seconds from the first page to the login's end."""
    told: dict[str, dict[tuple[str, str, str], str]] = {}
    for how, word in (("passed", ""), ("failed", "FAILED ")):
        for report in terminalreporter.stats.get(how, []):
            for name, value in getattr(report, "user_properties", []):
                if name == "login_matrix":
                    gateway, variant, factor, ending, took_s = value
                    told.setdefault(gateway, {})[variant, factor, ending] = f"{word}{took_s:.1f} s"
    if not told:
        return
    from login_matrix_table import results

    for gateway, cells in sorted(told.items()):
        terminalreporter.section(f"logins through the {gateway} gateway: {len(cells)}")
        terminalreporter.write_line(results(cells))
