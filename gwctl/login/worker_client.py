"""The parent's side of one login: starts the worker, talks to it, and cleans up after it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from msgspec import Struct

from gwctl.errors import DiskTrouble
from gwctl.login.actions import OnStep
from gwctl.login.browser import DRIVER, LOG_VARIABLES, Browser, missing_library
from gwctl.login.codes import Answer, Kind, Question, nobody
from gwctl.login.failures import keep_without_page
from gwctl.login.outcome import LoginJob, LoginOutcome, LoginReport, Step, tidy
from gwctl.ownership import read_ours
from gwctl.process import Child, Spawned, environment_of, inhabitants, spawn, stop
from gwctl.state_file import make_private_dir

SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
"""The longest path of a Unix socket: the size of the system's ``sun_path``, without the final zero byte."""
PREFIX = "gwctl-login-"
TEMPORARY = "tmp"
_RANDOM_BYTES = 8
"""The characters that ``mkdtemp`` adds to the prefix."""
_SOCKET = "com.google.chrome.for.testing.XXXXXX/SingletonSocket"
"""The longest socket name, over all brands of Chromium, below its temporary folder."""
LONGEST_BASE_BYTES = SOCKET_PATH_BYTES - len(f"/{PREFIX}/{TEMPORARY}/{_SOCKET}") - _RANDOM_BYTES


def make_folder(scratch_dir: Path) -> Path:
    """Create a folder (0700) below ``scratch_dir``, or below a temporary folder if that path is too long.

    The returned path has no links: gwctl recognizes the processes in it by their working directory. Raises DiskTrouble.
    """
    base = next((one for one in _bases(scratch_dir) if fits(one)), None)
    if base is None:
        raise DiskTrouble(
            f"no folder for a login's temporary files has a path of at most {LONGEST_BASE_BYTES} bytes",
            hint="set TMPDIR to a short path, such as /tmp",
        )
    try:
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=base)).resolve()
    except OSError as error:
        raise DiskTrouble(f"cannot write to {base}: {error.strerror}", hint=f"ls -ld {base}") from error


def fits(base: Path) -> bool:
    """Say whether Chromium can create its socket in a folder of ours below ``base``."""
    return len(os.fsencode(base.resolve())) <= LONGEST_BASE_BYTES


def _bases(scratch_dir: Path) -> Iterator[Path]:
    """Yield the folders that exist and are writable, the best first."""
    make_private_dir(scratch_dir)
    yield scratch_dir
    for folder in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108 - mkdtemp's is private
        if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
            yield folder


def variables_in(folder: Path) -> dict[str, str]:
    """Create a worker's folders, and return the variables that keep it and its browser inside them."""
    names = {"TMPDIR": TEMPORARY, "HOME": "home", "XDG_CONFIG_HOME": "home/config", "XDG_CACHE_HOME": "home/cache"}
    for name in names.values():
        make_private_dir(folder / name)
    return {variable: str(folder / name) for variable, name in names.items()}


def remove_folder(folder: Path) -> None:
    """Remove a folder from ``make_folder``, as far as possible."""
    shutil.rmtree(folder, ignore_errors=True)


Permit = Callable[[], Awaitable[bool]]

_CLOSE_S = 2.0
_GRACE_S = 0.5
_OVERTIME_S = 15.0
_SWEEPS = 5


class StartLimits(Struct, frozen=True):
    """How long the browser may take to start, and how long it then waits for a login."""

    browser_s: float = 30.0
    idle_s: float = 300.0


_LIMITS = StartLimits()


class WorkerEnded(Exception):
    """The worker exited without a report."""


