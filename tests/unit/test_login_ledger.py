from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from filelock import FileLock

from gwctl.credentials import Secret, fingerprint
from gwctl.errors import DiskTrouble, ProfileHeld
from gwctl.login_ledger import ledger as ledger_module
from gwctl.login_ledger.ledger import Ledger
from gwctl.login_ledger.rules import REFUSED, SUCCESS, UNCOUNTED

pytestmark = pytest.mark.law(2)

PASSWORD = Secret("correct horse 9 battery")
CHILD = """
import sys
from pathlib import Path
from gwctl.credentials import Secret
from gwctl.login_ledger.ledger import Ledger
permission = Ledger(Path(sys.argv[1])).begin_submit(Secret(sys.stdin.readline().strip()), "paper", int(sys.argv[2]))
print(permission.allowed, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "profile" / "ledger.json"


@pytest.fixture
def ledger(file: Path) -> Ledger:
    return Ledger(file)


def child(file: Path, limit: int) -> subprocess.Popen[str]:
    """Start a process that makes one submit and then waits for a signal."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(file), str(limit)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_submit_is_on_disk_before_it_is_permitted(ledger: Ledger, file: Path) -> None:
    """Law 2: when the permission is given, the submit is in the file, 0600 in 0700, without an outcome."""
    assert ledger.begin_submit(PASSWORD, "paper", 3).allowed
    [submit] = json.loads(file.read_text())["submits"]
    assert submit["outcome"] is None
    assert file.stat().st_mode & 0o777 == 0o600
    assert Path(f"{file}.lock").stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_killed_process_leaves_its_submit_behind(file: Path) -> None:
    """Law 2: a supervisor that is killed right after its permission counts as having submitted."""
    with child(file, 3) as process:
        say(process, PASSWORD.reveal())
        assert heard(process) == "True"
        os.kill(process.pid, signal.SIGKILL)
    ledger = Ledger(file)
    permission = ledger.permission(PASSWORD, "paper", 3)
    assert (permission.allowed, permission.code) == (False, "credentials_rejected")
    assert "without a known answer" in (permission.reason or "")
    assert ledger.summary(3)["rejected"] == 1
    assert ledger.permission(Secret("another"), "paper", 3).allowed


def test_only_one_of_two_processes_gets_the_last_permission(file: Path) -> None:
    """Law 2: when two processes ask at the same moment, only one gets the last permission."""
    with child(file, 1) as one, child(file, 1) as two:
        for number, process in enumerate((one, two)):
            say(process, f"password {number}")
        answers = sorted([heard(one), heard(two)])
        for process in (one, two):
            say(process, "end")
    assert answers == ["False", "True"]
    assert len(json.loads(file.read_text())["submits"]) == 1


def test_password_is_not_in_the_file_nor_quickly_found_from_it(ledger: Ledger, file: Path) -> None:
    """Law 8: the file holds a salted scrypt hash, different for each ledger."""
    ledger.begin_submit(PASSWORD, "paper", 3)
    ledger.end_submit(SUCCESS)
    raw = file.read_text()
    assert PASSWORD.reveal() not in raw
    assert "horse" not in raw
    other = Ledger(file.with_name("other.json"))
    other.begin_submit(PASSWORD, "paper", 3)
    assert ledger.read().submits[0].print != other.read().submits[0].print
    value = json.loads(raw)
    assert len(bytes.fromhex(value["salt"])) == 16
    assert len(bytes.fromhex(value["submits"][0]["print"])) == 32


def test_outcomes_count_as_law_2_says(ledger: Ledger) -> None:
    """A refusal of a password that never worked is final; a success marks it as one that works."""
    assert ledger.begin_submit(PASSWORD, "paper", 3).allowed
    assert ledger.end_submit(SUCCESS)
    assert ledger.begin_submit(PASSWORD, "paper", 3).allowed
    assert ledger.end_submit(REFUSED)
    paused = ledger.begin_submit(PASSWORD, "paper", 3)
    assert (paused.allowed, paused.code) == (False, "login_paused")
    assert ledger.summary(3) | {"last_at": None} == {
        "last_at": None,
        "last_outcome": "refused",
        "rejected": 1,
        "rejected_limit": 3,
        "locked": False,
        "shared_with": [],
    }


