"""One login under law 2: check the ledger before opening the page, and write it before each submit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from gwctl.background_writer import DaemonCall
from gwctl.config import Settings
from gwctl.core.messages import LoginDone, LoginResult
from gwctl.credentials import Credentials
from gwctl.errors import GwctlError
from gwctl.gateway.log_diagnosis import read_cause
from gwctl.login.browser import NO_SANDBOX, ROOT_NEEDS, find_browser, is_root
from gwctl.login.codes import Answer, Method, Question, nobody
from gwctl.login.failures import keep_cause, keep_never_authenticated
from gwctl.login.outcome import LoginJob, LoginOutcome, LoginReport, Step
from gwctl.login.recognition import UNDERSTOOD
from gwctl.login.worker_client import LoginWorker
from gwctl.login_ledger.ledger import Ledger
from gwctl.login_ledger.outcome_policy import MEANINGS
from gwctl.login_ledger.rules import Permission
from gwctl.supervisor.attempt import Attempt, denied, environment_trouble, method_of
from gwctl.supervisor.questions import Questions

log = logging.getLogger("gwctl.supervisor")

LOGIN_DEADLINE_S = 90.0
SECRETS_S = 75.0
"""How long the secrets may take: two commands of half a minute each, or a person at a keyring's dialog."""
START_S = 5.0
"""How long the end of a login waits for a browser that is still starting; longer means that a disk hangs."""
LEDGER_S = 20.0
"""How long the ledger may take, its lock included; a hung disk blocks a thread forever."""


class Worker(Protocol):
    """One running login."""

    @property
    def ended(self) -> LoginReport | None:
        """How the login ended, known before ``run`` returns; None until then."""
        ...

    async def run(
        self, job: LoginJob, on_step: Callable[[Step], None], permit: Callable[[], Awaitable[bool]], answer: Answer
    ) -> LoginReport:
        """Log in; call ``permit`` before each submit, and ``answer`` for codes that the job does not have."""
        ...

    async def close(self) -> None:
        """End all processes of the login."""
        ...


StartWorker = Callable[[str], Worker]
"""Starts a worker whose browser accepts the key with this pin; called in a thread, raises GwctlError."""


