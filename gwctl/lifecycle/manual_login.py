"""Let a person log in, in a window or in their own browser; gwctl takes over from there."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec import Struct

from gwctl.config import Settings
from gwctl.environment import Environment
from gwctl.errors import BrowserMissing, DiskTrouble, NeedsPerson, ProfileHeld, TimedOut, TryAgain, UpstreamUnreachable
from gwctl.lifecycle.follow import follow_until_ready
from gwctl.lifecycle.profile import SILENT, Observer, Profile, run
from gwctl.lifecycle.reach import find_supervisor
from gwctl.lifecycle.start import start_for_hand, undo
from gwctl.lifecycle.status import paused
from gwctl.session_status import Status
from gwctl.signals import undisturbed
from gwctl.supervisor.control import NoSupervisor, SupervisorClient

if TYPE_CHECKING:
    from gwctl.login.browser import Browser
    from gwctl.login.outcome import LoginReport

GATEWAY_TIMEOUT_S = 60.0
OTHER_LOGIN_S = 30.0
LOOK_EVERY_S = 0.1
TAKEOVER_S = 60.0
"""How long the session may take to become ready after the person has logged in."""
HELD_S = 180.0
"""How much longer than the person's own time the supervisor waits: the gateway must come up first."""
COOKIES_S = 3.0
"""How much longer a window stays open after its session is ready: its login may be just ending, and has the cookies."""


def log_in_by_hand(profile: Profile, observer: Observer, *, timeout_s: float) -> tuple[Status, bool]:
    """Let a person log in; return the ready status and whether that took a login. Raise GwctlError.

    A running supervisor does not log in meanwhile. If none runs, start one for this, and stop it again on failure.
    """
    began_s, settings = time.time(), profile.settings()
    client, ours = find_supervisor(profile), False
    if client is not None:
        status = client.status()
        if status["ready"]:
            return status, False
    # Fail before starting a gateway if no window can be shown.
    browser = _find_browser(profile, settings) if has_display(profile.environment) else None
    if client is None:
        client, ours = start_for_hand(profile, observer)
    visit = _Visit(profile, settings, client, observer, browser, timeout_s, began_s)
    try:
        return visit.until_ready(), True
    except BaseException:
        visit.leave(ours=ours)
        raise


def has_display(environment: Environment) -> bool:
    """Return whether a window can be shown."""
    return sys.platform == "darwin" or bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def _find_browser(profile: Profile, settings: Settings) -> Browser:
    from gwctl.login.browser import find_window_browser

    return find_window_browser(settings["browser"], profile.environment.variables)