def test_uncounted_submit_is_free(ledger: Ledger) -> None:
    """A problem at IBKR does not count as a refusal."""
    ledger.begin_submit(PASSWORD, "paper", 3)
    assert not ledger.end_submit(UNCOUNTED)
    assert ledger.summary(3)["rejected"] == 0
    assert ledger.begin_submit(PASSWORD, "paper", 3).allowed


def test_locked_account_and_reset(ledger: Ledger) -> None:
    """IBKR's answer about the account stays until a person resets it; the working password stays known."""
    ledger.begin_submit(PASSWORD, "paper", 3)
    ledger.end_submit(SUCCESS)
    ledger.begin_submit(PASSWORD, "paper", 3)
    ledger.end_submit(REFUSED, locked_reason="the account is locked")
    assert ledger.permission(PASSWORD, "paper", 3).reason == "the account is locked"
    assert ledger.summary(3)["locked"] is True
    ledger.reset()
    assert ledger.permission(PASSWORD, "paper", 3).allowed
    assert ledger.summary(3)["locked"] is False
    assert ledger.read().worked_print is not None


def test_resets_do_not_reach_ibkrs_own_limit(ledger: Ledger) -> None:
    """Law 2: a person who resets after every refusal is stopped below the ten that lock the account."""
    submitted = 0
    while ledger.begin_submit(PASSWORD, "paper", 3).allowed:
        ledger.end_submit(REFUSED)
        ledger.reset()
        submitted += 1
    assert submitted == 9
    assert ledger.permission(PASSWORD, "paper", 3).code == "login_paused"


