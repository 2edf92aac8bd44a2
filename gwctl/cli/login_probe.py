"""``gwctl login --probe``: what the login page is like now; nothing is submitted, and no session is touched."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gwctl.cli.call import Call
from gwctl.cli.output import Outcome
from gwctl.config import Settings
from gwctl.errors import BrowserMissing, LoginFailed, UpstreamUnreachable

if TYPE_CHECKING:
    from gwctl.login.outcome import LoginReport

LOGIN_PATH = "/sso/Login?forwardTo=22&RL=1&ip2loc=US"
"""Where the gateway itself sends a browser that asks for ``/`` (gateway-facts.md)."""
DEADLINE_S = 90.0
LOAD_SHARE = 0.45
"""How much of the time one of two loads of the page may take until its form is there."""


def probe_page(call: Call, *, timeout_s: float | None = None) -> Outcome:
    """Open IBKR's login page itself, not through the gateway, whose session would be touched; return what is there.

    Raises LoginFailed, UpstreamUnreachable or BrowserMissing with what was looked for, after ``timeout_s`` (90 s) at
    the latest.
    """
    settings = call.settings()
    upstream = _upstream_of(call, settings)
    call.say(f"looking at {upstream}/sso/Login")
    report = asyncio.run(_probe(call, settings, upstream, timeout_s or DEADLINE_S))
    if not _is_known(report):
        _complain(call, report)
    data = {
        "url": upstream + LOGIN_PATH,
        "outcome": "known",
        "version": report.page_version,
        "elements": dict(report.elements),
        "steps": [{"name": step.name, "at_ms": step.at_ms} for step in report.steps],
    }
    return Outcome(data, _render(report))


def _upstream_of(call: Call, settings: Settings) -> str:
    from gwctl.supervisor.control import SupervisorClient
    from gwctl.supervisor.standin import StandInRecord

    client = SupervisorClient.find(call.paths)
    record = StandInRecord.load(call.paths) if client is not None and client.record.sandbox else None
    return (record.url if record is not None else str(settings["upstream"])).rstrip("/")


async def _probe(call: Call, settings: Settings, upstream: str, deadline_s: float) -> LoginReport:
    from gwctl.login.browser import find_browser
    from gwctl.login.look import Patience
    from gwctl.login.session import LoginJob, LoginWorker

    browser = find_browser(settings["browser"], call.environment.variables)
    job = LoginJob(
        base_url=upstream,
        username="",
        password="",
        mode=settings["mode"],
        pages=settings["page"] or {},
        page_path=LOGIN_PATH,
        visit="probe",
        deadline_s=deadline_s,
        # The page is loaded twice before it is given up.
        patience=Patience(form_s=min(Patience().form_s, deadline_s * LOAD_SHARE)),
        evidence_dir=call.paths.evidence_dir,
    )

    async def never() -> bool:
        return False

    worker = LoginWorker.start(browser, None, call.paths.login_scratch_dir, environ=call.environment.variables)
    async with worker:
        return await worker.run(job, lambda step: call.say(f"  {step.at_ms / 1000:.1f} s  {step.name}"), never)


def _is_known(report: LoginReport) -> bool:
    from gwctl.login.outcome import LoginOutcome

    return report.outcome is LoginOutcome.CANCELLED and bool(report.elements)


def _complain(call: Call, report: LoginReport) -> None:
    from gwctl.login.outcome import LoginOutcome

    text = report.text.removesuffix(".")
    kept = f"; what was seen is in {report.evidence}" if report.evidence else ""
    again = f"{call.command('login --probe')}, later"
    match report.outcome:
        case _ if "net::ERR_" in text:
            # No answer came, or none that can be believed: the browser is well.
            raise UpstreamUnreachable(f"IBKR's login page cannot be reached: {text}{kept}", hint=again)
        case LoginOutcome.BROWSER_FAILED | LoginOutcome.BROWSER_KILLED:
            raise BrowserMissing(f"the browser did not work: {text}", hint="gwctl browser install")
        case LoginOutcome.UPSTREAM_ILL:
            raise UpstreamUnreachable(f"IBKR's login is not available: {text}{kept}", hint=again)
        case LoginOutcome.PAGE_UNKNOWN:
            call.say("\n".join(["found, all the same:", *_lines(report)] if report.elements else ["nothing was found"]))
            raise LoginFailed(
                f"the login page is not one that gwctl knows: {text}{kept}",
                hint=f"set the selectors in [profiles.{call.profile_name}.page]",
            )
        case _:
            raise LoginFailed(f"the login form did not come: {text}{kept}", hint=again)


def _render(report: LoginReport) -> str:
    return "\n".join([f"login page: version {report.page_version}, nothing was submitted", *_lines(report)])


def _lines(report: LoginReport) -> list[str]:
    width = max(len(name) for name in report.elements)
    return [f"  {name:<{width}}  {found}" for name, found in report.elements.items()]
