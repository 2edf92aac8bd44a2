"""The tools of every step of a login: the task, the page, the notes, and a reliable click."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from gwctl.login.browser_reports import PageFailed, PageWaits
from gwctl.login.controls import CHOICE
from gwctl.login.outcome import LoginJob, LoginOutcome, Step, redact
from gwctl.login.page import Page
from gwctl.login.page_state import PageState
from gwctl.login.selectors import VERSIONS, merged
from gwctl.login.verdict import Ended
from gwctl.setting_values import Element

OnStep = Callable[[Step], None]
Permit = Callable[[], Awaitable[bool]]

_DEMO = "/demo#/"
"""No slash before the ``#``: with one, the page does not find its script (gateway facts)."""
_API = "/v1/api/"
_WATCH_S = 0.5
_COVERED_CLICKS = 2
"""A cover that is still there after this many tries stays; before that, the page may just be loading."""


class Over(Exception):
    """Ends the attempt, from any depth of its steps."""

    def __init__(self, outcome: LoginOutcome, text: str = "") -> None:
        super().__init__(outcome.value)
        self.ended = Ended(outcome, text)


class PageActions:
    """One login's page, task and notes."""

    def __init__(self, page: Page, task: LoginJob, on_step: OnStep) -> None:
        self.page = page
        self.task = task
        self.patience = task.patience
        self.selectors = merged(VERSIONS, task.pages)
        self.steps: list[Step] = []
        self.codes: list[str] = []
        """The codes that were typed; they must not appear in anything we keep."""
        self.said = ""
        """The page's words until the password was sent."""
        self.limit: asyncio.Timeout | None = None
        self._on_step = on_step
        self._started_s = time.monotonic()

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that must not appear in anything we keep or send: the task's secrets and the typed codes."""
        return (*self.task.secrets, *self.codes)

    def now_ms(self) -> float:
        """Return the milliseconds since the login began."""
        return round((time.monotonic() - self._started_s) * 1000, 1)

    def hear(self, words: str) -> None:
        """Remember the page's words from before the submit: if they appear again, they are no answer."""
        self.said = "\n".join(dict.fromkeys([*self.said.splitlines(), *words.splitlines()]))

    def grant(self, further_s: float) -> None:
        """Extend the login's deadline: a person's time does not count as the page's."""
        when = self.limit.when() if self.limit is not None else None
        if self.limit is not None and when is not None:
            self.limit.reschedule(when + further_s)

    def note(self, name: str) -> None:
        """Keep and report a step; its name may contain the page's words, and they may contain a secret."""
        step = Step(redact(name, self.secrets), self.now_ms())
        self.steps.append(step)
        self._on_step(step)

    async def open_demo(self, timeout_s: float) -> None:
        """Open the demo page and let its script call the API: until then, IBKR's page may ignore the form."""
        called = await self.page.open_and_await_call(f"{self.task.base_url}{_DEMO}", _API, timeout_s=timeout_s)
        self.note("demo page called the API" if called else "demo page did not call the API")

    async def look(self, patience_s: float | None = None) -> PageState:
        """Return the page's current look; raises PageFailed if the page does not answer its browser in time.

        Raises PageWaits if the next page does not arrive.
        """
        deadline_s = time.monotonic() + (patience_s or self.patience.action_s)
        while (left_s := deadline_s - time.monotonic()) > 0:
            # None at once: the document was being replaced; the next look sees the new one.
            look = await self.page.look(self.selectors, None, timeout_s=left_s)
            if look is not None:
                return look
        waits_s = self.page.wire.unanswered_s
        if waits_s > 0:
            raise PageWaits(f"the next page did not come within {waits_s:.0f} s")
        raise PageFailed("the page does not answer its browser")

    async def watch(
        self, look: PageState, is_it: Callable[[PageState], bool], *, patience_s: float | None = None
    ) -> PageState | None:
        """Return the first look, from ``look`` on, for which ``is_it`` is true; None if none comes in time."""
        deadline_s = time.monotonic() + (patience_s or self.patience.action_s)
        while not is_it(look):
            if time.monotonic() >= deadline_s:
                # The page may not have answered for some time.
                fresh = await self.page.look(self.selectors, None, timeout_s=self.patience.action_s)
                return fresh if fresh is not None and is_it(fresh) else None
            look = await self.page.look(self.selectors, look, timeout_s=_WATCH_S) or look
        return look

    async def click(self, element: Element) -> bool:
        """Click an element once, even if a cookie dialog comes back at any moment; False if that is impossible."""
        deadline_s = time.monotonic() + self.patience.action_s
        failed = 0
        while time.monotonic() < deadline_s:
            look = await self.look()
            await self.dismiss_cookie_dialog(look)
            selector = look.visible.get(element)
            if selector is None:
                if not look.settling:
                    return False
                await self.watch(look, lambda now: not now.settling)
                continue
            if await self.page.click(selector, timeout_s=_WATCH_S):
                return True
            failed += 1
            if failed >= _COVERED_CLICKS:
                await self._uncover(selector)
        return False

    async def use(self, way: str) -> bool:
        """Click the element at an address, or choose the list option that it names; False if that is impossible."""
        at, choice, value = way.partition(CHOICE)
        deadline_s = time.monotonic() + self.patience.action_s
        failed = 0
        while time.monotonic() < deadline_s:
            await self.dismiss_cookie_dialog(await self.look())
            used = (
                self.page.choose(at, value, timeout_s=_WATCH_S) if choice else self.page.click(at, timeout_s=_WATCH_S)
            )
            if await used:
                return True
            failed += 1
            if failed >= _COVERED_CLICKS:
                await self._uncover(at)
        return False

    async def _uncover(self, selector: str) -> None:
        """Hide what stays over an element, as a person would close it; IBKR does not notice."""
        words = await self.page.uncover(selector)
        if words is not None:
            self.note(f"hidden what lay over {selector}: {words or 'without words'}")

    async def dismiss_cookie_dialog(self, look: PageState) -> None:
        """Remove the cookie dialog: by its button, otherwise from the page."""
        button = look.visible.get(Element.COOKIE_BUTTON)
        if button is not None:
            if await self.page.click(button, timeout_s=1.0):
                self.note("cookie dialog dismissed")
        elif look.shows(Element.COOKIE_COVER):
            await self.page.remove(self.selectors[Element.COOKIE_COVER])
            self.note("cookie dialog removed")
