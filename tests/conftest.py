"""What every test shares."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

# Fakes are imported by name from any test folder; so are the packages chaos and simulation.
sys.path[:0] = [str(Path(__file__).parent / "fakes"), str(Path(__file__).parent)]

PROGRAMS = os.pathsep.join([os.environ.get("PATH", os.defpath), sys.prefix, "/usr/sbin"])
"""Where tests look for programs: promtool is in our environment, cron in a folder that is root's."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a script, we ignore Ctrl-C, and what we start would too: tests send it for real.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # The same under nohup.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


LONGEST_FIRST = (
    *("test_cron", "test_login_recognized_pages", "test_login_grammar", "test_login_unknown_pages"),
    *("test_environments", "test_unattended_real", "test_cli_lifecycle", "test_docs_followed", "test_login_canary"),
    *("test_login_by_hand", "test_login_matrix", "test_cli_strangers", "test_up_real", "test_core_machine"),
    "test_cli_standby",
)
"""A module that takes minutes and is begun last keeps one worker busy while the others have nothing left to do."""

# How fast values are drawn says something of the machine and of the first use of Unicode tables, nothing of a test.
settings.register_profile("gwctl", settings(), suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gwctl")

REAL = ("browser", "cli", "integration", "real_gateway")
"""The folders whose tests run real processes."""
QUICK = (
    *("test_login_standin", "test_login_matrix", "test_login_both_kinds", "test_cli_bad_input", "test_cli_profiles"),
    *("test_cli_secret", "test_cli_doctor", "test_cli_logs", "test_cli_history", "test_gateway_process"),
    *(
        "test_gateway_launch",
        "test_release_store",
        "test_release_download",
        "test_release_archive",
        "test_sandbox_ibkr",
    ),
)
"""Their modules that `scripts/test` runs. Of the others it runs the tests that show a law; `--all` runs the rest."""
BROWSERS = ("chromium-headless-shell", "google-chrome", "google-chrome-stable", "chromium", "chromium-browser")


WIDE = "GWCTL_TEST_WIDE" in os.environ
"""Set by `scripts/soak wide`: every combination of what tests combine, not a choice."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what only `scripts/test --all` runs as slow, leave out what only the soak plays, and begin with the long."""
    # What is named by its id, a word or a mark is played.
    named = config.option.keyword or any("::" in one for one in config.args)
    if not WIDE and not named and not {"wide", "each_value"} & set(config.option.markexpr.split()):
        left_out = _for_the_soak_alone(items)
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=list(left_out))
    place = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))
    for item in items:
        if item.path.parent.name in REAL and item.path.stem not in QUICK and item.get_closest_marker("law") is None:
            item.add_marker(pytest.mark.slow)


def _for_the_soak_alone(items: list[pytest.Item]) -> set[pytest.Item]:
    """Return the cases marked ``wide``, and of each test marked ``each_value`` what adds no value of a parameter."""
    tests: dict[object, list[pytest.Function]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("each_value"):
            tests.setdefault((item.path, item.originalname), []).append(item)
    left_out = {item for item in items if item.get_closest_marker("wide") and not item.get_closest_marker("law")}
    return left_out.union(*(set(cells) - _with_each_value(cells) for cells in tests.values()))


def _with_each_value(cells: list[pytest.Function]) -> set[pytest.Function]:
    """Return cells that have every value of every parameter between them, each value about as often as the others."""
    values = {cell: {(name, repr(value)) for name, value in cell.callspec.params.items()} for cell in cells}
    missing, used, chosen = set().union(*values.values()), Counter[object](), set[pytest.Function]()
    while missing:
        best = max(cells, key=lambda cell: (len(values[cell] & missing), -sum(used[one] for one in values[cell])))
        missing -= values[best]
        used.update(values[best])
        chosen.add(best)
    return chosen


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs are missing and say which; in CI, where a skipped test did not run, fail it."""
    wanted = [tuple(mark.args) for mark in item.iter_markers("needs")]
    wanted += [BROWSERS] if item.path.parent.name in REAL else []
    wanted += [("java",)] if item.get_closest_marker("real_gateway") else []
    for names in wanted:
        if not any(shutil.which(name, path=PROGRAMS) for name in names):
            _lack(f"{names[0]} is missing: scripts/set-up --tests")


def _lack(reason: str) -> NoReturn:
    """End a test that cannot run here."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def _nothing_outlives_a_kill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have what this process starts ended if it is killed: a supervisor, a browser, a screen."""
    from after_a_kill import watched

    with watched(tmp_path_factory.getbasetemp()):
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_a_person() -> None:
    """Keep the settings of whoever runs the tests out of them; no supervisor asks the internet for what is newer."""
    for name in [name for name in os.environ if name.startswith("GWCTL_") and not name.startswith("GWCTL_TEST_")]:
        del os.environ[name]
    os.environ["GWCTL_CHECK_FOR_UPDATES"] = "no"


@pytest.fixture(scope="session")
def real_release_zip() -> Path:
    """Return the real Standard Release."""
    named = os.environ.get("GWCTL_TEST_RELEASE_ZIP")
    if not named or not Path(named).is_file():
        _lack("GWCTL_TEST_RELEASE_ZIP does not name the release: run scripts/test")
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
