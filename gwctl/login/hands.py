"""What every step of a login uses: the task, the page, the notes of what was done, a click that gets through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gwctl.login.controls import CHOICE
from gwctl.login.look import Look, Patience
from gwctl.login.outcome import LoginOutcome, Step, redact
from gwctl.login.page import Page, PageFailed, PageWaits
from gwctl.login.pages import VERSIONS, Element, merged
from gwctl.login.second_factor import Method
from gwctl.login.verdict import Ended

Mode = Literal["paper", "live"]
OnStep = Callable[[Step], None]
Permit = Callable[[], Awaitable[bool]]

_DEMO = "/demo#/"
"""Without a slash before the ``#``: with one the page does not find its script (gateway facts)."""
_API = "/v1/api/"
_WATCH_S = 0.5
_COVERED_CLICKS = 2
"""What lies over a button after so many tries stays there; before that it may be the page that is still loading."""


@dataclass(frozen=True, slots=True)
class Task:
    """What to log in with; the secrets never show in a repr."""

    base_url: str
    username: str = field(repr=False)
    password: str = field(repr=False)
    mode: Mode = "paper"
    totp_secret: str | None = field(default=None, repr=False)
    totp_used_window: int | None = None
    method: Method = Method.AUTO
    device: str | None = None
    overrides: Mapping[str, list[str]] = field(default_factory=dict)
    first_after_start: bool = False
    has_worked: bool = False
    page_path: str = "/"
    deadline_s: float = 150.0
    patience: Patience = field(default_factory=Patience)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that must not be in a text we keep."""
        return tuple(secret for secret in (self.password, self.totp_secret, self.username) if secret)


class Over(Exception):
    """The attempt is over, from wherever in its steps that became known."""

    def __init__(self, outcome: LoginOutcome, text: str = "") -> None:
        super().__init__(outcome.value)
        self.ended = Ended(outcome, text)


class Hands:
    """One login's page, task and notes."""

    def __init__(self, page: Page, task: Task, on_step: OnStep) -> None:
        self.page = page
        self.task = task
        self.patience = task.patience
        self.selectors = merged(VERSIONS, task.overrides)
        self.steps: list[Step] = []
        self.codes: list[str] = []
        """The codes that were typed, which are in nothing that is kept."""
        self.said = ""
        """What the page has said until the password was sent."""
        self.limit: asyncio.Timeout | None = None
        self._on_step = on_step
        self._started_s = time.monotonic()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that must be in nothing that is kept or told: the task's secrets and the codes that were typed."""
        return (*self.task.secrets, *self.codes)

    def now_ms(self) -> float:
        """Return the milliseconds since the login began."""
        return round((time.monotonic() - self._started_s) * 1000, 1)

    def hear(self, words: str) -> None:
        """Keep in mind what the page says before the password is sent: said again, it is no answer."""
        self.said = "\n".join(dict.fromkeys([*self.said.splitlines(), *words.splitlines()]))

    def grant(self, further_s: float) -> None:
        """Put the login's deadline off: what a person takes is not the page's time."""
        when = self.limit.when() if self.limit is not None else None
        if self.limit is not None and when is not None:
            self.limit.reschedule(when + further_s)

    def note(self, name: str) -> None:
        """Keep and report a step; the page may have a word in its name, and in that a secret."""
        step = Step(redact(name, self.secrets), self.now_ms())
        self.steps.append(step)
        self._on_step(step)

    async def open_demo(self, timeout_s: float) -> None:
        """Open the demo page and let its script call the API: until then IBKR's form may come to nothing."""
        called = await self.page.open_and_await_call(f"{self.task.base_url}{_DEMO}", _API, timeout_s=timeout_s)
        self.note("demo page called the API" if called else "demo page did not call the API")

    async def look(self, patience_s: float | None = None) -> Look:
        """Return how the page looks now; raises PageFailed if it does not answer its own browser in time.

        PageWaits where it is the next page that does not come.
        """
        deadline_s = time.monotonic() + (patience_s or self.patience.action_s)
        while (left_s := deadline_s - time.monotonic()) > 0:
            # None at once: the document was being replaced; the next look sees the new one.
            look = await self.page.look(self.selectors, None, timeout_s=left_s)
            if look is not None:
                return look
        waits_s = self.page.unanswered_s
        if waits_s > 0:
            raise PageWaits(f"the next page did not come within {waits_s:.0f} s")
        raise PageFailed("the page does not answer its own browser")

    async def watch(self, look: Look, is_it: Callable[[Look], bool], *, patience_s: float | None = None) -> Look | None:
        """Return the first look from ``look`` on that ``is_it``; None if none comes in time."""
        deadline_s = time.monotonic() + (patience_s or self.patience.action_s)
        while not is_it(look):
            if time.monotonic() >= deadline_s:
                # It may not have answered since long before.
                fresh = await self.page.look(self.selectors, None, timeout_s=self.patience.action_s)
                return fresh if fresh is not None and is_it(fresh) else None
            look = await self.page.look(self.selectors, look, timeout_s=_WATCH_S) or look
        return look

    async def click(self, element: Element) -> bool:
        """Click an element once, around a cookie dialog that may come back at any moment; False if it cannot be."""
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
        """Click or choose once what is at an address, around what lies over it; False if it cannot be."""
        deadline_s = time.monotonic() + self.patience.action_s
        failed = 0
        while time.monotonic() < deadline_s:
            await self.dismiss_cookie_dialog(await self.look())
            if await self.page.use(way, timeout_s=_WATCH_S):
                return True
            failed += 1
            if failed >= _COVERED_CLICKS:
                await self._uncover(way.partition(CHOICE)[0])
        return False

    async def _uncover(self, selector: str) -> None:
        """Hide what stays over an element, as a person closes it; IBKR does not hear of it."""
        words = await self.page.uncover(selector)
        if words is not None:
            self.note(f"hidden what lay over {selector}: {words or 'without words'}")

    async def dismiss_cookie_dialog(self, look: Look) -> None:
        """Take the cookie dialog away: by its own button, else out of the page."""
        button = look.visible.get(Element.COOKIE_BUTTON)
        if button is not None:
            if await self.page.click(button, timeout_s=1.0):
                self.note("cookie dialog dismissed")
        elif look.shows(Element.COOKIE_COVER):
            await self.page.remove(self.selectors[Element.COOKIE_COVER])
            self.note("cookie dialog removed")
