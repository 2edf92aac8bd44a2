from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cli_fakes import a_home, a_real_home
from rig import wait_for

from gwctl.testing.gateway import Run, Trouble

pytest_plugins = ["pytester"]

BEGUN_WITHIN_S = 120
ALONE = ["-p", "no:cacheprovider", "-p", "gwctl.testing.plugin"]
XDIST = ["-p", "xdist.plugin", "-n", "2", "--dist", "each"]
"""For runs without installed plugins, whose import takes longer than the run."""
ON_SANDBOX = """
    import json, os, pathlib, ssl
    import httpx, pytest

    def test_client(ibkr_gateway):
        assert ibkr_gateway.is_sandbox
        assert ibkr_gateway.base_url == f"https://localhost:{ibkr_gateway.port}/v1/api"
        assert ibkr_gateway.client.get("/portfolio/accounts").json()[0]["id"].startswith("DU")
        assert ibkr_gateway.variables["GWCTL_CA_FILE"] == str(ibkr_gateway.ca_file)

    def test_verified(ibkr_gateway):
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(ibkr_gateway.base_url + "/tickle", trust_env=False)

    def test_faults(ibkr_gateway):
        with ibkr_gateway.sandbox.fault("http_503"):
            assert ibkr_gateway.client.post("/tickle").status_code == 503
        ibkr_gateway.wait_ready()
        assert len(ibkr_gateway.sandbox.state()["login"]["submits"]) == 1

    def test_fails(ibkr_gateway):
        raise AssertionError("on purpose")

    def test_never_reached():
        raise AssertionError("not with -x")
"""
SHARED = """
    import os, pathlib, pytest

    @pytest.mark.parametrize("number", range(6))
    def test_shared(ibkr_gateway, number):
        assert ibkr_gateway.client.post("/tickle").status_code == 200
        with open(os.environ["SEEN"], "a") as seen:
            seen.write(f"{os.environ['PYTEST_XDIST_WORKER']} {ibkr_gateway.port}\\n")
        if number == 0 and ibkr_gateway.is_sandbox:
            assert len(ibkr_gateway.sandbox.state()["login"]["submits"]) == 1
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the environment of this run out of the inner runs, and the gateway's pause after a login short."""
    for name in [name for name in os.environ if name.startswith(("PYTEST_", "COV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GWCTL_AUTH_DELAY_MS", "100")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def left(folder: Path) -> list[str]:
    """Return the living processes that work below ``folder``, except pytest runs and this process."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            works_there = process.status() != psutil.STATUS_ZOMBIE and process.cwd().startswith(str(folder))
            if works_there and process.pid != os.getpid() and "pytest" not in process.cmdline():
                found.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
    return found


@pytest.fixture
def inner(pytester: pytest.Pytester) -> Iterator[pytest.Pytester]:
    """Yield a folder for an inner run; afterwards nothing may be left running."""
    yield pytester
    wait_for(lambda: not left(pytester.path), 30, f"nothing is left: {left(pytester.path)}")


def test_a_run_on_the_sandbox(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixture has a verified client and sandbox controls; with -x, too, everything ends within the run."""
    inner.makepyfile(ON_SANDBOX)
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    done = inner.runpytest_subprocess("-x", "-p", "no:cacheprovider")
    done.assert_outcomes(passed=3, failed=1)
    done.stdout.no_fnmatch_line("*Warning*")
    assert left(inner.path) == []


@pytest.mark.wide
def test_workers_share_one(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of pytest-xdist share one gateway and one login; the gateway stops at the end of the run."""
    inner.makepyfile(SHARED)
    monkeypatch.setenv("SEEN", str(inner.path / "seen"))
    inner.runpytest_subprocess(*ALONE, *XDIST).assert_outcomes(passed=12)
    seen = {tuple(line.split()) for line in (inner.path / "seen").read_text().splitlines()}
    assert {worker for worker, _ in seen} == {"gw0", "gw1"}
    assert len({port for _, port in seen}) == 1
    assert left(inner.path) == []


def test_within_exec_it_is_that_session(inner: pytest.Pytester, tmp_path: Path) -> None:
    """Under `gwctl exec`, the fixture is that session, for any profile, and exec brings it down."""
    inner.makepyfile("""
        import os

        def test_same(ibkr_gateway):
            assert ibkr_gateway.base_url == os.environ["GWCTL_BASE_URL"]
            assert ibkr_gateway.is_sandbox
            assert ibkr_gateway.session.status()["profile"] == "other"
            ibkr_gateway.sandbox.on("slow", delay_ms=1)
    """)
    with a_home(tmp_path, GWCTL_PROFILE="other") as home:
        argv = [sys.executable, "-m", "pytest", *ALONE, str(inner.path)]
        done = home.gwctl("--profile", "other", "exec", "--sandbox", "--", *argv, GWCTL_PROFILE=None)
        assert done.exit_code == 0, done.stdout
        assert home.left() == []


def test_a_start_that_fails_is_one_line(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing start gives one line with a hint and no traceback."""
    monkeypatch.setenv("GWCTL_BROWSER", "/nowhere/chromium")
    inner.makepyfile("def test_one(ibkr_gateway): pass", test_two="def test_two(ibkr_gateway): pass")
    done = inner.runpytest_subprocess(*ALONE)
    done.assert_outcomes(errors=2)
    told = [line for line in done.outlines if "nowhere" in line and not line.startswith("ERROR")]
    assert len(told) == 2
    assert all(line.startswith("gwctl: ") and "; try: " in line for line in told), told
    done.stdout.no_fnmatch_line("*Traceback*")
    done.stdout.no_fnmatch_line("*testing/gateway.py*")


@pytest.mark.parametrize("option", [["--ibkr-fast"], ["-o", "ibkr_fast=true"]], ids=["option", "ini"])
def test_a_fast_run_needs_no_browser(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, option: list[str]
) -> None:
    """Where there is no browser, a fast sandbox starts all the same, by option or by pytest.ini."""
    monkeypatch.setenv("GWCTL_BROWSER", "/nowhere/chromium")
    inner.makepyfile("def test_one(ibkr_gateway): assert ibkr_gateway.client.get('/iserver/accounts').is_success")
    inner.runpytest_subprocess(*ALONE, *option).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("variables", "options", "told"),
    [
        ({"GWCTL_USERNAME": "u", "GWCTL_PASSWORD": "p", "GWCTL_MODE": "live"}, [], "not run on a live account"),
        ({}, ["--ibkr-paper"], "no username"),
        ({}, ["--ibkr-paper", "--ibkr-fast"], "only the sandbox allows"),
        ({}, ["-o", "ibkr_account=life"], "ibkr_account is 'life'"),
        ({}, ["-o", "ibkr_timeout=long"], "ibkr_timeout is 'long'"),
    ],
)
def test_what_is_refused(
    inner: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    options: list[str],
    told: str,
) -> None:
    """A live account, a paper account without a name, and invalid settings give errors of one line."""
    monkeypatch.setenv("GWCTL_HOME", str(inner.path / "home"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    inner.makepyfile("def test_one(ibkr_gateway): pass")
    done = inner.runpytest_subprocess(*ALONE, *options)
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines([f"gwctl: *{told}*; try: *"])


def test_a_paper_account_is_not_for_each_worker(tmp_path: Path) -> None:
    """A username has one session (law 1), so workers must share it."""
    with pytest.raises(Trouble, match="workers must share it"):
        Run.plan(account="paper", timeout_s=1, folder=tmp_path, pid=os.getpid(), apart=True)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.wide)])
def test_a_run_is_ended(inner: pytest.Pytester, number: signal.Signals) -> None:
    """An interrupted or killed run leaves nothing running, even in the middle of a test."""
    inner.makepyfile("""
        import pathlib, time

        def test_long(ibkr_gateway):
            pathlib.Path("begun").write_text("")
            time.sleep(100)
    """)
    argv = [sys.executable, "-m", "pytest", *ALONE, "--basetemp", str(inner.path / "base")]
    with subprocess.Popen(argv, cwd=inner.path, stdout=subprocess.DEVNULL, start_new_session=True) as run:
        try:
            wait_for((inner.path / "begun").exists, BEGUN_WITHIN_S, "the test has begun")
            assert left(inner.path) != []
            run.send_signal(number)
            assert run.wait(60) == (2 if number == signal.SIGINT else -number)
        finally:
            run.kill()
    if number == signal.SIGINT:
        assert left(inner.path) == []


def test_unused_it_costs_nothing(inner: pytest.Pytester) -> None:
    """A run that does not use the fixture imports the plugin and no other module of ours."""
    inner.makepyfile("""
        import sys

        def test_modules(request):
            assert request.config.pluginmanager.has_plugin("gwctl.testing.plugin")
            ours = {name for name in sys.modules if name.startswith("gwctl")}
            assert ours == {"gwctl", "gwctl.version", "gwctl.testing", "gwctl.testing.plugin"}
            large = {"httpx", "click", "filelock", "psutil", "cryptography", "playwright", "ssl"}
            assert not large & set(sys.modules)
    """)
    inner.runpytest_subprocess(*ALONE).assert_outcomes(passed=1)


@pytest.mark.real_gateway
@pytest.mark.browser
@pytest.mark.timeout(240)
def test_workers_share_a_paper_account(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, real_release_zip: Path
) -> None:
    """With credentials it is the paper account on the real gateway: one login for all workers (law 1)."""
    inner.makepyfile(SHARED)
    with a_real_home(tmp_path, real_release_zip) as home:
        for name, value in {**home.variables, "GWCTL_PASSWORD": home.account.password}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SEEN", str(inner.path / "seen"))
        inner.runpytest_subprocess(*ALONE, *XDIST).assert_outcomes(passed=12)
        assert home.submits() == 1
        assert home.left() == []
        assert (inner.path / "seen").read_text().count(f" {home.port}\n") == 12
