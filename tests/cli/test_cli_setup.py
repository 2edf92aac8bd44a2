"""`setup`: from nothing to a ready session, by a person at a terminal and by flags."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pexpect
import pytest
from cli_fakes import PROGRAM, Done, Home, RealHome, a_home, a_real_home, one_line_with_hint
from service_fakes import OfflineSystemctl, RecordingSystemctl, RefusingSystemctl
from terminal import interrupt_question, on_terminal

from gwctl.cli.call import Call
from gwctl.cli.service_places import CronPlace, LaunchdPlace, SystemdPlace
from gwctl.config import Settings, load
from gwctl.credentials import Sources, find
from gwctl.environment import Environment
from gwctl.sandbox.settings import Account
from gwctl.supervisor.attempt import run_secret_command

CRONTAB = """#!/bin/sh
case $1 in
  -l) cat {file} 2>/dev/null || {{ echo "no crontab for you" >&2; exit 1; }} ;;
  -) cat >{file} ;;
  -r) : >{file} ;;
esac
"""
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
    answer(terminal, "account kind, paper or live [paper]", "Paper")
    terminal.expect_exact("looks like an account number")
    answer(terminal, "Is it right all the same?", "n")
    answer(terminal, "IBKR username", USERNAME)
    answer(terminal, "account kind", "")
    answer(terminal, "second factor [none]", "sms")
    answer(terminal, "second factor [none]", "None")
    answer(terminal, "where to keep the IBKR password", "FILE ")
    answer(terminal, "IBKR password", PASSWORD)
    terminal.expect_exact("saved in")
    answer(terminal, "Start it at boot with", "n")
    terminal.expect("ready · .*https://localhost:")
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
    assert shown == {"username": USERNAME, "mode": "paper", "second_factor": None, "password_file": str(file)}
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
    terminal.expect("ready · .*https://localhost:")
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
    assert done.stdout.startswith("● default: ready · ")
    assert not (home.home / "config.toml").exists()


@pytest.mark.parametrize(
    ("flags", "fed", "code", "said"),
    [
        ([], "pw\n", 2, "IBKR username is not known, and nobody can be asked\ngwctl setup --username …"),
        ([], "", 2, "IBKR username is not known, no IBKR password on stdin, and nobody can be asked"),
        (
            ["--second-factor", "totp"],
            "",
            2,
            "no TOTP secret on stdin, and nobody can be asked\ngwctl setup --username … --password-file FILE --totp-",
        ),
        (["--username", "a\nb"], "", 78, "username = 'a\\nb' (the command line) is not one line of text"),
        (["--username", "wren"], "", 2, "no IBKR password on stdin, and nobody can be asked"),
        (["--username", "wren", "--password-file", "/none"], "", 78, "cannot read the password from /none: No such"),
        (["--username", "wren", "--second-factor", "totp"], "pw\n", 2, "no TOTP secret on stdin"),
        (["--username", "wren", "--second-factor", "totp"], "pw\n123456\n", 2, "the TOTP secret is not base32 text"),
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


FLAGS = ("setup", "--no-login", "--username", "wren", "--keep-password", "file")


def password_of(home: Home, **variables: str) -> tuple[str, str]:
    """Return the password that a login would send, and its source."""
    environment = Environment({"GWCTL_HOME": str(home.home), **variables})
    found = find("password", load("default", environment=environment), Sources(environment, run_secret_command_of))
    return ("", "") if found is None else (found.secret.reveal(), found.source)


def run_secret_command_of(argv: Sequence[str]) -> str:
    return run_secret_command(argv, dict(os.environ))


def load_of(home: Home) -> Settings:
    """Return the default profile's settings as config.toml has them."""
    return load("default", environment=Environment({"GWCTL_HOME": str(home.home)}))


