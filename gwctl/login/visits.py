"""Visits to the login page that submit nothing: a probe of what it is like, and a login by a person's own hands."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping

from gwctl.login.actions import Hands, OnStep, Over, Task
from gwctl.login.browser_errors import ended_by
from gwctl.login.form import Form
from gwctl.login.outcome import LoginOutcome, LoginReport, SsoCookie, tidy
from gwctl.login.page import Page, PageFailed
from gwctl.login.page_state import Look
from gwctl.login.recognition import RECOGNIZED
from gwctl.login.verdict import Ended

LOOK_S = 1.0
SOON_S = 0.1
NETWORK_ERROR = "net::ERR_"
PROBED = "the page was looked at; nothing was submitted"


async def probe(page: Page, task: Task, on_step: OnStep) -> LoginReport:
    """Open the page, wait for its form, and report what was found; the outcome of a page that is known is CANCELLED."""
    hands = Hands(page, task, on_step)
    form = Form(hands)
    elements: dict[str, str] = {}
    try:
        async with asyncio.timeout(task.deadline_s) as hands.limit:
            try:
                look = await form.open()
                elements = await page.find(hands.selectors)
                elements |= {element.value: f"{RECOGNIZED} by {how}" for element, how in look.recognized.how.items()}
                ended = Ended(LoginOutcome.CANCELLED, PROBED)
            except Over as over:
                ended = _unreachable(over.ended.text) or over.ended
                with contextlib.suppress(PageFailed):
                    elements = await page.find(hands.selectors)
    except TimeoutError:
        ended = Ended(LoginOutcome.PAGE_NEVER_CAME, f"not done within {task.deadline_s:g} s")
    except PageFailed as error:
        ended = _unreachable(str(error)) or ended_by(str(error))
    return _report(hands, ended, version=form.version, elements=elements)


def _unreachable(text: str) -> Ended | None:
    """Return the end of a probe that no server was there for: it goes past the gateway, whose door and key are ours."""
    at = text.find(NETWORK_ERROR)
    return None if at < 0 else Ended(LoginOutcome.PAGE_NEVER_CAME, text[at:])


async def _await_success(page: Page, hands: Hands) -> None:
    """Return when the page says that the login succeeds, however often the person reloads it until then."""
    look: Look | None = None
    while look is None or not look.success:
        asked_s = time.monotonic()
        fresh = await page.look(hands.selectors, look, timeout_s=LOOK_S)
        look = fresh or look
        if fresh is None:
            # A page that has crashed says so at once, again and again, until the person reloads it.
            await asyncio.sleep(max(0.0, SOON_S - (time.monotonic() - asked_s)))


async def by_hand(page: Page, task: Task, on_step: OnStep) -> LoginReport:
    """Open the page in a window and wait until the person is through; CANCELLED when the window is closed before."""
    hands = Hands(page, task, on_step)
    page.outlives_crash = True
    cookies: tuple[SsoCookie, ...] = ()
    try:
        async with asyncio.timeout(task.deadline_s):
            await hands.open_demo(task.patience.demo_call_s)
            await page.open(task.base_url + task.page_path, timeout_s=task.patience.form_s)
            hands.note("window open")
            await _await_success(page, hands)
            hands.note("logged in by hand")
            cookies = await page.cookies(task.base_url)
            ended = Ended(LoginOutcome.SUCCESS)
    except TimeoutError:
        ended = Ended(LoginOutcome.TIMED_OUT, f"nobody logged in within {task.deadline_s:.0f} s")
    except PageFailed as error:
        gone = page.is_gone
        ended = (
            Ended(LoginOutcome.CANCELLED, "the window was closed before the login was through")
            if gone
            else Ended(LoginOutcome.PAGE_NEVER_CAME, str(error))
        )
    return _report(hands, ended, cookies=cookies)


def _report(
    hands: Hands,
    ended: Ended,
    *,
    version: str | None = None,
    elements: Mapping[str, str] | None = None,
    cookies: tuple[SsoCookie, ...] = (),
) -> LoginReport:
    if ended.text != PROBED:
        hands.note(f"ended: {ended.outcome.value}")
    return LoginReport(
        outcome=ended.outcome,
        text=tidy(ended.text, hands.task.secrets),
        steps=tuple(hands.steps),
        cookies=cookies,
        page_version=version,
        durations_ms={"total": hands.now_ms()},
        elements=elements or {},
    )
