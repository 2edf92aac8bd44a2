"""Bad input gives one clear line with a hint and the contract's exit code, and leaves nothing running."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pexpect
import psutil
import pytest
from cli_fakes import PROGRAM, Done, Home, one_line_with_hint
from terminal import on_terminal

from gwctl.sandbox.settings import build_standin_release

USER = {"GWCTL_USERNAME": "reader01", "GWCTL_PASSWORD": "canary-bad-input"}


def refused(home: Home, done: Done, exit_code: int) -> str:
    """Assert the exit code, one line with a hint, no process and no secret; return line and hint."""
    text = one_line_with_hint(done.check(exit_code))
    assert "canary" not in done.stderr
    assert home.left() == []
    return text


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("[defaults]\nprot = 5001\n", ["unknown key 'prot' in [defaults]", "did you mean 'port'?"]),
        ("[profiles.default]\nuser = 'x'\n", ["unknown key 'user' in [profiles.default]", "'username'"]),
        ("[default]\nport = 5001\n", ["unknown key 'default'", "'defaults'"]),
        ("[defaults\nport = 1\n", ["is not valid TOML", "edit"]),
        ("[defaults]\nport = 'many'\n", ["port = 'many'", "a whole number from 1 to 65535"]),
        ("[defaults]\nmode = 'demo'\n", ["mode = 'demo'", "one of paper, live"]),
        ("[defaults]\npassword = 'canary-in-file'\n", ["password must not be in", "gwctl secret set password"]),
        ("profiles = 3\n", ["[profiles]", "not a table"]),
    ],
)
def test_a_mistake_in_config_toml(home: Home, config: str, said: list[str]) -> None:
    """A mistake in config.toml exits with 78 and names file, place and the likely intent; `down` still works."""
    home.write_config(config)
    text = refused(home, home.gwctl("up", "--sandbox", GWCTL_PORT=None), 78)
    assert all(part in text for part in said), text
    assert str(home.home / "config.toml") in text
    home.gwctl("down").check(0)
    home.gwctl("status").check(3)


def test_the_remedy_of_a_bad_value_is_a_command_that_helps(home: Home, tmp_path: Path) -> None:
    """The editor opens on the file with the bad value; after it, the file is read."""
    home.write_config("[defaults]\nmode = 'demo'\n")
    assert "gwctl profile edit" in refused(home, home.gwctl("up", "--sandbox"), 78)
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i s/demo/live/ "$1"\n')
    editor.chmod(0o755)
    child = on_terminal(home, "profile", "edit", EDITOR=str(editor), VISUAL="")
    child.expect_exact("config.toml is valid")
    child.expect(pexpect.EOF)
    assert "live" in home.gwctl("profile", "show").check(0).stdout


@pytest.mark.parametrize("argv", [["up"], ["up", "--foreground"]])
@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("totp", "second_factor is totp, but no source has a totp_secret"),
        ("command", "second_factor is command, but second_factor_command is not set"),
    ],
)
def test_a_second_factor_without_its_source(home: Home, argv: list[str], method: str, said: str) -> None:
    """What the login would miss is refused before anything is downloaded or started."""
    assert said in refused(home, home.gwctl(*argv, GWCTL_SECOND_FACTOR=method, **USER), 78)
    assert not (home.home / "cache").exists()


def test_a_mark_before_config_toml_is_not_in_the_way(home: Home) -> None:
    """Some editors start a file with an invisible BOM; gwctl reads such a file and adds profiles to it."""
    home.write_config("\ufeff[profiles.default]\ntickle_interval_s = 77\n")
    assert "77" in home.gwctl("profile", "show").check(0).stdout
    home.gwctl("profile", "create", "other", "--username", "reader02").check(0)
    assert "reader02" in home.gwctl("--profile", "other", "profile", "show").check(0).stdout
    assert "77" in home.gwctl("profile", "show").check(0).stdout


def test_a_command_that_is_not_there_is_named_plainly(home: Home) -> None:
    """The line has the program and the reason, without the system's error number."""
    home.write_config('[defaults]\npassword_command = ["/nonexistent/pass"]\n')
    text = refused(home, home.gwctl("secret", "check", "password"), 78)
    assert "password_command failed: /nonexistent/pass: No such file or directory" in text


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"GWCTL_PORT": "abc"}, "port = 'abc' ($GWCTL_PORT) is not a whole number from 1 to 65535"),
        ({"GWCTL_PORT": "70000"}, "port = '70000' ($GWCTL_PORT)"),
        ({"GWCTL_MODE": "demo"}, "one of paper, live"),
        ({"GWCTL_REJECTED_LIMIT": "10"}, "from 1 to 9"),
        ({"GWCTL_PROFILE": "a/b"}, "invalid profile name 'a/b'"),
        ({"GWCTL_PROFILE": ".."}, "invalid profile name '..'"),
    ],
)
def test_a_mistake_in_a_variable(home: Home, variables: dict[str, str], said: str) -> None:
    """An invalid variable exits with 78 and is named."""
    assert said in refused(home, home.gwctl("up", "--sandbox", **variables), 78)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["up", "--port", "abc"], "--port"),
        (["up", "--port", "0"], "--port"),
        (["up", "--port", "65536"], "--port"),
        (["up", "--timeout", "0"], "--timeout"),
        (["up", "--timeout", "-1"], "--timeout"),
        (["up", "--timeout", "nan"], "--timeout"),
        (["up", "--timeout", "inf"], "--timeout"),
        (["wait", "--timeout", "1e9"], "--timeout"),
        (["up", "--sandbocks"], "--sandbocks"),
        (["up", "extra"], "extra"),
        (["stauts"], "gwctl status"),
        (["release", "verfy"], "gwctl release verify"),
        (["wait", "--for", "rain"], "rain"),
        (["logs", "--since", "yesterday"], "gwctl logs --since 10m"),
        (["logs", "-n", "-1"], "-1"),
        (["exec"], "CMD"),
        (["completion", "tcsh"], "tcsh"),
        (["sandbox", "on", "slow", "500"], "KEY=VALUE"),
    ],
)
def test_a_mistake_on_the_command_line(home: Home, argv: list[str], said: str) -> None:
    """An invalid option, value or verb exits with 2 and is named, with what to type instead."""
    assert said in refused(home, home.gwctl(*argv), 2)


