"""The form for username and password: wait for it, set its paper switch, fill it."""

from __future__ import annotations

import asyncio
import time

from gwctl.login.actions import Over, PageActions
from gwctl.login.browser_reports import PageSilent
from gwctl.login.outcome import LoginOutcome, classify_error
from gwctl.login.page_state import PageState
from gwctl.login.recognition import RECOGNIZED, UNDERSTOOD, describe
from gwctl.login.selectors import describe_search, version_of
from gwctl.login.verdict import PASSKEY_ONLY
from gwctl.login.vocabulary import ask_for_passkey
from gwctl.setting_values import Element

_FILL_ROUNDS = 5
_TURNED_AWAY = frozenset({401, 403, 429})
"""How a server in front of IBKR's rejects a browser: these answers contain no login form."""
_STEADY_S = 0.5
_SWITCH_CLICKS = 2
"""A page that is still loading may ignore the first click; the mode is read before each click and before the submit."""


class Form:
    """The login form of one page."""

    def __init__(self, actions: PageActions) -> None:
        self._actions = actions
        self._task = actions.task
        self._patience = actions.patience
        self.version: str | None = None
        self._has_switch = False

    async def open(self) -> PageState:
        """Return the look with the form; reloads once if it does not appear. Raises Over and PageFailed."""
        for name, may_reload in (("page opened", True), ("page reloaded", False)):
            await self._open_page()
            self._actions.note(name)
            look = await self._await_form(may_reload=may_reload)
            if look is not None:
                self.version = self._version(look)
                self._actions.note(f"form visible ({self.version})")
                return look
        raise Over(LoginOutcome.PAGE_NEVER_CAME, f"no form within twice {self._patience.form_s:g} s")

    def _version(self, look: PageState) -> str:
        """Return the page's version; for an unknown page, note what was recognized, and by what."""
        if look.is_recognized:
            self._actions.note(f"{UNDERSTOOD} {describe(look.recognized)}")
            return RECOGNIZED
        return version_of(look.visible[Element.USERNAME], username_alone=not look.shows(Element.PASSWORD))

    async def _open_page(self) -> None:
        try:
            status = await self._actions.page.open(
                self._task.base_url + self._task.page_path, timeout_s=self._patience.form_s
            )
        except PageSilent as error:
            raise Over(LoginOutcome.PAGE_NEVER_CAME, str(error)) from None
        if status >= 500 or status in _TURNED_AWAY:
            raise Over(LoginOutcome.UPSTREAM_ILL, f"the login page answered {status}")

    async def _await_form(self, *, may_reload: bool) -> PageState | None:
        """Wait until the form is visible: a script inserts it, sometimes only after seconds (login-page facts).

        It does not wait longer than needed for a page that has loaded but does nothing and shows nothing, or for one
        that waits for an answer, which may never come (``Page.open``).
        """
        begun_s = blank_since_s = time.monotonic()
        look: PageState | None = None
        while (left_s := begun_s + self._patience.form_s - time.monotonic()) > 0:
            fresh = await self._actions.page.look(self._actions.selectors, look, timeout_s=min(left_s, 1.0))
            look = fresh or look
            if may_reload and self._waits_in_vain(look):
                self._actions.note("page waits for an answer")
                return None
            if look is None:
                continue
            if fresh is not None:
                self._actions.hear(look.words)
                await self._actions.dismiss_cookie_dialog(look)
            if look.shows_form and look.shows(Element.SUBMIT, Element.USERNAME_SUBMIT):
                return look
            self._end_if_ill(look, time.monotonic() - begun_s)
            if not look.blank or self._actions.page.wire.quiet_s == 0:
                blank_since_s = time.monotonic()
            elif may_reload and time.monotonic() - blank_since_s >= self._patience.blank_s:
                self._actions.note("page blank")
                return None
        if look is not None and ask_for_passkey(look.words):
            raise Over(LoginOutcome.SECOND_FACTOR_NEEDED, f"IBKR asks for {PASSKEY_ONLY}")
        if look is not None and (look.inputs or look.recognized.refused):
            raise self._unknown(look, "nothing visible of ")
        return None

    def _waits_in_vain(self, look: PageState | None) -> bool:
        """Say whether a page without a form has waited too long for an answer."""
        shown = look is not None and look.shows_form
        return not shown and self._actions.page.wire.unanswered_s >= self._patience.unanswered_s

    def _unknown(self, look: PageState, what: str) -> Over:
        """Return the end of an attempt at an unknown page, with what was seen or what was looked for."""
        refused = look.recognized.refused
        if not refused and look.is_recognized and not look.shows(Element.USERNAME):
            refused = "a field for a password, but none for a username before it"
        seen = f"what was seen: {refused}" if refused else f"{what}{describe_search(self._actions.selectors)}"
        return Over(LoginOutcome.PAGE_UNKNOWN, seen)

    def _end_if_ill(self, look: PageState, waited_s: float) -> None:
        if look.shows(Element.PASSKEY) and waited_s >= self._patience.banner_s:
            raise Over(LoginOutcome.SECOND_FACTOR_NEEDED, f"IBKR asks for {PASSKEY_ONLY}")
        outcome = classify_error(look.error) if look.error else None
        # An announcement may appear before the form, on a page that is still loading.
        calm = min(waited_s, self._actions.page.wire.quiet_s) >= self._patience.banner_s
        ill = outcome is LoginOutcome.UPSTREAM_ILL and calm
        if outcome is not None and (ill or outcome is LoginOutcome.COOKIES_DISABLED):
            raise Over(outcome, look.error)
        if look.banner and not look.shows_form and calm:
            raise Over(LoginOutcome.UPSTREAM_ILL, look.banner)

    async def set_mode(self, look: PageState) -> PageState:
        """Read the paper switch, click it if it is wrong, and read it again: the click may rebuild the form."""
        wanted = self._task.mode == "paper"
        if look.paper_torn:  # unless it is still being built
            look = await self._actions.watch(look, lambda now: not now.paper_torn) or look
        if look.paper_torn:
            raise Over(LoginOutcome.PAGE_UNKNOWN, "what was seen: several paper switches, and they do not agree")
        self._has_switch |= look.paper is not None or bool(look.recognized.ways)
        if (look.paper is None and not look.recognized.ways) or look.paper == wanted:
            self._actions.note("no paper switch" if look.paper is None else f"mode is {self._task.mode}")
            return look
        for by_script in (False,) * _SWITCH_CLICKS + (True,):
            await self._click_switch(look, by_script=by_script)
            seen = await self._actions.watch(
                await self._actions.look(), lambda now: now.paper == wanted and now.shows_form
            )
            if seen is not None:
                self._actions.note(f"mode switched to {self._task.mode}")
                return seen
            look = await self._actions.look()
        raise Over(LoginOutcome.PAGE_UNKNOWN, f"the paper switch cannot be set to {self._task.mode}")

    async def _click_switch(self, look: PageState, *, by_script: bool) -> None:
        if way := look.recognized.ways.get(self._task.mode):
            await self._actions.use(way)
            return
        for element in (Element.PAPER_LABEL, Element.PAPER_SWITCH):
            if look.shows(element) and not by_script:
                await self._actions.click(element)
                return
        switch, action_s = self._actions.selectors[Element.PAPER_SWITCH], self._patience.action_s
        await self._actions.page.toggle(switch, by_script=by_script, timeout_s=action_s)

    async def make_ready(self, look: PageState) -> PageState:
        """Return the look once the form is filled in the right mode and its button is enabled; raises Over.

        Some pages enable the button late, and empty the fields before that.
        """
        deadline_s = time.monotonic() + self._patience.operable_s
        while time.monotonic() < deadline_s:
            if not await self.is_filled(look):
                look = await self.fill(look)
            if look.submit_ready:
                return look
            seen = await self._actions.watch(look, lambda now: now.submit_ready or not now.password_filled)
            look = seen or await self._actions.look()
        what = "stays disabled" if look.shows(Element.SUBMIT) else "is gone"
        searched = ", ".join(self._actions.selectors[Element.SUBMIT])
        raise Over(LoginOutcome.PAGE_UNKNOWN, f"the form's button {what}: {searched}")

    async def fill(self, look: PageState) -> PageState:
        """Type username and password until they stay, in the right mode; raises Over if they do not."""
        for _ in range(_FILL_ROUNDS):
            if await self._fill_username(look) and await self._fill_password():
                look = await self._actions.look()
                if await self.is_filled(look) and await self._stays_filled(look):
                    self._actions.note("form filled")
                    return look
            look = await self._actions.look()
            # A form that is being rebuilt is missing for a moment.
            look = await self._actions.watch(look, lambda now: now.shows(Element.USERNAME, Element.PASSWORD)) or look
            look = await self.set_mode(look)
        raise self._unknown(look, "the fields do not keep what is typed: ")

    async def _stays_filled(self, look: PageState) -> bool:
        """Say whether an unknown page keeps the typed text for a moment: typing may make it rebuild its fields."""
        if not look.is_recognized:
            return True
        until_s = time.monotonic() + _STEADY_S
        while (left_s := until_s - time.monotonic()) > 0:
            look = await self._actions.page.look(self._actions.selectors, look, timeout_s=left_s) or look
        return await self.is_filled(look)

    async def _fill_username(self, look: PageState) -> bool:
        selector = look.visible.get(Element.USERNAME)
        if selector is None:
            return look.shows(Element.PASSWORD)  # the second half of the two-step form
        return await self._actions.page.fill(selector, self._task.username, timeout_s=self._patience.action_s)

    async def _fill_password(self) -> bool:
        look = await self._actions.look()
        if not look.shows(Element.PASSWORD) and look.shows(Element.USERNAME_SUBMIT):
            await self._actions.click(Element.USERNAME_SUBMIT)
            before = look.error
            seen = await self._actions.watch(
                look, lambda now: now.shows(Element.PASSWORD) or now.error not in {"", before}
            )
            look = seen or look
            if look.error and look.error != before:
                raise Over(classify_error(look.error), look.error)
        selector = look.visible.get(Element.PASSWORD)
        if selector is None:
            return False
        return await self._actions.page.fill(selector, self._task.password.reveal(), timeout_s=self._patience.action_s)

    async def is_filled(self, look: PageState) -> bool:
        """Say whether the visible fields contain exactly the right text, in the right mode."""
        wanted = ((Element.USERNAME, self._task.username), (Element.PASSWORD, self._task.password.reveal()))
        checks = [
            self._actions.page.holds(look.visible[element], text, timeout_s=self._patience.action_s)
            for element, text in wanted
            if look.shows(element)
        ]
        if not all(await asyncio.gather(*checks)):
            return False
        # While the form is being rebuilt, its switch is not gone for good; it may also be on the step before.
        needed = bool(look.recognized.ways) or (self._has_switch and look.shows(Element.USERNAME))
        in_mode = look.paper == (self._task.mode == "paper") or (look.paper is None and not needed)
        return look.shows(Element.PASSWORD) and in_mode and not look.paper_torn