@pytest.fixture
def installed(home: Home, real_release_zip: Path) -> Home:
    """Return a home whose release is there, and whose crontab is a file: its program does what the real one does."""
    home.gwctl("release", "install", str(real_release_zip)).check(0)
    programs = home.folder / "programs"
    programs.mkdir()
    program = programs / "crontab"
    program.write_text(CRONTAB.format(file=home.folder / "crontab"))
    program.chmod(0o755)
    home.variables["PATH"] = f"{programs}:{os.environ['PATH']}"
    return home


def crontab(home: Home) -> str:
    """Return the crontab of a home."""
    return (home.folder / "crontab").read_text()


@pytest.mark.parametrize(
    "before",
    [
        '[profiles.default]\npassword_command = ["echo", "old"]\n',
        '[defaults]\npassword_command = ["echo", "old"]\n',
        '[profiles.default]\nusername = "wren"\npassword_file = "/none"\n',
    ],
)
def test_the_password_that_was_given_is_the_one_that_is_sent(installed: Home, before: str) -> None:
    """No earlier source wins over it, whatever it was."""
    installed.write_config(before)
    installed.gwctl(*FLAGS, stdin="new\n").check(0)
    assert password_of(installed) == ("new", "password_file")


def test_a_variable_that_would_win_is_refused(installed: Home) -> None:
    """Not saved beside it in silence: the live account of a variable must not get the paper account's password."""
    for name, value in (("GWCTL_USERNAME", "other"), ("GWCTL_MODE", "live"), ("GWCTL_PASSWORD_FILE", "/old")):
        done = installed.gwctl(*FLAGS, "--mode", "paper", stdin="new\n", **{name: value})
        assert name in one_line_with_hint(done.check(78))
        assert not (installed.home / "config.toml").exists()
        assert not (installed.home / "default.password").exists()


def test_another_username_needs_its_own_password(installed: Home) -> None:
    """The password of one account is never sent for another (law 2)."""
    installed.gwctl(*FLAGS, stdin="wrens\n").check(0)
    assert "no IBKR password on stdin" in one_line_with_hint(
        installed.gwctl("setup", "--no-login", "--username", "robin").check(2)
    )
    assert load_of(installed)["username"] == "wren"
    assert password_of(installed) == ("wrens", "password_file")


def test_what_gwctl_does_by_itself_is_not_written(installed: Home) -> None:
    """A second factor by what secrets exist stays so; a file of a TOTP secret means TOTP; a command is kept."""
    secret = installed.home.parent / "totp"
    secret.write_text("GEZDGNBVGY3TQOJQ\n")
    installed.gwctl(*FLAGS, "--totp-secret-file", str(secret), stdin="pw\n").check(0)
    installed.gwctl("setup", "--no-login").check(0)
    settings = load_of(installed)
    assert settings["second_factor"] in {None, "totp"}
    assert settings["totp_secret_file"] == str(secret)
    installed.gwctl("profile", "set", "default", "second_factor=command").check(0)
    with (installed.home / "config.toml").open("a") as file:
        file.write('second_factor_command = ["cat"]\n')
    installed.gwctl("setup", "--no-login").check(0)
    assert load_of(installed)["second_factor"] == "command"


def test_nobody_can_be_asked_about_a_doubt(installed: Home) -> None:
    """It is said once, and the call goes on; other profiles' faults and others' folders are none of its business."""
    (installed.home / "state" / "profiles" / "lost+found").mkdir(parents=True)
    installed.write_config('[profiles.live]\nusername = "DU1234567"\nmode = "live"\n')
    done = installed.gwctl(*FLAGS[:2], "--username", "DU1234567", "--keep-password", "file", stdin="pw\n").check(0)
    assert done.stderr.count("looks like an account number") == 1
    assert done.stderr.count("profile 'live' has that username") == 1
    assert installed.gwctl("setup", "--no-login", "--no-input").check(0).stderr.count("account number") == 1


