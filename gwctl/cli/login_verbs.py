"""`login`: log in now or by hand, inspect the login page, or explain the last failure."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import click

from gwctl.cli.call import Call, Seconds, verb
from gwctl.cli.output import Outcome, rows
from gwctl.cli.terminal import Terminal
from gwctl.config import Settings
from gwctl.credentials import Found
from gwctl.errors import BrowserMissing, GatewayUnreachable, LoginFailed, SecondFactorNeeded, UpstreamUnreachable, Usage
from gwctl.login.failures import FailureRecorder, latest
from gwctl.login.start_failures import remedy_of_start
from gwctl.session_status import together
from gwctl.supervisor.control import SupervisorClient

if TYPE_CHECKING:
    from gwctl.login.outcome import LoginReport


def explain_last(call: Call) -> Outcome:
    """Explain the profile's last failed login; exit 0 also if there is no record of one."""
    kept = latest(call.paths.evidence_dir)
    if kept is None:
        return Outcome({"login": None}, f"no record of a failed login of profile {call.profile_name!r}")
    # Make the commands name this profile.
    todo = kept.todo.replace("gwctl ", call.command(""))
    return Outcome({"login": {**kept.to_json(), "todo": todo}}, _render_explanation(kept, todo))


def _render_explanation(kept: FailureRecorder, todo: str) -> str:
    """Return the explanation for a person, with ``todo`` as what to do."""
    lines = [f"{kept.at or 'a login'}: {kept.what}"]
    if kept.text:
        lines.append(f"  the page said   {kept.text}")
    if kept.cause:
        lines.append(f"  the gateway     {kept.cause}")
    if kept.understood:
        lines.append(f"  the page        gwctl does not know it; {kept.understood}")
    times = {0: "nothing", 1: "the password, once"}.get(kept.submits, f"the password, {kept.submits} times")
    lines.append(f"  submitted       {times}")
    lines.append(f"  what to do      {todo}")
    lines.append("  what happened")
    lines += [f"    {at_ms / 1000:7.2f} s  {name}" for name, at_ms in kept.steps]
    lines.append(f"  kept in         {kept.folder} ({', '.join(kept.files)})")
    return rows(lines)


LOGIN_PATH = "/sso/Login?forwardTo=22&RL=1&ip2loc=US"
"""Where the gateway redirects a browser that requests ``/`` (gateway-facts.md)."""
DEADLINE_S = 90.0
LOAD_SHARE = 0.45
"""The share of the time that one of two loads of the page may take until its form appears."""


def probe_page(call: Call, *, timeout_s: float | None = None) -> Outcome:
    """Open IBKR's login page directly, not through the gateway, so that its session is untouched; return what is found.

    Raise LoginFailed, UpstreamUnreachable or BrowserMissing with what was searched for, after at most ``timeout_s`` (90
    s).
    """
    settings = call.settings()
    upstream = _upstream_of(call, settings)
    call.say(f"opening {upstream}/sso/Login")
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
    return Outcome(data, _render_probe(report))


def _upstream_of(call: Call, settings: Settings) -> str:
    from gwctl.supervisor.control import SupervisorClient
    from gwctl.supervisor.sandbox_process import StandInRecord

    client = SupervisorClient.find(call.paths)
    record = StandInRecord.load(call.paths) if client is not None and client.record.sandbox else None
    return record.url if record is not None else str(settings["upstream"])


