"""Units, crontab lines, property lists and messages to a service manager, as text."""

from __future__ import annotations

import asyncio
import os
import plistlib
import shlex
import socket
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gwctl.errors import Configuration
from gwctl.integrations.service_files import (
    Account,
    Options,
    State,
    Wanted,
    compare,
    crontab_block,
    find_block,
    is_as_made,
    launch_agent,
    read_options,
    unit,
    with_block,
)
from gwctl.integrations.service_managers import ServiceManager

PROGRAM = ("/opt/gwctl/bin/gwctl",)
CHOSEN = Options("/srv/a b/pass--word", "/srv/totp", "ibkr", sandbox=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=200)


def wanted(options: Options | None = None, **variables: str) -> Wanted:
    return Wanted("paper-1", PROGRAM, variables, options or Options())


def directives(text: str) -> dict[str, list[str]]:
    """Return a unit's directives, each with all its values."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def all_of(options: Options) -> list[str]:
    return [
        unit(wanted(options)),
        unit(wanted(options), Account("ibkr", Path("/var/lib/ibkr"))),
        crontab_block(wanted(options)),
        launch_agent(wanted(options), Path("/var/log/x")),
    ]


def test_final_codes_are_not_tried_again_and_the_others_are() -> None:
    """Final codes that need a person end the unit: 2, 77 and 78, but not 69 and 75, which may pass by themselves."""
    found = directives(unit(wanted()))
    assert found["RestartPreventExitStatus"] == ["2 77 78"]
    assert found["Restart"] == ["on-failure"]
    # `gwctl down` ends it with 0, another TERM with 143: both are intended.
    assert found["SuccessExitStatus"] == ["130 143"]


def test_unit_names_files_of_secrets_and_no_secret(tmp_path: Path) -> None:
    """LoadCredential passes a secret's file, for both managers; nothing here reads its content."""
    file = tmp_path / "password"
    file.write_text("canary-of-the-unit")
    for text in all_of(Options(password_file=str(file))):
        assert "canary-of-the-unit" not in text
        assert str(file) in text
    found = directives(unit(wanted(Options(str(file), "/srv/totp"))))
    assert found["LoadCredential"] == [f"password:{file}", "totp_secret:/srv/totp"]


def test_words_of_a_command_line_are_quoted_for_systemd() -> None:
    """Blanks, quotes, per cent and dollar signs arrive unchanged."""
    odd = Wanted("p", ("/o p/100%/$x/gwctl",), {"GWCTL_HOME": '/srv/a "b" 5%$c\\d'})
    found = directives(unit(odd))
    assert found["ExecStart"] == ['"/o p/100%%/$x/gwctl" --profile p up --foreground']
    assert found["Environment"] == ['"GWCTL_HOME=/srv/a \\"b\\" 5%%$c\\\\d"']
    with pytest.raises(Configuration):
        Wanted("p", PROGRAM, {"GWCTL_HOME": "/srv/a\nExecStartPre=/bin/evil"})


def test_system_unit_is_hardened_as_far_as_java_and_chromium_allow() -> None:
    """The system unit has what Chromium's sandbox needs, and nothing that would break it or the JVM."""
    found = directives(unit(wanted(), Account("ibkr", Path("/var/lib/ibkr"))))
    assert found["User"] == ["ibkr"]
    assert found["ProtectHome"] == ["yes"]
    assert found["ReadWritePaths"] == ["/var/lib/ibkr"]
    assert "user" in found["RestrictNamespaces"][0].split()
    for harmful in ("MemoryDenyWriteExecute", "ProtectProc", "PrivateUsers", "PrivateNetwork", "RootDirectory"):
        assert harmful not in found


@given(st.sampled_from(["password_file", "totp_secret_file"]), TEXTS.map(lambda text: "/" + text))
@example("password_file", "/a--b---c-->")
def test_options_are_read_back_from_every_kind_of_file(name: str, path: str) -> None:
    """The chosen options are read back from the file, for any path; each file counts as unedited."""
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        return
    options = Options(**{name: path}, account="ibkr", sandbox=True)
    for text in all_of(options):
        assert read_options(text) == options
        assert is_as_made(text)
    plistlib.loads(all_of(options)[-1].encode())


@pytest.mark.parametrize("kind", range(4))
def test_an_edit_by_hand_is_told_from_an_older_version(kind: int) -> None:
    """Any changed byte is an edit; the same file with other options is only outdated."""
    text, other = all_of(CHOSEN)[kind], all_of(Options())[kind]
    assert compare(None, text) is State.ABSENT
    assert compare(text, text) is State.CURRENT
    assert compare(other, text) is State.OUTDATED
    assert compare(text.replace("paper-1", "paper-2"), text) is State.EDITED
    assert compare(text.replace("pass", "pess"), text) is State.EDITED
    assert compare("[Unit]\nDescription=somebody's own\n", text) is State.EDITED


def test_a_file_of_an_earlier_gwctl_is_out_of_date_and_not_edited() -> None:
    """The seal does not depend on this version's text: an install may replace what an earlier gwctl wrote."""
    earlier = """# >>> gwctl, profile paper-1 >>>
# Made by `gwctl service install --cron`; `gwctl service uninstall --cron` takes it out again.
# gwctl-options: {"password_file": "/srv/pass-\\u002dword", "sandbox": true}
# gwctl-seal: af64862f27fda334
*/5 * * * * GWCTL_PASSWORD_FILE=/srv/pass--word /opt/gwctl/bin/gwctl --profile paper-1 up --quiet --sandbox
# <<< gwctl, profile paper-1 <<<
"""
    assert compare(earlier, crontab_block(wanted())) is State.OUTDATED
    assert read_options(earlier) == Options("/srv/pass--word", sandbox=True)


