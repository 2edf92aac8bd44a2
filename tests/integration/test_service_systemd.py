"""`gwctl service … --systemd`: systemd's own verifier checks the output; a fake systemctl records the calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_fakes import Home
from rig import Done
from service_fakes import OfflineSystemctl, RecordingSystemctl, RefusingSystemctl

from gwctl.integrations.service_files import Account, Options, Wanted, unit

MOST_EXPOSED_TENTHS = 26
"""The highest exposure that `systemd-analyze security` may give the system unit, in tenths: Debian's units range from 2
to 9.6."""
UNIT = "gwctl-default.service"


class Person:
    """A person with a home, a gwctl and some systemctl."""

    def __init__(self, home: Home, systemctl: RecordingSystemctl) -> None:
        self.home = home
        self.systemctl = systemctl
        self.unit = home.folder / ".config" / "systemd" / "user" / UNIT

    def service(self, verb: str, *argv: str) -> Done:
        return self.home.gwctl(
            "service", verb, "--systemd", *argv,
            HOME=str(self.home.folder), XDG_CONFIG_HOME=None, PATH=self.systemctl.path(os.environ["PATH"]),
        )  # fmt: skip


@pytest.fixture
def person(home: Home) -> Person:
    """Return a person for whom systemd runs."""
    return Person(home, RecordingSystemctl(home.folder / "bin"))


def verify(unit: Path, *words: str) -> str:
    """Return the output of systemd's verifier; its exit code is 0."""
    (unit.parent / "run").mkdir(exist_ok=True)
    done = subprocess.run(
        ["systemd-analyze", "verify", *words, str(unit)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(unit.parent / "run")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.needs("systemd-analyze")
def test_units_are_clean_and_the_systems_one_is_closed(home: Home) -> None:
    """The verifier of systemd has no complaint about either unit, and rates the system unit's exposure as low."""
    home.home.mkdir()
    secret = home.folder / "pass word %"
    secret.write_text("x")
    for number, words in enumerate(([], ["--sandbox", "--password-file", str(secret)])):
        folder = home.folder / str(number)
        folder.mkdir()
        (folder / UNIT).write_text(home.gwctl("service", "show", "--systemd", *words).check(0).stdout)
        assert verify(folder / UNIT, "--user") == ""
    program = (sys.executable, "-m", "gwctl")
    options = Options(str(secret), str(secret))
    (home.folder / UNIT).write_text(unit(Wanted("default", program, {}, options), Account("daemon", home.folder)))
    assert verify(home.folder / UNIT) == ""
    rated = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={MOST_EXPOSED_TENTHS}",
         str(home.folder / UNIT)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert rated.returncode == 0, rated.stdout[-300:]
    assert "Overall exposure level" in rated.stdout


def test_install_is_idempotent_and_starts_the_unit(person: Person) -> None:
    """Install writes, reloads, enables and starts; a second one changes nothing. Uninstall stops and removes."""
    first = person.service("install", "--sandbox", "--json").check(0).envelope["data"]
    assert (first["was"], first["started"], first["where"]) == ("absent", True, str(person.unit))
    begin = ["--user daemon-reload", f"--user enable --now {UNIT}"]
    assert person.systemctl.asked_to() == begin
    text = person.unit.read_text()
    assert f"Environment=GWCTL_HOME={person.home.home}" in text
    assert "up --foreground --sandbox" in text
    # The sandbox stays chosen without repeating the option.
    assert person.service("install", "--json").check(0).envelope["data"]["was"] == "current"
    assert person.unit.read_text() == text
    assert person.systemctl.asked_to() == begin
    assert person.service("show", "--json").check(0).envelope["data"]["state"] == "current"
    assert person.service("uninstall", "--json").check(0).envelope["data"]["removed"] is True
    assert not person.unit.exists()
    assert person.systemctl.asked_to() == [f"--user disable --now {UNIT}", "--user daemon-reload"]
    assert person.service("uninstall", "--json").check(0).envelope["data"]["removed"] is False
    assert person.systemctl.asked_to() == []


def test_no_start_only_reloads(person: Person) -> None:
    """With --no-start the unit is written and systemd reloaded; the output says how to start it."""
    done = person.service("install", "--no-start").check(0)
    assert person.systemctl.asked_to() == ["--user daemon-reload"]
    assert f"next: systemctl --user enable --now {UNIT}" in done.stdout
    assert "loginctl enable-linger" in done.stdout


def test_edit_by_hand_is_not_overwritten(person: Person) -> None:
    """Install and uninstall keep an edited unit until --force; show prints what would change."""
    person.service("install").check(0)
    person.systemctl.asked_to()
    edited = person.unit.read_text().replace("RestartSec=15", "RestartSec=99")
    person.unit.write_text(edited)
    for verb in ("install", "uninstall"):
        error = person.service(verb, "--json").check(78).envelope["error"]
        assert "edited by hand" in error["message"]
        assert "--force" in error["hint"]
    assert person.unit.read_text() == edited
    assert person.systemctl.asked_to() == []
    shown = person.service("show").check(0)
    assert "-RestartSec=99" in shown.stdout
    assert "+RestartSec=15" in shown.stdout
    assert "edited by hand" in shown.stderr
    assert person.service("install", "--force", "--json").check(0).envelope["data"]["was"] == "edited"
    assert "RestartSec=15" in person.unit.read_text()


def test_without_systemd_the_file_is_written_all_the_same(home: Home) -> None:
    """Without systemd, install writes the unit, starts nothing, and says what to type next."""
    person = Person(home, OfflineSystemctl(home.folder / "bin"))
    done = person.service("install").check(0)
    assert person.unit.exists()
    assert person.systemctl.asked_to() == []
    assert f"next: systemctl --user daemon-reload && systemctl --user enable --now {UNIT}" in done.stdout
    person.service("uninstall").check(0)
    assert not person.unit.exists()


def test_start_that_fails_is_said(home: Home) -> None:
    """A refusal by systemd exits with 69, with systemd's words and the command that shows why."""
    person = Person(home, RefusingSystemctl(home.folder / "bin"))
    error = person.service("install", "--json").check(69).envelope["error"]
    assert error["code"] == "service_failed"
    assert error["message"].endswith("Job for the unit failed.")
    assert error["hint"] == f"journalctl --user -u {UNIT} -n 20"


def test_running_unit_is_not_restarted_by_an_install(home: Home) -> None:
    """A running service uses its changed unit from its next restart, which is left to the person."""
    person = Person(home, RecordingSystemctl(home.folder / "bin", active=True))
    person.service("install").check(0)
    done = person.service("install", "--sandbox").check(0)
    assert "updated" in done.stdout
    assert f"systemctl --user restart {UNIT}" in done.stdout


@pytest.mark.parametrize(
    ("argv", "exit_code", "words"),
    [
        (["install", "--systemd", "--cron"], 2, "name one service manager"),
        (["install", "--cron", "--system"], 2, "--system needs --systemd"),
        (["install", "--systemd", "--user", "me"], 2, "--system --user NAME"),
        (["install", "--systemd", "--password-file", "/nowhere/at/all"], 78, "is not a file"),
        (["install", "--systemd", "--system", "--user", "no-such-account"], 78, "useradd --system"),
    ],
)
def test_wrong_choices_are_said_before_anything_is_written(
    person: Person, argv: list[str], exit_code: int, words: str
) -> None:
    """After an invalid call nothing is written or started, and the hint says what to type."""
    done = person.home.gwctl("service", *argv, HOME=str(person.home.folder)).check(exit_code)
    assert words in done.stderr
    assert not (person.home.folder / ".config").exists()
    assert person.systemctl.asked_to() == []


def test_variables_that_the_service_will_not_have_are_named(person: Person) -> None:
    """A GWCTL_ variable of this shell is missing in the unit: a message names it, without its value."""
    done = person.service("install", "--no-start").check(0)
    assert "the service will not have GWCTL_PORT, which is set here; use config.toml" in done.stderr
    assert str(person.home.port) not in person.unit.read_text().replace(str(person.home.home), "")