@pytest.mark.parametrize(
    ("before", "port"),
    [
        ("[defaults]\nport = 5500\n", 5500),
        ("", None),
        ("# mine\r\n[profiles.default]\r\nport = 5300\r\n", 5300),
    ],
)
def test_a_profile_keeps_its_port_and_its_file(installed: Home, before: str, port: int | None) -> None:
    """A port that it has from elsewhere stays, and so do comments, line ends and a link to another place."""
    elsewhere = installed.home.parent / "dotfiles.toml"
    elsewhere.write_bytes(before.encode())
    installed.home.mkdir(exist_ok=True)
    (installed.home / "config.toml").symlink_to(elsewhere)
    installed.gwctl(*FLAGS, stdin="pw\n").check(0)
    assert load_of(installed)["port"] == port or port is None
    assert (installed.home / "config.toml").is_symlink()
    assert elsewhere.read_bytes().startswith(before.encode())


@pytest.mark.parametrize(
    "before",
    ['profiles = { default = { mode = "live" } }\n', 'profiles.default.mode = "live"\nprofiles.default.port = 5300\n'],
)
def test_a_file_in_another_form_is_not_damaged(installed: Home, before: str) -> None:
    """What cannot be changed without harm is left as it is, with an error; no secret is kept."""
    installed.write_config(before)
    for argv in (["profile", "create", "new"], ["--profile", "new", *FLAGS]):
        done = installed.gwctl(*argv, stdin="pw\n")
        content = (installed.home / "config.toml").read_text()
        assert (done.exit_code, content) == (78, before) or tomllib.loads(content)["profiles"]["default"][
            "mode"
        ] == "live"
        assert done.exit_code == 0 or not list(installed.home.glob("*.password"))


def test_a_save_that_fails_keeps_no_secret(installed: Home) -> None:
    """Ports that do not fit: config.toml and the earlier password are as they were."""
    installed.gwctl(*FLAGS, stdin="first\n").check(0)
    written = (installed.home / "config.toml").read_text()
    installed.gwctl(*FLAGS, "--set", "port=5005", "--set", "health_port=5005", stdin="second\n").check(78)
    assert (installed.home / "config.toml").read_text() == written
    assert password_of(installed) == ("first", "password_file")


def test_what_is_not_wanted_any_more_is_removed(installed: Home) -> None:
    """`ask` keeps the password nowhere, and `profile delete` leaves no secret of the profile."""
    installed.gwctl(*FLAGS, stdin="pw\n").check(0)
    installed.gwctl(*FLAGS[:-1], "ask").check(0)
    assert password_of(installed) == ("", "")
    assert not (installed.home / "default.password").exists()
    installed.gwctl("--profile", "other", *FLAGS, stdin="pw\n").check(0)
    installed.gwctl("profile", "delete", "other").check(0)
    assert not list(installed.home.glob("other.*"))


def test_flags_that_have_no_use_are_refused(installed: Home) -> None:
    """Before anything is asked or done."""
    for flags in (["--username", "wren"], ["--set", "mode=paper"], ["--password-file", "/none"]):
        done = installed.gwctl("setup", "--sandbox", *flags)
        assert "the sandbox has an account of its own" in one_line_with_hint(done.check(2))
    done = installed.gwctl(*FLAGS, "--at-boot", "launchd", stdin="pw\n")
    assert "this machine has no launchd" in one_line_with_hint(done.check(2))
    assert not (installed.home / "config.toml").exists()
    fifo = installed.home.parent / "fifo"
    os.mkfifo(fifo)
    done = installed.gwctl("setup", "--no-login", "--username", "wren", "--password-file", str(fifo))
    assert "no regular file" in one_line_with_hint(done.check(2))


def test_a_service_of_an_earlier_install_does_not_keep_its_password(installed: Home, tmp_path: Path) -> None:
    """The crontab that `setup` writes names no file of before, and no sandbox."""
    old = tmp_path / "old"
    old.write_text("old\n")
    installed.gwctl(*FLAGS, stdin="new\n").check(0)
    installed.gwctl("service", "install", "--cron", "--password-file", str(old)).check(0)
    assert str(old) in crontab(installed)
    installed.gwctl(*FLAGS, "--at-boot", "cron", stdin="new\n").check(0)
    assert "PASSWORD_FILE" not in crontab(installed)
    assert "--quiet" in crontab(installed)


