"""How the doctor runs its checks: needs, deadlines, failures of a check itself, and cleaning up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from processes import children_with
from rig import wait_for

from gwctl import process
from gwctl.doctor.case import Case, Check, Finding, State, examine, failed, ok, warning
from gwctl.environment import Environment


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case.of("default", Environment({"GWCTL_HOME": str(tmp_path)}))


def well(_case: Case) -> Iterator[Finding]:
    yield ok("well")


def ill(_case: Case) -> Iterator[Finding]:
    yield warning("hm", "do")
    yield failed("ill", "do")


def states(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(one.check, str(one.state)) for one in findings]


def test_what_needs_what_failed_is_not_checked(case: Case) -> None:
    """A check whose need failed or did not run names it; a warning is no failure; the order is kept."""
    checks = [
        Check("first", ill),
        Check("second", well, ("first",)),
        Check("third", well, ("second", "fourth")),
        Check("fourth", lambda _case: [warning("hm", "do")]),
        Check("fifth", well, ("fourth",)),
    ]
    findings = examine(case, checks)
    assert states(findings) == [
        *(("first", "warning"), ("first", "failed"), ("second", "not_checked"), ("third", "not_checked")),
        *(("fourth", "warning"), ("fifth", "ok")),
    ]
    assert findings[2].what == "needs first"
    assert findings[3].what == "needs second"


def test_checks_run_at_the_same_time(case: Case) -> None:
    """Two checks that wait for each other both finish: they run at the same time."""
    import threading

    both = threading.Barrier(2, timeout=4)

    def meet(_case: Case) -> Iterator[Finding]:
        both.wait()
        yield ok("met")

    assert states(examine(case, [Check("one", meet), Check("two", meet)])) == [("one", "ok"), ("two", "ok")]


def test_a_check_that_takes_too_long_is_given_up_with_what_it_started(case: Case) -> None:
    """After its deadline a check counts as not checked, those that need it say so, and its program is stopped."""

    def hang(_case: Case) -> Iterator[Finding]:
        process.run(["sleep", "98765"], timeout_s=60, env={"PATH": os.environ["PATH"]})
        yield ok("never")

    began_s = time.monotonic()
    findings = examine(case, [Check("slow", hang, bound_s=0.3), Check("later", well, ("slow",))])
    assert states(findings) == [("slow", "not_checked"), ("later", "not_checked")]
    assert "longer than 0.3 s" in findings[0].what
    assert time.monotonic() - began_s < 30
    assert not children_with("98765")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "/x/y"), "cannot read /x/y: Permission denied"),
        (KeyError("k"), "KeyError"),
    ],
)
def test_a_checks_own_trouble_is_its_finding(case: Case, error: Exception, said: str) -> None:
    """Any exception in a check becomes its finding, without the exception's content; the other checks run."""

    def stumble(_case: Case) -> Iterator[Finding]:
        if error:
            raise error
        yield ok("never")

    findings = examine(case, [Check("one", stumble), Check("two", well)])
    assert states(findings) == [("one", "failed"), ("two", "ok")]
    assert said in findings[0].what
    assert findings[0].remedy


INTERRUPTED = """
import sys
from pathlib import Path
from gwctl.config import Environment
from gwctl.doctor import CHECKS
from gwctl.doctor.case import Case, examine
wanted = {"home", "settings", "browser", "time_zones", "scratch"}
case = Case.of("default", Environment(eval(sys.argv[1])))
examine(case, [one for one in CHECKS if one.code in wanted])
"""


def test_ctrl_c_ends_the_browser_and_its_folder(tmp_path: Path) -> None:
    """Interrupted while the browser starts, the doctor leaves neither its process nor its folder."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    browser = tmp_path / "chrome"
    browser.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    browser.chmod(0o755)
    variables = {"GWCTL_HOME": str(tmp_path / "home"), "GWCTL_BROWSER": str(browser), "TMPDIR": str(scratch)}
    variables["PATH"] = os.environ["PATH"]
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED, repr(variables)], stderr=subprocess.PIPE)
    pid = int(wait_for(lambda: _read(tmp_path / "pid"), 30, "the browser"))
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=30)
    assert b"KeyboardInterrupt" in stderr
    # Its parent ended first: init may take a moment to collect it.
    wait_for(lambda: not psutil.pid_exists(pid), 5, "the end of the browser")
    assert list(scratch.iterdir()) == []


def _read(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


def test_state_words() -> None:
    """Scripts know the states by these names."""
    assert [str(one) for one in State] == ["ok", "warning", "failed", "not_checked"]
