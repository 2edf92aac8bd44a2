"""A login at the sandbox without its page: the exchange that the page's script makes, and no browser (``--fast``).

IBKR itself has no such way in: only the sandbox's address, of this profile's own record, is ever called.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from gwctl.config import Settings
from gwctl.gateway import keystore
from gwctl.gateway.client import GatewayClient
from gwctl.http_requests import RequestFailed, request
from gwctl.login.codes import Answer
from gwctl.login.outcome import LoginJob, LoginOutcome, LoginReport, SsoCookie, Step, classify_error
from gwctl.sandbox.login_desk import proof_of
from gwctl.supervisor.sandbox_process import StandInRecord

TIMEOUT_S: Final = 10.0
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
_NEEDS_PAGE: Final = "the sandbox asks for more than a password, which needs its page: leave out --fast"
_SILENT: Final = "the sandbox did not answer"


class PagelessLogin:
    """Implements the authenticator's ``Worker``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._report: LoginReport | None = None

    @property
    def ended(self) -> LoginReport | None:
        """How the login ended; None until then."""
        return self._report

    async def run(
        self, job: LoginJob, on_step: Callable[[Step], None], permit: Callable[[], Awaitable[bool]], answer: Answer
    ) -> LoginReport:
        """Log in at the sandbox and give its cookies to the gateway; codes are never asked for."""
        del answer
        began_s = time.monotonic()
        self._report = await self._log_in(job, permit)
        if self._report.outcome is LoginOutcome.SUCCESS:
            on_step(Step("logged in without a page", round((time.monotonic() - began_s) * 1000, 1)))
        return self._report

    async def close(self) -> None:
        """Do nothing: there is no process."""

    async def _log_in(self, job: LoginJob, permit: Callable[[], Awaitable[bool]]) -> LoginReport:
        begun = await self._post({"ACTION": "INIT", "USER": job.username, "MODE": job.mode})
        if begun is None:
            return LoginReport(LoginOutcome.UPSTREAM_ILL, text=_SILENT)
        if not await permit():
            return LoginReport(LoginOutcome.CANCELLED)
        proof = proof_of(job.password.reveal(), str(begun.get("nonce")))
        said = await self._post({"ACTION": "COMPLETEAUTH", "AUTH_ID": str(begun.get("auth_id")), "PROOF": proof})
        if said is None:
            return LoginReport(LoginOutcome.TIMED_OUT, submits=1, text=_SILENT)
        if said.get("ok") is True and isinstance(cookies := said.get("cookies"), dict):
            return await self._dispatch({str(name): str(value) for name, value in cookies.items()})
        outcome, text = _ending_of(said)
        return LoginReport(outcome, submits=1, text=text)

    async def _dispatch(self, cookies: Mapping[str, str]) -> LoginReport:
        """Let the gateway take the login, as after a restart with the cookies of an earlier one."""
        paths = self._settings.paths
        leaf = await asyncio.to_thread(keystore.kept_leaf, paths)
        taken = False
        if leaf is not None:
            async with GatewayClient(self._settings["port"], paths.ca_file, leaf.der) as client:
                taken = await client.resume(cookies) is True
        if not taken:
            return LoginReport(LoginOutcome.UPSTREAM_ILL, submits=1, text="the gateway did not take the login")
        kept = tuple(SsoCookie(name, value, "localhost", "/") for name, value in cookies.items())
        return LoginReport(LoginOutcome.SUCCESS, submits=1, cookies=kept)

    async def _post(self, form: Mapping[str, str]) -> dict[str, Any] | None:
        """Return the sandbox's answer to one round of its login page; None if there is none."""

        def post() -> dict[str, Any] | None:
            record = StandInRecord.load(self._settings.paths)
            if record is None:
                return None
            url = f"{record.url}/sso/Authenticator"
            try:
                said = request("POST", url, timeout_s=TIMEOUT_S, body=urlencode(form).encode(), headers=_FORM)
                told = json.loads(said.body)
            except (RequestFailed, ValueError):
                return None
            return told if isinstance(told, dict) else None

        return await asyncio.to_thread(post)


def _ending_of(said: Mapping[str, Any]) -> tuple[LoginOutcome, str]:
    """Return what an answer other than success means, and its text."""
    match said:
        case {"error": str(text)}:
            return classify_error(text), text
        case {"again": True}:
            return LoginOutcome.FORM_AGAIN, ""
        case {"spin": True}:
            return LoginOutcome.TIMED_OUT, ""
        case _:
            return LoginOutcome.SECOND_FACTOR_NEEDED, _NEEDS_PAGE