def test_an_account_without_a_name_or_home(installed: Home) -> None:
    """As in containers: no service is offered, and nothing fails."""
    done = installed.gwctl(*FLAGS, "--at-boot", "no", stdin="pw\n", HOME=None, USER=None, LOGNAME=None)
    assert done.check(0)


def test_the_service_manager_is_found(installed: Home) -> None:
    """Systemd where the user's answers, else cron; what is installed is found whether it answers or not."""
    folder = installed.folder
    own: dict[str, Any] = {"HOME": str(folder), "XDG_CONFIG_HOME": None}
    running, offline = RecordingSystemctl(folder / "running"), OfflineSystemctl(folder / "offline")
    path = installed.variables["PATH"]
    done = installed.gwctl("service", "install", "--sandbox", "--json", PATH=offline.path(path), **own).check(0)
    assert done.envelope["data"]["kind"] == "cron"
    installed.gwctl("service", "uninstall", PATH=offline.path(path), **own).check(0)
    assert "gwctl" not in crontab(installed)
    done = installed.gwctl("service", "install", "--sandbox", "--json", PATH=running.path(path), **own).check(0)
    assert done.envelope["data"]["kind"] == "systemd"
    assert any("enable --now gwctl-default.service" in line for line in running.asked_to())
    unit = folder / ".config" / "systemd" / "user" / "gwctl-default.service"
    assert unit.exists()
    done = installed.gwctl("service", "uninstall", PATH=offline.path(path), **own).check(0)
    assert "removed: " in done.stdout
    assert not unit.exists()
    (folder / "programs" / "crontab").write_text("#!/bin/sh\necho 'you are not allowed' >&2; exit 1\n")
    done = installed.gwctl("service", "install", "--sandbox", "--json", PATH=running.path(path), **own).check(0)
    assert done.envelope["data"]["kind"] == "systemd"


def test_a_file_for_another_system_is_not_said_to_run_here(installed: Home) -> None:
    """It is written, for a machine that has such a manager; no command is named that this one does not have."""
    kind, system = ("systemd", "Linux") if sys.platform == "darwin" else ("launchd", "macOS")
    own: dict[str, Any] = {"HOME": str(installed.folder), "XDG_CONFIG_HOME": None}
    done = installed.gwctl("service", "install", f"--{kind}", "--sandbox", **own).check(0)
    installed_at, said = done.stdout.splitlines()
    file = Path(installed_at.removeprefix("installed: "))
    assert file.exists()
    assert said == f"it was written for {system}, and is not loaded here"
    removed = installed.gwctl("service", "uninstall", f"--{kind}", **own).check(0)
    assert removed.stdout == f"removed: {file}\n"
    assert not file.exists()


