"""One login attempt: its secrets and its entries in the ledger."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from gwctl import process
from gwctl.config import Settings, usual_profile
from gwctl.core.messages import LoginDone, LoginResult
from gwctl.credentials import Credentials, Found, Sources, find, require
from gwctl.environment import Environment
from gwctl.errors import Configuration, CredentialsMissing, GwctlError
from gwctl.login.codes import BadSecret, Method, bytes_of
from gwctl.login.outcome import LoginOutcome, LoginReport
from gwctl.login.start_failures import remedy_of_start
from gwctl.login_ledger.accounts import ledger_secret
from gwctl.login_ledger.ledger import Ledger
from gwctl.login_ledger.outcome_policy import MEANINGS, Meaning
from gwctl.login_ledger.rules import Permission, Submit

COMMAND_TIMEOUT_S = 30.0


def run_secret_command(
    argv: Sequence[str], variables: Mapping[str, str], *, timeout_s: float = COMMAND_TIMEOUT_S
) -> str:
    """Run a password command without a shell and return its stdout; raise OSError, ValueError, TimedOut.

    ``variables`` is the user's environment, which the program may need.
    """
    done = process.run(argv, timeout_s=timeout_s, env=process.environment_of(process.Child.HOOK, variables))
    if done.exit_code != 0:
        raise ValueError(f"{argv[0]} exited with code {done.exit_code}")
    return done.text


def sources_of(
    environment: Environment,
    handed_over: Mapping[str, Found] | None = None,
    prompt: Callable[[str], str] | None = None,
    *,
    notes_keyring: bool = False,
) -> Sources:
    """Return the sources of secrets, including the user's own programs."""

    def run(argv: Sequence[str]) -> str:
        return run_secret_command(argv, environment.variables)

    return Sources(environment, run, handed_over or {}, prompt, notes_keyring)


def find_login(settings: Settings, sources: Sources) -> tuple[Credentials, dict[str, Found]]:
    """Return what a login needs, whole and usable, and the sources of its secrets.

    Raise CredentialsMissing and Configuration. A person is asked for the password only.
    """
    password = find("password", settings, sources)
    totp = find("totp_secret", settings, replace(sources, prompt=None))
    credentials = require(settings["username"], password, totp, settings.profile, usual_profile(settings.paths))
    _check_second_factor(settings, totp)
    found = {name: one for name, one in (("password", password), ("totp_secret", totp)) if one is not None}
    return credentials, found


def _check_second_factor(settings: Settings, totp: Found | None) -> None:
    method = method_of(settings, has_totp=totp is not None)
    if method is Method.TOTP and totp is None:
        raise CredentialsMissing(
            "second_factor is totp, but no source has a totp_secret",
            hint="gwctl secret set totp_secret, or GWCTL_TOTP_SECRET_FILE",
        )
    if method is Method.COMMAND and not settings["second_factor_command"]:
        raise Configuration(
            "second_factor is command, but second_factor_command is not set", hint="set it in the profile"
        )
    check_totp(settings, totp)


def check_totp(settings: Settings, totp: Found | None) -> None:
    """Raise Configuration if the TOTP secret is needed but invalid, before a password is sent."""
    if totp is None or method_of(settings, has_totp=True) is not Method.TOTP:
        return
    try:
        bytes_of(totp.secret.reveal())
    except BadSecret as error:
        raise Configuration(f"{error}: {totp.source}", hint="copy it again from where IBKR shows it") from None


def login_context(settings: Settings, *, has_totp: bool) -> str:
    """Return the settings that a person may change after a login that needs a person (law 2 compares them)."""
    method = method_of(settings, has_totp=has_totp)
    second_factor = "none" if method is Method.AUTO else str(method)
    device = settings["second_factor_device"]
    return f"{settings['mode']}/{second_factor}" + (f"/{device}" if device else "")


def method_of(settings: Settings, *, has_totp: bool) -> Method:
    """Return the method of the second factor: the profile's, else the one that the available secrets allow."""
    if settings["second_factor"]:
        return Method(settings["second_factor"])
    if has_totp:
        return Method.TOTP
    return Method.COMMAND if settings["second_factor_command"] else Method.AUTO


