"""Who answers IBKR's questions after the password, and who is notified first."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gwctl import process
from gwctl.config import Settings, load
from gwctl.environment import Environment
from gwctl.login.codes import Kind, Method, Question
from gwctl.supervisor import questions as questions_module
from gwctl.supervisor.attempt import login_context, method_of
from gwctl.supervisor.questions import Questions

CODE = "314159"


class Room:
    """The questions of one profile, and everything noted about them."""

    def __init__(self, home: Path, *config: str, variables: dict[str, str] | None = None) -> None:
        (home / "config.toml").write_text("\n".join(["[defaults]", *config]))
        self.settings: Settings = load("default", environment=Environment({"GWCTL_HOME": str(home)}))
        self.notes: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[str] = []
        self.questions = Questions(
            self.settings,
            {"PATH": os.environ["PATH"], **(variables or {})},
            on_note=lambda kind, **fields: self.notes.append((kind, fields)),
        )

    async def ask(self, method: Method, question: Question) -> str | None:
        return await self.questions.answer(method, question, self.asked.append)

    def answer(self, method: Method, question: Question) -> str | None:
        return asyncio.run(self.ask(method, question))


def command(*code: str) -> str:
    return f"second_factor_command = [{sys.executable!r}, '-c', {'; '.join(code)!r}]"


def test_notification_is_told_before_anything_else(tmp_path: Path) -> None:
    """The person who has to approve it hears of it by the journal, which the notifier reads; no code is awaited."""
    room = Room(tmp_path)
    assert room.answer(Method.PUSH, Question(Kind.PUSH)) is None
    assert "approve it within 180 s" in room.asked[0]
    assert room.notes == [("question", {"what": "push", "text": room.asked[0], "wants_code": False})]
    assert "another notification" in questions_module.describe(Question(Kind.PUSH, again=True))


def test_command_gets_the_kind_and_the_challenge_and_no_secret(tmp_path: Path) -> None:
    """The program's first line is the code; its environment has none of gwctl's secrets."""
    seen = tmp_path / "environment"
    room = Room(
        tmp_path,
        command(
            "import os, pathlib",
            f"pathlib.Path({str(seen)!r}).write_text(repr(dict(os.environ)))",
            "print(os.environ['GWCTL_CHALLENGE'] + os.environ['GWCTL_SECOND_FACTOR'])",
            "print('another line')",
        ),
        variables={"GWCTL_PASSWORD": "canary-1", "GWCTL_TOTP_SECRET_FILE": "canary-2", "MY_OWN": "kept"},
    )
    assert room.answer(Method.COMMAND, Question(Kind.CHALLENGE, "482")) == "482challenge"
    environment = seen.read_text()
    assert "canary" not in environment
    assert "kept" in environment
    assert room.notes == []


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (command("raise SystemExit(3)"), "exited with code 3"),
        (command("pass"), "printed nothing"),
        ('second_factor_command = ["/nowhere/to/be/found"]', "did not start"),
        (command("import time", "time.sleep(60)"), "did not answer within 0.3 s"),
    ],
)
def test_command_that_fails_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, said: str
) -> None:
    """No code, and the journal says why, without the program's output."""
    if "sleep" in config:
        monkeypatch.setattr(questions_module, "ANSWER_TIMEOUT_S", 0.3)
    room = Room(tmp_path, config)
    assert room.answer(Method.COMMAND, Question(Kind.SMS)) is None
    ((kind, fields),) = room.notes
    assert (kind, fields["code"]) == ("warning", "second_factor_command")
    assert said in fields["text"]


def test_person_is_asked_where_one_is(tmp_path: Path) -> None:
    """The open question is in the status, is answered once by its number, and no note contains its code."""
    room = Room(tmp_path)
    room.questions.attended = True

    async def story() -> str | None:
        asking = asyncio.ensure_future(room.ask(Method.AUTO, Question(Kind.EMAIL)))
        await asyncio.sleep(0)
        opened = room.questions.describe_open()
        assert opened is not None
        assert opened["what"] == "email"
        assert not room.questions.give(opened["id"] + 1, "wrong number")
        assert room.questions.give(opened["id"], CODE)
        assert not room.questions.give(opened["id"], "too late")
        return await asking

    assert asyncio.run(story()) == CODE
    assert room.questions.describe_open() is None
    assert CODE not in repr((room.notes, room.asked))
    assert room.notes[0][1]["wants_code"] is True


def test_nobody_is_asked_where_nobody_is(tmp_path: Path) -> None:
    """Without a terminal, a code that nobody can give ends the login at once; with prompt, the login waits."""
    room = Room(tmp_path)
    assert room.answer(Method.AUTO, Question(Kind.APP)) is None
    assert room.answer(Method.TOTP, Question(Kind.CARD)) is None
    assert (room.notes, room.asked) == ([], [])


def test_person_who_does_not_answer_ends_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question has a deadline; a later code is not used."""
    monkeypatch.setattr(questions_module, "ANSWER_TIMEOUT_S", 0.05)
    room = Room(tmp_path)
    assert room.answer(Method.PROMPT, Question(Kind.APP)) is None
    assert not room.questions.give(1, CODE)


def test_cancelled_command_is_gone(tmp_path: Path) -> None:
    """A cancelled login leaves no program behind, and none of its children."""
    ready = tmp_path / "ready"
    script = f"sleep 600 & touch {ready}; wait"
    room = Room(tmp_path, f"second_factor_command = ['bash', '-c', {script!r}]")

    async def story() -> None:
        asking = asyncio.ensure_future(room.ask(Method.COMMAND, Question(Kind.APP)))
        while not ready.exists():  # noqa: ASYNC110 - another process makes the file
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        asyncio.run(story())
        # A killed process ends when the system lets it run again, which a busy machine may delay.
        deadline_s = time.monotonic() + 5.0
        while left := [one for one in process.inhabitants(tmp_path) if one.pid != os.getpid()]:
            assert time.monotonic() < deadline_s, left
            time.sleep(0.01)
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("config", "has_totp", "method", "context"),
    [
        ((), False, Method.AUTO, "paper/none"),
        ((), True, Method.TOTP, "paper/totp"),
        (('second_factor_command = ["x"]',), False, Method.COMMAND, "paper/command"),
        (('second_factor_command = ["x"]',), True, Method.TOTP, "paper/totp"),
        (('second_factor = "push"', 'second_factor_device = "5.2a"'), True, Method.PUSH, "paper/push/5.2a"),
        (('second_factor = "none"',), True, Method.NONE, "paper/none"),
    ],
)
def test_method_is_what_the_profile_says_or_has(
    tmp_path: Path,
    config: tuple[str, ...],
    has_totp: bool,  # noqa: FBT001 - parametrised
    method: Method,
    context: str,
) -> None:
    """Named in the profile, else chosen by the available secrets; changing it lifts a block."""
    settings = Room(tmp_path, *config).settings
    assert method_of(settings, has_totp=has_totp) is method
    assert login_context(settings, has_totp=has_totp) == context