def test_a_unit_on_macos_and_an_agent_on_linux_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither names a command of the other system."""
    call = Call(environment=Environment({"HOME": str(tmp_path), "GWCTL_HOME": str(tmp_path), "PATH": str(tmp_path)}))
    for here, place, system in (
        ("darwin", SystemdPlace(call, system=False), "Linux"),
        ("linux", LaunchdPlace(call), "macOS"),
    ):
        with monkeypatch.context() as on:
            on.setattr(sys, "platform", here)
            said = place.load(changed=True, start=True)
        assert said == (False, [f"it was written for {system}, and is not loaded here"])


@pytest.mark.browser
@pytest.mark.timeout(150)
def test_a_service_that_cannot_be_installed_ends_no_session(home: Home) -> None:
    """A unit that a person edited, or one that systemd refuses: said, with its exit code; the session goes on."""
    folder, path = home.folder, os.environ["PATH"]
    own: dict[str, Any] = {"HOME": str(folder), "XDG_CONFIG_HOME": None}
    refusing = RefusingSystemctl(folder / "refusing")
    done = home.gwctl("setup", "--sandbox", "--at-boot", "systemd", PATH=refusing.path(path), **own)
    assert done.exit_code != 0
    assert "not started at boot: " in done.stderr
    assert done.stdout.startswith("● default: ready · ")
    assert home.status()["ready"]
    pid = home.status()["supervisor"]["pid"]
    unit = folder / ".config" / "systemd" / "user" / "gwctl-default.service"
    unit.write_text("# by hand\n" + unit.read_text())
    done = home.gwctl("setup", "--sandbox", "--at-boot", "systemd", PATH=refusing.path(path), **own).check(78)
    assert "edited by hand" in done.stderr
    assert home.status()["supervisor"]["pid"] == pid, "the supervisor was not touched"


def test_what_starts_at_boot_already_is_shown(installed: Home) -> None:
    """What starts it now is named, and stays as it is unless a person wants it anew."""
    installed.gwctl("service", "install", "--cron", "--sandbox").check(0)
    before = crontab(installed)
    terminal = on_terminal(installed, "setup", "--sandbox", "--no-login")
    terminal.expect_exact("it is started at boot already, by gwctl's lines in the crontab", timeout=SPOKEN_S)
    answer(terminal, "Write that anew", "n")
    terminal.expect(pexpect.EOF, timeout=SPOKEN_S)
    terminal.close()
    assert terminal.exitstatus == 0
    assert crontab(installed) == before


def test_a_service_that_could_not_log_in_says_so(installed: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be installed first and set up then: what lacks is named, with the command."""
    said = installed.gwctl("service", "install", "--cron").check(0).stderr
    assert "profile 'default' has no username yet; next: gwctl setup\n" in said
    installed.write_config("[profiles.default]\nusername = 'wren'\n")
    said = installed.gwctl("service", "install", "--cron").check(0).stderr
    assert "the service has no password: give --password-file FILE, or store it: gwctl secret set password" in said
    file = installed.folder / "password"
    file.write_text("pw\n")
    said = installed.gwctl("service", "install", "--cron", "--password-file", str(file)).check(0).stderr
    assert "has no" not in said
    place = CronPlace(Call(environment=Environment(installed.environment())))
    lacking = "no cron daemon is seen here: without one, nothing starts it"
    for runs in (True, False):
        monkeypatch.setattr("gwctl.process.any_named", lambda *_names, runs=runs: runs)
        assert (lacking in place.load(changed=True, start=True)[1]) is not runs


def test_no_login_starts_no_service_either(installed: Home) -> None:
    """A unit that is started logs in."""
    running = RecordingSystemctl(installed.folder / "running")
    own: dict[str, Any] = {"HOME": str(installed.folder), "XDG_CONFIG_HOME": None}
    own["PATH"] = running.path(installed.variables["PATH"])
    installed.gwctl(*FLAGS, "--at-boot", "systemd", stdin="pw\n", **own).check(0)
    assert not [line for line in running.asked_to() if "enable" in line]


def test_where_the_totp_secret_is_kept_is_an_option(installed: Home) -> None:
    """Without a terminal, both secrets come from stdin and each goes where its option says."""
    fed = "pw\nJBSWY3DPEHPK3PXP\n"
    installed.gwctl(*FLAGS, "--second-factor", "totp", "--keep-totp-secret", "file", stdin=fed).check(0)
    file = installed.home / "default.totp_secret"
    assert file.read_text() == "JBSWY3DPEHPK3PXP\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_another_account_does_not_get_the_first_ones_totp_secret(installed: Home) -> None:
    """A second factor by what secrets exist would send it."""
    secret = installed.folder / "totp"
    secret.write_text("GEZDGNBVGY3TQOJQ\n")
    installed.gwctl(*FLAGS, "--totp-secret-file", str(secret), stdin="pw\n").check(0)
    other = ["--username", "robin", "--keep-password", "file", "--second-factor", "none"]
    installed.gwctl("setup", "--no-login", *other, stdin="robins\n").check(0)
    settings = load_of(installed)
    assert (settings["username"], settings["totp_secret_file"]) == ("robin", None)
    assert secret.exists(), "a file of the person's own is left alone"