class Attempt:
    """One login's entries in the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        credentials: Credentials,
        settings: Settings,
        on_submit: Callable[[], None] = lambda: None,
    ) -> None:
        self.ledger = ledger
        self.on_submit = on_submit
        self.doubt, self.username_doubt = credentials.password_doubt, credentials.username_doubt
        self.username = credentials.username
        self.password = ledger_secret(credentials.username, credentials.password)
        self.context = login_context(settings, has_totp=credentials.totp_secret is not None)
        self.limit = int(settings["rejected_limit"])
        self.open = False
        self.begun: list[Submit] = []
        self.denied: Permission | None = None
        self._begins: asyncio.Task[Permission] | None = None

    def permission(self) -> Permission:
        """Return law 2's answer without writing anything; raise GwctlError."""
        return self.ledger.permission(self.password, self.context, self.limit)

    def standing(self) -> tuple[Attempt, Permission, bool]:
        """Return this attempt, law 2's answer, and whether this password has worked before; raise GwctlError."""
        return self, self.permission(), self.ledger.has_worked(self.password)

    async def permit(self) -> bool:
        """Write a submit to disk if law 2 allows it; a second call means that the first submit got no answer."""
        self._begins = asyncio.create_task(
            asyncio.to_thread(self.ledger.begin_submit, self.password, self.context, self.limit, leave_last=self.open)
        )
        permission = await asyncio.shield(self._begins)
        self.open |= permission.allowed
        if not permission.allowed:
            self.denied = permission
        elif self.ledger.last_begun is not None:
            self.begun.append(self.ledger.last_begun)
            self.on_submit()
        return permission.allowed

    def close(self) -> None:
        """Let other profiles of the account submit, even if this login was cancelled while it asked for permission."""
        if self._begins is not None and self._begins.done():
            self.ledger.end_turn()
        elif self._begins is not None:
            self._begins.add_done_callback(self._end_turn)

    def _end_turn(self, begins: asyncio.Task[Permission]) -> None:
        if not begins.cancelled():
            begins.exception()
        self.ledger.end_turn()

    async def withdraw_unmade(self, report: LoginReport) -> None:
        """Remove permitted submits that did not happen from the ledger, oldest first."""
        made = self.made(report)
        unmade = len(self.begun) - made
        if unmade <= 0:
            return
        if made == 0:
            self.open = False
        with contextlib.suppress(GwctlError):  # a submit that cannot be removed counts, which is the safe side
            await asyncio.to_thread(self.ledger.withdraw, self.begun[:unmade])

    def made(self, report: LoginReport) -> int:
        """Return how many submits happened, as far as known.

        A browser that failed after it had a permission may have made a submit that is missing from its report, and a
        refusal proves that something was sent.
        """
        lost_browser = MEANINGS[report.outcome].result is LoginResult.ENVIRONMENT
        doubtful = lost_browser or report.outcome.counts_as_refusal
        return max(report.submits, len(self.begun)) if doubtful else report.submits

    async def second_factor(self, *, answered: bool) -> None:
        """Record that a second factor is needed or was given; a full disk loses the note but never the login."""
        if self.open:
            with contextlib.suppress(GwctlError):
                await asyncio.to_thread(self.ledger.wait_for_second_factor, answered=answered)

    def hint_of(self, meaning: Meaning, text: str) -> str | None:
        """Return the hint for an outcome and its text; what looks wrong is the likely cause of a refusal, and first."""
        if meaning.outcome is LoginOutcome.BROWSER_FAILED:
            return remedy_of_start(text)
        if meaning.result is not LoginResult.REFUSED_BEFORE_IT_EVER_WORKED:
            return meaning.hint
        return "; ".join(filter(None, (self.first_to_check(), meaning.hint)))

    def first_to_check(self) -> str | None:
        """Return what to check first after a refusal, which does not say whether it is the username or the password."""
        if self.username_doubt is not None:
            return f"check the username first: {self.username_doubt}"
        if self.doubt is not None:
            return f"check the password first: {self.doubt}"
        record = self.ledger.look()
        if record is None or record.worked_print is None:
            return f"check the username first: no login as {self.username} has worked here"
        return None

    async def record(self, meaning: Meaning, report: LoginReport, text: str) -> bool:
        """Write the outcome; return whether the password has worked before."""
        if not self.open:
            return False
        self.open = False
        if report.outcome.is_without_browser:
            # The answer is unknown: the submit stays without an outcome, which counts as refused.
            return False
        locked = text if report.outcome is LoginOutcome.LOCKED else None
        worked = await asyncio.to_thread(self.ledger.end_submit, meaning.ledger, locked_reason=locked)
        if meaning.result is LoginResult.NEEDS_PERSON and locked is None:
            await asyncio.to_thread(self.ledger.block_last, self.context, meaning.code, text)
        return worked


def environment_trouble(error: GwctlError) -> LoginDone:
    """Return the result of a login that could not start because of this machine."""
    return LoginDone(
        result=LoginResult.ENVIRONMENT,
        text=error.message,
        code=error.code,
        exit_code=error.exit_code,
        hint=error.hint,
    )


def denied(permission: Permission) -> LoginDone:
    """Return the result of a login that law 2 does not allow."""
    if permission.wait_s is not None:
        return LoginDone(
            result=LoginResult.PAUSED,
            text=permission.reason or "waiting",
            code="login_paused",
            exit_code=75,
            retry_after_s=permission.wait_s,
        )
    return LoginDone(
        result=LoginResult.NEEDS_PERSON,
        text=permission.reason or "locked out",
        code=permission.code or "locked_out",
        exit_code=77,
        hint="fix the cause, then: gwctl login --reset-lockout",
    )
