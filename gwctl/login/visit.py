"""Visits to the login page that submit nothing: a probe of what it is like, and a login by a person's own hands."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gwctl.login.form import Form
from gwctl.login.hands import Hands, OnStep, Over, Task
from gwctl.login.look import Ended
from gwctl.login.outcome import LoginOutcome, LoginReport, SsoCookie, tidy
from gwctl.login.page import Page, PageFailed

PROBED = "the page was looked at; nothing was submitted"


async def probe(page: Page, task: Task, on_step: OnStep) -> LoginReport:
    """Open the page, wait for its form, and report what was found; the outcome of a page that is known is CANCELLED."""
    hands = Hands(page, task, on_step)
    form = Form(hands)
    elements: dict[str, str] = {}
    try:
        async with asyncio.timeout(task.deadline_s) as hands.limit:
            try:
                await form.open()
                ended = Ended(LoginOutcome.CANCELLED, PROBED)
            except Over as over:
                ended = over.ended
            elements = await page.find(hands.selectors)
    except TimeoutError:
        ended = Ended(LoginOutcome.PAGE_NEVER_CAME, f"not done within {task.deadline_s:g} s")
    except PageFailed as error:
        ended = Ended(LoginOutcome.BROWSER_FAILED, str(error))
    return _report(hands, ended, version=form.version, elements=elements)


async def by_hand(page: Page, task: Task, on_step: OnStep) -> LoginReport:
    """Open the page in a window and wait until the person is through; CANCELLED when the window is closed before."""
    hands = Hands(page, task, on_step)
    cookies: tuple[SsoCookie, ...] = ()
    try:
        async with asyncio.timeout(task.deadline_s):
            await page.open(task.base_url + task.page_path, timeout_s=task.patience.form_s)
            hands.note("window open")
            look = None
            while look is None or not look.success:
                look = await page.look(hands.selectors, look, timeout_s=1.0) or look
            hands.note("logged in by hand")
            cookies = await page.cookies(task.base_url)
            ended = Ended(LoginOutcome.SUCCESS)
    except TimeoutError:
        ended = Ended(LoginOutcome.TIMED_OUT, f"nobody was through within {task.deadline_s:g} s")
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
