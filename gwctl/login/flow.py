"""The steps of one login on a page, from the address bar to "Client login succeeds"."""

from __future__ import annotations

import asyncio
import time

from gwctl.login.actions import OnStep, Over, PageActions, Permit
from gwctl.login.browser_reports import PageFailed, PageWaits, ended_by
from gwctl.login.challenge import Challenge
from gwctl.login.codes import Answer, BadSecret, Clock, CodeSource, Method, SystemClock, nobody
from gwctl.login.form import Form
from gwctl.login.outcome import LoginJob, LoginOutcome, LoginReport, SsoCookie, classify_words, tidy
from gwctl.login.page import Page
from gwctl.login.page_state import SUCCESS_TEXT, PageState, Submitted
from gwctl.login.selectors import CODE_FIELDS, describe_search
from gwctl.login.verdict import (
    NOBODY_APPROVED,
    Asked,
    Ended,
    Now,
    answered_by,
    asked_for,
    heard,
    is_idle,
    judge,
    says_at_last,
    shown_since,
    with_early_words,
)
from gwctl.setting_values import Element

_SLICE_S = 0.2
_AT_ONCE_S = 0.5
_ROUNDS = 8
_CLICKS = 3
_NO_ANSWER = frozenset(
    {
        LoginOutcome.PAGE_UNKNOWN,
        LoginOutcome.PAGE_NEVER_CAME,
        LoginOutcome.TIMED_OUT,
        LoginOutcome.UPSTREAM_ILL,
        LoginOutcome.SWALLOWED,
        LoginOutcome.COOKIES_DISABLED,
        LoginOutcome.CANCELLED,
    }
)
"""Endings that say nothing about the password."""
_UNSENT = frozenset(
    {LoginOutcome.PAGE_UNKNOWN, LoginOutcome.UPSTREAM_ILL, LoginOutcome.SWALLOWED, LoginOutcome.COOKIES_DISABLED}
)
"""Endings of a submit after which the password is still in the browser, unless a request was seen to carry it."""


