"""A browser never outlives its login (law 7), and no secret leaves the pipe (law 8)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import login_rig as rig
import psutil
import pytest
from processes import words_of

from gwctl.login.outcome import LoginOutcome, LoginReport, Step
from gwctl.login.page_state import Patience
from gwctl.login.worker_client import LoginWorker

pytestmark = [pytest.mark.law(7), pytest.mark.browser]

# The form's POST gets no answer, so that a login stays at this point while a test looks at it.
HANGING = """<body><form id="f"><input id="xyz-field-username"><input id="xyz-field-password" type="password">
<button class="xyz-button-login">Login</button></form><script>
document.getElementById("f").addEventListener("submit", (e) => { e.preventDefault();
  fetch("/sso/Authenticator", {method: "POST", body: "x"}); });
</script></body>"""


def mentions(folder: Path) -> list[int]:
    """Return the processes that work in ``folder`` or have it in their command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            if str(folder) in " ".join(process.cmdline()) or process.cwd().startswith(str(folder)):
                found.append(process.pid)
    return found


def wait_until(fact: Callable[[], bool], deadline_s: float = 10.0) -> None:
    end_s = time.monotonic() + deadline_s
    while not fact():
        assert time.monotonic() < end_s, "the fact did not come true in time"
        time.sleep(0.02)  # between two checks, until the deadline


class Running:
    """A login that hangs after its submit."""

    def __init__(self, worker: LoginWorker, task: asyncio.Task[LoginReport]) -> None:
        self.worker = worker
        self.task = task

    @property
    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.worker.pid).children(recursive=True)


@pytest.fixture
def url_and_pin(tmp_path: Path) -> Iterator[tuple[str, str]]:
    key = rig.make_key(tmp_path)
    page = rig.PageServer(HANGING)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/sso/Authenticator":
            await asyncio.Event().wait()
        await page(scope, receive, send)

    with rig.serve(lambda _port: app, key) as url:
        yield url, key.pin


@contextlib.asynccontextmanager
async def hanging_login(url_and_pin: tuple[str, str], scratch: Path, **changes: Any) -> AsyncIterator[Running]:
    """Start a login and yield once its password is submitted."""
    url, pin = url_and_pin
    submitted = asyncio.Event()

    def on_step(step: Step) -> None:
        if step.name == "submitted":
            submitted.set()

    job = rig.job(
        url, rig.USERNAME, rig.PASSWORD, totp_secret="JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", evidence_dir=scratch / "kept",
        **{"patience": Patience(answer_s=60.0)} | changes,
    )  # fmt: skip
    async with LoginWorker.start(rig.browser(), pin, scratch, environ=os.environ) as worker:
        task = asyncio.create_task(worker.run(job, on_step, lambda: asyncio.sleep(0, result=True)))
        async with asyncio.timeout(30):
            await submitted.wait()
        yield Running(worker, task)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_killed_worker_leaves_no_browser(url_and_pin: tuple[str, str], tmp_path: Path) -> None:
    """Kill -9 of the worker: the login ends as failed, and no process with its folder is left."""

    async def run() -> tuple[LoginReport, Path]:
        async with hanging_login(url_and_pin, tmp_path) as login:
            assert len(mentions(login.worker.folder)) > 3
            os.kill(login.worker.pid, signal.SIGKILL)
            return await asyncio.wait_for(login.task, 10), login.worker.folder

    report, folder = asyncio.run(run())
    assert report.outcome is LoginOutcome.BROWSER_KILLED
    assert report.submits == 1  # it was permitted, and nothing more is known
    assert mentions(folder) == []
    assert not folder.exists()


def test_a_worker_and_driver_killed_at_once_leave_no_browser(url_and_pin: tuple[str, str], tmp_path: Path) -> None:
    """Kill -9 of worker and Playwright's driver: the browser in its own process group is found and stopped."""

    async def run() -> Path:
        async with hanging_login(url_and_pin, tmp_path) as login:
            driver = next(process for process in login.family if words_of(process).split(" ")[0].endswith("/node"))
            driver.kill()
            os.kill(login.worker.pid, signal.SIGKILL)
            await asyncio.wait_for(login.task, 15)
            return login.worker.folder

    folder = asyncio.run(run())
    assert mentions(folder) == []
    assert not folder.exists()


