"""Answer what the page asks for after the password, by the profile's settings or through a person."""

from __future__ import annotations

from dataclasses import replace

from gwctl.login.actions import Over, PageActions
from gwctl.login.codes import (
    KIND_OF,
    TRIES,
    WRONG_CLOCK_S,
    Answer,
    BadSecret,
    CodeSource,
    Kind,
    Method,
    Question,
)
from gwctl.login.controls import CHOICE
from gwctl.login.outcome import LoginOutcome
from gwctl.login.page_state import PageState, Submitted
from gwctl.login.selectors import (
    ANOTHER_WAY_TEXT,
    AUTHENTICATOR_APP,
    CHANNELS,
    CODE_FIELDS,
    IB_KEY,
    PASSKEY,
    SKIP_TEXT,
    SMS,
    Device,
    named_device,
)
from gwctl.login.verdict import PASSKEY_ONLY, Asked
from gwctl.login.vocabulary import kind_of_code, tell_of_no_code
from gwctl.setting_values import Element

_WHAT = {
    Element.DEVICE_CHOICE: "the choice of a device for the second factor",
    Element.CHANNEL_CHOICE: "the choice of how a code is sent (SMS, e-mail or telephone)",
    Element.EMAIL_CHECK: "a check of the e-mail address",
    Element.PASSKEY: PASSKEY_ONLY,
    Element.QR_CODE: "a QR code to scan, which may not work here: choose another second factor",
    Element.OFFER: "an answer to an offer in between",
    Element.OFFER_SKIP: "an answer to an offer in between",
}

_SETTLE_S = 2.0
_ENTER_S = 1.2

_KIND_OF_CHANNEL = {
    Element.CHANNEL_TEXT: Kind.SMS,
    Element.CHANNEL_EMAIL: Kind.EMAIL,
    Element.CHANNEL_VOICE: Kind.VOICE,
}
_NAME_OF_CHANNEL = {
    Element.CHANNEL_TEXT: "SMS text message",
    Element.CHANNEL_EMAIL: "email e-mail",
    Element.CHANNEL_VOICE: "voice telephone call",
}