class Authenticator:
    """Implements the loop's LoginPort with a login worker.

    ``credentials`` is called in a thread for each login, so that a rotated password file is read again; it raises
    GwctlError.
    """

    def __init__(  # noqa: PLR0913 - one argument for each port
        self,
        settings: Settings,
        environ: Mapping[str, str],
        ledger: Ledger,
        *,
        credentials: Callable[[], Credentials],
        on_cookies: Callable[[tuple[tuple[str, str], ...]], None],
        on_note: Callable[..., object],
        questions: Questions | None = None,
        start_worker: StartWorker | None = None,
    ) -> None:
        self.settings = settings
        self.environ = environ
        self.ledger = ledger
        self.credentials = credentials
        self.on_cookies = on_cookies
        self.on_note = on_note
        self.questions = questions
        self._start_worker = start_worker or self._start_browser_worker
        self.pin: str | None = None
        self._worker: Worker | None = None
        self._starting: asyncio.Task[Worker] | None = None
        self._totp_window: int | None = None
        self._busy = False
        self._warned_of_root = False
        self._closing: asyncio.Task[None] | None = None
        self._last: Attempt | None = None
        self._reading: DaemonCall[Credentials] = DaemonCall("reading the secrets", SECRETS_S)
        self._asking: DaemonCall[tuple[Attempt, Permission, bool]] = DaemonCall("reading the login ledger", LEDGER_S)
        self._report: LoginReport | None = None

    @property
    def is_warm(self) -> bool:
        """Whether a browser is ready that no login uses."""
        return (self._worker is not None or self._starting is not None) and not self._busy

    def prepare(self, pin: str) -> None:
        """Start the browser now, while the gateway starts; a failure only shows when the login needs it."""
        self.pin = pin
        if self._worker is None and self._starting is None:
            self._begin_worker()

    def _begin_worker(self) -> asyncio.Task[Worker]:
        """Start a worker in a thread, because it writes files; it is kept even if its caller was cancelled."""

        async def start() -> Worker:
            try:
                worker = self._worker = await asyncio.to_thread(self._start_worker, self.pin or "")
                return worker
            finally:
                self._starting = None

        self._starting = asyncio.create_task(start())
        self._starting.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._starting

    def _start_browser_worker(self, pin: str) -> LoginWorker:
        browser = find_browser(self.settings["browser"], self.environ)
        paths = self.settings.paths
        return LoginWorker.start(
            browser,
            spki_pin=pin,
            scratch_dir=paths.login_scratch_dir,
            environ=self.environ,
        )

    async def log_in(
        self,
        *,
        first: bool,
        on_step: Callable[[str], None],
        on_asked: Callable[[str], None],
        on_submit: Callable[[], None] = lambda: None,
    ) -> LoginDone:
        """Run the login to its end and return its result; the browser is gone afterwards."""
        if self._closing is not None:
            await asyncio.wait([self._closing])
        try:
            credentials = await self._reading.run(self.credentials)
        except GwctlError as error:
            self._let_browser_go()
            return environment_trouble(error)
        method = method_of(self.settings, has_totp=credentials.totp_secret is not None)
        attempt = self._last = Attempt(self.ledger, credentials, self.settings, on_submit)
        try:
            permission, has_worked = await self._standing(attempt)
        except GwctlError as error:
            self._let_browser_go()
            return environment_trouble(error)
        if not permission.allowed:
            self._let_browser_go()
            return denied(permission)
        with contextlib.closing(attempt):
            try:
                ask = self._asker(method, attempt, on_asked)
                began_s = time.time()
                job = self._job(credentials, method, first=first, has_worked=has_worked)
                report = await self._drive(job, attempt, on_step, ask)
                self._report = report
                await asyncio.to_thread(self._keep_cause, report, began_s)
            except GwctlError as error:
                return environment_trouble(error)
            except asyncio.CancelledError:
                await self._conclude_in_time(attempt)
                raise
            finally:
                self._let_browser_go()
            done = await asyncio.shield(self._conclude(report, attempt))
            return replace(done, submits=attempt.made(report), understood=_understood(report))

    async def _standing(self, attempt: Attempt) -> tuple[Permission, bool]:
        """Return the ledger's answer to this attempt; skip late answers to earlier attempts."""
        while True:
            answered, permission, has_worked = await self._asking.run(attempt.standing)
            if answered is attempt:
                return permission, has_worked

    def _let_browser_go(self) -> None:
        """Close the browser in the background: the next login may be far away."""
        self._closing = asyncio.create_task(self.close())

    def _asker(self, method: Method, attempt: Attempt, on_asked: Callable[[str], None]) -> Answer:
        questions = self.questions
        if questions is None:
            return nobody

        async def ask(question: Question) -> str | None:
            await attempt.second_factor(answered=False)
            code = await questions.answer(method, question, on_asked)
            if code is not None:
                await attempt.second_factor(answered=True)
            return code

        return ask

    def _job(self, credentials: Credentials, method: Method, *, first: bool, has_worked: bool) -> LoginJob:
        return LoginJob(
            base_url=f"https://localhost:{self.settings['port']}",
            username=credentials.username,
            password=credentials.password,
            totp_secret=credentials.totp_secret,
            method=method,
            device=self.settings["second_factor_device"],
            mode=self.settings["mode"],
            pages=self.settings["page"] or {},
            first_after_start=first,
            has_worked=has_worked,
            deadline_s=LOGIN_DEADLINE_S,
            totp_used_window=self._totp_window,
            evidence_dir=self.settings.paths.evidence_dir,
        )

    async def _drive(self, job: LoginJob, attempt: Attempt, on_step: Callable[[str], None], ask: Answer) -> LoginReport:
        def seen(step: Step) -> None:
            if step.name == NO_SANDBOX and is_root():
                self._warn_of_root()
            else:
                on_step(step.name)

        self._busy = True
        try:
            await self._until_started()
            waited = self._worker is not None
            report = await self._run(job, seen, attempt, ask)
            if waited and report.outcome.is_without_browser and not attempt.begun:
                # A browser started early exits by itself if it is not used: start another one. A browser that had a
                # permission may have sent the password, even if its report does not say so.
                await self._end_worker()
                report = await self._run(job, seen, attempt, ask)
            return report
        finally:
            self._busy = False

    def _warn_of_root(self) -> None:
        """Warn, once a supervisor, that the browser has no sandbox because it is root's."""
        if not self._warned_of_root:
            self._warned_of_root = True
            text = f"gwctl is root, so the browser has no sandbox: a page that attacks it would get root; {ROOT_NEEDS}"
            log.warning("%s", text)
            self.on_note("warning", code="browser_as_root", text=text)

    async def _run(self, job: LoginJob, seen: Callable[[Step], None], attempt: Attempt, ask: Answer) -> LoginReport:
        worker = self._worker
        if worker is None:
            worker = await asyncio.shield(self._starting or self._begin_worker())
        return await worker.run(job, on_step=seen, permit=attempt.permit, answer=ask)

    async def _until_started(self, timeout_s: float | None = None) -> None:
        if self._starting is not None:
            await asyncio.wait([self._starting], timeout=timeout_s)

    async def _end_worker(self) -> None:
        await self._until_started(START_S)
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.close()

    def _keep_cause(self, report: LoginReport, began_s: float) -> None:
        """Add the cause from the gateway's log since the login began to a failed login's evidence."""
        if report.evidence:
            cause = read_cause(self.settings.paths.gateway_dir, since_s=began_s)
            keep_cause(Path(report.evidence), str(cause), cause.text)

    async def _conclude_in_time(self, attempt: Attempt) -> None:
        """Record an answer that IBKR gave before the login was cancelled: without it, the submit counts as refused."""
        report = self._worker.ended if self._worker is not None else None
        if report is not None:
            with contextlib.suppress(GwctlError):
                await asyncio.shield(self._conclude(report, attempt))

    async def _conclude(self, report: LoginReport, attempt: Attempt) -> LoginDone:
        if report.totp_window is not None:
            self._totp_window = report.totp_window
        await attempt.withdraw_unmade(report)
        if attempt.denied is not None and report.submits == 0 and report.outcome is not LoginOutcome.SUCCESS:
            return denied(attempt.denied)
        meaning = MEANINGS[report.outcome]
        succeeded = meaning.result is LoginResult.SUCCESS
        text = f"{meaning.text}: {report.text}" if report.text and not succeeded else meaning.text
        try:
            worked = await attempt.record(meaning, report, text)
        except GwctlError as error:
            # The ledger keeps the outcome in memory and writes it later.
            log.warning("could not write the login's outcome: %s", error.message)
            worked = succeeded
        if succeeded:
            cookies = tuple((cookie.name, cookie.value) for cookie in report.cookies)
            self.on_cookies(cookies)
            return LoginDone(
                result=LoginResult.SUCCESS, text=text, code="success", exit_code=0, resumable=bool(cookies)
            )
        result, retry_after_s = meaning.result, None
        if result is LoginResult.REFUSED_BEFORE_IT_EVER_WORKED and worked:
            permission = await asyncio.to_thread(attempt.permission)
            if permission.wait_s is not None:
                result, retry_after_s = LoginResult.REFUSED_AFTER_IT_WORKED, permission.wait_s
            elif not permission.allowed:
                return denied(permission)
        return LoginDone(
            result=result,
            text=text,
            code=meaning.code,
            exit_code=meaning.exit_code,
            hint=attempt.hint_of(meaning, report.text),
            retry_after_s=retry_after_s,
        )

    async def block(self, code: str, text: str) -> None:
        """Block the last submitted password from being sent again with the same settings; raise GwctlError."""
        if self._report is not None and self._report.outcome is LoginOutcome.SUCCESS and code == "needs_person":
            evidence_dir = self.settings.paths.evidence_dir
            await asyncio.to_thread(keep_never_authenticated, evidence_dir, self._report, text)
        if self._last is not None:
            await asyncio.to_thread(self.ledger.block_last, self._last.context, code, text)

    async def lift_block(self) -> None:
        """Allow the password again; raise GwctlError."""
        await asyncio.to_thread(self.ledger.lift_block)

    async def close(self) -> None:
        """End the worker and its browser, idle or busy."""
        await self._end_worker()
        closing = self._closing
        if closing is not None and closing is not asyncio.current_task():
            await asyncio.wait([closing])


def _understood(report: LoginReport) -> str:
    """Return, for the journal, how an unknown page was recognized; empty for a known page."""
    by = next((step.name for step in report.steps if step.name.startswith(UNDERSTOOD)), "")
    return f"gwctl does not know IBKR's login page; it was {by}" if by else ""