def test_bytes_that_are_no_text(installed: Home) -> None:
    """A password in another encoding would be sent as something else: refused, in any locale."""
    for locale in ("C", "C.UTF-8"):
        done = subprocess.run(
            [*PROGRAM, *FLAGS],
            input="grün\n".encode("latin-1"),
            env=installed.environment(LC_ALL=locale),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert b"the IBKR password on stdin is not UTF-8 text" in done.stderr
        assert b"gr" not in done.stderr.rpartition(b"gwctl: ")[2].partition(b"\n")[0]
    assert not (installed.home / "config.toml").exists()


def test_ctrl_c_changes_nothing(installed: Home) -> None:
    """At any question: exit 130, and no file is written."""
    for questions in (["IBKR username"], ["IBKR username", "account kind", "second factor", "where to keep"]):
        terminal = on_terminal(installed, "setup", "--no-login")
        for question in questions[:-1]:
            answer(terminal, question, "wren" if "username" in question else "")
        terminal.expect_exact(questions[-1], timeout=SPOKEN_S)
        interrupt_question(terminal)
        assert not (installed.home / "config.toml").exists()
        assert not list(installed.home.glob("*.password"))


def test_an_open_pipe_is_not_waited_for_in_vain(installed: Home) -> None:
    """Without a username the call fails in any case, as in an `ssh` without a terminal: at once."""
    quiet, open_end = os.pipe()
    try:
        started = subprocess.run(
            [*PROGRAM, "setup", "--no-login"],
            env=installed.environment(),
            stdin=quiet,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(quiet)
        os.close(open_end)
    assert started.returncode == 2
    assert "IBKR username is not known, no IBKR password on stdin" in started.stderr


def test_a_machine_that_lacks_something(installed: Home) -> None:
    """No Java, a browser that is not there, a port that is taken, a settings file that may not be written."""
    for pair, said in (("java=/none/java", "/none/java"), ("browser=/none/chromium", "/none/chromium")):
        assert said in one_line_with_hint_at_end(installed.gwctl(*FLAGS, "--set", pair, stdin="pw\n").check(69))
    installed.write_config("[profiles.default\n")
    assert "is not valid TOML" in one_line_with_hint(installed.gwctl(*FLAGS, stdin="pw\n").check(78))
    assert (installed.home / "config.toml").read_text() == "[profiles.default\n"
    assert not list(installed.home.glob("*.password"))


def test_a_machine_that_lacks_several_things(installed: Home, tmp_path: Path) -> None:
    """A browser and a library that Playwright needs are one error, not a second one after the first is solved."""
    driver = tmp_path / "packages" / "playwright" / "driver"
    driver.mkdir(parents=True)
    (driver.parent / "__init__.py").touch()
    node = driver / "node"
    node.write_text(
        '#!/bin/sh\necho "$0: error while loading shared libraries: libatomic.so.1: cannot open it" >&2\nexit 127\n'
    )
    node.chmod(0o755)
    own: dict[str, Any] = {"PYTHONPATH": str(tmp_path / "packages"), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path / "none")}
    done = installed.gwctl(*FLAGS, "--set", "browser=playwright", stdin="pw\n", **own).check(69)
    said = one_line_with_hint_at_end(done)
    assert "libatomic.so.1" in said
    assert "the browser 'playwright' was not found" in said
    assert not list(installed.home.glob("*.password"))


def one_line_with_hint_at_end(done: Done) -> str:
    """Return the error, which comes after what was found on the machine."""
    assert done.stderr.splitlines()[-1].startswith("  try: ")
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-2]