def test_only_a_running_sandbox_is_steered(home: Home) -> None:
    """A call that is right needs a sandbox that runs."""
    assert "no sandbox is running" in refused(home, home.gwctl("sandbox", "on", "slow", "delay_ms=500"), 75)


def test_no_username_and_no_password(home: Home) -> None:
    """Missing credentials exit with 78 before anything is downloaded or started; the hint offers the sandbox."""
    assert "gwctl up --sandbox" in refused(home, home.gwctl("up"), 78)
    text = refused(home, home.gwctl("up", GWCTL_USERNAME="reader01"), 78)
    assert "no source has a password for reader01" in text
    assert not (home.home / "releases").exists()
    refused(home, home.gwctl("up", "--foreground"), 78)


@pytest.mark.parametrize(("bits", "who"), [(0o644, "every user of this machine"), (0o640, "other users"), (0o600, "")])
def test_a_password_file_that_others_can_read_is_warned_of(home: Home, bits: int, who: str) -> None:
    """`up` says who else can read it and what to type, as `doctor` does, and nothing of a file of this user alone."""
    file = home.folder / "password"
    file.write_text("canary-bad-input")
    file.chmod(bits)
    nowhere = str(home.folder / "no-release.zip")
    done = home.gwctl("up", GWCTL_USERNAME="reader01", GWCTL_PASSWORD_FILE=str(file), GWCTL_RELEASE=nowhere)
    warned = f"{who} can read the password's file: chmod 600 {file}"
    assert (warned in done.check(69).stderr) is bool(who)
    assert ("chmod" in done.stderr) is bool(who)


def test_a_password_file_that_cannot_be_read(home: Home) -> None:
    """A missing or empty password file exits with 78: another source could have the wrong password."""
    empty = home.folder / "empty"
    empty.write_text("\n")
    for file, said in (("/nowhere/file", "No such file"), (str(empty), "is empty")):
        done = home.gwctl("up", GWCTL_PASSWORD_FILE=file, **USER)
        assert said in refused(home, done, 78)


def test_a_busy_port_says_who_holds_it(home: Home) -> None:
    """A busy port exits with 69 and names pid, program and a free port; nothing is left and nothing is killed."""
    name = psutil.Process().name()
    with socket.create_server(("127.0.0.1", home.port)) as holder:
        for argv in (["up", "--sandbox"], ["up", "--sandbox", "--foreground"]):
            text = refused(home, home.gwctl(*argv), 69)
            assert f"port {home.port} is held by {name} (pid {os.getpid()}" in text
            assert "GWCTL_PORT=" in text
        assert holder.fileno() > 0
    assert home.gwctl("status").check(3).stdout.count("is held by") == 1


