"""Differences between a whole Chromium and one without windows: its socket, its error pages, its last output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import login_rig as rig
import psutil
import pytest

from gwctl.free_ports import BROWSERS_REFUSE
from gwctl.login import worker_client as scratch
from gwctl.login.browser import Browser, started
from gwctl.login.browser_reports import Fault, PageFailed, fault_of
from gwctl.login.failures import latest
from gwctl.login.outcome import LoginOutcome, LoginReport
from gwctl.login.page import Page
from gwctl.login.page_state import Patience
from gwctl.login.worker_client import LoginWorker

pytestmark = pytest.mark.browser

PATIENCE = Patience(form_s=2.0, action_s=2.0)
KINDS = [pytest.param(one, id=one.kind) for one in rig.both_kinds()]
HOMES = [
    "/srv/gwctl", "/opt/gwctl", "/srv/trading", "/opt/traders1", "/home/someone/.local/gwctl", "/data", "/x" * 45
]  # fmt: skip
"""Folders that people give; the last one is longer than any socket may be."""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> rig.Key:
    return rig.make_key(tmp_path_factory.mktemp("key"))


class Front:
    """Answers with a status and no body."""

    status = 200

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture(scope="module", params=KINDS)
def visited(
    request: pytest.FixtureRequest, key: rig.Key, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[rig.OneBrowser, Front, str]]:
    front = Front()
    with (
        rig.serve(lambda _port: front, key) as url,
        rig.one_browser(key.pin, tmp_path_factory.mktemp("browser"), request.param) as chromium,
    ):
        yield chromium, front, url


@pytest.mark.each_value
@pytest.mark.parametrize("status", [401, 403, 500, 502, 503, 504])
def test_an_answer_without_a_body_is_ibkrs(visited: tuple[rig.OneBrowser, Front, str], status: int) -> None:
    """Chromium may turn an answer without a body into an error: then IBKR is at fault, not the installation."""
    chromium, front, url = visited
    front.status = status
    login = chromium.log_in(rig.job(url, rig.USERNAME, rig.PASSWORD, patience=PATIENCE))
    assert login.report.outcome is LoginOutcome.UPSTREAM_ILL
    assert f"answered {status}" in login.report.text
    assert login.permits == 0


@pytest.mark.parametrize(
    "kind", [KINDS[0], *(pytest.param(*one.values, id=one.id, marks=pytest.mark.wide) for one in KINDS[1:])]
)
def test_the_ports_that_are_refused_are_those_that_a_browser_does_not_open(kind: Browser, tmp_path: Path) -> None:
    """The browser itself refuses every port of the list, and no others."""

    async def refused() -> set[int]:
        found = set()
        async with started(kind, None, tmp_path / "profile", deadline_s=60.0) as context:
            page = Page(context)
            for port in {*BROWSERS_REFUSE, 3, 1024, 4190, 8443}:
                try:
                    await page.open(f"https://localhost:{port}", timeout_s=10)
                except PageFailed as error:
                    found |= {port} if fault_of(str(error)) is Fault.PORT else set()
        return found

    assert asyncio.run(refused()) == BROWSERS_REFUSE


def start_in(kind: Browser, scratch_dir: Path) -> tuple[LoginReport, Path]:
    """Start a browser with its folder below ``scratch_dir``, and return the result and the folder."""

    async def run() -> tuple[LoginReport, Path]:
        async with LoginWorker.start(kind, None, scratch_dir, environ=os.environ) as worker:
            job = rig.job("https://localhost:3", rig.USERNAME, rig.PASSWORD, patience=PATIENCE)
            return await worker.run(job, lambda _step: None, lambda: asyncio.sleep(0, result=True)), worker.folder

    return asyncio.run(run())


@pytest.fixture
def short() -> Iterator[Path]:
    """Yield a folder with a path as short as possible."""
    folder = Path(tempfile.mkdtemp(prefix="g", dir="/tmp"))
    yield folder
    scratch.remove_folder(folder)


@pytest.mark.each_value
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_the_longest_path_that_is_used_is_not_too_long(kind: Browser, short: Path, over: int) -> None:
    """At the limit the browser starts in the profile's folder; one byte more, and it starts elsewhere."""
    base = short / ("x" * (scratch.LONGEST_BASE_BYTES + over - len(str(short)) - 1))
    report, folder = start_in(kind, base)
    assert report.outcome is LoginOutcome.PAGE_NEVER_CAME, report.text
    assert folder.is_relative_to(base) is (over <= 0)
    assert not folder.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_counted_and_not_letters(kind: Browser, short: Path) -> None:
    """A name of umlauts takes two bytes per letter."""
    base = short / ("ü" * (scratch.LONGEST_BASE_BYTES - len(str(short)) - 1))
    report, folder = start_in(kind, base)
    assert report.outcome is LoginOutcome.PAGE_NEVER_CAME, report.text
    assert not folder.is_relative_to(base)