class _Visit(Struct):
    """One person's login; ``browser`` shows the page in a window, None if the person uses their own browser."""

    profile: Profile
    settings: Settings
    client: SupervisorClient
    observer: Observer
    browser: Browser | None
    timeout_s: float
    began_s: float
    _interrupts: bool = False
    """Whether the supervisor would have logged in by itself without the request to leave that to a person."""

    def until_ready(self) -> Status:
        """Return the ready status; raise Ended or Vanished if the supervisor gave up meanwhile."""
        try:
            if self._make_way():
                return self.client.status()
            report = self._let_in()
            if report is None:
                return self.client.status()
            self._judge(report)
            return self._hand_over(report)
        except NoSupervisor:
            self._say_why_it_ended()

    def _claim(self) -> dict[str, Any]:
        """Return which process wants to log in by hand and for how long; the supervisor continues when either ends."""
        from gwctl import process

        me = process.identify(os.getpid())
        return {"identity": me.to_json() if me else None, "for_s": self.timeout_s + HELD_S}

    def leave(self, *, ours: bool) -> None:
        """Stop what was started for this login; a supervisor that ran before gets the login back.

        Law 2 still decides whether it may send a password. One that waited for a person keeps waiting.
        """
        with undisturbed():
            if ours:
                undo(self.profile, self.observer)
            elif self._interrupts:
                with suppress(NoSupervisor, TryAgain):
                    self.client.command("by_hand", {**self._claim(), "over": True})

    def _hand_over(self, report: LoginReport) -> Status:
        """Give the supervisor the window's cookies, for a later resume, and return once it is ready."""
        cookies = [[cookie.name, cookie.value] for cookie in report.cookies]
        since = int(self.client.command("logged_in_by_hand", {"cookies": cookies})["n"])
        status = self.client.status()
        if status["ready"]:
            return status
        return follow_until_ready(
            self.profile, self.client, self.observer, timeout_s=TAKEOVER_S, since=since, began_s=self.began_s
        )

    def _say_why_it_ended(self) -> NoReturn:
        """Raise the last error that the ended supervisor recorded."""
        follow_until_ready(self.profile, self.client, SILENT, timeout_s=TAKEOVER_S, began_s=self.began_s)
        raise NoSupervisor

    def _make_way(self) -> bool:
        """Ask the loop to leave the login to a person; return whether there is a session already."""
        gateway_by_s = time.monotonic() + GATEWAY_TIMEOUT_S
        other_by_s: float | None = None
        told = "it is starting"
        while True:
            status = self.client.status()
            if status["ready"]:
                return True
            now_s = time.monotonic()
            phase, reason = status["phase"], str(status["reason"])
            if phase == "paused":
                raise paused(self.profile, status)
            by_hand = status.get("person_needed") == "manual_login"
            if phase == "locked_out" and status["gateway"]["pid"]:
                self.client.command("by_hand", self._claim())
                return False
            if phase in {"logging_in", "awaiting_second_factor"}:
                other_by_s = other_by_s or now_s + OTHER_LOGIN_S
                if now_s > other_by_s:
                    raise ProfileHeld("a login is already in progress", hint=self.profile.command("status"))
            elif now_s > gateway_by_s:
                raise TimedOut(
                    f"the gateway did not start in time: {told}", hint=self.profile.command("logs --gateway")
                )
            else:
                self._interrupts = self._interrupts or not by_hand
                self.client.command("by_hand", self._claim())
            if reason != told and not by_hand:
                told = reason
                self.observer.show(told)
            time.sleep(LOOK_EVERY_S)  # another process: nothing to wait on

    def _let_in(self) -> LoginReport | None:
        """Return the report of the window; None if the session became ready through the person's own browser."""
        # The gateway may use another port than the settings say: the supervisor was started with that one.
        address = f"https://localhost:{self.client.status()['gateway']['port']}/"
        deadline_s = time.monotonic() + self.timeout_s
        if self.browser is not None:
            self.observer.show(f"opening {address} in a window: log in there")
            return run(self._in_window(self.browser, address, deadline_s))
        where = f"open {address} in a browser and log in there (the certificate's CA is {self.profile.paths.ca_file})"
        self.observer.ask_to_do(where)
        while not self.client.status()["ready"]:
            if time.monotonic() > deadline_s:
                raise TimedOut(
                    "timed out waiting for the login", hint=self.profile.command("login --manual --timeout 600")
                )
            time.sleep(LOOK_EVERY_S)  # another process: nothing to wait on
        return None

    async def _in_window(self, browser: Browser, address: str, deadline_s: float) -> LoginReport | None:
        """Show the page until the person has logged in or the session is ready another way."""
        from gwctl.gateway.keystore import kept_leaf
        from gwctl.login.outcome import LoginJob
        from gwctl.login.worker_client import LoginWorker

        leaf = await asyncio.to_thread(kept_leaf, self.profile.paths)
        if leaf is None:
            raise DiskTrouble("the running gateway's certificate is damaged", hint=self.profile.command("restart"))
        job = LoginJob(
            base_url=address.rstrip("/"),
            username="",
            mode=self.settings["mode"],
            pages=self.settings["page"] or {},
            visit="by_hand",
            deadline_s=max(1.0, deadline_s - time.monotonic()),
        )

        async def never() -> bool:
            return False

        worker = LoginWorker.start(
            browser,
            leaf.spki_pin_base64,
            self.profile.paths.login_scratch_dir,
            environ=self.profile.environment.variables,
            headless=False,
        )
        async with worker:
            window = asyncio.create_task(worker.run(job, lambda _step: None, never))
            elsewhere = asyncio.create_task(self._await_ready())
            try:
                await asyncio.wait({window, elsewhere}, return_when=asyncio.FIRST_COMPLETED)
                if elsewhere.done():
                    elsewhere.result()
                    await asyncio.wait({window}, timeout=COOKIES_S)
                return window.result() if window.done() else None
            finally:
                window.cancel()
                elsewhere.cancel()
                await asyncio.gather(window, elsewhere, return_exceptions=True)

    async def _await_ready(self) -> None:
        """Return when the session is logged in; raise NoSupervisor if no supervisor is left to log in for."""
        while True:
            status = await asyncio.to_thread(self.client.status)
            if status["ready"]:
                return
            await asyncio.sleep(LOOK_EVERY_S)  # another process: nothing to wait on; the window has the deadline

    def _judge(self, report: LoginReport) -> None:
        """Raise the error for a window without a login."""
        from gwctl.login.outcome import LoginOutcome

        command = self.profile.command
        match report.outcome:
            case LoginOutcome.SUCCESS:
                return
            case LoginOutcome.CANCELLED:
                raise NeedsPerson(report.text, hint=command("login --manual"))
            case LoginOutcome.TIMED_OUT:
                raise TimedOut(report.text, hint=command("login --manual --timeout 600"))
            case LoginOutcome.PAGE_NEVER_CAME | LoginOutcome.UPSTREAM_ILL:
                raise UpstreamUnreachable(f"the login page did not load: {report.text}", hint=command("login --probe"))
            case _:
                hint = f"DISPLAY= {command('login --manual')} prints an address for your own browser"
                raise BrowserMissing(f"cannot open the window: {report.text}", hint=hint)
