"""One login under law 2: the ledger is asked before the page is opened and written before each submit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from gwctl.config import Settings
from gwctl.credentials import Credentials
from gwctl.errors import GwctlError
from gwctl.login.browser import find_browser
from gwctl.login.outcome import LoginOutcome, LoginReport, Step
from gwctl.login.session import LoginJob, LoginWorker
from gwctl.supervisor.attempt import RESET_HINT, Attempt, Meaning, denied, environment_trouble
from gwctl.supervisor.ledger import Ledger
from gwctl.supervisor.policy import REFUSED, SUCCESS, UNCOUNTED
from gwctl.supervisor.service_secrets import login_context
from gwctl.supervisor.states import LoginDone, LoginResult

log = logging.getLogger("gwctl.supervisor")

LOGIN_DEADLINE_S = 90.0
_MEANINGS: dict[LoginOutcome, Meaning] = {
    LoginOutcome.SUCCESS: Meaning(SUCCESS, LoginResult.SUCCESS, "success", 0, "logged in"),
    LoginOutcome.REFUSED: Meaning(
        REFUSED,
        LoginResult.REFUSED_BEFORE_IT_EVER_WORKED,
        "credentials_rejected",
        77,
        "IBKR refused the username or the password",
        "correct them, then: gwctl up (a changed password is tried at once)",
    ),
    LoginOutcome.FORM_AGAIN: Meaning(
        REFUSED,
        LoginResult.REFUSED_BEFORE_IT_EVER_WORKED,
        "credentials_rejected",
        77,
        "IBKR showed the login form again without a word, which is how it refuses",
        "log in by hand at IBKR's website to see why",
    ),
    LoginOutcome.UNCLEAR: Meaning(
        REFUSED,
        LoginResult.REFUSED_BEFORE_IT_EVER_WORKED,
        "credentials_rejected",
        77,
        "IBKR ended the login without a clear reason; it counts as a refusal",
        "log in by hand at IBKR's website to see why",
    ),
    LoginOutcome.LOCKED: Meaning(
        REFUSED,
        LoginResult.NEEDS_PERSON,
        "locked_out",
        77,
        "IBKR says that the account is locked",
        RESET_HINT,
    ),
    LoginOutcome.UNKNOWN_TEXT: Meaning(
        REFUSED,
        LoginResult.NEEDS_PERSON,
        "login_unclear",
        77,
        "the login page says something gwctl does not know",
        RESET_HINT,
    ),
    LoginOutcome.WRONG_MODE: Meaning(
        UNCOUNTED,
        LoginResult.NEEDS_PERSON,
        "wrong_mode",
        77,
        "the user is not of the profile's account kind",
        "set mode to paper or live in the profile, then: gwctl up",
    ),
    LoginOutcome.SECOND_FACTOR_NEEDED: Meaning(
        UNCOUNTED,
        LoginResult.NEEDS_PERSON,
        "second_factor_needed",
        77,
        "IBKR asks for a second factor that gwctl cannot give",
        "gwctl secret set totp_secret, then: gwctl up",
    ),
    LoginOutcome.SECOND_FACTOR_REFUSED: Meaning(
        REFUSED,
        LoginResult.NEEDS_PERSON,
        "second_factor_refused",
        77,
        "IBKR refused the security code",
        RESET_HINT,
    ),
    LoginOutcome.UPSTREAM_ILL: Meaning(
        UNCOUNTED, LoginResult.IBKR_ILL, "upstream_unreachable", 75, "IBKR's login is not available"
    ),
    LoginOutcome.COOKIES_DISABLED: Meaning(
        UNCOUNTED, LoginResult.ENVIRONMENT, "browser_missing", 69, "the browser does not keep cookies"
    ),
    LoginOutcome.BROWSER_FAILED: Meaning(
        UNCOUNTED,
        LoginResult.ENVIRONMENT,
        "browser_missing",
        69,
        "the browser did not work",
        "gwctl browser install",
    ),
    LoginOutcome.PAGE_UNKNOWN: Meaning(
        UNCOUNTED, LoginResult.TRANSIENT, "page_unknown", 75, "the login page is not one that gwctl knows"
    ),
    LoginOutcome.PAGE_NEVER_CAME: Meaning(
        UNCOUNTED, LoginResult.TRANSIENT, "page_never_came", 75, "the login form never came"
    ),
    LoginOutcome.TIMED_OUT: Meaning(UNCOUNTED, LoginResult.TRANSIENT, "timed_out", 75, "the login took too long"),
    LoginOutcome.SWALLOWED: Meaning(
        UNCOUNTED, LoginResult.TRANSIENT, "login_failed", 75, "the login page swallowed the form twice"
    ),
    LoginOutcome.CANCELLED: Meaning(UNCOUNTED, LoginResult.TRANSIENT, "login_failed", 75, "the login was cancelled"),
}


class Worker(Protocol):
    """One login under way."""

    async def run(
        self, job: LoginJob, on_step: Callable[[Step], None], permit: Callable[[], Awaitable[bool]]
    ) -> LoginReport:
        """Log in, asking ``permit`` before each submit."""
        ...

    async def close(self) -> None:
        """Leave nothing behind."""
        ...


StartWorker = Callable[[str], Worker]
"""Start a worker whose browser accepts the key with this pin; raises GwctlError."""


class Authenticator:
    """Implements the loop's LoginPort with a login worker.

    ``credentials`` is called in a thread each time, so that a rotated password file is read anew; it raises GwctlError.
    """

    def __init__(  # noqa: PLR0913 - one argument a port
        self,
        settings: Settings,
        environ: Mapping[str, str],
        ledger: Ledger,
        *,
        credentials: Callable[[], Credentials],
        on_cookies: Callable[[tuple[tuple[str, str], ...]], None],
        start_worker: StartWorker | None = None,
    ) -> None:
        self.settings = settings
        self.environ = environ
        self.ledger = ledger
        self.credentials = credentials
        self.on_cookies = on_cookies
        self._start_worker = start_worker or self._start_browser_worker
        self.pin: str | None = None
        self._worker: Worker | None = None
        self._totp_window: int | None = None
        self._busy = False
        self._closing: asyncio.Task[None] | None = None
        self._last: Attempt | None = None

    @property
    def is_warm(self) -> bool:
        """Whether a browser waits that no login uses."""
        return self._worker is not None and not self._busy

    def prepare(self, pin: str) -> None:
        """Start the browser now, while the gateway starts; a failure shows when the login needs it."""
        self.pin = pin
        if self._worker is None:
            with contextlib.suppress(GwctlError):
                self._worker = self._start_worker(pin)

    def _start_browser_worker(self, pin: str) -> LoginWorker:
        browser = find_browser(self.settings["browser"], self.environ)
        paths = self.settings.paths
        return LoginWorker.start(
            browser,
            spki_pin=pin,
            scratch_dir=paths.login_scratch_dir,
            environ=self.environ,
        )

    async def log_in(self, *, first: bool, on_step: Callable[[str], None], on_asked: Callable[[], None]) -> LoginDone:
        """Drive the page to its end and return what it means; the browser is gone afterwards."""
        if self._closing is not None:
            await asyncio.wait([self._closing])
        try:
            credentials = await asyncio.to_thread(self.credentials)
        except GwctlError as error:
            self._let_browser_go()
            return environment_trouble(error)
        limit = int(self.settings["rejected_limit"])
        context = login_context(self.settings, has_totp=credentials.totp_secret is not None)
        attempt = self._last = Attempt(self.ledger, credentials, context, limit)
        try:
            permission = await asyncio.to_thread(attempt.permission)
        except GwctlError as error:
            self._let_browser_go()
            return environment_trouble(error)
        if not permission.allowed:
            self._let_browser_go()
            return denied(permission)
        try:
            report = await self._drive(credentials, attempt, first=first, on_step=on_step, on_asked=on_asked)
        except GwctlError as error:
            return environment_trouble(error)
        finally:
            self._let_browser_go()
        return await self._conclude(report, attempt)

    def _let_browser_go(self) -> None:
        """End whatever browser there is, in the background: nobody knows when the next login is."""
        self._closing = asyncio.create_task(self.close())

    async def _drive(
        self,
        credentials: Credentials,
        attempt: Attempt,
        *,
        first: bool,
        on_step: Callable[[str], None],
        on_asked: Callable[[], None],
    ) -> LoginReport:
        job = LoginJob(
            base_url=f"https://localhost:{self.settings['port']}",
            username=credentials.username,
            password=credentials.password.reveal(),
            totp_secret=credentials.totp_secret.reveal() if credentials.totp_secret else None,
            mode=self.settings["mode"],
            pages=self.settings["page"] or {},
            first_after_start=first,
            deadline_s=LOGIN_DEADLINE_S,
            totp_used_window=self._totp_window,
            evidence_dir=self.settings.paths.evidence_dir,
        )

        def seen(step: Step) -> None:
            on_step(step.name)
            if step.name.startswith("second_factor"):
                on_asked()

        waited = self._worker is not None
        self._busy = True
        try:
            report = await self._run(job, seen, attempt)
            if waited and report.outcome is LoginOutcome.BROWSER_FAILED and not report.submits:
                # A browser that was started early ends by itself when it is not used: that says nothing of the next.
                await self._end_worker()
                report = await self._run(job, seen, attempt)
            return report
        finally:
            self._busy = False

    async def _run(self, job: LoginJob, seen: Callable[[Step], None], attempt: Attempt) -> LoginReport:
        if self._worker is None:
            self._worker = self._start_worker(self.pin or "")
        return await self._worker.run(job, on_step=seen, permit=attempt.permit)

    async def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.close()

    async def _conclude(self, report: LoginReport, attempt: Attempt) -> LoginDone:
        if report.totp_window is not None:
            self._totp_window = report.totp_window
        if attempt.denied is not None and report.submits == 0 and report.outcome is not LoginOutcome.SUCCESS:
            await attempt.withdraw()
            return denied(attempt.denied)
        meaning = _MEANINGS[report.outcome]
        succeeded = meaning.result is LoginResult.SUCCESS
        text = f"{meaning.text}: {report.text}" if report.text and not succeeded else meaning.text
        try:
            worked = await attempt.record(meaning, report, text)
        except GwctlError as error:
            # What cannot be written now is written later by the ledger; what happened has happened.
            log.warning("the login's outcome could not be written: %s", error.message)
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
            hint=meaning.hint,
            retry_after_s=retry_after_s,
        )

    async def block(self, code: str, text: str) -> None:
        """Keep the last submitted password from being sent again under the same settings; raise GwctlError."""
        if self._last is not None:
            await asyncio.to_thread(self.ledger.block_last, self._last.context, code, text)

    async def lift_block(self) -> None:
        """Let it be sent again; raise GwctlError."""
        await asyncio.to_thread(self.ledger.lift_block)

    async def close(self) -> None:
        """End the worker and its browser, warm or busy."""
        await self._end_worker()
        closing = self._closing
        if closing is not None and closing is not asyncio.current_task():
            await asyncio.wait([closing])
