"""What the page asks for after the password: a code is given, all else is for a person."""

from __future__ import annotations

import time

from gwctl.login.hands import Hands, Over
from gwctl.login.look import Submitted
from gwctl.login.outcome import LoginOutcome
from gwctl.login.pages import TOTP_DEVICE_LABEL, TOTP_DEVICE_VALUES, Element
from gwctl.login.second_factor import BadSecret, CodeSource

_WHAT = {
    Element.CODE_APP: "a code of the authenticator app",
    Element.DEVICE_CHOICE: "the choice of a device for the second factor",
    Element.CHALLENGE: "a challenge and response",
    Element.CODE_EMAIL: "a code sent by e-mail",
    Element.CODE_CARD: "a code of the security card",
    Element.EMAIL_CHECK: "a check of the e-mail address",
    Element.PASSKEY: "a passkey, which cannot be automated",
    Element.PUSH: "the approval of a push notification",
}


class Challenge:
    """The second factor of one login."""

    def __init__(self, hands: Hands, codes: CodeSource | None) -> None:
        self._hands = hands
        self._codes = codes

    async def answer(self, element: Element, submitted: Submitted) -> Submitted:
        """Do what the page asks for and return the state to judge from; raises Over (SECOND_FACTOR_NEEDED)."""
        if element is Element.OFFER_SKIP and await self._hands.click(element):
            return Submitted(await self._hands.look(), self._hands.page.traffic, time.monotonic())
        if self._codes is not None and element is Element.DEVICE_CHOICE:
            return await self._choose(submitted)
        if self._codes is not None and element is Element.CODE_APP:
            sent = await self.send_code()
            if sent is not None:
                return sent
        raise Over(
            LoginOutcome.SECOND_FACTOR_NEEDED, f"IBKR asks for {_WHAT.get(element, 'an answer to an offer in between')}"
        )

    async def send_code(self) -> Submitted | None:
        """Send the next code that may be sent and return the state just before; None when there is none."""
        if self._codes is None:
            return None
        try:
            code = await self._codes.next_code()
        except BadSecret as error:
            raise Over(LoginOutcome.SECOND_FACTOR_NEEDED, str(error)) from None
        look = await self._hands.look()
        selector = look.visible.get(Element.CODE_APP)
        if code is None or selector is None:
            return None
        await self._hands.dismiss_cookie_dialog(look)
        action_s = self._hands.patience.action_s
        if not await self._hands.page.fill(selector, code, timeout_s=action_s):
            return None
        submitted = Submitted(await self._hands.look(), self._hands.page.traffic, time.monotonic(), code=True)
        await self._hands.page.press_enter(selector, timeout_s=action_s)
        self._hands.note("code submitted")
        return submitted

    async def _choose(self, submitted: Submitted) -> Submitted:
        """Choose the authenticator app; some pages take the choice at once, some want their button clicked."""
        look = await self._hands.look()
        selector = look.visible.get(Element.DEVICE_CHOICE, "")
        action_s = self._hands.patience.action_s
        if not await self._hands.page.choose(selector, TOTP_DEVICE_VALUES, TOTP_DEVICE_LABEL, timeout_s=action_s):
            raise Over(LoginOutcome.SECOND_FACTOR_NEEDED, "the authenticator app is not among the devices offered")
        self._hands.note("authenticator app chosen")
        look = await self._hands.look()
        if look.shows(Element.SUBMIT) and not look.shows(Element.CODE_APP):
            await self._hands.click(Element.SUBMIT)
        seen = await self._hands.watch(
            look, lambda now: now.shows(Element.CODE_APP) or not now.shows(Element.DEVICE_CHOICE)
        )
        if seen is None:
            raise Over(LoginOutcome.SECOND_FACTOR_NEEDED, "the choice of a device was not taken")
        return Submitted(seen, submitted.traffic, time.monotonic())