async def _probe(call: Call, settings: Settings, upstream: str, deadline_s: float) -> LoginReport:
    from gwctl.login.browser import find_browser
    from gwctl.login.outcome import LoginJob
    from gwctl.login.page_state import Patience
    from gwctl.login.worker_client import LoginWorker

    browser = find_browser(settings["browser"], call.environment.variables)
    job = LoginJob(
        base_url=upstream,
        username="",
        mode=settings["mode"],
        pages=settings["page"] or {},
        page_path=LOGIN_PATH,
        visit="probe",
        deadline_s=deadline_s,
        # The page gets two loads before this gives up.
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
    kept = f"; saved what the page showed in {report.evidence}" if report.evidence else ""
    again = f"{call.command('login --probe')}, later"
    match report.outcome:
        case _ if "net::ERR_" in text:
            # No answer, or none to trust: the browser itself works.
            raise UpstreamUnreachable(f"cannot reach IBKR's login page: {text}{kept}", hint=again)
        case LoginOutcome.BROWSER_FAILED | LoginOutcome.BROWSER_KILLED:
            raise BrowserMissing(f"the browser failed: {text}", hint=remedy_of_start(text))
        case LoginOutcome.UPSTREAM_ILL:
            raise UpstreamUnreachable(f"IBKR's login is not available: {text}{kept}", hint=again)
        case LoginOutcome.PAGE_UNKNOWN:
            found = ["found:", *_probe_lines(report)] if report.elements else ["found nothing"]
            for line in found:
                call.say(line)
            raise LoginFailed(
                f"unknown login page: {text}{kept}",
                hint=f"set the selectors in [profiles.{call.profile_name}.page]",
            )
        case _:
            raise LoginFailed(f"the login form did not appear: {text}{kept}", hint=again)


def _render_probe(report: LoginReport) -> str:
    return rows([f"login page: version {report.page_version}; nothing was submitted", *_probe_lines(report)])


def _probe_lines(report: LoginReport) -> list[str]:
    width = max(len(name) for name in report.elements)
    return [f"  {name:<{width}}  {found}" for name, found in report.elements.items()]


TIMEOUT_S = 180.0
MANUAL_TIMEOUT_S = 600.0


@click.command("login")
@click.option("--reset-lockout", is_flag=True, help="Clear the refused logins after a person has fixed their cause.")
@click.option("--manual", is_flag=True, help="Open a window for a person, or print the URL, and wait.")
@click.option("--probe", is_flag=True, help="Inspect the login page without submitting anything.")
@click.option("--explain", is_flag=True, help="Explain how the last failed login ended and what to do.")
@click.option("--timeout", "timeout_s", type=Seconds(1), metavar="S",
              help=f"Seconds to wait.  [default: {TIMEOUT_S:g}; with --manual: {MANUAL_TIMEOUT_S:g}]")  # fmt: skip
@verb
def login(  # noqa: PLR0913 - one argument an option
    call: Call, *, reset_lockout: bool, manual: bool, probe: bool, explain: bool, timeout_s: float | None
) -> Outcome:
    """Log in to the running profile now; --reset-lockout also works on a stopped profile."""
    if sum((reset_lockout, manual, probe, explain)) > 1:
        raise Usage("--reset-lockout, --manual, --probe and --explain cannot be combined", hint="gwctl login --help")
    if manual:
        from gwctl.lifecycle.manual_login import log_in_by_hand

        with Terminal(call) as terminal:
            status, was_needed = log_in_by_hand(call.target(), terminal, timeout_s=timeout_s or MANUAL_TIMEOUT_S)
        return Outcome(status, "" if call.quiet else "logged in" if was_needed else "already logged in")
    if probe:
        return probe_page(call, timeout_s=timeout_s)
    if explain:
        return explain_last(call)
    return _log_in(call, reset_lockout=reset_lockout, timeout_s=timeout_s or TIMEOUT_S)


def _log_in(call: Call, *, reset_lockout: bool, timeout_s: float) -> Outcome:
    from gwctl.lifecycle.follow import follow_until_ready
    from gwctl.lifecycle.preflight import check_login
    from gwctl.lifecycle.start import wish_login
    from gwctl.lifecycle.status import paused
    from gwctl.login_ledger.ledger import Ledger

    began_s = time.time()
    client = SupervisorClient.find(call.paths)
    sandbox = client is not None and client.record.sandbox
    if reset_lockout:
        ledger = Ledger.of(call.settings(), sandbox=sandbox)
        if ledger.exists:
            ledger.reset()
        shared = together(ledger.account.shared_with)
        call.say("cleared the refused logins" + (f", {shared}" if shared else ""))
    if client is None:
        if reset_lockout:
            return Outcome({"reset": True, "logged_in": False}, f"next: {call.command('up')}")
        raise GatewayUnreachable(f"profile {call.profile_name!r} is not running", hint=call.target().up_again())
    found: dict[str, Found] = {}
    status = client.status()
    if status["phase"] == "paused":
        raise paused(call.target(), status)
    if sandbox:
        # IBKR refused nothing for want of a second factor, and now a person is present.
        Ledger(call.paths.sandbox_ledger_file).lift_block(code=SecondFactorNeeded.code)
    else:
        found = check_login(call.target(), call.settings(), Terminal(call), by_person=True)
    since = wish_login(call.target(), client, found, Terminal(call))
    with Terminal(call) as terminal:
        status = follow_until_ready(call.target(), client, terminal, timeout_s=timeout_s, since=since, began_s=began_s)
    return Outcome(status, "" if call.quiet else "logged in")
