from __future__ import annotations

import json
from pathlib import Path

from gwctl.credentials import Found, Secret
from gwctl.environment import Environment
from gwctl.history import journal as journal_module
from gwctl.history.journal import Journal
from gwctl.supervisor.handover import Handover

VARIABLES = {
    "GWCTL_PORT": "5001",
    "GWCTL_PASSWORD": "of the variable",
    "GWCTL_TOTP_SECRET": "JBSW",
    "GWCTL_PASSWORD_FILE": "/run/password",
    "CREDENTIALS_DIRECTORY": "/run/credentials",
    "HOME": "/home/somebody",
    "AWS_SECRET_ACCESS_KEY": "not ours",
}


def test_handover_takes_what_the_supervisor_cannot_find_itself() -> None:
    """Temporary secrets go through the pipe; the supervisor reads files, commands and the keyring itself."""
    found = {
        "password": Found(Secret("of the variable"), "$GWCTL_PASSWORD"),
        "totp_secret": Found(Secret("of the keyring"), "keyring"),
    }
    handover = Handover.make(Environment(VARIABLES), {"port": 5002}, found)
    assert set(handover.secrets) == {"password"}
    assert set(handover.variables) == set(VARIABLES) - {"GWCTL_PASSWORD", "GWCTL_TOTP_SECRET"}
    assert "of the variable" not in repr(handover)


def test_addresses_are_handed_over_from_wherever_they_came() -> None:
    """When there is news, no file, keyring or program is read: the supervisor already has what it needs."""
    found = {name: Found(Secret("x"), "keyring") for name in ("notify_webhook", "notify_webhook_token", "notify_urls")}
    assert Handover.make(Environment(VARIABLES), {}, found).secrets == found
    variables = {"GWCTL_NOTIFY_WEBHOOK": "x", "GWCTL_NOTIFY_URLS": "y", "GWCTL_PORT": "1"}
    assert set(Handover.make(Environment(variables), {}, {}).variables) == {"GWCTL_PORT"}


def test_handover_arrives_as_it_was_sent() -> None:
    """The handover is one line through the pipe and loses nothing."""
    found = {"password": Found(Secret('line "quoted" \n and ü'), "prompt")}
    sent = Handover.make(Environment(VARIABLES), {"port": 5002}, found)
    line = sent.to_line()
    assert line.count(b"\n") == 1
    assert Handover.from_line(line.decode()) == sent


def test_empty_line_is_an_empty_handover() -> None:
    """A supervisor with an empty handover finds everything itself."""
    assert Handover.from_line("\n") == Handover()


def test_journal_is_private_and_one_object_a_line(tmp_path: Path) -> None:
    """Law 9 for the journal: 0600, appended, numbered."""
    journal = Journal(tmp_path / "profile" / "journal.jsonl", remembered=2)
    for name in ("one", "two", "three"):
        journal.write("note", name=name)
    lines = [json.loads(line) for line in journal.file.read_text().splitlines()]
    assert [line["n"] for line in lines] == [1, 2, 3]
    assert journal.file.stat().st_mode & 0o777 == 0o600
    assert [entry["name"] for entry in journal.since(0)] == ["two", "three"]
    assert [entry["name"] for entry in journal.since(2)] == ["three"]


def test_journal_is_bounded(tmp_path: Path) -> None:
    """A journal that is too long is rotated once, and writing continues."""
    journal = Journal(tmp_path / "journal.jsonl")
    journal.file.write_bytes(b"x" * (journal_module.MAX_BYTES + 1))
    journal.write("note")
    assert journal.file.stat().st_size < 200
    assert (tmp_path / "journal.jsonl.1").stat().st_size > journal_module.MAX_BYTES


def test_journal_that_cannot_be_written_remembers(tmp_path: Path) -> None:
    """A broken disk loses the line on disk, never the loop."""
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "journal.jsonl")
    journal.write("note")
    assert journal.count == 1
