"""The second factor from the outside: a code asked for at a terminal, from a program, and a notified person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pexpect
import psutil
import pytest
from chaos.worlds import plain_release
from cli_fakes import Home, RealHome, a_home, a_real_home, one_line_with_hint, wait_for
from terminal import interrupt_question, on_terminal

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CODE = "86420975"
ASKED = "IBKR asks for a code from the authenticator app"
ASKED_AGAIN = f"{ASKED} again: the first one was refused"
OURS = ("GWCTL_PASSWORD", "GWCTL_TOTP")


def expect_end(child: pexpect.spawn[str], exit_code: int) -> str:
    """Wait until a call at a terminal has ended, and return its output since the last question."""
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == exit_code, child.before
    return str(child.before)


def interrupt(child: pexpect.spawn[str]) -> None:
    """Press Ctrl-C at a question, and require that the call says so."""
    interrupt_question(child)
    assert "gwctl: interrupted" in str(child.before)


def demand(home: Home, kind: str, **parameters: str) -> None:
    """Make IBKR ask for a second factor after the password; its fixed codes work once more."""
    words = [f"{name}={value}" for name, value in {"kind": kind, **parameters}.items()]
    home.gwctl("sandbox", "on", "second_factor", *words).check(0)


def questions(home: Home, since: int) -> list[str]:
    """Return the questions to a person since a journal entry."""
    return [entry["text"] for entry in home.journal()[since:] if entry["kind"] == "question"]


def files_with(home: Home, secret: str) -> list[str]:
    """Return the files below the home that contain a text."""
    found = [file for file in home.home.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]
    return [str(file) for file in found]


def test_a_code_is_asked_for_where_somebody_is(sandbox: Home) -> None:
    """Without a terminal nobody is asked: 77 and what to type. At one, the code works and is stored nowhere."""
    entries = len(sandbox.journal())
    demand(sandbox, "app", code=CODE)
    text = one_line_with_hint(sandbox.gwctl("login").check(77))
    assert f"the second factor was not given: {ASKED}" in text
    assert "\ngwctl login at a terminal" in text
    assert questions(sandbox, entries) == []
    # The session that was there before goes on, and is ready again with the next check.
    assert [entry["phase"] for entry in sandbox.journal()[entries:] if entry["kind"] == "phase"].count(
        "locked_out"
    ) == 1

    child = on_terminal(sandbox, "login")
    child.expect(rf"{ASKED} \((180|17\d) s left\): ")
    assert sandbox.status()["phase"] == "awaiting_second_factor"
    child.sendline(CODE)
    assert "logged in" in expect_end(child, 0)
    assert sandbox.status()["ready"]
    assert questions(sandbox, entries) == [ASKED]
    assert files_with(sandbox, CODE) == []


def test_two_wrong_codes_are_enough(sandbox: Home) -> None:
    """Ctrl-C leaves the question to the next caller; a wrong code is asked for once more, the second exits with 77."""
    demand(sandbox, "app", code=CODE)
    before = sandbox.gwctl("sandbox", "show", "--json").envelope["data"]["login"]["submits"]
    child = on_terminal(sandbox, "login")
    child.expect(rf"{ASKED}( \(\d+ s left\))?: ")
    interrupt(child)
    assert sandbox.status()["phase"] == "awaiting_second_factor"
    child = on_terminal(sandbox, "login")
    child.expect(rf"{ASKED}( \(\d+ s left\))?: ")
    child.sendline("111111")
    child.expect(rf"{ASKED_AGAIN} \(\d+ s left\): ")
    child.sendline("222222")
    shown = expect_end(child, 77)
    assert "IBKR refused the second factor" in shown
    assert "gwctl login --reset-lockout" in shown
    after = sandbox.gwctl("sandbox", "show", "--json").envelope["data"]["login"]["submits"]
    refused = ["second_factor_asked", "second_factor_refused", "second_factor_refused"]
    assert [submit["outcome"] for submit in after[len(before) :]] == refused
    assert files_with(sandbox, "111111") == files_with(sandbox, "222222") == []


# A program that gives the code.

GIVES = """#!/bin/sh
env > {folder}/env
echo $$ > {folder}/pid
{work}
"""


class Program:
    """A user's program that a test can change while gwctl runs."""

    def __init__(self, folder: Path, work: str) -> None:
        self.folder = folder
        self.file = folder / "program"
        self.does(work)

    def does(self, work: str) -> None:
        """Change what it does."""
        self.file.write_text(GIVES.format(folder=self.folder, work=work))
        self.file.chmod(0o700)
        (self.folder / "pid").unlink(missing_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """Its environment when it ran."""
        lines = (self.folder / "env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def process(self) -> psutil.Process | None:
        """Return the running program, None if it is not running."""
        try:
            return psutil.Process(int((self.folder / "pid").read_text()))
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None

    @property
    def toml(self) -> str:
        """The program as a setting's value."""
        return json.dumps([str(self.file)])


@pytest.fixture
def commanded(tmp_path: Path) -> Iterator[tuple[Home, Program]]:
    """Yield a ready sandbox whose second factor comes from a program, and the program."""
    program = Program(tmp_path, f"echo '{CODE} '; echo and more")
    secrets = {"GWCTL_PASSWORD": "canary-password", "GWCTL_TOTP_SECRET": "canary-totp"}
    with a_home(tmp_path, **secrets) as home:
        home.write_config(f"[profiles.default]\nsecond_factor_command = {program.toml}\n")
        home.gwctl("up", "--sandbox").check(0)
        yield home, program


def test_a_program_gives_the_code(commanded: tuple[Home, Program]) -> None:
    """Its first line is the code; its environment has the question and no secret; a hanging one ends with `down`."""
    home, program = commanded
    demand(home, "challenge", response=CODE, challenge="482 913")
    home.gwctl("login").check(0)
    told = program.environment
    assert (told["GWCTL_SECOND_FACTOR"], told["GWCTL_CHALLENGE"]) == ("challenge", "482 913")
    assert [name for name in told if name.startswith(OURS)] == []
    assert files_with(home, CODE) == []

    program.does("sleep 600")
    call = home.start("login")
    hanging = wait_for(program.process, 40, "the program runs")
    home.gwctl("down").check(0)
    assert not hanging.is_running()
    assert home.left() == []
    call.communicate(timeout=30)
    assert call.returncode == 75


# A program for notifications.


@pytest.fixture
def told(tmp_path: Path) -> Iterator[tuple[RealHome, Program]]:
    """Yield an ordinary profile, and a notify_command that never ends."""
    program = Program(tmp_path, "sleep 600")
    with a_real_home(tmp_path, plain_release(tmp_path / "plain.zip")) as home:
        home.write_config(f"[profiles.default]\nnotify_command = {program.toml}\n")
        yield home, program


def test_somebody_is_told_of_a_notification(told: tuple[RealHome, Program]) -> None:
    """A person who must approve a notification is notified before that; a hanging program delays nothing."""
    home, program = told
    ibkr = home.stand_in.state
    ibkr.set_scenario("second_factor", on=True, parameters={"kind": "push", "approve": "never"})
    call = home.start("up", GWCTL_PASSWORD=home.account.password)
    hanging = wait_for(program.process, 60, "somebody is told")
    wait_for(lambda: home.status()["phase"] == "awaiting_second_factor", 20, "it waits for the approval")
    known = program.environment
    assert (known["GWCTL_EVENT"], known["GWCTL_PROFILE"]) == ("second_factor", "default")
    assert known["GWCTL_TEXT"].startswith("default: IBKR sends a notification to your device: approve it within ")
    assert (known["GWCTL_SEVERITY"], known["GWCTL_TITLE"]) == ("warning", "gwctl default: second factor needed")
    assert [name for name in known if name.startswith(OURS)] == []
    assert [submit.outcome for submit in ibkr.desk.submits] == ["second_factor_asked"]

    ibkr.set_scenario("second_factor", on=True, parameters={"kind": "push", "approve": "approved"})
    _, stderr = call.communicate(timeout=60)
    assert call.returncode == 0, stderr
    assert hanging.is_running()
    home.gwctl("down").check(0)
    assert not hanging.is_running()
    assert home.left() == []
