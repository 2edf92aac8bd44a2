"""Attacks on what a crash leaves: dumps of memory hold the password, session keys and cookies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cli_fakes import RealHome, a_real_home, wait_for
from warm_calls import PROGRAM

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, real_release_zip: Path) -> Iterator[RealHome]:
    """Return a home whose session was brought up from a shell that allows core dumps of any size."""
    with a_real_home(tmp_path_factory.mktemp("real"), real_release_zip) as home:
        home.variables["GWCTL_PASSWORD"] = home.account.password
        done = dumping(home, "up")
        assert done.returncode == 0, done.stderr
        yield home


def dumping(home: RealHome, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run one call of gwctl in a shell with `ulimit -c unlimited`."""
    return subprocess.run(
        ["prlimit", "--core=unlimited:unlimited", *PROGRAM, *argv],
        env=home.environment(),
        cwd=home.folder,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def limit(pid: int) -> int:
    """Return how many bytes of memory the system writes to disk when a process crashes."""
    found = re.search(r"Max core file size +(\w+)", Path(f"/proc/{pid}/limits").read_text())
    assert found is not None
    return int(found[1])  # fails for `unlimited`


def dumps(home: RealHome) -> list[Path]:
    """Return what crashes left, wherever a process of ours may have worked."""
    return [one for one in home.folder.rglob("*") if re.match(r"core(\.\d+)?$|hs_err_pid|replay_pid", one.name)]


def test_nothing_of_ours_dumps_its_memory(real: RealHome) -> None:
    """The supervisor, run.sh, Java and the front have the limit at which Linux also feeds no collector of dumps."""
    limits = {process.pid: limit(process.pid) for process in real.processes()}
    assert len(limits) >= 4
    assert set(limits.values()) <= {0, 1}


def test_a_command_gets_the_limit_of_its_caller(real: RealHome) -> None:
    """What `exec` runs is the user's own: it dumps as it would without gwctl."""
    done = dumping(real, "exec", "--", "sh", "-c", "ulimit -c")
    assert (done.returncode, done.stdout.strip()) == (0, "unlimited"), done.stderr


def test_java_shows_other_users_no_counters(real: RealHome) -> None:
    """A JVM as shipped writes its class names and counters to a folder in /tmp."""
    (java,) = [one for one in real.processes() if one.name() == "java"]
    assert not list(Path("/tmp").glob(f"hsperfdata_*/{java.pid}"))  # noqa: S108 - where Java writes


def test_a_crashed_gateway_leaves_no_memory(real: RealHome) -> None:
    """Java's own crash report, with the stack's content, is deleted at the next start, and the journal says so."""
    status, entries = real.status(), len(real.journal())
    os.kill(status["gateway"]["pid"], signal.SIGSEGV)
    wait_for(lambda: real.status()["gateway"]["pid"] != status["gateway"]["pid"], 60, "a new gateway")
    real.gwctl("wait").check(0)
    warned = [one for one in real.journal()[entries:] if one.get("code") == "crash_reports"]
    assert f"hs_err_pid{status['gateway']['pid']}.log" in warned[0]["text"]
    assert dumps(real) == []


def test_a_crashed_supervisor_leaves_no_memory(real: RealHome) -> None:
    """It holds the password, and the kernel would write it to its working folder."""
    pid = real.status()["supervisor"]["pid"]
    where = psutil.Process(pid).cwd()
    os.kill(pid, signal.SIGABRT)
    wait_for(lambda: not psutil.pid_exists(pid), 10, "the supervisor is gone")
    assert dumps(real) == []
    assert not [one for one in Path(where).iterdir() if re.match(r"core(\.\d+)?$", one.name)]
    real.gwctl("up").check(0)
