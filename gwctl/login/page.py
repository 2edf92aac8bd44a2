"""The browser's page, as the steps of a login use it; with ``browser``, the only user of Playwright."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from gwctl.login.browser_reports import (
    ABORTED,
    CRASHED,
    DETACHED,
    INTERRUPTED,
    Fault,
    PageFailed,
    PageSilent,
    Wire,
    fault_of,
    first_line,
    was_on_its_way,
)
from gwctl.login.controls import (
    BUTTON_SCRIPT,
    CHOICE_SCRIPT,
    INTO_FRAME,
    OPTIONS_SCRIPT,
    TOGGLE_BY_SCRIPT,
    TOGGLE_SCRIPT,
    UNCOVER_SCRIPT,
)
from gwctl.login.outcome import SsoCookie
from gwctl.login.page_state import FIND_SCRIPT, LOOK_SCRIPT, PageState

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, ElementHandle, FrameLocator, Locator
    from playwright.async_api import Page as BrowserPage

T = TypeVar("T")

LOOK_EVERY_MS = 40
COOKIE_SECRET_CHARS = 8
_BUTTONS = "button, a, input[type=button], [role=button]"
LOADS_S = 5.0
_FIRST_S = 3.0
_COVERED_S = 1.0
"""How long to try a click before hiding what covers its target."""
_ENDING_S = 1.0
"""How long Chromium may take to end an abandoned navigation."""
_FIRST_SHARE = 1 / 7
"""The first request gets this share of the page's time, or ``_FIRST_S``; the second and third share the rest."""