def test_no_browser(home: Home) -> None:
    """A browser that is not where the setting says exits with 69, names the setting, and the command that finds it."""
    text = refused(home, home.gwctl("up", "--sandbox", GWCTL_BROWSER="/nowhere/chromium"), 69)
    assert "the setting browser: `gwctl profile show`" in text
    refused(home, home.gwctl("browser", "show", GWCTL_BROWSER="/nowhere/chromium"), 69)


def _truncated(folder: Path) -> Path:
    whole = build_standin_release(folder / "whole.zip").read_bytes()
    file = folder / "truncated.zip"
    file.write_bytes(whole[: len(whole) // 2])
    return file


def _climbing(folder: Path) -> Path:
    file = build_standin_release(folder / "climbing.zip")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("../../climbed", "out")
    return file


def _empty(folder: Path) -> Path:
    file = folder / "empty.zip"
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    file.write_bytes(buffer.getvalue())
    return file


def _missing(folder: Path) -> Path:
    return folder / "missing.zip"


@pytest.mark.parametrize("make", [_truncated, _climbing, _empty, _missing])
def test_a_broken_release(home: Home, make: Callable[[Path], Path]) -> None:
    """A truncated, escaping, empty or missing archive exits with 69 and installs no release, in both ways."""
    file = make(home.folder)
    for done in (home.gwctl("release", "install", str(file)), home.gwctl("up", GWCTL_RELEASE=str(file), **USER)):
        text = refused(home, done, 69)
        assert file.name in text
    assert home.gwctl("release", "list", "--json").check(0).envelope["data"]["releases"] == []
    assert not list(home.folder.rglob("climbed"))


def test_a_release_that_is_not_installed(home: Home) -> None:
    """A version that is not installed exits with 69 and starts no download."""
    assert "20990101" in refused(home, home.gwctl("up", GWCTL_RELEASE="20990101", **USER), 69)


def test_a_home_that_is_no_folder(home: Home) -> None:
    """A home below a regular file gives one line that names it, for every verb."""
    file = home.folder / "file"
    file.write_text("")
    for argv in (["up", "--sandbox"], ["status"], ["release", "list"], ["profile", "create", "x"]):
        done = home.gwctl(*argv, GWCTL_HOME=str(file / "home"))
        if done.exit_code not in {0, 3}:
            assert str(file) in one_line_with_hint(done)
            assert done.exit_code in {69, 78}
    assert home.gwctl("up", "--sandbox", GWCTL_HOME=str(file / "home")).exit_code in {69, 78}


def _without_root(argv: list[str]) -> list[str]:
    """Return the command such that file modes also apply when root runs the tests."""
    if os.getuid() != 0:
        return argv
    assert shutil.which("setpriv"), "setpriv (util-linux) is needed to test as root"
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all", *argv]


@pytest.mark.parametrize("verb", [["up", "--sandbox"], ["release", "install"], ["profile", "create", "x"], ["env"]])
def test_an_unwritable_home(home: Home, verb: list[str]) -> None:
    """An unwritable home exits with 69, and the line names it and says what to do."""
    home.home.mkdir()
    home.home.chmod(0o500)
    archive = build_standin_release(home.folder / "release.zip")
    argv = [*verb, str(archive)] if verb == ["release", "install"] else verb
    try:
        done = subprocess.run(
            _without_root([*PROGRAM, *argv]),
            env=home.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        home.home.chmod(0o755)
    assert str(home.home) in refused(home, Done(done.returncode, done.stdout, done.stderr), 69)


def test_an_unwritable_state(home: Home) -> None:
    """An unwritable profile folder exits with 69 and is named, without a traceback."""
    home.profile_dir.mkdir(parents=True)
    home.profile_dir.chmod(0o500)
    try:
        done = subprocess.run(
            _without_root([*PROGRAM, "up", "--sandbox"]),
            env=home.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        home.profile_dir.chmod(0o700)
    assert str(home.profile_dir) in refused(home, Done(done.returncode, done.stdout, done.stderr), 69)


def test_an_upstream_that_is_none(home: Home) -> None:
    """An upstream other than scheme://host exits with 78 and names the setting."""
    done = home.gwctl("up", "--sandbox", GWCTL_ALLOW_IPS="10.0.0.0/8")
    assert "10.0.0.0/8" in refused(home, done, 78)
