"""The worker: one process for one browser and one login, or for one visit to the page without a submit."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from msgspec.structs import asdict

from gwctl.login.actions import OnStep, Over, PageActions
from gwctl.login.browser import LOOKED_AT_BYTES, NO_SANDBOX, Browser, explained, has_ended, started
from gwctl.login.browser_reports import PageFailed, ended_by, first_line
from gwctl.login.codes import Question
from gwctl.login.failures import keep
from gwctl.login.flow import Flow
from gwctl.login.form import Form
from gwctl.login.outcome import LoginJob, LoginOutcome, LoginReport, SsoCookie, Step, tidy
from gwctl.login.page import Page
from gwctl.login.page_state import PageState
from gwctl.login.recognition import RECOGNIZED
from gwctl.login.verdict import Ended
from gwctl.ownership import open_ours

LOOK_S = 1.0
SOON_S = 0.1
NETWORK_ERROR = "net::ERR_"
PROBED = "the page was inspected; nothing was submitted"


async def probe(page: Page, task: LoginJob, on_step: OnStep) -> LoginReport:
    """Open the page, wait for its form, and report what was found; for a known page, the outcome is CANCELLED."""
    actions = PageActions(page, task, on_step)
    form = Form(actions)
    elements: dict[str, str] = {}
    try:
        async with asyncio.timeout(task.deadline_s) as actions.limit:
            try:
                look = await form.open()
                elements = await page.find(actions.selectors)
                elements |= {element.value: f"{RECOGNIZED} by {how}" for element, how in look.recognized.how.items()}
                ended = Ended(LoginOutcome.CANCELLED, PROBED)
            except Over as over:
                ended = _unreachable(over.ended.text) or over.ended
                with contextlib.suppress(PageFailed):
                    elements = await page.find(actions.selectors)
    except TimeoutError:
        ended = Ended(LoginOutcome.PAGE_NEVER_CAME, f"not finished within {task.deadline_s:g} s")
    except PageFailed as error:
        ended = _unreachable(str(error)) or ended_by(str(error))
    return _report(actions, ended, version=form.version, elements=elements)


def _unreachable(text: str) -> Ended | None:
    """Return the end of a probe that reached no server: it bypasses the gateway, so our port and key do not matter."""
    at = text.find(NETWORK_ERROR)
    return None if at < 0 else Ended(LoginOutcome.PAGE_NEVER_CAME, text[at:])


async def _await_success(page: Page, actions: PageActions) -> None:
    """Return when the page says that the login succeeded, however often the person reloads it until then."""
    look: PageState | None = None
    while look is None or not look.success:
        asked_s = time.monotonic()
        fresh = await page.look(actions.selectors, look, timeout_s=LOOK_S)
        look = fresh or look
        if fresh is None:
            # A crashed page fails at once, again and again, until the person reloads it.
            await asyncio.sleep(max(0.0, SOON_S - (time.monotonic() - asked_s)))


async def by_hand(page: Page, task: LoginJob, on_step: OnStep) -> LoginReport:
    """Open the page in a window and wait for the person to log in; CANCELLED if the window is closed before."""
    actions = PageActions(page, task, on_step)
    page.outlives_crash = True
    cookies: tuple[SsoCookie, ...] = ()
    try:
        async with asyncio.timeout(task.deadline_s):
            await actions.open_demo(task.patience.demo_call_s)
            await page.open(task.base_url + task.page_path, timeout_s=task.patience.form_s)
            actions.note("window open")
            await _await_success(page, actions)
            actions.note("logged in by hand")
            cookies = await page.cookies(task.base_url)
            ended = Ended(LoginOutcome.SUCCESS)
    except TimeoutError:
        ended = Ended(LoginOutcome.TIMED_OUT, f"no login in the window within {task.deadline_s:.0f} s")
    except PageFailed as error:
        gone = page.is_gone
        ended = (
            Ended(LoginOutcome.CANCELLED, "the window was closed before the login finished")
            if gone
            else Ended(LoginOutcome.PAGE_NEVER_CAME, str(error))
        )
    return _report(actions, ended, cookies=cookies)


def _report(
    actions: PageActions,
    ended: Ended,
    *,
    version: str | None = None,
    elements: Mapping[str, str] | None = None,
    cookies: tuple[SsoCookie, ...] = (),
) -> LoginReport:
    if ended.text != PROBED:
        actions.note(f"ended: {ended.outcome.value}")
    return LoginReport(
        outcome=ended.outcome,
        text=tidy(ended.text, actions.task.secrets),
        steps=tuple(actions.steps),
        cookies=cookies,
        page_version=version,
        durations_ms={"total": actions.now_ms()},
        elements=elements or {},
    )


LINE_LIMIT_BYTES = 1 << 20
CLOSE_S = 3.0
LOG_FILE = "stderr.log"
"""In this process's working folder: the output of the process, of Playwright's driver and of the browser."""
END_S = 1.0
"""How long to wait for the log to show the end of a browser that went away."""
LOOK_EVERY_S = 0.02
ANSWER_MARGIN_S = 10.0
"""How much longer than the person the parent may take: its deadline counts."""


class Parent:
    """The pipe to the parent process."""

    def __init__(self, out_fd: int) -> None:
        self._out_fd = out_fd
        self._lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def listen(self) -> None:
        """Read lines until the parent closes the pipe or dies."""
        reader = asyncio.StreamReader(limit=LINE_LIMIT_BYTES)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            self._lines.put_nowait(json.loads(line))

    async def expect(self, key: str, deadline_s: float) -> Any:  # noqa: ANN401 - the JSON value that was sent
        """Return the value of the next line, which must be for ``key``; raises TimeoutError and KeyError."""
        async with asyncio.timeout(deadline_s):
            return (await self._lines.get())[key]

    def say(self, event: str, **values: Any) -> None:  # noqa: ANN401 - JSON values
        """Write one line; does nothing if the parent is gone."""
        line = json.dumps({"event": event, **values}).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._out_fd, line) :]
        except BrokenPipeError:
            return


async def log_in(parent: Parent, prepared: dict[str, Any]) -> LoginReport:
    """Start the browser, wait for the task, run it; the browser is closed when this returns or is cancelled."""
    from playwright.async_api import Error

    browser = Browser(prepared["kind"], Path(prepared["executable"]), "parent")
    folder = Path(prepared["user_data_dir"])
    begun_s = time.monotonic()

    def say_no_sandbox() -> None:
        parent.say("step", name=NO_SANDBOX, ms=round((time.monotonic() - begun_s) * 1000, 1))

    try:
        starting = started(
            browser,
            prepared["spki_pin"],
            folder,
            deadline_s=prepared["deadline_s"],
            headless=prepared["headless"],
            on_no_sandbox=say_no_sandbox,
        )
        async with starting as context:
            ready_ms = round((time.monotonic() - begun_s) * 1000, 1)
            parent.say("browser_ready", ms=ready_ms)
            go = await parent.expect("go", prepared["idle_s"])
            report = await do_task(parent, Page(context), go, ready_ms, explain=explain_by_log)
            # Sent before the browser closes: closing takes time, and the result is already known.
            parent.say("report", report=report.to_json())
            return report
    except Error as error:
        text = tidy(f"the browser does not start: {first_line(error)}", ())
        report = explained(LoginReport(LoginOutcome.BROWSER_FAILED, text=text), read_log() or str(error))
    except TimeoutError:
        report = LoginReport(LoginOutcome.CANCELLED, text="no login was requested in time")
    parent.say("report", report=report.to_json())
    return report


def read_log() -> str:
    """Return the recent output of the browser and its driver; empty if it is not in our folder."""
    try:
        with os.fdopen(open_ours(Path(LOG_FILE)), "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOOKED_AT_BYTES))
            return log.read().decode(errors="replace")
    except OSError:
        return ""


async def explain_by_log(report: LoginReport, secrets: tuple[str, ...]) -> LoginReport:
    """Add the browser's own output to the report once its log shows the exit; return it."""
    if report.outcome is not LoginOutcome.BROWSER_FAILED:
        return report
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            while not has_ended(read_log()):  # noqa: ASYNC110 - a file has no event to wait for
                await asyncio.sleep(LOOK_EVERY_S)
    return explained(report, read_log(), secrets)