def test_options_that_are_not_given_stay() -> None:
    """A second install without a password file keeps the first one's; a new password file replaces it."""
    assert Options().over(CHOSEN) == CHOSEN
    assert Options(password_file="/new").over(CHOSEN) == Options("/new", "/srv/totp", "ibkr", sandbox=True)


def test_crontab_line_is_the_contracts() -> None:
    """The line has the full path, the profile and --quiet; GWCTL_HOME comes first; per cent signs are escaped."""
    assert "*/5 * * * * /opt/gwctl/bin/gwctl --profile paper-1 up --quiet" in crontab_block(wanted()).splitlines()
    odd = crontab_block(wanted(Options("/srv/pass word"), GWCTL_HOME="/srv/100%"))
    line = next(line for line in odd.splitlines() if line.startswith("*/5"))
    assert shlex.split(line.replace(r"\%", "%"))[5:] == [
        "GWCTL_HOME=/srv/100%", "GWCTL_PASSWORD_FILE=/srv/pass word",
        "/opt/gwctl/bin/gwctl", "--profile", "paper-1", "up", "--quiet",
    ]  # fmt: skip


@given(TEXTS, TEXTS)
def test_crontab_keeps_every_other_line(before: str, after: str) -> None:
    """Installing, replacing and removing the block keeps all other bytes."""
    before = before + "\n" if before else ""
    block, newer = crontab_block(wanted()), crontab_block(wanted(CHOSEN))
    other = crontab_block(Wanted("paper", PROGRAM))
    crontab = with_block(before, "paper-1", block)
    assert crontab == before + block
    crontab = with_block(crontab, "paper", other) + after
    assert find_block(crontab, "paper-1") == block
    crontab = with_block(crontab, "paper-1", newer)
    assert crontab == before + newer + other + after
    assert with_block(with_block(crontab, "paper-1", ""), "paper", "") == before + after


def test_crontab_with_a_torn_block_is_left_alone() -> None:
    """A marker without its counterpart is an error, not a guess."""
    block = crontab_block(wanted())
    for torn in (block.replace(block.splitlines()[-1], ""), block.replace(block.splitlines()[0], ""), block + block):
        with pytest.raises(Configuration):
            with_block(torn, "paper-1", block)


def test_launch_agent_is_a_property_list_that_final_codes_do_not_loop() -> None:
    """A launch agent has no final exit codes, so gwctl exits with 0 for them."""
    job = plistlib.loads(launch_agent(wanted(CHOSEN, GWCTL_HOME="/Users/a & b"), Path("/log")).encode())
    assert job["Label"] == "gwctl.paper-1"
    up = ["--profile", "paper-1", "up", "--foreground", "--zero-when-final", "--sandbox"]
    assert job["ProgramArguments"] == [*PROGRAM, *up]
    assert job["KeepAlive"] == {"SuccessfulExit": False}
    assert job["RunAtLoad"] is True
    assert job["EnvironmentVariables"] == {
        "GWCTL_HOME": "/Users/a & b",
        "GWCTL_PASSWORD_FILE": "/srv/a b/pass--word",
        "GWCTL_TOTP_SECRET_FILE": "/srv/totp",
    }


class DeafAtFirst:
    """A service manager whose socket appears late."""

    def __init__(self) -> None:
        self.name = f"@gwctl-test-{os.getpid()}-{id(self)}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def listen(self) -> None:
        self.socket.bind(f"\0{self.name[1:]}")

    def heard(self) -> list[str]:
        words = []
        while True:
            try:
                words.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return words


def phase(name: str, reason: str = "so") -> dict[str, str]:
    return {"kind": "phase", "phase": name, "reason": reason}


def test_ready_is_said_until_it_was_heard_and_stopping_once() -> None:
    """READY goes with the first message that arrives, also on an abstract socket, and is not repeated."""
    listener = DeafAtFirst()
    manager = ServiceManager.of({"NOTIFY_SOCKET": listener.name})
    assert manager is not None
    manager.witness(phase("starting"))
    listener.listen()
    manager.witness(phase("logging_in", "one\nline"))
    manager.witness({"kind": "step", "step": "form_filled"})
    manager.witness(phase("ready"))
    manager.witness(phase("stopping"))
    manager.witness({"kind": "end"})
    manager.say_stopping()
    assert listener.heard() == [
        "READY=1\nSTATUS=logging_in: one line",
        "STATUS=ready: so",
        "STOPPING=1\nSTATUS=stopping: so",
    ]
    listener.socket.close()


def test_watchdog_is_pinged_only_while_the_loop_turns() -> None:
    """A loop that does not run sends no ping, even if this task still runs."""
    listener = DeafAtFirst()
    listener.listen()
    lives = iter([True, False, False, True])
    manager = ServiceManager.of({"NOTIFY_SOCKET": listener.name, "WATCHDOG_USEC": "2000"})
    assert manager is not None

    async def watch() -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await manager.keep_watch(lambda: next(lives))

    asyncio.run(watch())
    assert listener.heard() == ["WATCHDOG=1", "WATCHDOG=1"]
    listener.socket.close()


def test_nobody_is_told_who_did_not_ask() -> None:
    """Without a socket nothing is notified; a watchdog for another process is ignored."""
    assert ServiceManager.of({}) is None
    assert ServiceManager.of({"NOTIFY_SOCKET": "vsock:2:1234"}) is None
    other = ServiceManager.of({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "2000", "WATCHDOG_PID": "1"})
    assert other is not None
    asyncio.run(asyncio.wait_for(other.keep_watch(lambda: True), 5))  # returns at once