class Page:
    """The browser page for the steps of a login; every call has a deadline."""

    def __init__(self, context: BrowserContext) -> None:
        self._context = context
        self._page = context.pages[0]
        self.wire = Wire(self._page)
        """The network traffic, and the console."""
        self._origin = ""
        """An unknown page is recognized only on this origin."""
        self.outlives_crash = False
        """Whether to wait after the page has crashed: a person may reload it."""
        self._crash = asyncio.Event()
        self._page.on("crash", self._on_crash)

    # The actions.

    async def open(self, url: str, *, timeout_s: float) -> int:
        """Go to ``url`` and return the HTTP status as soon as the document begins; raises PageFailed.

        A request that the gateway could not pass on never gets an answer, even when IBKR is back (gateway facts), so
        this retries, each time with twice the patience.
        """
        from playwright.async_api import Error
        from playwright.async_api import TimeoutError as PlaywrightTimeout

        self._origin = origin_of(url)
        deadline_s = time.monotonic() + timeout_s
        patience_s = max(timeout_s * _FIRST_SHARE, _FIRST_S)
        gave_up_s = -math.inf
        while True:
            left_s = max(deadline_s - time.monotonic(), 0.001)
            try:
                response = await self._page.goto(url, wait_until="commit", timeout=min(patience_s, left_s) * 1000)
            except PlaywrightTimeout:
                if left_s <= patience_s:
                    raise PageSilent(f"no answer from {urlsplit(url).path} within {timeout_s:g} s") from None
                patience_s *= 2
                gave_up_s = time.monotonic()
            except Error as error:
                reason = first_line(error)
                if ABORTED in reason and time.monotonic() - gave_up_s < _ENDING_S:  # from the try before this one
                    await asyncio.sleep(_ENDING_S / 10)
                    continue
                if DETACHED in reason or await self._has_crashed(within_s=_ENDING_S if ABORTED in reason else 0.0):
                    raise PageFailed(CRASHED) from None
                # The page before it navigated after all: to its own next page, or Chromium's error page.
                if INTERRUPTED not in reason or time.monotonic() >= deadline_s:
                    silent = fault_of(reason) is Fault.GATEWAY
                    raise (PageSilent(reason) if silent else PageFailed(reason)) from None
            else:
                return response.status if response is not None else 200

    async def _has_crashed(self, *, within_s: float) -> bool:
        """Say whether the page has crashed; Chromium ends what it loads a moment before it tells of that."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._crash.wait(), within_s)
        return self._crash.is_set()

    async def look(
        self, selectors: Mapping[str, list[str]], known: PageState | None, *, timeout_s: float
    ) -> PageState | None:
        """Return the page's look as soon as it differs from ``known``; None if it does not within ``timeout_s``."""
        from playwright.async_api import Error
        from playwright.async_api import TimeoutError as PlaywrightTimeout

        try:
            handle = await self._page.wait_for_function(
                LOOK_SCRIPT,
                arg={
                    "selectors": dict(selectors),
                    "known": known.raw if known is not None else "",
                    "origin": self._origin,
                },
                polling=LOOK_EVERY_MS,
                timeout=max(timeout_s, 0.001) * 1000,
            )
            return PageState.from_script(await handle.json_value())
        except PlaywrightTimeout:
            return None
        except Error as error:
            if self._crash.is_set() and not self.outlives_crash:
                raise PageFailed(CRASHED) from None
            if self.is_gone:
                raise PageFailed(first_line(error)) from None
            return None  # the document was replaced during the look; the next one sees the new one

    def _on_crash(self, _page: object) -> None:
        self._crash.set()

    async def find(self, selectors: Mapping[str, list[str]]) -> dict[str, str]:
        """Return how each element was found: ``visible SELECTOR``, ``hidden SELECTOR``, or not at all."""
        from playwright.async_api import Error

        try:
            found = await self._page.evaluate(FIND_SCRIPT, dict(selectors))
        except Error as error:
            raise PageFailed(first_line(error)) from None
        return {str(name): str(how) for name, how in found.items()}

    @property
    def is_gone(self) -> bool:
        """Whether the page, or the whole browser, was closed."""
        return self._page.is_closed()

    async def click(self, selector: str, *, timeout_s: float) -> bool:
        """Click the first visible match; False if it was covered, or went away, until ``timeout_s``.

        A click that was under way at the timeout has happened, and returns True.
        """
        return await self._click(self._one(selector), timeout_s)

    def _one(self, selector: str) -> Locator:
        """Return the first visible match of a selector, or of an address inside frames."""
        *frames, last = selector.split(INTO_FRAME)
        scope: BrowserPage | FrameLocator = self._page
        for frame in frames:
            scope = scope.frame_locator(frame)
        return scope.locator(_visible(last)).first

    async def fill(self, selector: str, text: str, *, timeout_s: float) -> bool:
        """Put ``text`` into the first visible match; ``holds`` says whether it stays there."""
        return await self._act(self._one(selector).fill(text, timeout=timeout_s * 1000))

    async def holds(self, selector: str, text: str, *, timeout_s: float) -> bool:
        """Say whether the first visible match contains exactly ``text``."""
        return await self._act_on(self._one(selector).input_value(timeout=timeout_s * 1000)) == text

    async def press_enter(self, selector: str, *, timeout_s: float) -> bool:
        """Press Enter in the first visible match."""
        field = self._one(selector)
        return await self._act(field.press("Enter", timeout=timeout_s * 1000, no_wait_after=True))

    async def click_text(self, selector: str, pattern: str, *, timeout_s: float) -> bool:
        """Click the first visible button or link in ``selector`` with a text that matches the pattern, if any."""
        text = re.compile(pattern, re.IGNORECASE)
        for frame in self._page.frames:
            if frame is not self._page.main_frame and origin_of(frame.url) != self._origin:
                continue
            ways = frame.locator(f"css={selector}").locator(_BUTTONS).filter(has_text=text, visible=True)
            if await ways.count():
                return await self._click_through(ways.first, timeout_s)
        return False

    async def choose(self, selector: str, value: str, *, timeout_s: float) -> bool:
        """Choose a list's option by its value; in a list that is not native, by the click that a person would make."""
        box = self._one(selector)
        place = await self._act_on(box.evaluate_handle(CHOICE_SCRIPT, value, timeout=timeout_s * 1000))
        element = place.as_element() if place is not None else None
        if element is None:
            return await self._act(box.select_option(value=value, timeout=timeout_s * 1000))
        return await self._click_through(element, timeout_s)

    async def options(self, selector: str, *, timeout_s: float) -> list[tuple[str, str]]:
        """Return value and label of a list's options, without placeholders.

        For a list made of other elements, these are its clickable entries. Their value is their own, or that of the
        hidden native list's option with the same label, otherwise the label.
        """
        from playwright.async_api import Error

        try:
            box = self._one(selector)
            found = await box.evaluate(OPTIONS_SCRIPT, timeout=timeout_s * 1000)
        except Error as error:
            raise PageFailed(first_line(error)) from None
        return [(str(value), str(label)) for value, label in found]

    async def _act_on(self, finding: Awaitable[T]) -> T | None:
        """Return what was found; None if the page has no such thing."""
        from playwright.async_api import Error

        try:
            return await finding
        except Error as error:
            if self.is_gone:
                raise PageFailed(first_line(error)) from None
            return None

    async def _click_through(self, target: Locator | ElementHandle, timeout_s: float) -> bool:
        """Click once; if something covers the target, hide it, as a person would close it, and click again."""
        first_s = min(_COVERED_S, timeout_s / 2)
        if await self._click(target, first_s):
            return True
        return await self._uncover(target) is not None and await self._click(target, timeout_s - first_s)

    async def _click(self, target: Locator | ElementHandle, timeout_s: float) -> bool:
        from playwright.async_api import Error

        try:
            await target.click(timeout=timeout_s * 1000)
        except Error as error:
            if self.is_gone:
                raise PageFailed(first_line(error)) from None
            # Before it confirms the click, the page computes what it sends, for seconds on a small machine. Clicking
            # again in that time would send the form twice.
            return was_on_its_way(str(error))
        return True

    async def _act(self, action: Awaitable[object]) -> bool:
        from playwright.async_api import Error

        try:
            await action
        except Error as error:
            if self.is_gone:
                raise PageFailed(first_line(error)) from None
            return False
        return True

    async def open_and_await_call(self, url: str, path: str, *, timeout_s: float) -> bool:
        """Go to ``url`` and wait until a request of its script below ``path`` is answered or fails.

        ``timeout_s`` starts when the page has loaded. A page that does not load in its own time has not called the API;
        the caller's next step finds the reason.
        """
        try:
            with self.wire.next_call(path) as done:
                if await self.open(url, timeout_s=LOADS_S) >= 400:
                    return False
                # The call is what is wanted: pictures and styles that are still on their way are not waited for.
                loaded = asyncio.ensure_future(self._page.wait_for_load_state("load", timeout=LOADS_S * 1000))
                try:
                    await asyncio.wait([done, loaded], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    loaded.cancel()
                    await asyncio.gather(loaded, return_exceptions=True)
                async with asyncio.timeout(timeout_s):
                    await done
        except TimeoutError:
            return False
        except PageFailed:
            if self.is_gone:
                raise
            return False
        return True

    async def toggle(self, selectors: list[str], *, by_script: bool, timeout_s: float) -> bool:
        """Click what a person would click for a hidden switch or, by script, the switch itself."""
        from playwright.async_api import Error

        try:
            found = (await self._page.evaluate_handle(TOGGLE_SCRIPT, selectors)).as_element()
            if found is not None and not by_script:
                return await self._click_through(found, timeout_s)
        except Error as error:
            if self.is_gone:
                raise PageFailed(first_line(error)) from None
        return await self._act(self._page.evaluate(TOGGLE_BY_SCRIPT, selectors))

    async def click_beside(self, selector: str, *, timeout_s: float) -> bool:
        """Click the button that belongs to the first visible match: its form's, otherwise the nearest one around it."""
        field = self._one(selector)
        place = await self._act_on(field.evaluate_handle(BUTTON_SCRIPT, timeout=timeout_s * 1000))
        element = place.as_element() if place is not None else None
        return element is not None and await self._click_through(element, timeout_s)

    async def uncover(self, selector: str) -> str | None:
        """Hide what covers the first visible match, and return its words; None if nothing does."""
        return await self._uncover(self._one(selector))

    async def _uncover(self, target: Locator | ElementHandle) -> str | None:
        from playwright.async_api import Error

        try:
            async with asyncio.timeout(1.0):
                words = await target.evaluate(UNCOVER_SCRIPT)
        except TimeoutError:
            return None
        except Error as error:
            if self.is_gone:
                raise PageFailed(first_line(error)) from None
            return None
        return None if words is None else str(words)

    async def cut_off(self) -> None:
        """Stop the page from sending anything; what it shows can still be kept."""
        from playwright.async_api import Error

        with contextlib.suppress(Error):  # a closed page sends nothing
            await self._page.route("**/*", lambda route: route.abort())

    async def remove(self, selectors: list[str]) -> None:
        """Remove elements from the page."""
        script = "(selectors) => selectors.forEach((s) => document.querySelectorAll(s).forEach((e) => e.remove()))"
        await self._act(self._page.evaluate(script, selectors))

    async def cookies(self, url: str) -> tuple[SsoCookie, ...]:
        """Return the browser's cookies for the host of ``url``; none from a closed browser."""
        from playwright.async_api import Error

        host = urlsplit(url).hostname or ""
        try:
            jar = await self._context.cookies()
        except Error:
            return ()
        return tuple(
            SsoCookie(c.get("name", ""), c.get("value", ""), c.get("domain", ""), c.get("path", "/"))
            for c in jar
            if c.get("domain", "").lstrip(".") == host
        )

    async def cookie_values(self) -> tuple[str, ...]:
        """Return the browser's cookie values that are long enough to be secrets."""
        from playwright.async_api import Error

        try:
            jar = await self._context.cookies()
        except Error as error:
            raise PageFailed(first_line(error)) from None
        return tuple(value for cookie in jar if len(value := cookie.get("value", "")) >= COOKIE_SECRET_CHARS)

    async def visible_text(self) -> str:
        """Return the page's text as a person sees it."""
        from playwright.async_api import Error

        try:
            return await self._page.locator("body").inner_text(timeout=2000)
        except Error as error:
            raise PageFailed(first_line(error)) from None

    async def screenshot(self, hide_texts: tuple[str, ...]) -> bytes:
        """Return a PNG of the page; it covers every input and every element with one of the texts."""
        from playwright.async_api import Error

        frames = self._page.frames
        covered = [frame.locator("input, textarea, select") for frame in frames]
        covered += [frame.get_by_text(text) for frame in frames for text in hide_texts if text]
        try:
            return await self._page.screenshot(mask=covered, timeout=5000, animations="disabled")
        except Error as error:
            raise PageFailed(first_line(error)) from None


def origin_of(url: str) -> str:
    """Return the origin of an address in the browser's spelling."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".removesuffix(":443" if parts.scheme == "https" else ":80").lower()


def _visible(selector: str) -> str:
    return f"css={selector} >> visible=true"