def test_a_stopped_worker_is_killed_at_its_deadline(url_and_pin: tuple[str, str], tmp_path: Path) -> None:
    """A worker that hangs (SIGSTOP) is stopped from outside, with its browser."""

    async def run() -> tuple[LoginReport, Path]:
        async with hanging_login(url_and_pin, tmp_path) as login:
            for process in login.family:
                process.suspend()
            os.kill(login.worker.pid, signal.SIGSTOP)
            await asyncio.wait_for(login.worker.close(), 20)
            return await asyncio.wait_for(login.task, 10), login.worker.folder

    report, folder = asyncio.run(run())
    assert report.outcome is LoginOutcome.BROWSER_FAILED
    assert mentions(folder) == []
    assert not folder.exists()


def test_a_login_has_a_deadline(url_and_pin: tuple[str, str], tmp_path: Path) -> None:
    """A login that gets no answer ends by itself, as timed out, and counts its submit."""
    started_s = time.monotonic()

    async def run() -> tuple[LoginReport, Path]:
        async with hanging_login(url_and_pin, tmp_path, deadline_s=4.0) as login:
            return await asyncio.wait_for(login.task, 20), login.worker.folder

    report, folder = asyncio.run(run())
    assert report.outcome is LoginOutcome.TIMED_OUT
    assert report.submits == 1
    assert time.monotonic() - started_s < 20
    assert mentions(folder) == []


def test_a_cancelled_login_leaves_nothing(url_and_pin: tuple[str, str], tmp_path: Path) -> None:
    """After a login is cancelled, no browser is left."""

    async def run() -> Path:
        async with hanging_login(url_and_pin, tmp_path) as login:
            login.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await login.task
            assert mentions(login.worker.folder) == []
            return login.worker.folder

    assert not asyncio.run(run()).exists()


@pytest.mark.parametrize("how", ["kill", "term the worker"])
def test_the_worker_does_not_outlive_its_parent(url_and_pin: tuple[str, str], tmp_path: Path, how: str) -> None:
    """If the parent is killed, worker, driver and browser end with it; SIGTERM to the worker has the same effect."""
    url, pin = url_and_pin
    code = f"""
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, {str(Path(rig.__file__).parent)!r})
import login_rig as rig
from gwctl.login.worker_client import LoginWorker
async def main():
    worker = LoginWorker.start(rig.browser(), {pin!r}, Path({str(tmp_path)!r}), environ=os.environ)
    def on_step(step):
        if step.name == "submitted":
            print(worker.folder, worker.pid, flush=True)
    await worker.run(rig.job({url!r}, "someone", "something"), on_step, lambda: asyncio.sleep(0, result=True))
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        folder, pid = parent.stdout.readline().split()
        assert len(mentions(Path(folder))) > 3
        if how == "kill":
            parent.kill()
        else:
            os.kill(int(pid), signal.SIGTERM)
        wait_until(lambda: mentions(Path(folder)) == [])
        parent.wait(10)
    wait_until(lambda: not Path(folder).exists())


def test_no_secret_is_in_any_process(
    url_and_pin: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No secret is in the arguments, environment or files of worker, driver or browser (law 8)."""
    monkeypatch.setenv("GWCTL_PASSWORD", rig.PASSWORD)
    monkeypatch.setenv("GWCTL_TOTP_SECRET", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
    secrets = (rig.PASSWORD.encode(), b"JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", rig.USERNAME.encode())

    async def run() -> None:
        async with hanging_login(url_and_pin, tmp_path) as login:
            family = [psutil.Process(login.worker.pid), *login.family]
            assert len(family) > 3
            for process in family:
                known = " ".join(process.cmdline()) + repr(process.environ())
                for secret in secrets:
                    assert secret.decode() not in known, process
            for file in login.worker.folder.rglob("*"):
                if file.is_file():
                    assert not any(secret in file.read_bytes() for secret in secrets), file
            assert login.worker.folder.stat().st_mode & 0o777 == 0o700

    asyncio.run(run())


def test_close_may_come_at_any_time_and_again(tmp_path: Path) -> None:
    """Closing a worker while its browser starts, before any login, leaves nothing; a second close does nothing."""

    async def run() -> Path:
        worker = LoginWorker.start(rig.browser(), None, tmp_path, environ=os.environ)
        assert worker.folder.exists()
        await worker.close()
        await worker.close()
        return worker.folder

    folder = asyncio.run(run())
    assert mentions(folder) == []
    assert not folder.exists()
