"""``gwctl login --manual``: a person logs in, in a window or in a browser of their own; gwctl takes over from there."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gwctl.cli.call import Call
from gwctl.cli.output import Outcome
from gwctl.cli.reaching import find_supervisor
from gwctl.config import Settings
from gwctl.errors import NeedsPerson, ProfileHeld, TimedOut
from gwctl.supervisor.control import SupervisorClient

if TYPE_CHECKING:
    from gwctl.login.outcome import LoginReport

GATEWAY_TIMEOUT_S = 60.0
OTHER_LOGIN_S = 30.0
LOOK_EVERY_S = 0.1
TAKEOVER_S = 60.0
"""How long the session may take to come after the person is through."""


def log_in_by_hand(call: Call, *, timeout_s: float) -> Outcome:
    """Have a person log in and return once the session is ready; raises GwctlError.

    A supervisor that runs makes no login of its own meanwhile; where none runs one is started for it, and stopped again
    if nothing comes of it.
    """
    from gwctl.cli.following import shown
    from gwctl.cli.unwinding import undisturbed
    from gwctl.cli.up import start_for_hand, undo

    settings = call.settings()
    with shown(call) as show:
        client, ours = find_supervisor(call), False
        if client is None:
            client, ours = start_for_hand(call, settings, show)
        try:
            status = _accompany(call, settings, client, show, time.monotonic() + timeout_s)
        except BaseException:
            if ours:
                with undisturbed():
                    undo(call)
            raise
    return Outcome(status, "" if call.quiet else "logged in")


def _accompany(
    call: Call, settings: Settings, client: SupervisorClient, show: Callable[[str], None], deadline_s: float
) -> dict[str, Any]:
    from gwctl.cli.following import follow_until_ready

    if _make_way(call, client, show):
        return client.status()
    address = f"https://localhost:{settings['port']}/"
    report: LoginReport | None = None
    if has_display(call):
        show(f"a window opens {address}: log in there")
        report = asyncio.run(_in_window(call, settings, address, deadline_s))
    else:
        show(f"open {address} in a browser and log in there (its certificate is of {call.paths.ca_file})")
        _await_ready(client, deadline_s)
    if report is not None and not client.status()["ready"]:
        _judge(call, report)
        cookies = [[cookie.name, cookie.value] for cookie in report.cookies]
        client.command("logged_in_by_hand", {"cookies": cookies})
    return follow_until_ready(call, client, timeout_s=TAKEOVER_S, show=show)


def _make_way(call: Call, client: SupervisorClient, show: Callable[[str], None]) -> bool:
    """Have the loop leave the login to a person; return whether there is a session already."""
    gateway_by_s = time.monotonic() + GATEWAY_TIMEOUT_S
    other_by_s: float | None = None
    told = ""
    while True:
        status = client.status()
        if status["ready"]:
            return True
        now_s = time.monotonic()
        phase = status["phase"]
        if phase == "locked_out" and status["gateway"]["pid"]:
            client.command("by_hand")
            return False
        if phase in {"logging_in", "awaiting_second_factor"}:
            other_by_s = other_by_s or now_s + OTHER_LOGIN_S
            if now_s > other_by_s:
                raise ProfileHeld("a login is under way already", hint=call.command("status"))
        elif now_s > gateway_by_s:
            raise TimedOut(f"the gateway does not come up: {status['reason']}", hint=call.command("logs --gateway"))
        else:
            client.command("by_hand")
        if status["reason"] != told:
            told = str(status["reason"])
            show(told)
        time.sleep(LOOK_EVERY_S)  # between two looks at another process, until the deadline


def has_display(call: Call) -> bool:
    """Say whether a window can be shown."""
    variables = call.environment
    return sys.platform == "darwin" or bool(variables.get("DISPLAY") or variables.get("WAYLAND_DISPLAY"))


async def _in_window(call: Call, settings: Settings, address: str, deadline_s: float) -> LoginReport:
    """Show the page until the person is through, or until the session is ready without us."""
    from gwctl.gateway.keystore import ensure_leaf
    from gwctl.login.browser import find_window_browser
    from gwctl.login.session import LoginJob, LoginWorker

    browser = find_window_browser(settings["browser"], call.environment.variables)
    leaf = await asyncio.to_thread(ensure_leaf, call.paths)
    job = LoginJob(
        base_url=address.rstrip("/"),
        username="",
        password="",
        mode=settings["mode"],
        pages=settings["page"] or {},
        visit="by_hand",
        deadline_s=max(1.0, deadline_s - time.monotonic()),
    )

    async def never() -> bool:
        return False

    worker = LoginWorker.start(
        browser,
        leaf.spki_pin_base64,
        call.paths.login_scratch_dir,
        environ=call.environment.variables,
        headless=False,
    )
    async with worker:
        return await worker.run(job, lambda _step: None, never)


def _await_ready(client: SupervisorClient, deadline_s: float) -> None:
    """Return when the supervisor has noticed that somebody is logged in."""
    while not client.status()["ready"]:
        if time.monotonic() > deadline_s:
            raise TimedOut("nobody has logged in", hint="gwctl login --manual --timeout 600")
        time.sleep(LOOK_EVERY_S)  # between two looks at another process, until the deadline


def _judge(call: Call, report: LoginReport) -> None:
    from gwctl.login.outcome import LoginOutcome

    if report.outcome is LoginOutcome.CANCELLED:
        raise NeedsPerson(report.text, hint=call.command("login --manual"))
    if report.outcome is LoginOutcome.TIMED_OUT:
        raise TimedOut(report.text, hint=call.command("login --manual --timeout 600"))
    if report.outcome is not LoginOutcome.SUCCESS:
        raise NeedsPerson(f"the window could not be shown: {report.text}", hint=call.command("login --manual"))