class Flow:
    """One login on one page; ``run`` is called once."""

    def __init__(  # noqa: PLR0913 - one argument a port
        self,
        page: Page,
        task: LoginJob,
        *,
        on_step: OnStep,
        permit: Permit,
        answer: Answer = nobody,
        clock: Clock | None = None,
    ) -> None:
        self._page = page
        self._task = task
        self._permit = permit
        self._actions = PageActions(page, task, on_step)
        self._form = Form(self._actions)
        self._codes = (
            CodeSource(task.totp_secret.reveal(), clock or SystemClock(), used_window=task.totp_used_window)
            if task.totp_secret and task.method in {Method.TOTP, Method.AUTO}
            else None
        )
        self._challenge = Challenge(self._actions, self._codes, answer)
        self._durations_ms: dict[str, float] = {}
        self._late = LoginOutcome.PAGE_NEVER_CAME
        self._submits = 0
        self._posts: int | None = None
        """The number of POSTs when the last submit was judged."""
        self._workaround_used = self._was_asked = False
        page.wire.watch_for(task.username)

    async def run(self) -> LoginReport:
        """Log in and return how it ended; raises nothing but cancellation.

        After a gateway's start, it first opens the demo page (gateway facts: the login is temperamental). If the login
        then fails without a word from IBKR, it tries once more after the demo page. It does the same at any time if the
        page ignored the form, which is no refusal.
        """
        cookies: tuple[SsoCookie, ...] = ()
        first: Ended | None = None
        try:
            async with asyncio.timeout(self._task.deadline_s) as self._actions.limit:
                if self._task.first_after_start:
                    await self._actions.open_demo(self._task.patience.demo_call_s)
                ended = first = await self._attempt()
                if self._is_worth_the_demo(ended):
                    ended = self._judge_both(first, await self._attempt_after_demo())
                if ended.outcome is LoginOutcome.SUCCESS:
                    cookies = await self._page.cookies(self._task.base_url)
        except TimeoutError:
            ended = Ended(self._late, f"not finished within {self._task.deadline_s:g} s")
            ended = ended if first is None else self._judge_both(first, ended)
        except PageWaits as error:
            ended = Ended(self._late, str(error))
            ended = ended if first is None else self._judge_both(first, ended)
        except PageFailed as error:
            # After a submit the answer is unknown: this is not a network error, which would not count.
            status = self._page.wire.traffic.document_status
            ended = Ended(LoginOutcome.BROWSER_FAILED, str(error)) if self._submits else ended_by(str(error), status)
        if ended.outcome in _UNSENT and not self._submits and self._posts is not None:
            ended = await self._look_for_late_form(ended, self._posts)
        self._actions.note(f"ended: {ended.outcome.value}")
        self._durations_ms["total"] = self._actions.now_ms()
        return LoginReport(
            outcome=ended.outcome,
            submits=self._submits,
            text=tidy(ended.text, self.secrets),
            steps=tuple(self._actions.steps),
            cookies=cookies,
            page_version=self._form.version,
            durations_ms=self._durations_ms,
            workaround_used=self._workaround_used,
            totp_window=self._codes.used_window if self._codes else self._task.totp_used_window,
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that must not appear in anything we keep: the task's secrets and the typed codes."""
        return self._actions.secrets

    def _is_worth_the_demo(self, ended: Ended) -> bool:
        """Say whether to try once more; a password that left the browser only if it has worked before (law 2)."""
        if ended.outcome is LoginOutcome.SWALLOWED:
            return True
        first = self._task.first_after_start
        if ended.outcome is LoginOutcome.PAGE_NEVER_CAME:
            return first
        return first and ended.is_mute and self._task.has_worked and not self._was_asked

    def _judge_both(self, first: Ended, again: Ended) -> Ended:
        """Return the end of a login with two attempts: an attempt without an answer does not undo a refusal (law 2).

        A question does: IBKR asks for a second factor only if it did not refuse the password.
        """
        if again.outcome is LoginOutcome.CANCELLED and self._submits:
            return first
        is_refused = first.outcome.counts_as_refusal and not self._was_asked
        return first if is_refused and again.outcome in _NO_ANSWER else again

    async def _attempt_after_demo(self) -> Ended:
        """Let the demo page's script call the API, with or without an answer, and try once more.

        If an ignored form was sent after all while the page was left, its answer is lost and nothing more is sent.
        """
        self._late = LoginOutcome.SWALLOWED
        self._workaround_used = True
        posts = self._page.wire.traffic.posts
        await self._actions.open_demo(self._task.patience.demo_s)
        return self._sent_late(posts) or await self._attempt()

    async def _look_for_late_form(self, ended: Ended, posts: int) -> Ended:
        """Stop the page from sending anything before its evidence is kept: its ledger entry is undone (law 2)."""
        await self._page.cut_off()
        return self._sent_late(posts) or ended

    def _sent_late(self, posts: int) -> Ended | None:
        if self._page.wire.traffic.posts <= posts:
            return None
        self._submits += 1
        return Ended(LoginOutcome.UNCLEAR, "the form was sent late and its answer was not seen")

    async def _attempt(self) -> Ended:
        """Go through the page once, up to its answer to the password and to the questions after it."""
        self._late = LoginOutcome.PAGE_NEVER_CAME
        begun_ms = self._actions.now_ms()
        try:
            look = await self._form.open()
            self._durations_ms["form"] = round(self._actions.now_ms() - begun_ms, 1)
            look = await self._form.fill(await self._form.set_mode(look))
            return await self._submit(look)
        except Over as over:
            return over.ended

    async def _submit(self, look: PageState) -> Ended:
        """Send the password, if permitted, and follow the page to its end."""
        if self._codes is not None:
            try:
                self._codes.check()
            except BadSecret as error:
                raise Over(LoginOutcome.SECOND_FACTOR_NEEDED, str(error)) from None
        await self._form.make_ready(look)
        if not await self._permit():
            raise Over(LoginOutcome.CANCELLED, "the submit was not permitted")
        submitted = Submitted(look, self._page.wire.traffic)
        self._late = LoginOutcome.TIMED_OUT
        begun_ms = self._actions.now_ms()
        is_out = True  # however we leave from here, the password may have been sent
        try:
            ended = await self._follow(await self._click_submit())
            unsent = (
                ended.outcome is LoginOutcome.SWALLOWED and self._page.wire.traffic.posts == submitted.traffic.posts
            )
            if unsent and not await self._form.is_filled(await self._actions.look()):
                self._actions.note("form emptied by the page before it was sent")
                ended = await self._follow(await self._click_submit())
        except Over as over:
            is_out = self._was_asked or over.ended.outcome not in _UNSENT
            raise
        else:
            is_out = ended.outcome not in _UNSENT
            return ended
        finally:
            self._page.wire.expect_form(expected=False)
            self._posts = self._page.wire.traffic.posts
            self._submits += is_out or self._posts > submitted.traffic.posts
            self._durations_ms["answer"] = round(self._actions.now_ms() - begun_ms, 1)

    async def _click_submit(self) -> Submitted:
        """Click the form's button once and return the state just before; a form that was rebuilt is filled again."""
        for _ in range(_CLICKS):
            look = await self._form.make_ready(await self._actions.look())
            said = self._actions.said + f"\n{look.words}"
            submitted = Submitted(look, self._page.wire.traffic, said=said)
            self._page.wire.expect_form(expected=True)
            if await self._actions.click(Element.SUBMIT):
                self._actions.said = said
                self._actions.note("submitted")
                return submitted
        raise Over(LoginOutcome.PAGE_UNKNOWN, f"nothing to click: {describe_search(self._actions.selectors)}")

    async def _follow(self, submitted: Submitted) -> Ended:
        """Wait for the end, and answer the page's questions where possible."""
        for _ in range(_ROUNDS):
            verdict = await self._await_verdict(submitted)
            if isinstance(verdict, Asked):
                self._was_asked = True
                submitted = await self._challenge.answer(verdict, submitted)
                continue
            again: Submitted | None = None
            answered = submitted.answered
            if verdict.outcome is LoginOutcome.UNKNOWN_TEXT:
                again = await self._challenge.go_past(verdict.text)
            elif verdict.outcome is LoginOutcome.SECOND_FACTOR_REFUSED and answered in CODE_FIELDS:
                again = await self._challenge.send_code(answered)
            elif verdict is NOBODY_APPROVED:
                again = await self._challenge.resend()
            if again is None:
                return verdict
            submitted = again
        return Ended(LoginOutcome.PAGE_UNKNOWN, "the page keeps asking for more")

    async def _await_verdict(self, submitted: Submitted) -> Ended | Asked:
        """Wait for the first of all possible events after a submit; changes of the page and the network wake it.

        It judges what the page shows now: a page that does not answer is computing what it sends, or handling the
        answer, so neither silence nor an old text counts.
        """
        patience = self._task.patience
        is_push = awaits_approval = submitted.answered is Element.PUSH
        longest_s = patience.push_s if awaits_approval else patience.answer_s
        look: PageState | None = None
        state: object = None
        said = gone = ""
        begun_s = since_s = answering_since_s = changed_s = now_s = time.monotonic()
        while now_s - since_s < longest_s:
            asked_s = time.monotonic()
            fresh = await self._page.look(self._actions.selectors, look, timeout_s=_SLICE_S)
            if fresh is None:  # unchanged, or no answer
                fresh = await self._page.look(self._actions.selectors, None, timeout_s=_AT_ONCE_S)
            now_s = time.monotonic()
            if fresh is None or now_s - asked_s > _SLICE_S + _AT_ONCE_S:
                # The page was busy, or this machine was: that time does not count.
                answering_since_s, changed_s = now_s, min(now_s, changed_s + now_s - asked_s)
            if fresh is None:
                continue
            look, traffic = fresh, self._page.wire.traffic
            if is_push and not look.settling and awaits_approval is not (asked_for(look) is Element.PUSH):
                # Once a person has approved or denied it, the page's time limit applies, not the person's.
                awaits_approval = not awaits_approval
                since_s, longest_s = (begun_s, patience.push_s) if awaits_approval else (now_s, patience.answer_s)
            if (look.state, traffic) != state:
                state, changed_s = (look.state, traffic), now_s
                await self._actions.dismiss_cookie_dialog(look)
            submitted = with_early_words(look, traffic, submitted)
            said = heard(look, traffic, submitted) or said
            gone = answered_by(look, traffic, submitted) or gone
            now = Now(look, traffic, now_s - answering_since_s, now_s - changed_s, self._page.wire.quiet_s, said)
            verdict = judge(now, submitted, patience)
            if verdict is not None:
                self._actions.note(f"asked for {verdict.element}" if isinstance(verdict, Asked) else "answered")
                return verdict
            silent = Ended(LoginOutcome.TIMED_OUT, "IBKR answered, but the page did nothing with it", is_mute=True)
            if is_idle(now, submitted, patience) and self._is_worth_the_demo(silent) and not self._workaround_used:
                return silent
        # A page whose last question to IBKR failed would not have heard of the approval.
        if awaits_approval and (self._page.wire.traffic.post_status or 0) < 500:
            return NOBODY_APPROVED
        return self._judge_silence(look, submitted, longest_s, gone)

    def _judge_silence(self, look: PageState | None, submitted: Submitted, waited_s: float, gone: str) -> Ended:
        """Return how a wait ends when nothing ended it; ``gone`` is the page's last text."""
        status = self._page.wire.traffic.post_status or 0
        if status >= 500:
            return Ended(LoginOutcome.UPSTREAM_ILL, f"IBKR answered {status}")
        if look is not None:
            said = says_at_last(look, submitted)
            if said is not None:
                return said
            if look.banner and look.banner != submitted.look.banner:
                return Ended(LoginOutcome.UPSTREAM_ILL, look.banner)
        if gone and classify_words(gone) is LoginOutcome.UPSTREAM_ILL:
            return Ended(LoginOutcome.UPSTREAM_ILL, gone)
        shown = (shown_since(look, submitted) if look is not None else "") or gone
        also = f"; the page says: {shown}" if shown else ""
        return Ended(LoginOutcome.TIMED_OUT, f"neither {SUCCESS_TEXT!r} nor an error within {waited_s:g} s{also}")