def test_block_holds_for_the_same_settings(ledger: Ledger) -> None:
    """A login that only a person can fix is not repeated until the person changes something."""
    ledger.block_last("paper", "wrong_mode", "nothing was submitted yet")
    assert ledger.permission(PASSWORD, "paper", 3).allowed
    ledger.begin_submit(PASSWORD, "paper", 3)
    ledger.end_submit(UNCOUNTED)
    ledger.block_last("paper", "wrong_mode", "a live user")
    assert ledger.permission(PASSWORD, "paper", 3).code == "wrong_mode"
    assert ledger.permission(PASSWORD, "live", 3).allowed
    assert ledger.summary(3)["locked"] is True


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b"{}",
        b'{"salt": "not hex"}',
        b'{"salt": 3, "submits": []}',
        b'{"salt": "00", "submits": 5}',
        b'{"salt": "00", "submits": [{"at_s": NaN, "print": "a", "outcome": null}]}',
        b'{"salt": "00", "submits": [], "worked_print": null, "refused_print": null, "locked_reason": 1, "block": 3}',
    ],
)
def test_damaged_ledger_is_set_aside_and_said(
    ledger: Ledger, file: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Law 9: a damaged file is kept under another name, reported, and replaced by a writable one."""
    file.parent.mkdir()
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING, "gwctl.supervisor"):
        aside = ledger.prepare()
    assert aside is not None
    assert aside.read_bytes() == content
    assert str(aside) in caplog.text
    assert ledger.prepare() is None
    assert ledger.begin_submit(PASSWORD, "paper", 3).allowed


def test_damage_met_while_asking_is_said_too(ledger: Ledger, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Law 9: the first reader of a damaged file reports it."""
    file.parent.mkdir()
    file.write_bytes(b"{")
    with caplog.at_level(logging.WARNING, "gwctl.supervisor"):
        ledger.summary(3)
    assert "damaged login ledger was moved to" in caplog.text


def test_outcome_that_nobody_knows_counts_as_refused(ledger: Ledger, file: Path) -> None:
    """Law 2: an unknown outcome from another version is not a permission."""
    ledger.begin_submit(PASSWORD, "paper", 3)
    value = json.loads(file.read_text())
    value["submits"][0]["outcome"] = "delighted"
    file.write_text(json.dumps(value))
    assert ledger.summary(3)["rejected"] == 1


def test_end_without_a_beginning_changes_nothing(ledger: Ledger) -> None:
    """An outcome without a submit changes nothing."""
    assert not ledger.end_submit(REFUSED)
    assert ledger.read().submits == ()


def test_clock_set_back_still_counts(file: Path) -> None:
    """Law 2: a refusal stays when the clock is set back."""
    now_s = [1_800_000_000.0]
    ledger = Ledger(file, wall_clock=lambda: now_s[0], uptime=lambda: None)
    ledger.begin_submit(PASSWORD, "paper", 3)
    ledger.end_submit(REFUSED)
    now_s[0] -= 400 * 86_400.0
    assert ledger.summary(3)["rejected"] == 1
    assert not ledger.begin_submit(PASSWORD, "paper", 3).allowed


def test_ledger_that_another_holds_too_long_is_said(
    ledger: Ledger, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every wait has a deadline, including the wait for the lock."""
    monkeypatch.setattr(ledger_module, "LOCK_TIMEOUT_S", 0.1)
    file.parent.mkdir()
    with FileLock(f"{file}.lock"), pytest.raises(ProfileHeld, match=r"ledger\.json\.lock"):
        ledger.read()


def test_ledger_that_cannot_be_written_permits_nothing(tmp_path: Path) -> None:
    """Law 2: if the submit cannot be written, it is not permitted."""
    (tmp_path / "profile").write_text("a file where the folder should be")
    with pytest.raises(DiskTrouble):
        Ledger(tmp_path / "profile" / "ledger.json").begin_submit(PASSWORD, "paper", 3)
    (tmp_path / "other" / "ledger.json.lock").mkdir(parents=True)
    with pytest.raises(DiskTrouble):
        Ledger(tmp_path / "other" / "ledger.json").begin_submit(PASSWORD, "paper", 3)


def test_block_that_is_lifted_blocks_nothing_and_forgives_nothing(ledger: Ledger) -> None:
    """Lifting a block allows the password again; refusals stay counted."""
    assert ledger.begin_submit(PASSWORD, "context", 3).allowed
    ledger.end_submit("success")
    ledger.block_last("context", "needs_person", "never authenticates")
    assert ledger.permission(PASSWORD, "context", 3).code == "needs_person"
    submits = ledger.read().submits
    ledger.lift_block()
    assert ledger.permission(PASSWORD, "context", 3).allowed
    assert ledger.read().submits == submits


def test_deleted_ledger_is_remembered_by_who_has_read_it(ledger: Ledger) -> None:
    """Deleting the folder while the supervisor runs does not make it forget refusals."""
    assert ledger.begin_submit(PASSWORD, "context", 3).allowed
    ledger.end_submit("refused")
    ledger.file.unlink()
    assert not ledger.permission(PASSWORD, "context", 3).allowed
    assert Ledger(ledger.file).permission(PASSWORD, "context", 3).allowed
    ledger.restore()
    assert not Ledger(ledger.file).permission(PASSWORD, "context", 3).allowed


def test_login_that_waits_for_a_second_factor_was_refused_by_nobody(tmp_path: Path) -> None:
    """A login stopped while it waits may be repeated; one stopped after an answer has an unknown result."""
    ledger = Ledger(tmp_path / "ledger.json")
    password = Secret("first")
    assert ledger.begin_submit(password, "paper", 3).allowed
    ledger.wait_for_second_factor(answered=False)
    assert ledger.permission(password, "paper", 3).allowed
    assert ledger.summary(3)["rejected"] == 0
    ledger.wait_for_second_factor(answered=True)
    assert ledger.permission(password, "paper", 3).code == "credentials_rejected"
    ledger.wait_for_second_factor(answered=False)
    ledger.end_submit("refused")
    ledger.wait_for_second_factor(answered=False)
    assert ledger.summary(3) | {"last_at": None} == {
        "last_at": None,
        "last_outcome": "refused",
        "rejected": 1,
        "rejected_limit": 3,
        "locked": True,
        "shared_with": [],
    }


def test_one_password_is_printed_once_and_not_kept(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second question about the same password needs no second scrypt, and the ledger does not keep the password.

    Another password, and the same one under another salt, get prints of their own.
    """
    made: list[str] = []

    def counted(secret: Secret, salt: str) -> str:
        made.append(salt)
        return fingerprint(secret, salt)

    monkeypatch.setattr("gwctl.login_ledger.ledger.fingerprint", counted)
    password = Secret("correct-horse-9")
    assert ledger.begin_submit(password, "paper", 3).allowed
    ledger.end_submit("refused")
    assert ledger.permission(password, "paper", 3).code == "credentials_rejected"
    assert len(made) == 1
    assert ledger.permission(Secret("another"), "paper", 3).allowed
    assert len(made) == 2
    ledger.file.write_text(json.dumps({**json.loads(ledger.file.read_text()), "salt": "00" * 16}))
    assert ledger.permission(password, "paper", 3).allowed
    assert made[2:] == ["00" * 16]
    watched = weakref.ref(password)
    del password
    assert watched() is None
