"""`setup`: from nothing to a ready session, by a person at a terminal and by flags."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from cli_fakes import Home, RealHome, a_home, a_real_home, one_line_with_hint
from terminal import on_terminal

from gwctl.sandbox.settings import Account

USERNAME, PASSWORD = "wren4417", "Heron-Jetty-9032"
SPOKEN_S = 90


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield an empty home."""
    with a_home(tmp_path) as home:
        yield home


@pytest.fixture
def real(tmp_path: Path, real_release_zip: Path) -> Iterator[RealHome]:
    """Yield a home without settings, with the real Standard Release and an IBKR that knows the account."""
    with a_real_home(tmp_path, real_release_zip, Account(USERNAME, PASSWORD)) as real:
        real.variables.pop("GWCTL_USERNAME")
        yield real


def answer(terminal: pexpect.spawn[str], question: str, text: str) -> None:
    """Wait for a question and type a line."""
    terminal.expect_exact(question, timeout=SPOKEN_S)
    terminal.sendline(text)


@pytest.mark.real_gateway
@pytest.mark.browser
@pytest.mark.timeout(240)
def test_a_person_answers_each_question(real: RealHome) -> None:
    """From nothing to a ready session: wrong answers are asked again, the password is shown nowhere, one login."""
    terminal = on_terminal(real, "up")
    answer(terminal, "Set it up now?", "y")
    answer(terminal, "IBKR username", "  ")
    answer(terminal, "IBKR username", "DU1234567")
    answer(terminal, "account kind, paper or live [paper]", "demo")
    terminal.expect_exact("one of paper, live")
    answer(terminal, "account kind, paper or live [paper]", "")
    terminal.expect_exact("looks like an account number")
    answer(terminal, "Is it right all the same?", "n")
    answer(terminal, "IBKR username", USERNAME)
    answer(terminal, "account kind", "")
    answer(terminal, "second factor [none]", "sms")
    answer(terminal, "second factor [none]", "")
    answer(terminal, "where to keep the IBKR password", "file")
    answer(terminal, "IBKR password", PASSWORD)
    terminal.expect_exact("saved in")
    answer(terminal, "Start it at boot with", "n")
    terminal.expect_exact("ready: https://localhost:")
    terminal.expect_exact('eval "$(gwctl env)"')
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert real.submits() == 1
    file = real.home / "default.password"
    assert file.read_text() == f"{PASSWORD}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    settings = real.gwctl("profile", "show", "--json").check(0).envelope["data"]["settings"]
    shown = {key: settings[key]["value"] for key in ("username", "mode", "second_factor", "password_file")}
    assert shown == {"username": USERNAME, "mode": "paper", "second_factor": "none", "password_file": str(file)}
    _run_again(real)


def _run_again(real: RealHome) -> None:
    """Enter keeps everything: the session goes on, and the file is as it was."""
    before, written = real.status()["gateway"]["pid"], (real.home / "config.toml").read_text()
    terminal = on_terminal(real, "setup")
    for question in (
        f"IBKR username [{USERNAME}]",
        "account kind",
        "second factor",
        "password from password_file: keep",
    ):
        answer(terminal, question, "")
    answer(terminal, "Start it at boot with", "n")
    terminal.expect_exact("ready: https://localhost:")
    terminal.expect(pexpect.EOF)
    assert (real.home / "config.toml").read_text() == written
    assert real.status()["gateway"]["pid"] == before
    assert real.submits() == 1


@pytest.mark.real_gateway
@pytest.mark.browser
@pytest.mark.timeout(240)
def test_flags_answer_every_question(real: RealHome, tmp_path: Path) -> None:
    """Without a terminal: ready after one call; the same call again changes nothing, another setting is one login."""
    file = tmp_path / "secret"
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o600)
    flags = ["--username", USERNAME, "--mode", "paper", "--second-factor", "none", "--password-file", str(file)]
    data = real.gwctl("setup", "--json", *flags, "--set", "tickle_interval_s=20").check(0).envelope["data"]
    assert (data["ready"], data["service"]) == (True, None)
    assert real.status()["ready"]
    real.gwctl("setup", *flags).check(0)
    assert real.submits() == 1
    real.gwctl("setup", *flags[:-2], "--set", "tickle_interval_s=30").check(0)
    assert real.submits() == 2, "a changed setting is tried"


@pytest.mark.browser
@pytest.mark.timeout(120)
def test_the_sandbox_needs_no_answer(home: Home) -> None:
    """No account, no question, nothing written but the sandbox's own files."""
    done = home.gwctl("setup", "--sandbox").check(0)
    assert done.stdout.startswith("ready: https://localhost:")
    assert not (home.home / "config.toml").exists()


@pytest.mark.parametrize(
    ("flags", "fed", "code", "said"),
    [
        ([], "", 2, "IBKR username is not known, and nobody can be asked\ngwctl setup --username …"),
        (["--username", "a\nb"], "", 78, "username = 'a\\nb' (the command line) is not one line of text"),
        (["--username", "wren"], "", 2, "no IBKR password on stdin, and nobody can be asked"),
        (["--username", "wren", "--password-file", "/none"], "", 78, "cannot read the password from /none: No such"),
        (["--username", "wren", "--second-factor", "totp"], "pw\n", 2, "no TOTP secret on stdin"),
        (
            ["--username", "wren", "--set", "prot=1"],
            "pw\n",
            2,
            "'prot' is not KEY=VALUE with a known key\ndid you mean",
        ),
        (["--username", "wren", "--set", "password=1"], "pw\n", 2, "password must not be in config.toml"),
    ],
)
def test_what_is_missing_or_wrong_is_said(home: Home, flags: list[str], fed: str, code: int, said: str) -> None:
    """One line and the flag to type; config.toml is not written."""
    done = home.gwctl("setup", "--no-login", "--keep-password", "file", *flags, stdin=fed)
    assert said in one_line_with_hint(done.check(code)).replace("\n  try: ", "\n")
    assert [file for file in home.home.rglob("*") if file.is_file()] == []