@pytest.mark.each_value
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("longer", [0, 9, 11, 20, 90])
def test_a_long_way_to_the_temporary_folder_does_no_harm(
    kind: Browser, short: Path, longer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If both the profile's folder and the system's temporary folder are too long, a shorter one is used."""
    temporary = short / ("t" * (15 + longer))
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    report, _ = start_in(kind, short / ("x" * 90))
    assert report.outcome is LoginOutcome.PAGE_NEVER_CAME, report.text


FATAL = "[7:7:1128/084329.854137:FATAL:chrome/browser/process_singleton_posix.cc:315] Socket path too long: /x"
NO_LIBRARY = "chrome: error while loading shared libraries: libnss3.so: cannot open shared object file"
ENDINGS = [
    (f"echo '{FATAL}' >&2; exit 1", LoginOutcome.BROWSER_FAILED, "Socket path too long: /x"),
    (f"echo '{NO_LIBRARY}' >&2; exit 127", LoginOutcome.BROWSER_FAILED, "libnss3.so"),
    ("echo 'GPU trouble' >&2; exit 3", LoginOutcome.BROWSER_FAILED, "GPU trouble"),
    ("exit 3", LoginOutcome.BROWSER_FAILED, "exited with code 3"),
    ("kill -9 $$", LoginOutcome.BROWSER_KILLED, "SIGKILL"),
    ("sh -c 'kill -9 $$'; exit 137", LoginOutcome.BROWSER_KILLED, "SIGKILL"),
]
"""What a browser does in place of starting: a program, the login's ending and what is told."""


@pytest.mark.parametrize(("script", "outcome", "text"), ENDINGS)
def test_a_browser_that_does_not_start_says_why(script: str, outcome: LoginOutcome, text: str, tmp_path: Path) -> None:
    """The browser's own reason is in the error and in the evidence; a killed browser is not reported as missing."""
    program = tmp_path / "chrome"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)

    async def run() -> LoginReport:
        async with LoginWorker.start(
            Browser("chrome", program, "setting"), None, tmp_path / "s", environ=os.environ
        ) as worker:
            job = rig.job("https://localhost:3", rig.USERNAME, rig.PASSWORD, evidence_dir=tmp_path / "evidence")
            return await worker.run(job, lambda _step: None, lambda: asyncio.sleep(0, result=True))

    report = asyncio.run(run())
    assert report.outcome is outcome
    assert text in report.text
    kept = latest(tmp_path / "evidence")
    assert kept is not None
    assert (kept.outcome, kept.text) == (outcome, report.text)


def test_a_driver_without_its_library_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Playwright's exception about its closed driver comes last and says nothing; the loader's line has the cause."""
    loader = "/x/driver/node: error while loading shared libraries: libatomic.so.1: cannot open shared object file"
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{loader}' >&2\necho 'Exception: Connection closed' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    async def run() -> LoginReport | None:
        browser = Browser("chrome", Path("/bin/true"), "setting")
        async with LoginWorker.start(browser, None, tmp_path / "s", environ=os.environ) as worker:
            return await worker.await_browser(lambda _step: None)

    report = asyncio.run(run())
    assert report is not None
    assert report.outcome is LoginOutcome.BROWSER_FAILED
    assert report.text.endswith(loader)


def test_a_whole_chromiums_own_fatal_line_is_told(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real program's own words when its socket's path is too long."""
    monkeypatch.setattr(scratch, "LONGEST_BASE_BYTES", 500)
    report, _ = start_in(rig.both_kinds()[1], short / ("x" * 90))
    assert report.outcome is LoginOutcome.BROWSER_FAILED
    assert "FATAL" in report.text
    assert "Socket path too long" in report.text


@pytest.mark.parametrize(("part", "text"), [("chrom", "SIGKILL"), ("--type=renderer", "the page crashed")])
@pytest.mark.parametrize("kind", KINDS)
def test_a_browser_that_is_killed_at_work_is_called_so(
    kind: Browser, part: str, text: str, key: rig.Key, tmp_path: Path
) -> None:
    """Kill -9 of the browser, as when memory runs out, is distinguished from a missing browser."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"<body>nothing</body>"})
        opened.set()

    opened = threading.Event()

    async def run(url: str) -> LoginReport:
        async with LoginWorker.start(kind, key.pin, tmp_path, environ=os.environ) as worker:
            job = rig.job(url, rig.USERNAME, rig.PASSWORD, evidence_dir=tmp_path / "evidence")
            task = asyncio.create_task(worker.run(job, lambda _step: None, lambda: asyncio.sleep(0, result=True)))
            await asyncio.to_thread(opened.wait, 30)
            family = psutil.Process(worker.pid).children(recursive=True)
            for one in family:
                with contextlib.suppress(psutil.Error):
                    if part in " ".join([one.name(), *one.cmdline()[1:]]):
                        one.kill()
            return await task

    with rig.serve(lambda _port: app, key) as url:
        report = asyncio.run(run(url))
    assert (report.outcome, report.text) == (LoginOutcome.BROWSER_KILLED, text)
    kept = latest(tmp_path / "evidence")
    assert kept is not None
    assert kept.outcome == LoginOutcome.BROWSER_KILLED


@pytest.mark.parametrize("home", HOMES)
def test_every_home_has_room_for_the_socket(home: str) -> None:
    """The folder below a home's profile fits the system's limit, or another one is used."""
    base = Path(home) / "state" / "profiles" / "default" / "login"
    longest = (
        base / f"{scratch.PREFIX}xxxxxxxx" / scratch.TEMPORARY / "org.chromium.Chromium.XXXXXX" / "SingletonSocket"
    )
    assert not scratch.fits(base) or len(os.fsencode(longest)) <= scratch.SOCKET_PATH_BYTES
