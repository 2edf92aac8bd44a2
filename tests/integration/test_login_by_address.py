"""`gwctl login --manual` without a display: it prints the URL, and a person logs in with their own browser."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from chaos.worlds import plain_release
from cli_fakes import RealHome, one_line_with_hint
from hand_fakes import a_live_home, kinds
from rig import Done, wait_for

from gwctl.credentials import Secret
from gwctl.gateway.keystore import ensure_leaf
from gwctl.login.browser import find_browser
from gwctl.login.outcome import LoginJob, LoginOutcome, LoginReport
from gwctl.login.worker_client import LoginWorker
from gwctl.paths import Paths

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

NO_DISPLAY = {"DISPLAY": "", "WAYLAND_DISPLAY": ""}


def own_browser(home: RealHome) -> LoginReport:
    """Log in to the live account as a person does with their own browser, unknown to gwctl."""
    pin = ensure_leaf(Paths.for_profile("default", home.home)).spki_pin_base64
    job = LoginJob(f"https://localhost:{home.port}", home.account.username, Secret(home.account.password), mode="live")

    async def run() -> LoginReport:
        async def always() -> bool:
            return True

        folder = home.folder / "own browser"
        async with LoginWorker.start(find_browser(None, os.environ), pin, folder, environ=os.environ) as worker:
            return await worker.run(job, lambda _step: None, always)

    return asyncio.run(run())


@contextmanager
def address_printed(home: RealHome, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start a login by hand and yield it once it has printed the URL."""
    call = home.start("login", "--manual", *options, **NO_DISPLAY)
    assert call.stderr is not None
    line = next((line for line in call.stderr if line.startswith("open ")), "")
    assert line.startswith(f"open https://localhost:{home.port}/ in a browser and log in there")
    assert str(home.home / "ca" / "ca.pem") in line
    yield call
    assert call.poll() is not None


def ended(call: subprocess.Popen[str]) -> Done:
    """Return how a call has ended."""
    stdout, stderr = call.communicate(timeout=90)
    return Done(call.returncode, stdout, stderr)


def test_a_person_logs_in_elsewhere(tmp_path: Path) -> None:
    """The call waits until the supervisor notices the person's login, and returns with the session ready."""
    release = plain_release(tmp_path / "plain.zip")
    with a_live_home(tmp_path, release) as home, address_printed(home) as call:
        assert own_browser(home).outcome is LoginOutcome.SUCCESS
        assert ended(call).check(0).stdout == "logged in\n"
        assert home.status()["phase"] == "ready"
        assert kinds(home) == {"supervisor", "gateway", "front"}
        assert home.submits() == 1


def test_nobody_comes(tmp_path: Path) -> None:
    """No other call logs in meanwhile (law 1); after the timeout it exits with 75 and stops what was started."""
    with a_live_home(tmp_path, plain_release(tmp_path / "plain.zip")) as home:
        with address_printed(home, "--timeout", "5") as call:
            secrets = {"GWCTL_USERNAME": home.account.username, "GWCTL_PASSWORD": home.account.password}
            text = one_line_with_hint(home.gwctl("up", **secrets).check(75))
            assert "waiting for a login by hand" in text
            assert home.submits() == 0
            done = ended(call).check(75)
        assert one_line_with_hint(done) == "timed out waiting for the login\ngwctl login --manual --timeout 600"
        assert home.left() == []


@pytest.mark.wide
def test_the_person_logs_in_to_an_account_of_the_other_kind(tmp_path: Path) -> None:
    """A live login in a paper profile is 77 `wrong_mode`, logged out at IBKR, and nothing is left running."""
    release = plain_release(tmp_path / "plain.zip")
    with a_live_home(tmp_path, release, mode="paper") as home, address_printed(home, "--json") as call:
        assert own_browser(home).outcome is LoginOutcome.SUCCESS
        error = ended(call).check(77).envelope["error"]
        assert error["code"] == "wrong_mode"
        assert "the account is live, but the profile says paper" in error["message"]
        assert home.left() == []
        assert home.stand_in.state.sessions.summary()["sso"] == []


@pytest.mark.wide
def test_a_supervisor_that_ran_before_goes_on(tmp_path: Path) -> None:
    """If nobody came, a supervisor that would have logged in by itself does so again."""
    with a_live_home(tmp_path, plain_release(tmp_path / "plain.zip")) as home:
        secrets = {"GWCTL_USERNAME": home.account.username, "GWCTL_PASSWORD": home.account.password}
        home.gwctl("up", **secrets, GWCTL_CHECK_INTERVAL_S="1").check(0)
        ibkr = home.stand_in.state
        ibkr.set_scenario("html_503", on=True, parameters={})
        wait_for(lambda: home.status()["phase"] == "degraded", 30, "IBKR is ill")
        home.gwctl("login", "--manual", "--timeout", "1", **NO_DISPLAY).check(75)
        wait_for(lambda: home.status()["phase"] != "locked_out", 10, "nobody is waited for any more")
        ibkr.set_scenario("html_503", on=False, parameters={})
        wait_for(lambda: home.status()["ready"], 30, "ready again")
        assert home.submits() == 1


def test_a_call_that_is_killed_is_not_waited_for(tmp_path: Path) -> None:
    """After a broken connection or kill -9 the supervisor notices that, and logs in by itself again."""
    with a_live_home(tmp_path, plain_release(tmp_path / "plain.zip")) as home:
        secrets = {"GWCTL_USERNAME": home.account.username, "GWCTL_PASSWORD": home.account.password}
        home.gwctl("up", **secrets, GWCTL_CHECK_INTERVAL_S="1").check(0)
        ibkr = home.stand_in.state
        ibkr.set_scenario("html_503", on=True, parameters={})
        wait_for(lambda: home.status()["phase"] == "degraded", 30, "IBKR is ill")
        with address_printed(home) as call:
            wait_for(lambda: home.status()["phase"] == "locked_out", 10, "the loop makes way")
            call.kill()
            ended(call)
        wait_for(lambda: home.status()["phase"] != "locked_out", 5, "its end is seen")
        ibkr.set_scenario("html_503", on=False, parameters={})
        wait_for(lambda: home.status()["ready"], 30, "ready again")


def test_budgets_outlive_a_reboot_and_a_sandbox(tmp_path: Path) -> None:
    """SIGTERM, systemd's `gwctl down` and a sandbox run keep spent budgets; a person's `gwctl down` clears them."""
    with a_live_home(tmp_path, plain_release(tmp_path / "plain.zip")) as home:
        secrets = {"GWCTL_USERNAME": home.account.username, "GWCTL_PASSWORD": home.account.password}
        budgets = home.profile_dir / "budgets.json"

        def spent() -> int:
            return len(json.loads(budgets.read_text())["spent"]["login"]) if budgets.exists() else 0

        up = home.gwctl("up", "--json", **secrets).check(0).envelope["data"]
        assert spent() == 1
        os.kill(up["supervisor"]["pid"], signal.SIGTERM)
        wait_for(lambda: not home.left(), 30, "the supervisor ends as on a reboot")
        assert spent() == 1
        home.gwctl("up", **secrets).check(0)
        assert home.status()["budget"]["login"]["hour"] == 2
        home.gwctl("down", SERVICE_RESULT="success").check(0)
        assert spent() == 2
        home.gwctl("up", "--sandbox").check(0)
        home.gwctl("down").check(0)
        assert spent() == 2
        home.gwctl("up", **secrets).check(0)
        home.gwctl("down").check(0)
        assert spent() == 0