async def as_it_is(report: LoginReport, _secrets: tuple[str, ...]) -> LoginReport:
    """Return the report unchanged."""
    return report


class Told(Protocol):
    """The receiver of events, who also answers questions that only the parent can."""

    def say(self, event: str, **values: object) -> None:
        """Send an event; the values are JSON."""
        ...

    async def expect(self, key: str, deadline_s: float) -> object:
        """Return the answer, a JSON value; raises TimeoutError."""
        ...


async def do_task(
    parent: Told,
    page: Page,
    go: dict[str, Any],
    browser_ms: float,
    explain: Callable[[LoginReport, tuple[str, ...]], Awaitable[LoginReport]] = as_it_is,
) -> LoginReport:
    """Do what ``go`` says (``LoginJob.to_json``) on a page of a started browser; keep evidence if asked to.

    ``explain`` completes the report of a login whose browser went away.
    """
    task = LoginJob.from_json(go)

    def on_step(step: Step) -> None:
        parent.say("step", name=step.name, ms=step.at_ms)

    async def permit() -> bool:
        parent.say("may_submit")
        return await parent.expect("submit", task.deadline_s) is True

    async def answer(question: Question) -> str | None:
        limit_s = task.patience.person_s + ANSWER_MARGIN_S
        parent.say("question", **asdict(question), limit_s=limit_s)
        code = await parent.expect("code", limit_s)
        return None if code is None else str(code)

    secrets = task.secrets
    match task.visit:
        case "probe":
            report = await probe(page, task, on_step)
        case "by_hand":
            report = await by_hand(page, task, on_step)
        case _:
            flow = Flow(page, task, on_step=on_step, permit=permit, answer=answer)
            report = await flow.run()
            secrets = flow.secrets
    durations_ms = {**report.durations_ms, "browser": browser_ms}
    # From here on the parent knows the result, even if it kills this process while the evidence is written.
    parent.say("ended", report=report.to_json())
    kept = await keep(task.evidence_dir, await explain(report, secrets), page, secrets)
    return LoginReport.from_json({**kept.to_json(), "durations_ms": durations_ms})


async def run(out_fd: int) -> int:
    """Serve one parent; return 0 once the report was sent, 1 if the parent went away before."""
    parent = Parent(out_fd)
    listening = asyncio.create_task(parent.listen())
    terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    signalled = asyncio.create_task(terminated.wait())
    prepared = asyncio.create_task(parent.expect("prepare", 30.0))
    await asyncio.wait({listening, signalled, prepared}, return_when=asyncio.FIRST_COMPLETED)
    if not prepared.done() or prepared.exception() is not None:
        return 1
    work = asyncio.create_task(log_in(parent, prepared.result()))
    try:
        await asyncio.wait({listening, signalled, work}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
            return 0
        work.cancel()
        await asyncio.wait({work}, timeout=CLOSE_S)
        return 1
    finally:
        profile = Path(prepared.result()["user_data_dir"])
        # A parent that is alive removes the rest itself, after it has read our last output.
        shutil.rmtree(profile.parent if listening.done() else profile, ignore_errors=True)


def main() -> None:
    """Run as a child process, and exit without waiting for anything that hangs."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Only the protocol goes to the parent; all other output goes to the log.
    out_fd = os.dup(1)
    os.dup2(2, 1)
    code = asyncio.run(run(out_fd))
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