class LoginWorker:
    """A worker for one login: ``start`` starts its browser early, ``run`` logs in, ``close`` cleans up.

    Call ``run`` at most once; ``close`` is safe at any time and more than once, and is what ``async with`` calls.
    """

    def __init__(self, spawned: Spawned, folder: Path, start_deadline_s: float) -> None:
        self._spawned = spawned
        self._start_deadline_s = start_deadline_s
        self._reader: asyncio.StreamReader | None = None
        self._closed = False
        self._permitted = 0
        self.folder = folder
        self.ended: LoginReport | None = None
        """How the login ended, as soon as that is known: writing the evidence takes more time."""

    @classmethod
    def start(  # noqa: PLR0913 - what a browser starts with
        cls,
        browser: Browser,
        spki_pin: str | None,
        scratch_dir: Path,
        *,
        environ: Mapping[str, str],
        limits: StartLimits = _LIMITS,
        headless: bool = True,
    ) -> LoginWorker:
        """Spawn the worker, which starts its browser, in a window if not ``headless``; returns at once.

        The worker writes only to one new folder (``make_folder``). Raises DiskTrouble.
        """
        folder = make_folder(scratch_dir)
        try:
            spawned = spawn(
                [sys.executable, "-P", "-m", "gwctl.login.worker"],
                cwd=folder,
                env=environment_of(
                    Child.OURS, environ, {**_display_key(environ), **LOG_VARIABLES, **variables_in(folder)}
                ),
                log_file=folder / "stderr.log",
                pipes=True,
            )
        except BaseException:
            remove_folder(folder)
            raise
        worker = cls(spawned, folder, limits.browser_s)
        prepare = {
            "kind": browser.kind,
            "executable": str(browser.executable),
            "spki_pin": spki_pin,
            "headless": headless,
            "user_data_dir": str(folder / "profile"),
            "deadline_s": limits.browser_s,
            "idle_s": limits.idle_s,
        }
        with contextlib.suppress(WorkerEnded):  # run reports it later
            worker._tell({"prepare": prepare})
        return worker

    @property
    def pid(self) -> int:
        """The worker's pid, which is also its process group's id."""
        return self._spawned.pid

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def await_browser(self, on_step: OnStep) -> LoginReport | None:
        """Return None as soon as the browser has started, or the report of why it does not; it logs in nowhere.

        The doctor uses it: it starts the browser exactly as a login does.
        """
        try:
            async with asyncio.timeout(self._start_deadline_s + _OVERTIME_S):
                while True:
                    match await self._hear():
                        case {"event": "step", "name": name, "ms": ms}:
                            on_step(Step(str(name), float(ms)))
                        case {"event": "browser_ready"}:
                            return None
                        case {"event": "report", "report": report}:
                            return LoginReport.from_json(report)
        except TimeoutError:
            return LoginReport(LoginOutcome.TIMED_OUT, text="the login's worker did not answer in time")
        except WorkerEnded:
            return LoginReport(LoginOutcome.BROWSER_FAILED, text=f"the login's worker exited: {self._last_words()}")

    async def run(self, job: LoginJob, on_step: OnStep, permit: Permit, answer: Answer = nobody) -> LoginReport:
        """Log in and return how it ended; ``permit`` is asked before every submit of the password.

        ``answer`` is asked for codes that the job does not contain, and informed of notifications; the time that a
        person takes for it does not count.

        A worker that does not finish in time is killed with all it started (TIMED_OUT; after a permit BROWSER_FAILED,
        because the answer is unknown). One that exits early is BROWSER_FAILED. Then ``submits`` counts the permitted
        ones, as nothing more is known, unless the login had already ended. When cancelled, it closes first.
        """
        try:
            async with asyncio.timeout(self._start_deadline_s + job.deadline_s + _OVERTIME_S) as limit:
                return await self._kept(job, await self._talk(job, on_step, permit, answer, limit))
        except TimeoutError:
            await self.close()
            # The result of a permitted submit is unknown (law 2).
            outcome = LoginOutcome.BROWSER_FAILED if self._permitted else LoginOutcome.TIMED_OUT
            return self.ended or LoginReport(outcome, self._permitted, "the login's worker did not end in time")
        except WorkerEnded:
            if self.ended is not None:
                await self.close()
                return await self._kept(job, self.ended)
            secrets = job.secrets
            text = f"the login's worker exited: {tidy(self._last_words(), secrets)}"
            ended_by_us = self._closed
            await self.close()
            killed = self._spawned.poll() == -signal.SIGKILL and not ended_by_us
            outcome = LoginOutcome.BROWSER_KILLED if killed else LoginOutcome.BROWSER_FAILED
            return await self._kept(job, LoginReport(outcome, self._permitted, "SIGKILL" if killed else text))
        except BaseException:
            await self.close()
            raise

    async def _kept(self, job: LoginJob, report: LoginReport) -> LoginReport:
        """Keep the evidence of a login without a browser, unless the worker has kept more."""
        if report.evidence or job.evidence_dir is None or not report.outcome.is_without_browser:
            return report
        return await asyncio.to_thread(keep_without_page, job.evidence_dir, report)

    async def _talk(
        self, job: LoginJob, on_step: OnStep, permit: Permit, answer: Answer, limit: asyncio.Timeout
    ) -> LoginReport:
        self._tell({"go": job.to_json()})
        while True:
            said = await self._hear()
            match said.get("event"):
                case "step":
                    on_step(Step(str(said["name"]), float(said["ms"])))
                case "may_submit":
                    allowed = await permit()
                    self._permitted += allowed
                    self._tell({"submit": allowed})
                case "question":
                    when = limit.when()
                    if when is not None:
                        limit.reschedule(when + float(said["limit_s"]))
                    question = Question(Kind(said["kind"]), str(said["challenge"]), bool(said["again"]))
                    self._tell({"code": await answer(question)})
                case "ended":
                    self.ended = LoginReport.from_json(said["report"])
                case "report":
                    return LoginReport.from_json(said["report"])

    def _tell(self, line: dict[str, Any]) -> None:
        pipe = self._spawned.stdin
        try:
            if pipe is None:
                raise WorkerEnded
            pipe.write(json.dumps(line).encode() + b"\n")
            pipe.flush()
        except (OSError, ValueError):
            raise WorkerEnded from None

    async def _hear(self) -> dict[str, Any]:
        if self._reader is None:
            self._reader = await self._spawned.stdout_reader()
        line = await self._reader.readline()
        try:
            said = json.loads(line)
        except ValueError:
            raise WorkerEnded from None
        if not isinstance(said, dict):
            raise WorkerEnded
        return said

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            text = read_ours(self.folder / "stderr.log").decode(errors="replace")
            said = (line for line in reversed(text.splitlines()) if line.strip() and not line.startswith(DRIVER))
            # Without a library, Playwright's Node.js does not start: the exception that follows does not say so.
            return missing_library(text) or next(said, "without output")
        return "without output"

    async def close(self) -> None:
        """Stop the worker, its browser and everything they started, and remove their folder.

        It first asks the worker to exit (end of its standard input). It finds the rest by the working directory, our
        own folder: Playwright starts the browser in another process group, where it may outlive a killed parent.
        """
        if self._closed:
            return
        self._closed = True
        await asyncio.shield(asyncio.create_task(self._close()))

    async def _close(self) -> None:
        if self._spawned.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._spawned.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._spawned.wait_ended()
        for _ in range(_SWEEPS):
            left = inhabitants(self.folder)
            if not left:
                break
            await stop([self._spawned.identity, *left], grace_s=_GRACE_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._spawned.wait_ended()
        await self._close_stdout()
        await asyncio.to_thread(remove_folder, self.folder)

    async def _close_stdout(self) -> None:
        """Read the pipe to its end, which closes it."""
        if self._reader is None and self._spawned.stdout is not None:
            self._spawned.stdout.close()
        elif self._reader is not None:
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._reader.read()


def _display_key(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the location of the display's key: a browser with another HOME would not find it."""
    own = os.path.join(environ.get("HOME") or "/nonexistent", ".Xauthority")  # noqa: PTH118 - exists() may raise
    return {} if environ.get("XAUTHORITY") or not os.path.exists(own) else {"XAUTHORITY": own}  # noqa: PTH110 - as above
