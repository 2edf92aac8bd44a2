"""Interaction with people: codes for the second factor, and logins by hand."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gwctl import process
from gwctl.config import Settings
from gwctl.core.messages import ByHandWanted
from gwctl.errors import GwctlError
from gwctl.login.codes import Kind, Method, Question
from gwctl.process import Identity

log = logging.getLogger("gwctl.supervisor")

ANSWER_TIMEOUT_S = 180.0
"""IB Key's notification is valid for about as long (gateway-facts.md); a later code belongs to another login."""


@dataclass(slots=True)
class _Open:
    number: int
    question: Question
    answer: asyncio.Future[str] = field(repr=False)


def describe(question: Question) -> str:
    """Return a question in words for the person who has to act."""
    if question.kind is Kind.PUSH:
        again = "another notification" if question.again else "a notification"
        return f"IBKR sends {again} to your device: approve it within {ANSWER_TIMEOUT_S:.0f} s"
    again = " again: the first one was refused" if question.again else ""
    shown = f" (challenge {question.challenge})" if question.challenge else ""
    return f"IBKR asks for {question.kind.text}{shown}{again}"


class Questions:
    """The second factor of one profile. One question is open at a time; codes are never stored."""

    def __init__(
        self,
        settings: Settings,
        variables: Mapping[str, str],
        *,
        on_note: Callable[..., object],
    ) -> None:
        self.settings = settings
        self.variables = variables
        self.on_note = on_note
        self.attended = False
        """Whether a person is at a terminal and can be asked."""
        self._open: _Open | None = None
        self._asked = 0

    def describe_open(self) -> dict[str, Any] | None:
        """Return the question that waits for a code, for ``status``."""
        if self._open is None:
            return None
        question = self._open.question
        return {
            "id": self._open.number,
            "what": str(question.kind),
            "challenge": question.challenge or None,
            "text": describe(question),
        }

    def give(self, number: int, code: str) -> bool:
        """Answer the open question; return False if it is no longer open."""
        if self._open is None or self._open.number != number or self._open.answer.done():
            return False
        self._open.answer.set_result(code)
        return True

    async def answer(self, method: Method, question: Question, on_asked: Callable[[str], None]) -> str | None:
        """Journal a question to a person and return the code; None for a notification, or if no code can be given."""
        text = describe(question)
        code_by_person = method is Method.PROMPT or (method is Method.AUTO and self.attended)
        if question.kind is not Kind.PUSH and not code_by_person and method is not Method.COMMAND:
            return None
        on_asked(text)
        if question.kind is Kind.PUSH:
            self.on_note("question", what=str(question.kind), text=text, wants_code=False)
            return None
        return await (self._ask_person(question, text) if code_by_person else self._run_command(question))

    async def _ask_person(self, question: Question, text: str) -> str | None:
        self._asked += 1
        self._open = _Open(self._asked, question, asyncio.get_running_loop().create_future())
        self.on_note("question", id=self._asked, what=str(question.kind), text=text, wants_code=True)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await self._open.answer
        except TimeoutError:
            return None
        finally:
            self._open = None

    async def _run_command(self, question: Question) -> str | None:
        """Return the first line that the program prints; it is never stored."""
        argv = list(self.settings["second_factor_command"] or ())
        asked = {"GWCTL_SECOND_FACTOR": str(question.kind), "GWCTL_CHALLENGE": question.challenge}
        variables = process.environment_of(process.Child.HOOK, self.variables, asked)
        try:
            done = await process.run_async(argv, timeout_s=ANSWER_TIMEOUT_S, env=variables)
        except OSError as error:
            self._complain(f"second_factor_command did not start: {error.strerror}")
            return None
        except GwctlError as error:
            self._complain(f"second_factor_command: {error.message}")
            return None
        lines = done.text.split("\n", 1)
        if done.exit_code != 0 or not lines[0].strip():
            what = f"exited with code {done.exit_code}" if done.exit_code else "printed nothing"
            self._complain(f"second_factor_command {what}")
            return None
        return lines[0].strip()

    def _complain(self, text: str) -> None:
        log.warning("%s", text)
        self.on_note("warning", code="second_factor_command", text=text)


class ManualLogins:
    """The `gwctl login --manual` calls, each known by pid and creation time; ``post`` sends an event to the loop."""

    def __init__(self, post: Callable[[ByHandWanted], None]) -> None:
        self._post = post
        self._watched: dict[tuple[int, float], asyncio.Task[None]] = {}

    def take(self, body: dict[str, Any]) -> None:
        """Handle a call's request: it will log in, or with ``over`` it has given up."""
        owner = Identity.from_json(body.get("identity"))
        if body.get("over") is True:
            self._let_go(owner)
            return
        if owner is not None and (owner.pid, owner.created_s) not in self._watched:
            watch = asyncio.get_running_loop().create_task(self._watch(owner))
            self._watched[owner.pid, owner.created_s] = watch
        for_s = body.get("for_s")
        known = isinstance(for_s, int | float) and not isinstance(for_s, bool) and math.isfinite(for_s) and for_s > 0
        self._post(ByHandWanted(for_s=float(for_s) if known and for_s is not None else None))

    def done(self) -> None:
        """Note that a person has logged in: the end of these calls no longer matters."""
        watches, self._watched = list(self._watched.values()), {}
        for watch in watches:
            watch.cancel()

    async def close(self) -> None:
        """Stop watching."""
        watches = list(self._watched.values())
        self.done()
        await asyncio.gather(*watches, return_exceptions=True)

    def _let_go(self, owner: Identity | None) -> None:
        watch = None if owner is None else self._watched.pop((owner.pid, owner.created_s), None)
        if watch is not None:
            watch.cancel()
        if not self._watched:
            self._post(ByHandWanted(over=True))

    async def _watch(self, owner: Identity) -> None:
        await process.wait_ended(owner)
        self._watched.pop((owner.pid, owner.created_s), None)
        if not self._watched:
            self._post(ByHandWanted(over=True))