class Challenge:
    """The second factor of one login."""

    def __init__(self, actions: PageActions, codes: CodeSource | None, answer: Answer) -> None:
        self._actions = actions
        self._codes = codes
        self._answer = answer
        self._method = Method.TOTP if codes is not None else actions.task.method
        self._sent_by: Kind | None = None
        self._by_time: str | None = None
        self._tries = 0
        self._told = self._resent = self._code_resent = self._left_passkey = False

    async def answer(self, asked: Asked, submitted: Submitted) -> Submitted:
        """Do what the page asks for and return the state to judge from; raises Over (SECOND_FACTOR_NEEDED)."""
        element = asked.element
        if element in {Element.OFFER, Element.OFFER_SKIP}:
            return await self._skip(element)
        look = await self._actions.look()
        if await self._is_email_check(element) and await self._click_way_past("body"):
            self._actions.note("e-mail check skipped")
            return await self._state(element, look)
        if element is Element.PASSKEY and await self._go_another_way():
            return await self._state(None, look)
        answered = None if self._method is Method.NONE else await self._answer_by_factor(asked, submitted)
        if answered is None:
            raise self._needed(element)
        return answered

    async def _answer_by_factor(self, asked: Asked, submitted: Submitted) -> Submitted | None:
        match element := asked.element:
            case Element.DEVICE_CHOICE:
                return await self._choose(submitted)
            case Element.CHANNEL_CHOICE:
                return await self._choose_channel()
            case Element.PUSH:
                return await self._await_approval(asked)
            case _:
                return await self.send_code(element) if element in CODE_FIELDS else None

    def _needed(self, element: Element) -> Over:
        kind = KIND_OF.get(element)
        if kind is Kind.APP and self._sent_by is not None:
            kind = self._sent_by
        what = _WHAT.get(element) or (kind.text if kind else "something unknown")
        return Over(LoginOutcome.SECOND_FACTOR_NEEDED, f"IBKR asks for {what}")

    async def _state(self, answered: Element | None, passed: PageState | None = None) -> Submitted:
        """Return the state to judge from; the page's words since ``passed`` belong to the page after it."""
        # The password is out: a busy page gets as much time as an answer does.
        look = await self._actions.look(self._actions.patience.answer_s)
        if passed is not None:
            look = replace(look, banner=passed.banner, error=passed.error, words=passed.words)
        return Submitted(look, self._actions.page.wire.traffic, answered, self._actions.said, follows=True)

    # Skipping.

    async def _skip(self, element: Element) -> Submitted:
        before = await self._actions.look()
        selector = before.visible.get(element, "")
        skipped = await self._actions.click(element) if element is Element.OFFER_SKIP else False
        if not skipped and not await self._click_way_past(selector):
            raise self._needed(element)
        self._actions.note("offer skipped")
        await self._actions.watch(before, lambda now: now.visible.get(element) != selector)
        return await self._state(None, before)

    async def go_past(self, words: str) -> Submitted | None:
        """Skip an unknown page if it is an offer with a way to skip it; None if it is not."""
        look = await self._actions.look()
        if look.shows(Element.USERNAME, Element.PASSWORD) or not await self._click_way_past("body"):
            return None
        self._actions.note(f"page skipped: {words}")
        await self._actions.watch(look, lambda now: now.words != look.words)
        return await self._state(None, look)

    async def _is_email_check(self, element: Element) -> bool:
        if element is not Element.CODE:
            return element is Element.EMAIL_CHECK
        return kind_of_code((await self._actions.look()).words) == Kind.EMAIL

    async def _go_another_way(self) -> bool:
        """Leave a panel for a passkey if there is another second factor."""
        if self._left_passkey:
            return False
        self._left_passkey = True
        look = await self._actions.look()
        action_s = self._actions.patience.action_s
        if not await self._actions.page.click_text("body", ANOTHER_WAY_TEXT, timeout_s=action_s):
            return False
        self._actions.note("another way than a passkey chosen")
        await self._actions.watch(look, lambda now: now.visible != look.visible)
        return True

    async def _click_way_past(self, selector: str) -> bool:
        await self._actions.dismiss_cookie_dialog(await self._actions.look())
        return await self._actions.page.click_text(selector, SKIP_TEXT, timeout_s=self._actions.patience.action_s)

    # Devices.

    def _wanted_devices(self) -> tuple[Device, ...]:
        named = self._actions.task.device
        if named:
            return (named_device(named),)
        match self._method:
            case Method.TOTP:
                return (AUTHENTICATOR_APP,)
            case Method.PUSH:
                return (IB_KEY,)
            case Method.COMMAND | Method.PROMPT:
                return (AUTHENTICATOR_APP, SMS)
            case _:
                return (IB_KEY, AUTHENTICATOR_APP, SMS)

    async def _choose(self, submitted: Submitted) -> Submitted:
        """Choose the device; some pages accept the choice at once, others need a click on their button."""
        look = await self._actions.look()
        selector = look.visible.get(Element.DEVICE_CHOICE, "")
        action_s = self._actions.patience.action_s
        cards = look.recognized.devices
        options = list(cards) or await self._actions.page.options(selector, timeout_s=action_s)
        chosen = next((one for device in self._wanted_devices() for one in options if device.is_option(*one)), None)
        if options and all(PASSKEY.is_option(*one) for one in options):
            raise self._needed(Element.PASSKEY)
        if chosen is None:
            offered = ", ".join(label for _, label in options)
            raise Over(
                LoginOutcome.SECOND_FACTOR_NEEDED,
                f"IBKR does not offer the device for the second factor; it offers: {offered}",
            )
        value, label = chosen
        self._sent_by = Kind.SMS if SMS.is_option(value, label) else None
        if IB_KEY.is_option(value, label):
            # The choice sends the notification, so inform the person who must approve it first.
            await self._tell_of_notification()
        way = value if cards else f"{selector}{CHOICE}{value}"
        if not await self._actions.use(way):
            raise Over(LoginOutcome.SECOND_FACTOR_NEEDED, f"the device {label} could not be chosen")
        self._actions.note(f"device chosen: {label}")
        look = await self._actions.look()
        further = (*CODE_FIELDS, Element.PUSH, Element.CHANNEL_CHOICE)
        if not look.shows(*further):
            if look.shows(Element.PASSWORD):
                # The form is still there: its button would send the password once more.
                await self._actions.page.click_beside(selector, timeout_s=action_s)
            elif look.shows(Element.SUBMIT):
                await self._actions.click(Element.SUBMIT)
        seen = await self._actions.watch(look, lambda now: now.shows(*further) or not now.shows(Element.DEVICE_CHOICE))
        if seen is None:
            raise Over(LoginOutcome.SECOND_FACTOR_NEEDED, "the page did not accept the choice of a device")
        return Submitted(seen, submitted.traffic, said=self._actions.said, follows=True)

    # Channels.

    async def _choose_channel(self) -> Submitted:
        """Have the code sent, by SMS unless the profile names another way; only if somebody can enter it."""
        if not self._method.asks_for_codes:
            raise self._needed(Element.CHANNEL_CHOICE)
        look = await self._actions.look()
        named = self._actions.task.device
        wanted = [one for one in CHANNELS if named and named_device(named).is_option("", _NAME_OF_CHANNEL[one])]
        channel = next((one for one in wanted or CHANNELS if look.shows(one)), None)
        if channel is None or not await self._actions.click(channel):
            raise self._needed(Element.CHANNEL_CHOICE)
        self._sent_by = _KIND_OF_CHANNEL[channel]
        self._actions.note(f"code asked for: {self._sent_by.text}")
        seen = await self._actions.watch(
            look, lambda now: now.shows(*CODE_FIELDS) or not now.shows(Element.CHANNEL_CHOICE)
        )
        if seen is None:
            raise Over(LoginOutcome.SECOND_FACTOR_NEEDED, "the page did not accept the choice of how to send the code")
        return await self._state(None, look)

    # Notifications.

    async def _await_approval(self, asked: Asked) -> Submitted:
        """Report the notification; the flow waits. If codes are set up, use the challenge instead, if any."""
        if self._method in {Method.COMMAND, Method.PROMPT} and await self._actions.click(Element.SHOW_CHALLENGE):
            self._actions.note("challenge shown instead of the notification")
            look = await self._actions.look()
            await self._actions.watch(look, lambda now: not now.shows(Element.PUSH))
            return await self._state(None, look)
        if self._method is Method.TOTP:
            raise Over(
                LoginOutcome.SECOND_FACTOR_NEEDED,
                "IBKR sent a notification to a device, but the profile uses codes from the authenticator app",
            )
        await self._tell_of_notification()
        self._actions.note("notification sent")
        self._actions.grant(self._actions.patience.push_s)
        # From when it was asked for: it may have been denied since, and that is news.
        return Submitted(asked.now.look, asked.now.traffic, Element.PUSH, self._actions.said, follows=True)

    async def _tell_of_notification(self) -> None:
        if not self._told:
            self._told = True
            await self._answer(Question(Kind.PUSH))

    async def resend(self) -> Submitted | None:
        """Have the notification sent once more (never more often: login-page facts); None if that is impossible."""
        if self._resent or not (await self._actions.look()).shows(Element.PUSH_RESEND):
            return None
        self._resent = True
        await self._answer(Question(Kind.PUSH, again=True))
        if not await self._actions.click(Element.PUSH_RESEND):
            return None
        self._actions.note("notification sent again")
        self._actions.grant(self._actions.patience.push_s)
        return await self._state(Element.PUSH)

    # Codes.

    async def send_code(self, element: Element) -> Submitted | None:
        """Send the next permitted code and return the state just before; None when there is none."""
        if self._tries >= TRIES:
            return None
        if tell_of_no_code((await self._actions.look()).words):
            await self._resend_code()
        code = await self._next_code(element)
        if not code and await self._resend_code():
            code = await self._next_code(element)
        look = await self._actions.look()
        if element is Element.CODE:  # it may have a box per character, visible once the page has settled
            understood = self._actions.watch(look, lambda now: element in now.recognized.elements, patience_s=_SETTLE_S)
            look = await understood or look
        selector = look.visible.get(element)
        if not code or selector is None:
            return None
        self._tries += 1
        self._actions.codes.append(code)
        await self._actions.dismiss_cookie_dialog(look)
        action_s = self._actions.patience.action_s
        typed = await self._state(element)
        if not await self._type(look, selector, code):
            return None
        if look.recognized.boxes and await self._is_taken(element, typed):
            self._actions.note("code submitted by its last character")
            return typed
        if self._codes is not None and code == self._by_time and not self._codes.is_fresh:
            self._actions.note("code expired before it was sent")
            self._codes.take_back()
            self._tries -= 1
            return await self.send_code(element)
        submitted = await self._state(element)
        own = look.recognized.elements and not look.shows(Element.PASSWORD)
        if not (own and await self._actions.click(Element.SUBMIT)):
            await self._actions.page.press_enter(selector, timeout_s=action_s)
            await self._click_unless_sent(selector, submitted)
        self._actions.note("code submitted")
        return submitted

    async def _resend_code(self) -> bool:
        """Have the SMS sent once more, but never more often, if somebody can enter its code."""
        look = await self._actions.look()
        somebody = self._method in {Method.COMMAND, Method.PROMPT}
        by_sms = self._sent_by in {None, Kind.SMS}
        if self._code_resent or not (somebody and by_sms) or not look.shows(Element.CODE_RESEND):
            return False
        self._code_resent = True
        if not await self._actions.click(Element.CODE_RESEND):
            return False
        self._actions.note("code sent again")
        await self._actions.watch(look, lambda _: not self._actions.page.wire.traffic.waiting, patience_s=_SETTLE_S)
        return True

    async def _click_unless_sent(self, selector: str, submitted: Submitted) -> None:
        """Click the button of a code's field that ignores Enter; a busy page has accepted it."""

        def is_sent(now: PageState) -> bool:
            posted = self._actions.page.wire.traffic.posts > submitted.traffic.posts
            return posted or now.page != submitted.look.page or not (now.code_filled or now.settling)

        seen = await self._actions.watch(submitted.look, is_sent, patience_s=_ENTER_S)
        if seen is None and not is_sent(await self._actions.look(self._actions.patience.answer_s)):
            clicked = await self._actions.page.click_beside(selector, timeout_s=self._actions.patience.action_s)
            self._actions.note("button clicked, for Enter did nothing" if clicked else "Enter did nothing")

    async def _type(self, look: PageState, selector: str, code: str) -> bool:
        action_s = self._actions.patience.action_s
        if look.recognized.boxes:
            # One character for each box.
            boxes = look.recognized.boxes
            typed = [
                await self._actions.page.fill(at, one, timeout_s=action_s) for at, one in zip(boxes, code, strict=False)
            ]
            return all(typed) and len(boxes) == len(code)
        return await self._actions.page.fill(selector, code, timeout_s=action_s)

    async def _is_taken(self, element: Element, typed: Submitted) -> bool:
        """Say whether the page took the code by itself as soon as it was complete."""
        now = await self._state(element)
        return now.traffic.posts > typed.traffic.posts or not now.look.shows(element)

    async def _next_code(self, element: Element) -> str | None:
        kind = await self._kind_of(element)
        if self._codes is not None and kind is Kind.APP:
            return await self._code_by_time(self._codes)
        if not self._method.asks_for_codes:
            return None
        self._actions.note(f"asking for {kind.text}")
        self._actions.grant(self._actions.patience.person_s)
        look = await self._actions.look()
        code = await self._answer(Question(kind, look.challenge, again=self._tries > 0 or self._code_resent))
        code = "".join((code or "").split())
        # The same code again would only be another refusal.
        return None if code in self._actions.codes else code

    async def _kind_of(self, element: Element) -> Kind:
        """Return which code the field is for: by how it was sent, otherwise by the field or the words next to it."""
        kind = KIND_OF[element]
        if kind is Kind.APP and self._sent_by is not None:
            return self._sent_by
        if element is Element.CODE:
            look = await self._actions.look()
            return Kind(look.recognized.kind_of_code or kind_of_code(look.words) or Kind.APP)
        return kind

    async def _code_by_time(self, codes: CodeSource) -> str | None:
        if self._tries == 0:
            self._correct_clock(codes)
        try:
            self._by_time = await codes.next_code()
        except BadSecret as error:
            raise Over(LoginOutcome.SECOND_FACTOR_NEEDED, str(error)) from None
        return self._by_time

    def _correct_clock(self, codes: CodeSource) -> None:
        """Use IBKR's clock if this machine's is wrong: a code for another moment would be refused."""
        ahead_s = self._actions.page.wire.server_ahead_s
        if ahead_s is not None and abs(ahead_s) >= WRONG_CLOCK_S:
            codes.correct(ahead_s)
            self._actions.note(f"this machine's clock is {abs(ahead_s):.0f} s {'behind' if ahead_s > 0 else 'ahead'}")
